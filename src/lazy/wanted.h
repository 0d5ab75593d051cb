/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The blocks that a tree is expected to touch first, since it did when it was restored before: streamed before all others, in the order of then. And those that it waits for now are noted for
 * the next time. Whether any of that is true does not matter for what the tree gets.
 */
#pragma once

#include "image/image.h"
#include "lazy/space.h"

struct wanted_block {
	struct space *space;
	uint64_t start; /* address at which it begins there */
	struct block where;
	uint32_t rank;
};

struct wanted {
	struct touched before; /* what the image's directory has */
	struct touched now;    /* that, and what is waited for and is not in it */
	size_t known;	       /* how many of these were in the other */
	size_t room;	       /* of its list */
	uint64_t *first;       /* of each page file: the index of its first block in `rank` */
	uint32_t *rank;	       /* of each block: its place among those of `now`, from 1; 0: none */
	struct wanted_block *list;
	size_t n, next;
};

/* 0 or -ENOMEM: nothing is wanted then, and nothing noted. */
int wanted_init(struct wanted *w, const struct image *img);
void wanted_free(struct wanted *w);
/* Where what is expected lies in these. Before it is streamed. */
void wanted_find(struct wanted *w, struct space *spaces);
/* The next one of which something is missing where it was; NULL: no more. */
struct space *wanted_next(struct wanted *w, struct block *where, uint64_t *start);
/* It was waited for. */
void wanted_note(struct wanted *w, const struct block *where);
/* Leaves it to the next restore, if there is anything new. */
void wanted_keep(struct wanted *w, const struct image *img);
