/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image/blocks.h"

#include <stdlib.h>
#include <string.h>

#include "image/compress.h"

#define BLOCK_BYTES (PAGE_BLOCK * PAGE_SIZE)

struct blocks {
	int fd;
	struct compressor *compressor;
	uint8_t *block; /* the one that is not full yet, */
	size_t filled;	/* with so many bytes in it */
	uint8_t *compressed;
	uint64_t pages, size;
	uint64_t *sums, *stored, *stored_sums; /* of each block */
	size_t n, room;
};

void blocks_free(struct blocks *b)
{
	if (!b)
		return;
	compressor_free(b->compressor);
	free(b->block);
	free(b->compressed);
	free(b->sums);
	free(b->stored);
	free(b->stored_sums);
	free(b);
}

struct blocks *blocks_new(int fd)
{
	struct blocks *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->fd = fd;
	b->compressor = compressor_new();
	b->block = malloc(BLOCK_BYTES);
	b->compressed = malloc(BLOCK_BYTES);
	if (b->compressor && b->block && b->compressed)
		return b;
	blocks_free(b);
	return NULL;
}

uint64_t blocks_size(const struct blocks *b)
{
	return b->size;
}

static int grow(uint64_t **list, size_t room)
{
	uint64_t *grown = reallocarray(*list, room, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	*list = grown;
	return 0;
}

static int make_room(struct blocks *b)
{
	size_t room = b->room ? 2 * b->room : 64;

	if (b->n < b->room)
		return 0;
	if (grow(&b->sums, room) < 0 || grow(&b->stored, room) < 0 || grow(&b->stored_sums, room) < 0)
		return -ENOMEM;
	b->room = room;
	return 0;
}

static int store(struct blocks *b, const void *bytes, size_t size)
{
	size_t compressed = compress(b->compressor, bytes, size, b->compressed);
	const void *stored = compressed ? b->compressed : bytes;
	size_t n = compressed ? compressed : size;
	int r = make_room(b);

	if (r == 0)
		r = write_at(b->fd, stored, n, b->size);
	if (r < 0)
		return r;
	b->sums[b->n] = checksum_64(bytes, size);
	b->stored[b->n] = n;
	b->stored_sums[b->n] = compressed ? checksum_64(stored, n) : b->sums[b->n];
	b->n++;
	b->size += n;
	return 0;
}

static int store_filled(struct blocks *b)
{
	int r = b->filled ? store(b, b->block, b->filled) : 0;

	b->filled = 0;
	return r;
}

int blocks_add(struct blocks *b, const void *pages, size_t n)
{
	const char *at = pages;
	size_t part;
	int r = 0;

	b->pages += n;
	for (size_t left = n * PAGE_SIZE; left && r == 0; left -= part, at += part) {
		part = MIN(left, BLOCK_BYTES - b->filled);
		if (part == BLOCK_BYTES) {
			r = store(b, at, part);
			continue;
		}
		memcpy(b->block + b->filled, at, part);
		b->filled += part;
		if (b->filled == BLOCK_BYTES)
			r = store_filled(b);
	}
	return r;
}

/* No block grows: what is written never reaches what is yet to be read. */
int blocks_compress(struct blocks *b, uint64_t pages)
{
	int r = 0;

	for (uint64_t done = 0, n; done < pages && r == 0; done += n) {
		n = MIN(pages - done, (uint64_t)PAGE_BLOCK);
		r = read_at(b->fd, b->block, n * PAGE_SIZE, done * PAGE_SIZE);
		b->filled = n * PAGE_SIZE;
		b->pages += n;
		if (r == 0 && n == PAGE_BLOCK)
			r = store_filled(b);
	}
	return r;
}

int blocks_end(struct blocks *b, struct page_blocks *out)
{
	int r = store_filled(b);

	out->pages = b->pages;
	snprintf(out->compression, sizeof(out->compression), "%s", compression_name(SPORE_COMPRESSION_ZSTD));
	out->checksums = b->sums;
	out->stored = b->stored;
	out->stored_checksums = b->stored_sums;
	out->n_checksums = out->n_stored = out->n_stored_checksums = b->n;
	return r;
}
