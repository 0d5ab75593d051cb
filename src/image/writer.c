/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <xxhash.h>

#include "image/writer.h"

#define FLUSH_AT (1ul << 20)

int writer_failed(struct image_writer *w, const char *name, int error, const char *what)
{
	int none = 0;

	/* one disk that is full would otherwise fill the answer */
	if (atomic_compare_exchange_strong(&w->error, &none, error))
		return file_failed(w->ps, w->dir_fd, name, error, what);
	return error;
}

void writer_count(struct image_writer *w, size_t bytes, int64_t stored)
{
	atomic_fetch_add_explicit(&w->bytes, bytes, memory_order_relaxed);
	atomic_fetch_add_explicit(&w->stored, (uint64_t)stored, memory_order_relaxed);
}

uint64_t writer_kept(const struct image_writer *w)
{
	return atomic_load_explicit(&w->bytes, memory_order_relaxed);
}

bool image_is_trial(const struct image_writer *w)
{
	return w->trial;
}

bool image_is_stream(const struct image_writer *w)
{
	return w->stream;
}

const uint8_t *image_writer_id(const struct image_writer *w)
{
	return w->head.id;
}

uint64_t image_bytes(const struct image_writer *w)
{
	return w->stream ? stream_writer_bytes(w->stream) : writer_kept(w);
}

uint64_t image_stored_bytes(const struct image_writer *w)
{
	return w->stream ? image_bytes(w) : atomic_load_explicit(&w->stored, memory_order_relaxed);
}

bool writer_compresses(const struct image_writer *w)
{
	return w->compression != SPORE_COMPRESSION_NONE;
}

bool writer_holds(const struct image_writer *w)
{
	return w->holds;
}

