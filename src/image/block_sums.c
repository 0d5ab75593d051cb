/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sums of blocks that come in any order, each once. Room is made for what comes, not for what was announced. */
#include <stdlib.h>

#include "image/stream.h"

#define PART 4096ull /* blocks */

int block_sums_init(struct block_sums *b, uint64_t pages)
{
	uint64_t blocks = (pages + PAGE_BLOCK - 1) / PAGE_BLOCK, parts = (blocks + PART - 1) / PART;

	*b = (struct block_sums){ .blocks = blocks, .n_parts = parts };
	b->parts = calloc(parts + 1, sizeof(*b->parts));
	return b->parts ? 0 : -ENOMEM;
}

static int make_part(struct block_sums *b, uint64_t part)
{
	b->parts[part].there = calloc(PART, 1);
	b->parts[part].sums = calloc(PART, sizeof(uint64_t));
	return b->parts[part].there && b->parts[part].sums ? 0 : -ENOMEM;
}

int block_sums_set(struct block_sums *b, uint64_t block, uint64_t sum)
{
	uint64_t part = block / PART;
	int r;

	if (block >= b->blocks)
		return -ERANGE;
	r = b->parts[part].sums ? 0 : make_part(b, part);
	if (r < 0)
		return r;
	if (b->parts[part].there[block % PART])
		return -EEXIST;
	b->parts[part].there[block % PART] = 1;
	b->parts[part].sums[block % PART] = sum;
	b->come++;
	return 0;
}

uint64_t block_sums_get(const struct block_sums *b, uint64_t block)
{
	return block < b->blocks && b->parts[block / PART].sums ? b->parts[block / PART].sums[block % PART] : 0;
}

void block_sums_free(struct block_sums *b)
{
	for (uint64_t i = 0; b->parts && i < b->n_parts; i++) {
		free(b->parts[i].sums);
		free(b->parts[i].there);
	}
	free(b->parts);
	*b = (struct block_sums){ 0 };
}
