/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where memory that is being filled lies, as the events of its userfaultfd tell. One call makes its events in order, each when the one before was read: mremap first tells that its
 * target was unmapped, then of the move, then that the source was unmapped. But those of several threads come in any order, and one may have got the place that another has just left. So a move to
 * a place that is still taken waits until what took it is told to have gone; and that the source of a move was unmapped says nothing when another move to there
 * was told of before.
 */
#pragma once

#include "lazy/pieces.h"

struct extent {
	uint64_t start, end;
};

struct extents {
	struct extent *list;
	size_t n, room;
};

struct relocation {
	uint64_t from, to, size;
};

struct left { /* the source of a move, which will be told to have been unmapped */
	struct extent where;
	bool taken; /* by another move */
};

#define LAYOUT_MOVES 64

struct layout {
	struct pieces pieces;
	struct extents registered;		 /* not sorted */
	struct relocation waiting[LAYOUT_MOVES]; /* while there are any, it is not known what lies where */
	size_t n_waiting;
	struct left left[LAYOUT_MOVES]; /* the last ones */
	size_t n_left;
};

/* Each 0 or negative errno, after which the layout is no longer true: -ENOMEM; -E2BIG: too much at once. */
int layout_add(struct layout *l, uint64_t start, uint64_t end);
int layout_copy(struct layout *to, const struct layout *from);
int layout_unmapped(struct layout *l, uint64_t start, uint64_t end);
int layout_moved(struct layout *l, uint64_t from, uint64_t to, uint64_t size);
void layout_free(struct layout *l);
