/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory that several trees of one image share until they write. The keeper has it before any of them is begun, in private anonymous mappings of its own, each
 * parked at an address that no process of the image uses. Every tree's first process is forked from the keeper, every other from its forebear; each moves what is its
 * own into place (mremap, which leaves pages shared) and hands on what its descendants are to have. engine/parking.c parks it.
 */
#pragma once

#include "state/memory.h"

struct parked_area {
	uint64_t start, end; /* where the process is to have it */
	uint64_t at;	     /* where it is parked */
};

/* In the order of births, each before whom it gives birth to. */
struct parked_process {
	object_id of;
	size_t first, n;   /* its areas */
	uint64_t from, to; /* where they are parked */
	uint64_t last;	   /* until where those of all who descend from it by birth are */
};

struct parking {
	struct parked_process *processes;
	size_t n_processes;
	struct parked_area *areas; /* of a process by address */
	size_t n_areas;
	uint64_t from, to;
	uint64_t pages;
};

/* NULL: neither it nor a descendant has anything parked. */
const struct parked_process *parked_process_of(const struct restore *r, object_id process);
/* Where the area of that process is parked; 0: it is not. */
uint64_t parked_at(const struct restore *r, const struct memory_state *m, const struct memory_area *a);
bool memory_is_parked(const struct restore *r, const struct memory_state *m, const struct memory_area *a);
/* May it be shared in that way, and is it worth that? */
bool memory_may_park(const struct memory_state *m, const struct memory_area *a);
/* How many pages of the image lie in the area. */
uint64_t memory_pages_in(const struct memory_state *m, const struct memory_area *a);

/* In a process that is making its memory: the area, from where it is parked, into place. */
void parked_move(struct build *b, const struct memory_area *a, uint64_t at);
/* What it has of others before it has given birth to them, by address. */
const struct parked_area *parked_for_others(const struct build *b, size_t *n);
/* And what is only to be handed on is not to be copied by every fork. */
void parked_hold_back(struct build *b);
/* Around the birth of a process: hands it what it, and who descends from it, is to have; and has it no longer. */
void parked_offer(const struct restore *r, struct batch *b, object_id process);
void parked_part_with(const struct restore *r, struct batch *b, object_id process);
