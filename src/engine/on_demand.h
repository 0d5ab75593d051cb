/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A restore whose tree runs before its pages are there: what leads to src/lazy. */
#pragma once

#include "engine/plan.h"
#include "lazy/filler.h"

/* Whether it can be, if it was asked for: sets r->lazy, or says why not. */
void on_demand_prepare(struct restore *r);

/* Which blocks of the page files need not be checked before the tree runs: nothing in them is needed before. */
struct later_blocks {
	struct later_block {
		uint16_t pages; /* that come later */
		bool now;	/* others of the memory are needed before */
	} * *blocks;		/* of each page file */
	unsigned int n;
	const struct image *image;
	uint64_t total;
};
/* r->lazy. 0 or -ENOMEM */
int later_blocks_find(const struct restore *r, struct later_blocks *out);
bool later_blocks_need(const void *later, unsigned int number, uint64_t block, bool own); /* for image_verify_some */
void later_blocks_free(struct later_blocks *l);

/* When every process has been born: their memory becomes the filler's, which answers faults from here on. NULL in *out: nothing comes later. */
int on_demand_begin(struct plan *plan, struct filler **out);
/* Before the tree runs. */
int on_demand_secure(struct restore *r, pid_t first, struct filler *f, struct deadman *deadman);
