/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The image layer's own records: head, page_blocks, and the manifest with its seal. */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/utsname.h>
#include <time.h>

#include "arch/x86_64/features.h"
#include "image/ancestors.h"

static const struct field head_fields[] = {
	FIELD_BYTES(struct image_head, id, "image", "what this image is known by: 16 random bytes"),
	FIELD_BYTES(struct image_head, parent_id, "parent", "the image that this one was made against; zeros: none"),
	FIELD_UINT(struct image_head, format, "format",
		"of the directory: 1; 2 if pages are compressed; a reader refuses a later one"),
	FIELD_UINT(struct image_head, created, "created", "seconds since 1970"),
	FIELD_STRING(struct image_head, spore_version, "spore", "the version that wrote it"),
	FIELD_STRING(struct image_head, kernel, "kernel", "its release, as uname -r has it"),
	FIELD_STRING(struct image_head, machine, "machine", "the architecture, as uname -m has it"),
	FIELD_STRING(
		struct image_head, cpu_features, "cpu_features", "flags of the processor, as /proc/cpuinfo has them"),
	FIELD_HEX(struct image_head, xfeatures, "xfeatures",
		"XCR0: which extended state components the kernel had enabled"),
	FIELD_SINCE(2, BYTES, struct image_head, instant, "instant",
		"of a merged image: that one's id whose state it has, since it may take its place; zeros: it is none"),
	FIELD_END,
};

const struct record_kind image_head_kind = {
	.name = "head",
	.version = 2,
	.size = sizeof(struct image_head),
	.fields = head_fields,
	.doc = "what the image is and where it was made; written first",
	.sources = "uname(2), /proc/cpuinfo, Intel SDM volume 1 chapter 13 (XSAVE)",
	.critical = true,
};

static const struct field page_blocks_fields[] = {
	FIELD_UINT(struct page_blocks, file, "file", "N of pages-N"),
	FIELD_UINT(struct page_blocks, pages, "pages", "how many pages of 4096 bytes the file holds"),
	FIELD_UINTS(struct page_blocks, checksums, n_checksums, "checksums", SHOW_HEX,
		"XXH3 (64 bits, seed 0) of each block of 256 pages; the last block may be shorter"),
	FIELD_SINCE(2, TEXT, struct page_blocks, compression, "compression",
		"how each block is compressed: zstd (RFC 8878), one frame; empty: not"),
	FIELD_SINCE(2, UINTS, struct page_blocks, stored, n_stored, "stored", SHOW_DECIMAL,
		"of a compressed file: how many bytes each block takes; as many as its pages: it lies there as it is"),
	FIELD_SINCE(2, UINTS, struct page_blocks, stored_checksums, n_stored_checksums, "stored_checksums", SHOW_HEX,
		"XXH3 (64 bits, seed 0) of these bytes"),
	FIELD_END,
};

const struct record_kind page_blocks_kind = {
	.name = "page_blocks",
	.version = 2,
	.size = sizeof(struct page_blocks),
	.fields = page_blocks_fields,
	.doc = "the checksums of one page file",
	.sources = "xxhash(1)",
	.critical = true,
};

static const struct field manifest_file_fields[] = {
	FIELD_TEXT(struct manifest_file, name, "name", "in this directory"),
	FIELD_UINT(struct manifest_file, size, "size", "in bytes"),
	FIELD_BOOL(struct manifest_file, pages, "pages", "a page file: its checksums are in page_blocks"),
	FIELD_BYTES(struct manifest_file, checksum, "checksum",
		"XXH3 (128 bits, seed 0, big endian) of the file; zeros for a page file"),
	FIELD_END,
};

static const struct field manifest_fields[] = {
	FIELD_BYTES(struct manifest, image_id, "image", "the id that the head has"),
	FIELD_LIST(struct manifest, files, n_files, "files", manifest_file_fields,
		"every file but the manifest; page files by number"),
	FIELD_END,
};

const struct record_kind manifest_kind = {
	.name = "manifest",
	.version = 1,
	.size = sizeof(struct manifest),
	.fields = manifest_fields,
	.doc = "the files of the image; its presence is the commit",
	.sources = "rename(2), fsync(2)",
	.critical = true,
};

struct manifest_end {
	uint8_t checksum[16];
};

static const struct field manifest_end_fields[] = {
	FIELD_BYTES(struct manifest_end, checksum, "checksum",
		"XXH3 (128 bits, seed 0, big endian) of all bytes before this record"),
	FIELD_END,
};

const struct record_kind manifest_end_kind = {
	.name = "manifest_end",
	.version = 1,
	.size = sizeof(struct manifest_end),
	.fields = manifest_end_fields,
	.doc = "seals the manifest; nothing may follow it",
	.sources = "xxhash(1)",
	.critical = true,
};

