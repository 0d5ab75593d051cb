/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The form of a stream: pure functions over bytes. */
#include "image/stream.h"

#include <endian.h>
#include <string.h>

#include "image/ancestors.h"

static const struct field frame_fields[] = {
	FIELD_UINT(struct frame, number, "number", "counts the frames of a stream from 0, so that none can be missing"),
	FIELD_UINT(struct frame, what, "what",
		"1: bytes of a file; 2: all files are there that are needed to begin, and the blocks follow; 3: a "
		"block of "
		"the page file; 4: the end"),
	FIELD_TEXT(
		struct frame, name, "name", "the file; of 2 the page file that comes in blocks, empty: there is none"),
	FIELD_UINT(struct frame, at, "at",
		"of 1 the offset in the file: they follow each other; of 2 how many blocks, the first ones of the page "
		"file, "
		"come before all others, since processes are forked from what is in them; of 3 the number of the "
		"block"),
	FIELD_UINT(struct frame, size, "size", "how many bytes follow the record"),
	FIELD_UINT(
		struct frame, pages, "pages", "of 2: how many pages the page file has; of 3: how many the block has"),
	FIELD_BYTES(struct frame, present, "present",
		"of 3: a bit for each page of the block that follows, the lowest first; the others are zero"),
	FIELD_HEX(struct frame, checksum, "checksum",
		"XXH3 (64 bits, seed 0) of the bytes that follow; of a block as page_blocks has it, zeros included"),
	FIELD_END,
};

const struct record_kind frame_kind = {
	.name = "frame",
	.version = 1,
	.size = sizeof(struct frame),
	.fields = frame_fields,
	.doc = "what a stream is made of; in no directory",
	.sources = "pipe(7), xxhash(1)",
	.critical = true,
};

static void put(uint8_t *to, uint64_t value)
{
	value = htole64(value);
	memcpy(to, &value, sizeof(value));
}

static uint64_t get(const uint8_t *from)
{
	uint64_t value;

	memcpy(&value, from, sizeof(value));
	return le64toh(value);
}

int frame_encode(const struct frame *f, struct bytes *out)
{
	_cleanup_(bytes_free)
	struct bytes record = { 0 };
	uint8_t prefix[FRAME_PREFIX];
	int r = record_encode(&frame_kind, 0, f, &record);

	if (r < 0)
		return r;
	put(prefix, record.size);
	put(prefix + 8, checksum_64(record.data, record.size));
	r = bytes_append(out, prefix, sizeof(prefix));
	return r < 0 ? r : bytes_append(out, record.data, record.size);
}

int frame_prefix(const uint8_t prefix[static FRAME_PREFIX], size_t *length, uint64_t *checksum)
{
	uint64_t n = get(prefix);

	if (!n || n > FRAME_MOST)
		return -EBADMSG;
	*length = n;
	*checksum = get(prefix + 8);
	return 0;
}

size_t frame_stretch(const struct frame *f, size_t *at, size_t end, bool *there)
{
	size_t first = *at;

	*there = frame_has(f, first);
	while (*at < end && frame_has(f, *at) == *there)
		++*at;
	return *at - first;
}

/* Does a block have as many pages as its size says, and none behind its end? */
static bool block_fits(const struct frame *f)
{
	uint64_t n = 0;

	for (size_t i = 0; i < PAGE_BLOCK; i++) {
		n += frame_has(f, i);
		if (i >= f->pages && frame_has(f, i))
			return false;
	}
	return f->pages && f->pages <= PAGE_BLOCK && f->size == n * PAGE_SIZE;
}

static const char *find_fault(const struct frame *f)
{
	unsigned int number;
	char kind[32];

	switch (f->what) {
	case FRAME_MEMBER:
		if (strcmp(f->name, MANIFEST) && !kind_file_name(f->name, kind) && !page_file_name(f->name, &number))
			return "it names a file that belongs to no image";
		return f->size <= BLOCK_BYTES && f->at <= UINT64_MAX - f->size ? NULL : "it has too many bytes at once";
	case FRAME_PAGES:
		if (*f->name && (!page_file_name(f->name, &number) || number >= PAGE_FILES_MOST))
			return "it announces a page file without a number";
		if (f->pages > STREAM_PAGES_MOST || (f->pages && !*f->name) || f->size)
			return "it announces pages that cannot be";
		return f->at <= (f->pages + PAGE_BLOCK - 1) / PAGE_BLOCK ? NULL : "it announces pages that cannot be";
	case FRAME_BLOCK:
		return block_fits(f) ? NULL : "it has an impossible block";
	case FRAME_END:
		return f->size ? "something follows its end" : NULL;
	default:
		return "it has a frame that this spore does not know";
	}
}

int frame_decode(const uint8_t *record, size_t length, uint64_t checksum, struct frame *f, const char **why)
{
	uint32_t version;
	bool critical;
	object_id id;
	char name[32];
	size_t whole;
	int r;

	*why = "a frame does not have its checksum";
	if (checksum_64(record, length) != checksum)
		return -EBADMSG;
	r = record_peek(record, length, name, &id, &version, &critical, &whole, why);
	if (r < 0)
		return r;
	*why = "it has a frame that this spore does not know";
	if (strcmp(name, frame_kind.name) || whole != length)
		return -EBADMSG;
	r = record_decode(&frame_kind, record, length, f, why);
	if (r < 0)
		return r;
	*why = find_fault(f);
	return *why ? -EBADMSG : 0;
}
