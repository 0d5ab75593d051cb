/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* AIO contexts (io_setup) and their rings: aio.c saves them, aio_restore.c makes them again. */
#pragma once

#include "state/memory.h"

#define AIO_HEADER 32 /* struct aio_ring: eight words, then the events */
#define AIO_EVENT  32 /* struct io_event */

struct aio_context {
	uint64_t id;	   /* its number in the process, which its ring shows */
	uint64_t start;	   /* of the ring: what the program calls aio_context_t */
	uint64_t requests; /* what io_setup was asked for */
	uint64_t tail;	   /* where the kernel writes the next event */
	struct blob ring;
};

struct aio_state {
	object_id of;
	struct aio_context *contexts; /* by id */
	size_t n_contexts;
};

extern const struct component component_aio;

/* How many events a ring of that size has room for. */
static inline uint64_t aio_slots(const struct aio_context *x)
{
	return (x->ring.size - AIO_HEADER) / AIO_EVENT;
}

/* Is the mapping a ring, or a part of one? */
bool aio_is_ring(const struct proc_map *m);
/* One that the process has since it was forked: the context is its parent's. */
bool aio_is_inherited(const struct process *p, const struct proc_map *m);

/* --- restore: aio_restore.c */
int aio_validate(struct restore *r, const struct record *rec);
/* Makes the contexts that the mappings of that memory are the rings of, when all else of it is in place. parent: of whom it was forked, or NULL. BARE_FD_AREA is open still. */
int aio_make(struct build *b, const struct memory_state *m, const struct memory_state *parent);
