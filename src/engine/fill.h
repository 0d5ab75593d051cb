/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "engine/plan.h"

/*
 * Tasks read few pages, if they are not compressed, by themselves. All others are put into them from outside, by all workers, block after block, whosever pages lie in it; each block is checked
 * when it is read. For all processes whose memory has been made since the last call; then it gets its protections.
 */
int fill_memories(struct plan *plan, struct workers *w);

/* Of the page files that are not compressed, the blocks that are so checked. */
struct filled_blocks {
	bool **marks; /* of each page file */
	unsigned int n;
	bool any;
};

int filled_blocks_find(const struct restore *r, struct filled_blocks *out); /* 0 or -ENOMEM; to be freed either way */
bool filled_blocks_have(const struct filled_blocks *f, unsigned int number, uint64_t block);
void filled_blocks_free(struct filled_blocks *f);