int writer_open_file(struct image_writer *w, const char *name, int *fd)
{
	if (image_is_trial(w))
		return 0;
	*fd = w->stream ? memfd_create(name, MFD_CLOEXEC)
			: openat(w->dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	return *fd < 0 ? writer_failed(w, name, -errno, "cannot be created") : 0;
}

/* --- components' files --- */

static void kind_file_free(struct kind_file *f)
{
	if (!f)
		return;
	close_fd(&f->fd);
	bytes_free(&f->pending);
	XXH3_freeState(f->hash);
	free(f);
}

static void cleanup_kind_file(struct kind_file **f)
{
	kind_file_free(*f);
}

static int kind_file_open(struct image_writer *w, const char *kind, struct kind_file **out)
{
	_cleanup_(cleanup_kind_file)
	struct kind_file *f = calloc(1, sizeof(*f));
	int r;

	if (!f)
		return writer_failed(w, kind, -ENOMEM, "cannot be created");
	f->fd = -1;
	f->hash = XXH3_createState();
	if (!f->hash)
		return writer_failed(w, kind, -ENOMEM, "cannot be created");
	XXH3_128bits_reset(f->hash);
	snprintf(f->name, sizeof(f->name), "%s.cbor", kind);
	r = writer_open_file(w, f->name, &f->fd);
	if (r < 0)
		return r;
	*out = *w->last_file = take_ptr(f);
	w->last_file = &(*out)->next;
	return 0;
}

int kind_file_get(struct image_writer *w, const char *kind, struct kind_file **out)
{
	size_t n = strlen(kind);

	for (struct kind_file *f = w->files; f; f = f->next) {
		if (!strncmp(f->name, kind, n) && !strcmp(f->name + n, ".cbor")) {
			*out = f;
			return 0;
		}
	}
	return kind_file_open(w, kind, out);
}

int kind_file_flush(struct image_writer *w, struct kind_file *f)
{
	int r = f->fd < 0 ? 0 : write_at(f->fd, f->pending.data, f->pending.size, f->size);

	if (r < 0)
		return writer_failed(w, f->name, r, "cannot be written");
	if (f->pending.size)
		XXH3_128bits_update(f->hash, f->pending.data, f->pending.size);
	writer_count(w, f->pending.size, (int64_t)f->pending.size);
	f->size += f->pending.size;
	f->pending.size = 0;
	return 0;
}

int writer_add_bytes(struct image_writer *w, const char *kind, const struct bytes *b)
{
	struct kind_file *f = NULL;
	int r;

	LOCKED(&w->lock);
	r = kind_file_get(w, kind, &f);
	if (r < 0)
		return r;
	r = bytes_append(&f->pending, b->data, b->size);
	if (r < 0)
		return writer_failed(w, f->name, r, "cannot be written");
	return f->pending.size >= FLUSH_AT ? kind_file_flush(w, f) : 0;
}

int image_add(struct image_writer *w, const struct record_kind *k, object_id id, const void *state)
{
	_cleanup_(bytes_free)
	struct bytes record = { 0 };
	int r = record_encode(k, id, state, &record); /* outside the lock: workers add records all the time */

	if (w->stream && stream_writer_has_begun(w->stream) && k != &page_blocks_kind)
		return writer_failed(w, k->name, -EINVAL, "came too late for the stream");
	return r < 0 ? writer_failed(w, k->name, r, "cannot be encoded") : writer_add_bytes(w, k->name, &record);
}

int writer_page_file(struct image_writer *w, struct page_writer *p, unsigned int *number, struct page_writer **next)
{
	LOCKED(&w->lock);
	*number = w->first_page_file + w->n_page_files++;
	*w->last_page = p;
	w->last_page = next;
	return 0;
}

void image_hold(struct image_writer *w, bool hold)
{
	w->holds = hold && writer_compresses(w);
	w->next_held = w->pages;
}

size_t image_count_held(struct image_writer *w)
{
	size_t n = 0;

	LOCKED(&w->lock);
	for (const struct page_writer *p = w->pages; p; p = page_writer_next(p))
		n += page_writer_held(p) > 0;
	return n;
}

struct page_writer *image_next_held(struct image_writer *w)
{
	struct page_writer *p;

	LOCKED(&w->lock);
	while ((p = w->next_held)) {
		w->next_held = page_writer_next(p);
		if (page_writer_held(p))
			return p;
	}
	return NULL;
}

/* A bool is written whole: what several threads set alike needs no lock. */
void image_refer(struct image_writer *w, uint64_t page_file)
{
	if (w->used)
		__atomic_store_n(&w->used[page_file], true, __ATOMIC_RELAXED);
}

/* --- the beginning --- */

static int write_head(struct image_writer *w, const struct image_head *other)
{
	struct kind_file *f = NULL;
	int r = other ? head_copy(&w->head, other) : head_fill(&w->head);

	w->head.format = writer_compresses(w) ? IMAGE_FORMAT_COMPRESSED : IMAGE_FORMAT;
	if (w->parent)
		memcpy(w->head.parent_id, w->parent->head.id, sizeof(w->head.parent_id));
	if (r < 0)
		return file_failed(w->ps, w->dir_fd, "head.cbor", r, "cannot be filled");
	r = image_add(w, &image_head_kind, 0, &w->head);
	if (r >= 0)
		r = kind_file_get(w, "head", &f);
	return r < 0 || !f ? r : kind_file_flush(w, f);
}

static void cleanup_writer(struct image_writer **w)
{
	image_writer_free(*w);
}

static int new_writer(struct problems *ps, struct image_writer **out)
{
	struct image_writer *w = calloc(1, sizeof(*w));

	if (!w)
		return failed(ps, NULL, -ENOMEM, "no memory for the writer of the image");
	w->ps = ps;
	w->dir_fd = -1;
	w->last_file = &w->files;
	w->last_page = &w->pages;
	pthread_mutex_init(&w->lock, NULL);
	*out = w;
	return 0;
}

int image_create_trial(struct problems *ps, struct image_writer **out)
{
	int r = new_writer(ps, out);

	if (r == 0)
		(*out)->trial = true;
	return r;
}

int image_create_stream(
	int fd, bool (*cancelled)(const void *data), const void *data, struct problems *ps, struct image_writer **out)
{
	_cleanup_(cleanup_writer)
	struct image_writer *w = NULL;
	int r = new_writer(ps, &w);

	if (w)
		r = stream_writer_new(w, fd, cancelled, data, ps, &w->stream);
	if (w && r == 0)
		r = write_head(w, NULL);
	if (r < 0)
		return r;
	*out = take_ptr(w);
	return 0;
}

static int set_parent(struct image_writer *w, const struct image *parent)
{
	if (parent->n_page_files >= PAGE_FILES_MOST)
		return failed(w->ps, BLAME(.remedy = "make a checkpoint without a parent"), -E2BIG,
			"the chain of the parent is too long");
	w->parent = parent;
	w->first_page_file = parent->n_page_files;
	w->used = calloc(parent->n_page_files + 1, sizeof(*w->used));
	return w->used ? 0 : failed(w->ps, NULL, -ENOMEM, "no memory for the writer of the image");
}

static int set_compression(struct image_writer *w, uint32_t compression)
{
	w->compression = compression;
	if (compression == SPORE_COMPRESSION_NONE || compression_is_there(compression))
		return 0;
	return failed(w->ps,
		BLAME(.object = compression_name(compression),
			.remedy = "leave --compress out, or build spore where libzstd-dev is installed"),
		-EOPNOTSUPP, "this build of spore cannot compress by it");
}

/* other: whose head it takes; NULL: a new one. */
static int create(int dir_fd, const struct image *parent, const struct image_head *other, bool force,
	uint32_t compression, struct problems *ps, struct image_writer **out)
{
	_cleanup_(cleanup_writer)
	struct image_writer *w = NULL;
	int r = new_writer(ps, &w);

	if (!w)
		return r;
	if (parent && ancestors_include(parent, dir_fd))
		return directory_failed(ps, dir_fd, "choose another directory", -EINVAL,
			"an image cannot take the place of one that it is made against");
	r = set_compression(w, compression);
	if (r >= 0 && parent)
		r = set_parent(w, parent);
	if (r >= 0)
		r = directory_take(dir_fd, force, ps, &w->dir_fd);
	if (r >= 0)
		r = write_head(w, other);
	if (r < 0)
		return r;
	*out = take_ptr(w);
	return 0;
}

int image_create(int dir_fd, const struct image *parent, bool force, struct problems *ps, struct image_writer **out)
{
	return create(dir_fd, parent, NULL, force, SPORE_COMPRESSION_NONE, ps, out);
}

int image_create_compressed(int dir_fd, const struct image *parent, bool force, uint32_t compression,
	struct problems *ps, struct image_writer **out)
{
	return create(dir_fd, parent, NULL, force, compression, ps, out);
}

int writer_create_like(
	int dir_fd, const struct image_head *other, bool force, struct problems *ps, struct image_writer **out)
{
	bool compressed = other->format == IMAGE_FORMAT_COMPRESSED;

	return create(
		dir_fd, NULL, other, force, compressed ? SPORE_COMPRESSION_ZSTD : SPORE_COMPRESSION_NONE, ps, out);
}

/* --- the commit --- */

static int sync_file(struct image_writer *w, int fd, const char *name)
{
	if (w->stream)
		return 0;
	return fdatasync(fd) < 0 ? writer_failed(w, name, -errno, "cannot be written to the disk") : 0;
}

static int finish_page_file(struct image_writer *w, struct page_writer *p, struct manifest_file *entry)
{
	struct page_blocks blocks = { 0 };
	int r = page_writer_finish(p, entry, &blocks);

	return r < 0 ? r : image_add(w, &page_blocks_kind, 0, &blocks);
}

static int finish_kind_file(struct image_writer *w, struct kind_file *f, struct manifest_file *entry)
{
	XXH128_canonical_t checksum;
	int r = kind_file_flush(w, f);

	if (r < 0)
		return r;
	XXH128_canonicalFromHash(&checksum, XXH3_128bits_digest(f->hash));
	*entry = (struct manifest_file){ .size = f->size };
	memcpy(entry->name, f->name, sizeof(entry->name));
	memcpy(entry->checksum, checksum.digest, sizeof(entry->checksum));
	return sync_file(w, f->fd, f->name);
}

static size_t count_files(const struct image_writer *w)
{
	size_t n = w->n_page_files +
		   2; /* page_blocks and ancestor may not be there yet; a stream's page file is no writer's */

	for (const struct kind_file *f = w->files; f; f = f->next)
		n++;
	return n;
}

static int finish_files(struct image_writer *w, struct manifest *m)
{
	int r = 0;

	m->files = calloc(count_files(w), sizeof(*m->files));
	if (!m->files)
		return writer_failed(w, MANIFEST, -ENOMEM, "cannot be made");
	for (struct page_writer *p = w->pages; p && r >= 0; p = page_writer_next(p))
		r = finish_page_file(w, p, &m->files[m->n_files++]);
	if (w->stream && r >= 0)
		r = finish_streamed_pages(w, m);
	if (w->parent && r >= 0)
		r = ancestors_write(w, w->dir_fd, w->parent, w->used, w->ps);
	for (struct kind_file *f = w->files; f && r >= 0; f = f->next)
		r = finish_kind_file(w, f, &m->files[m->n_files++]);
	for (struct page_writer *p = w->pages; p && r >= 0 && !w->stream; p = page_writer_next(p))
		r = page_writer_sync(p);
	return r;
}

static int write_manifest(struct image_writer *w, const struct manifest *m)
{
	_cleanup_(bytes_free)
	struct bytes b = { 0 };
	_cleanup_fd_ int fd = -1;
	int r = manifest_encode(m, &b);

	if (r < 0)
		return writer_failed(w, MANIFEST, r, "cannot be made");
	r = writer_open_file(w, MANIFEST_TMP, &fd);
	if (r < 0)
		return r;
	w->manifest_tmp = true;
	r = write_at(fd, b.data, b.size, 0);
	if (r < 0)
		return writer_failed(w, MANIFEST, r, "cannot be written");
	writer_count(w, b.size, (int64_t)b.size);
	return sync_file(w, fd, MANIFEST);
}

static int sync_directory(struct image_writer *w)
{
	/* some file systems have no fsync for directories: they say EINVAL, and keep the order themselves */
	if (fsync(w->dir_fd) < 0 && errno != EINVAL)
		return writer_failed(w, MANIFEST, -errno, "the directory cannot be written to the disk");
	return 0;
}

/* The names must be on the disk before the manifest that vouches for them, and its own name before anyone is
 * told. */
static int publish(struct image_writer *w)
{
	int r = sync_directory(w);

	if (r < 0)
		return r;
	if (renameat(w->dir_fd, MANIFEST_TMP, w->dir_fd, MANIFEST) < 0)
		return writer_failed(w, MANIFEST, -errno, "cannot be renamed into place");
	return sync_directory(w);
}

int image_commit(struct image_writer *w)
{
	_cleanup_(manifest_free)
	struct manifest m = { 0 };
	int r = atomic_load(&w->error);

	if (r >= 0)
		r = finish_files(w, &m);
	memcpy(m.image_id, w->head.id, sizeof(m.image_id));
	if (r >= 0 && w->stream)
		return commit_stream(w, &m);
	if (r >= 0)
		r = write_manifest(w, &m);
	if (r >= 0)
		r = publish(w);
	w->committed = r >= 0;
	return r;
}

static void remove_written(struct image_writer *w)
{
	char name[NAME_ROOM];

	if (w->manifest_tmp) {
		unlinkat(w->dir_fd, MANIFEST, 0);
		unlinkat(w->dir_fd, MANIFEST_TMP, 0);
	}
	for (struct kind_file *f = w->files; f; f = f->next)
		unlinkat(w->dir_fd, f->name, 0);
	for (unsigned int i = 0; i < w->n_page_files; i++) {
		snprintf(name, sizeof(name), "pages-%u", w->first_page_file + i);
		unlinkat(w->dir_fd, name, 0);
	}
}

void image_writer_free(struct image_writer *w)
{
	struct page_writer *next_page;
	struct kind_file *next;

	if (!w)
		return;
	if (!w->committed && w->dir_fd >= 0)
		remove_written(w);
	for (; w->files; w->files = next) {
		next = w->files->next;
		kind_file_free(w->files);
	}
	for (; w->pages; w->pages = next_page) {
		next_page = page_writer_next(w->pages);
		page_writer_free(w->pages);
	}
	fields_free(image_head_kind.fields, &w->head);
	stream_writer_free(w->stream);
	free(w->used);
	pthread_mutex_destroy(&w->lock);
	close_fd(&w->dir_fd);
	free(w);
}
