/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What an open image keeps to itself. Private to the image layer. */
#pragma once

#include "image/ancestors.h"
#include "image/compress.h"

struct kind_range {
	const struct record_kind *kind;
	size_t first, n;
	char *states; /* one allocation for all of them */
};

struct page_file {
	int fd; /* -1: that of an ancestor which has no page of this image any more */
	uint64_t pages, size;
	uint64_t *sums; /* one for each block */
	bool summed;
	bool came;	       /* in a stream, and was checked then: it has no sums */
	bool streamed;	       /* it comes in a stream: there is nothing to read */
	uint32_t compression;  /* enum spore_compression */
	uint64_t *at;	       /* of a compressed one: where each block begins in it, and where the last one ends */
	uint64_t *stored_sums; /* and the checksum of what lies there */
	bool *needed;	       /* of an ancestor's: for each block */
};

struct id_entry {
	object_id id;
	size_t record;
};

struct image_private {
	struct stream_in *stream; /* NULL: a directory */
	uint8_t manifest_sum[16];
	struct manifest manifest;
	struct older_image *ancestors;
	size_t n_ancestors;
	unsigned int first_own; /* page file */
	uint64_t needed_pages;	/* of ancestors */
	struct kind_range *ranges;
	size_t n_ranges;
	struct page_file *page_files;
	struct decompressors *decompressors;
	struct id_entry *ids; /* sorted */
	size_t n_ids;
};

static inline uint64_t page_file_blocks(const struct page_file *pf)
{
	return pf->pages / PAGE_BLOCK + (pf->pages % PAGE_BLOCK != 0);
}

/* Bytes of a block of it. */
static inline size_t page_file_block_size(const struct page_file *pf, uint64_t block)
{
	uint64_t rest = pf->pages - block * PAGE_BLOCK;

	return MIN(rest, (uint64_t)PAGE_BLOCK) * PAGE_SIZE;
}

/* Sorts the ids, checks that each is there once, and that every reference names a record of its kind. */
int image_index(struct image *img, struct problems *ps);
