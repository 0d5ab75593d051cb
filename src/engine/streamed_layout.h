/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Places in a stream: those that are forked from come first (image/stream.h), whoever is forked from sooner before the others. */
#pragma once

#include "engine/capture.h"
#include "state/memory.h"

/* Pages of one process in a row, in the page file and in its memory. */
struct piece {
	uint64_t at; /* in the page file */
	uint64_t start, pages;
	size_t process;
	const uint8_t *stash; /* where they were read to in the stop; NULL: they are read when they are sent */
	bool copied;	      /* from the copy of the process */
	bool over, shared;    /* struct page_range */
};

struct pieces_laid {
	struct piece *list; /* by `at` */
	size_t n, room;
	uint64_t pages;	       /* of the page file, those that stand for nothing included */
	uint64_t first_blocks; /* that come before the others */
};

int lay_out(const struct tree *t, const struct memory_plan *plans, struct pieces_laid *out);
/* The runs of every plan. file: the number of the page file. */
int laid_runs(const struct pieces_laid *l, struct memory_plan *plans, size_t n, unsigned int file);