const struct record_kind *const image_kinds[] = {
	&image_head_kind,
	&ancestor_kind,
	&page_blocks_kind,
	&manifest_kind,
	&manifest_end_kind,
	&touched_kind,
	NULL,
};

static char *cpu_flags(void)
{
	_cleanup_file_ FILE *f = fopen("/proc/cpuinfo", "re");
	_cleanup_free_ char *line = NULL;
	size_t room = 0;
	ssize_t n;

	while (f && (n = getline(&line, &room, f)) > 0) {
		const char *colon = strchr(line, ':');

		if (strncmp(line, "flags", 5) || !colon)
			continue;
		line[n - 1] = 0; /* the newline */
		return strdup(colon[1] ? colon + 2 : "");
	}
	return strdup("");
}

int head_fill(struct image_head *head)
{
	struct utsname u;

	if (getrandom(head->id, sizeof(head->id), 0) != sizeof(head->id) || uname(&u) < 0)
		return -errno;
	head->format = IMAGE_FORMAT;
	head->created = (uint64_t)time(NULL);
	head->spore_version = strdup(SPORE_VERSION);
	head->kernel = strdup(u.release);
	head->machine = strdup(u.machine);
	head->cpu_features = cpu_flags();
	head->xfeatures = cpu_xfeatures();
	if (!head->spore_version || !head->kernel || !head->machine || !head->cpu_features)
		return -ENOMEM;
	return 0;
}

const uint8_t *image_instant(const struct image_head *head)
{
	static const uint8_t none[sizeof(head->instant)];

	return memcmp(head->instant, none, sizeof(none)) ? head->instant : head->id;
}

int head_copy(struct image_head *head, const struct image_head *other)
{
	if (getrandom(head->id, sizeof(head->id), 0) != sizeof(head->id))
		return -errno;
	memcpy(head->instant, image_instant(other), sizeof(head->instant));
	head->format = other->format;
	head->created = other->created;
	head->xfeatures = other->xfeatures;
	head->spore_version = strdup(other->spore_version ? other->spore_version : "");
	head->kernel = strdup(other->kernel ? other->kernel : "");
	head->machine = strdup(other->machine ? other->machine : "");
	head->cpu_features = strdup(other->cpu_features ? other->cpu_features : "");
	if (!head->spore_version || !head->kernel || !head->machine || !head->cpu_features)
		return -ENOMEM;
	return 0;
}

/* The seal over all of b. */
static int seal(const uint8_t *data, size_t size, struct bytes *out)
{
	struct manifest_end end;

	checksum_128(data, size, end.checksum);
	return record_encode(&manifest_end_kind, 0, &end, out);
}

int manifest_encode(const struct manifest *m, struct bytes *out)
{
	_cleanup_(bytes_free)
	struct bytes end = { 0 };
	int r = record_encode(&manifest_kind, 0, m, out);

	if (r >= 0)
		r = seal(out->data, out->size, &end);
	return r < 0 ? r : bytes_append(out, end.data, end.size);
}

/* The seal is compared byte by byte with what it must be, so that no change in it goes unseen either. */
static int check_seal(const uint8_t *data, size_t size, size_t *sealed, const char **why)
{
	_cleanup_(bytes_free)
	struct bytes end = { 0 };
	int r = seal(data, 0, &end); /* for its length, which is always the same */

	if (r < 0)
		return r;
	*why = "its seal is not that of its contents";
	if (size < end.size)
		return -EBADMSG;
	*sealed = size - end.size;
	end.size = 0;
	r = seal(data, *sealed, &end);
	if (r < 0)
		return r;
	return memcmp(data + *sealed, end.data, end.size) ? -EBADMSG : 0;
}

int manifest_decode(const uint8_t *data, size_t size, struct manifest *m, const char **why)
{
	size_t sealed;
	int r = check_seal(data, size, &sealed, why);

	return r < 0 ? r : record_decode(&manifest_kind, data, sealed, m, why);
}

void manifest_free(struct manifest *m)
{
	fields_free(manifest_fields, m);
}

bool kind_file_name(const char *file, char kind[static 32])
{
	size_t n = strspn(file, "abcdefghijklmnopqrstuvwxyz0123456789_-");

	if (n < 1 || n > 31 || strcmp(file + n, ".cbor"))
		return false;
	memcpy(kind, file, n);
	kind[n] = 0;
	return true;
}

bool page_file_name(const char *file, unsigned int *number)
{
	char again[NAME_ROOM];

	if (sscanf(file, "pages-%9u", number) != 1)
		return false;
	snprintf(again, sizeof(again), "pages-%u", *number);
	return !strcmp(file, again);
}
