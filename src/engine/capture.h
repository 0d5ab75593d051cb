/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a checkpoint does with a stopped tree: ask every task, capture every component, copy the pages. */
#pragma once

#include "engine/engine.h"
#include "engine/workers.h"
#include "image/image.h"
#include "object/tree.h"

struct identities;
struct kernel_peek;
struct vma_flags;
struct pass;
struct older;
struct tracker;

struct capturing {
	struct tree *tree;
	struct workers *workers;
	struct problems *ps;
	const struct engine_events *events;
	struct image_writer *writer;
	struct kernel_peek *kernel;
	struct vma_flags *vma_flags;
	const struct older *older; /* the parent; NULL: none */
	struct tracker *tracker;   /* of the tree; NULL: its processes are not tracked */
	bool tracks;		   /* what is written to from now on is to be known */
	uint8_t *stash;		   /* for what is read in the stop, and saved after it */
	uint64_t stash_pages;
	bool leaves;		      /* the tree is let go between capture_tree and capture_rest */
	struct page_writer **writers; /* one for each worker, from when it needs one */
	uint64_t pages;		      /* saved */
	uint64_t unchanged;	      /* that lie in the parent's chain */
	_Atomic(uint64_t) copies;     /* processes whose memory is saved from a copy, after that */
	struct pass *pass;
	struct outside_ends *ends; /* what is then to be looked for outside; NULL: nothing */
};

/* Names and ids of all tasks; reads what /proc says of each. To be called once the tree is stopped, or for a look. */
int capture_identify(struct capturing *c, struct identities *ids);
/* Every component's look over every process of a tree that runs: refusals are in ps. */
int capture_look(struct capturing *c);
/* The tree is stopped. Looks too, and ends there if that finds an obstacle, but for a trial. All that has to be done in the stop. */
int capture_tree(struct capturing *c);
/* After it, whether the tree is stopped still or not: everything but the commit. */
int capture_rest(struct capturing *c);
/* After both, however they ended; a tree that is let go is so before. */
void capture_end(struct capturing *c);
