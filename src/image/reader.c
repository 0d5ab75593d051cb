/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "image/directory.h"
#include "image/opening.h"

int opening_damaged(struct opening *o, const char *name, const char *why)
{
	return file_damaged(o->ps, o->img->dir_fd, name, "%s", why);
}

/* --- files --- */

/* A pipe put in a file's place must not hold us up, and a link must not lead elsewhere. */
int opening_file(struct opening *o, const char *name, int *fd, uint64_t *size)
{
	struct stat st;

	if (o->img->private->stream)
		return opening_member(o, name, fd, size);
	*fd = openat(o->img->dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (*fd < 0 && errno == ENOENT)
		return opening_damaged(o, name, "is missing");
	if (*fd < 0 || fstat(*fd, &st) < 0)
		return file_failed(o->ps, o->img->dir_fd, name, -errno, "cannot be opened");
	if (!S_ISREG(st.st_mode))
		return opening_damaged(o, name, "is not a regular file");
	*size = (uint64_t)st.st_size;
	return 0;
}

static int read_whole(struct opening *o, const char *name, int fd, size_t size, struct bytes *b)
{
	int r;

	b->data = malloc(size ? size : 1);
	if (!b->data)
		return file_failed(o->ps, o->img->dir_fd, name, -ENOMEM, "cannot be read");
	b->size = b->room = size;
	r = read_at(fd, b->data, size, 0);
	return r < 0 ? file_failed(o->ps, o->img->dir_fd, name, r, "cannot be read") : 0;
}

int opening_wrong_length(struct opening *o, const struct manifest_file *file, uint64_t size)
{
	return file_damaged(o->ps, o->img->dir_fd, file->name, "is %llu bytes long, not %llu", (unsigned long long)size,
		(unsigned long long)file->size);
}

int opening_bytes(struct opening *o, const struct manifest_file *file, struct bytes *b)
{
	_cleanup_fd_ int fd = -1;
	uint8_t checksum[16];
	uint64_t size = 0;
	int r = opening_file(o, file->name, &fd, &size);

	if (r < 0)
		return r;
	if (size != file->size)
		return opening_wrong_length(o, file, size);
	r = read_whole(o, file->name, fd, size, b);
	if (r < 0)
		return r;
	checksum_128(b->data, b->size, checksum);
	if (memcmp(checksum, file->checksum, sizeof(checksum)))
		return opening_damaged(o, file->name, "does not have the checksum that the manifest says");
	return 0;
}

static int read_manifest(struct opening *o)
{
	_cleanup_(bytes_free)
	struct bytes b = { 0 };
	_cleanup_fd_ int fd = -1;
	const char *why = "cannot be read";
	uint64_t size = 0;
	int r;

	if (faccessat(o->img->dir_fd, MANIFEST, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
		return directory_failed(o->ps, o->img->dir_fd, "name the directory of a checkpoint that was completed",
			-ENOENT, "the directory holds no image: it has no manifest");
	r = opening_file(o, MANIFEST, &fd, &size);
	if (r < 0)
		return r;
	if (size > MANIFEST_MOST)
		return opening_damaged(o, MANIFEST, "is too long to be one");
	r = read_whole(o, MANIFEST, fd, size, &b);
	if (r < 0)
		return r;
	r = manifest_decode(b.data, b.size, &o->manifest, &why);
	if (r < 0)
		return opening_damaged(o, MANIFEST, why);
	checksum_128(b.data, b.size, o->img->private->manifest_sum);
	return 0;
}

/* --- records --- */

struct peeked {
	char kind[32];
	object_id id;
	uint32_t version;
	bool critical;
	size_t length;
};

static int peek(struct opening *o, const struct manifest_file *file, const struct bytes *b, size_t at, struct peeked *p)
{
	const char *why = NULL;
	int r = record_peek(b->data + at, b->size - at, p->kind, &p->id, &p->version, &p->critical, &p->length, &why);

	return r < 0 ? file_damaged(o->ps, o->img->dir_fd, file->name, "the record at byte %zu: %s", at, why) : 0;
}

/* Where a record lies in its file. */
struct place {
	object_id id;
	size_t at, length;
};

struct places {
	struct place *list;
	size_t n, room;
};

static void places_free(struct places *places)
{
	free(places->list);
}

static int note_place(struct places *places, const struct peeked *p, size_t at)
{
	if (places->n == places->room) {
		size_t room = places->room ? 2 * places->room : 64;
		struct place *grown = reallocarray(places->list, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		places->list = grown;
		places->room = room;
	}
	places->list[places->n++] = (struct place){ .id = p->id, .at = at, .length = p->length };
	return 0;
}

static int find_records(struct opening *o, const struct manifest_file *file, const struct bytes *b,
	const struct record_kind *k, struct places *places)
{
	struct peeked p;

	for (size_t at = 0; at < b->size; at += p.length) {
		int r = peek(o, file, b, at, &p);

		if (r < 0)
			return r;
		if (strcmp(p.kind, k->name))
			return file_damaged(o->ps, o->img->dir_fd, file->name,
				"the record at byte %zu is of the kind %s", at, p.kind);
		r = note_place(places, &p, at);
		if (r < 0)
			return file_failed(o->ps, o->img->dir_fd, file->name, r, "cannot be read");
	}
	return 0;
}

/* Decodes all of b into an array of states. On error those decoded so far are freed. */
static int decode_records(struct opening *o, const struct manifest_file *file, const struct bytes *b,
	const struct record_kind *k, const struct places *places, char *states, struct record *records)
{
	const char *why = NULL;
	size_t i = 0;
	int r = 0;

	for (; i < places->n && r >= 0; i++) {
		const struct place *p = &places->list[i];

		records[i] = (struct record){ .kind = k, .id = p->id, .state = states + i * k->size };
		r = record_decode(k, b->data + p->at, p->length, records[i].state, &why);
		if (r < 0)
			file_damaged(o->ps, o->img->dir_fd, file->name, "the record at byte %zu: %s", p->at, why);
	}
	while (r < 0 && i--)
		fields_free(k->fields, states + i * k->size);
	return r;
}

void records_free(struct some_records *batch)
{
	for (size_t i = 0; batch->records && i < batch->n; i++)
		fields_free(batch->records[i].kind->fields, batch->records[i].state);
	free(batch->records);
	free(batch->states);
	*batch = (struct some_records){ 0 };
}

int opening_records(
	struct opening *o, const struct manifest_file *file, const struct record_kind *k, struct some_records *out)
{
	_cleanup_(bytes_free)
	struct bytes b = { 0 };
	_cleanup_(places_free)
	struct places places = { 0 };
	_cleanup_free_ struct record *records = NULL;
	_cleanup_free_ char *states = NULL;
	int r = opening_bytes(o, file, &b);

	if (r >= 0)
		r = find_records(o, file, &b, k, &places);
	if (r < 0)
		return r;
	records = calloc(places.n + 1, sizeof(*records));
	states = calloc(places.n + 1, k->size + 1);
	if (!records || !states)
		return file_failed(o->ps, o->img->dir_fd, file->name, -ENOMEM, "cannot be read");
	r = decode_records(o, file, &b, k, &places, states, records);
	if (r < 0)
		return r;
	*out = (struct some_records){ .records = take_ptr(records), .states = take_ptr(states), .n = places.n };
	return 0;
}

const struct manifest_file *opening_find(struct opening *o, const struct record_kind *k)
{
	char kind[32];

	for (size_t i = 0; i < o->manifest.n_files; i++) {
		const struct manifest_file *file = &o->manifest.files[i];

		if (file->pages || o->read[i] || !kind_file_name(file->name, kind) || strcmp(kind, k->name))
			continue;
		o->read[i] = true;
		return file;
	}
	return NULL;
}

static int keep_records(struct opening *o, const struct record_kind *k, struct some_records *batch)
{
	struct image *img = o->img;
	struct image_private *p = img->private;
	struct kind_range *ranges = reallocarray(p->ranges, p->n_ranges + 1, sizeof(*ranges));
	struct record *records;

	if (!ranges)
		return -ENOMEM;
	p->ranges = ranges;
	records = reallocarray(img->records, img->n_records + batch->n + 1, sizeof(*records));
	if (!records)
		return -ENOMEM;
	img->records = records;
	if (batch->n)
		memcpy(records + img->n_records, batch->records, batch->n * sizeof(*records));
	p->ranges[p->n_ranges++] = (struct kind_range){
		.kind = k, .first = img->n_records, .n = batch->n, .states = take_ptr(batch->states)
	};
	img->n_records += batch->n;
	batch->n = 0; /* the image owns what the states own */
	return 0;
}

static int read_kind(struct opening *o, const struct record_kind *k)
{
	_cleanup_(records_free)
	struct some_records batch = { 0 };
	const struct manifest_file *file = opening_find(o, k);
	int r;

	if (!file)
		return 0; /* the tree had none */
	r = opening_records(o, file, k, &batch);
	if (r < 0)
		return r;
	r = keep_records(o, k, &batch);
	return r < 0 ? file_failed(o->ps, o->img->dir_fd, file->name, r, "cannot be read") : 0;
}

/* Every kind, so that all that is damaged is named at once. */
static int read_kinds(struct opening *o, const struct record_kind *const kinds[])
{
	int r, first = 0;

	for (; *kinds; kinds++) {
		r = read_kind(o, *kinds);
		if (r < 0 && !first)
			first = r;
	}
	return first;
}

/* --- the image layer's own --- */

static int check_head(struct opening *o)
{
	const struct image_head *head = &o->img->head;

	if (head->format != IMAGE_FORMAT && head->format != IMAGE_FORMAT_COMPRESSED)
		return refused(o->ps,
			BLAME(.object = "head.cbor", .remedy = "use the version of spore that wrote the image"),
			"the image has the format %llu, this spore reads %d and %d", (unsigned long long)head->format,
			IMAGE_FORMAT, IMAGE_FORMAT_COMPRESSED);
	if (o->img->private->stream && head->format != IMAGE_FORMAT)
		return opening_damaged(o, "head.cbor", "has a format that no stream has");
	if (!o->img->private->stream && memcmp(head->id, o->manifest.image_id, sizeof(head->id)))
		return opening_damaged(o, "head.cbor", "is that of another image");
	return 0;
}

static int read_head(struct opening *o)
{
	_cleanup_(records_free)
	struct some_records batch = { 0 };
	const struct manifest_file *file = opening_find(o, &image_head_kind);
	int r;

	if (!file)
		return opening_damaged(o, MANIFEST, "names no head.cbor");
	r = opening_records(o, file, &image_head_kind, &batch);
	if (r < 0)
		return r;
	if (batch.n != 1)
		return opening_damaged(o, "head.cbor", "holds other than one record");
	o->img->head = *(struct image_head *)batch.records[0].state;
	batch.n = 0;
	return check_head(o);
}

/* --- what this version does not know --- */

static int check_unknown_record(struct opening *o, const struct peeked *p, const char *kind)
{
	if (strcmp(p->kind, kind))
		return failed(
			o->ps, BLAME(.object = kind), -EBADMSG, "its file holds a record of the kind %s", p->kind);
	if (!p->critical)
		return 0;
	return refused(o->ps, BLAME(.object = kind, .remedy = "use the version of spore that wrote the image"),
		"the image holds records of the kind %s, which this spore does not know and must not ignore", kind);
}

static int check_unknown_file(struct opening *o, const struct manifest_file *file)
{
	_cleanup_(bytes_free)
	struct bytes b = { 0 };
	struct peeked p;
	char kind[32];
	int r;

	if (!kind_file_name(file->name, kind))
		return opening_damaged(o, MANIFEST, "names a file that belongs to no image");
	r = opening_bytes(o, file, &b);
	for (size_t at = 0; r >= 0 && at < b.size; at += p.length) {
		r = peek(o, file, &b, at, &p);
		if (r >= 0)
			r = check_unknown_record(o, &p, kind);
	}
	return r;
}

static int check_unknown_files(struct opening *o)
{
	int r, first = 0;

	for (size_t i = 0; i < o->manifest.n_files; i++) {
		r = o->read[i] ? 0 : check_unknown_file(o, &o->manifest.files[i]);
		if (r < 0 && !first)
			first = r;
	}
	return first;
}

/* ------------------------------------------------------------------------------------------------------------------
 */

static int read_all(struct opening *o, const struct record_kind *const kinds[])
{
	int steps[3], r = 0;

	steps[0] = opening_page_files(o, true);
	steps[1] = read_kinds(o, kinds);
	steps[2] = check_unknown_files(o);
	for (size_t i = 0; i < ARRAY_SIZE(steps) && r >= 0; i++)
		r = steps[i];
	return r < 0 ? r : image_index(o->img, o->ps);
}

static void cleanup_image(struct image **img)
{
	image_free(*img);
}

/* What there is of files. */
static int open_source(struct opening *o, int fd, bool stream)
{
	int r;

	o->img->dir_fd = stream ? -1 : openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (!stream && o->img->dir_fd < 0)
		return file_failed(o->ps, fd, "", -errno, "the directory cannot be opened");
	r = stream ? opening_stream(o, fd) : read_manifest(o);
	if (r < 0)
		return r;
	o->read = calloc(o->manifest.n_files + 1, sizeof(*o->read));
	return o->read ? 0 : file_failed(o->ps, o->img->dir_fd, MANIFEST, -ENOMEM, "cannot be read");
}

static int open_with(int fd, bool stream, const struct record_kind *const kinds[], struct problems *ps,
	struct image **out, int (*read)(struct opening *o, const struct record_kind *const kinds[]))
{
	_cleanup_(cleanup_image)
	struct image *img = calloc(1, sizeof(*img));
	struct opening o = { .img = img, .ps = ps };
	int r;

	if (!img)
		return failed(ps, NULL, -ENOMEM, "no memory for the image");
	img->dir_fd = -1;
	img->private = calloc(1, sizeof(*img->private));
	if (img->private)
		img->private->decompressors = decompressors_new();
	if (!img->private || !img->private->decompressors)
		return failed(ps, NULL, -ENOMEM, "no memory for the image");
	r = open_source(&o, fd, stream);
	if (r >= 0)
		r = read_head(&o);
	if (r >= 0) /* else the rest may be of another format */
		r = read(&o, kinds);
	img->private->manifest = o.manifest;
	free(o.read);
	if (r < 0)
		return r;
	*out = take_ptr(img);
	return 0;
}

static int read_older(struct opening *o, const struct record_kind *const kinds[])
{
	int r = opening_page_files(o, true);

	return r < 0 ? r : read_kinds(o, kinds);
}

static int read_pages(struct opening *o, const struct record_kind *const kinds[])
{
	return opening_page_files(o, false);
}

int image_open(int dir_fd, const struct record_kind *const kinds[], struct problems *ps, struct image **out)
{
	return open_with(dir_fd, false, kinds, ps, out, read_all);
}

int image_open_stream(int fd, const struct record_kind *const kinds[], struct problems *ps, struct image **out)
{
	return open_with(fd, true, kinds, ps, out, read_all);
}

int image_open_kinds(int dir_fd, const struct record_kind *const kinds[], struct problems *ps, struct image **out)
{
	return open_with(dir_fd, false, kinds, ps, out, read_kinds);
}

int image_open_parent(int dir_fd, const struct record_kind *const kinds[], struct problems *ps, struct image **out)
{
	return open_with(dir_fd, false, kinds, ps, out, read_older);
}

int image_open_pages(int dir_fd, struct problems *ps, struct image **out)
{
	return open_with(dir_fd, false, NULL, ps, out, read_pages);
}
