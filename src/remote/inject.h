/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Running batches in the tasks of one stopped process: an area is mapped into it, its threads are sent into the stub and
 * brought back. Whatever happens to spore in between, each thread gets back its registers and mask by itself (through
 * an rt_sigreturn frame) and goes on; what may stay behind is the mapping, which the next spore recognises and removes
 * (inject_is_leftover).
 *
 * All by the thread that seized the tasks. `leader` must be STOP_STOPPED; so must every other thread of the process.
 */
#pragma once

#include "kernel/procfs.h"
#include "remote/batch.h"
#include "remote/gadget.h"
#include "remote/stop.h"

struct injection {
	struct area area;
	pid_t pid;
	struct stop *first; /* the thread that mapped it, and unmaps it */
	struct gadgets gadgets;
	uint64_t outer; /* the signal frame of `first`, outside the area; 0: no safe place was found */
	uint8_t *
		covered; /* what was there before it: below any stack pointer, but a program may look at its whole stack */
	size_t covered_size;
	size_t frame_room; /* for each slot, in the area */
	bool leftovers;	   /* there are some, to be removed with inject_remove_leftover */
	bool unlocked;	   /* what is not code has become writable for the tasks */
};

/*
 * Maps an area with `n_slots` slots and an arena of at least `arena` bytes. maps: those of the process as it is stopped.
 * `cache` (may be NULL) spares the search of files seen before.
 */
int inject_begin(struct injection *in, pid_t pid, struct stop *first, const struct proc_maps *maps, size_t n_slots,
	size_t arena, struct gadget_cache *cache, struct problems *ps);
/* Sends a stopped thread into the stub, to take batches from slot i (batch_wait with stop_alive and the stop); and brings it back to its stop with its registers as they were. */
int inject_enter(struct injection *in, struct stop *s, size_t i);
/* The same with its first batch, which it finds there: nobody has to be woken. */
int inject_run(struct injection *in, struct stop *s, size_t i, struct batch *b);
/* Where many are to leave: the first half of inject_leave, which does not wait. */
void inject_call_back(struct injection *in, struct stop *s);
int inject_leave(struct injection *in, struct stop *s);
/* Unmaps the area. No thread may be inside. */
void inject_end(struct injection *in);

/* Is this one of a process's mappings what a killed spore left behind? pid: a thread of it that lives. To be removed the last first: it is known by its first page. */
bool inject_is_leftover(pid_t pid, const struct proc_maps *maps, const struct proc_map *m);
/*
 * A task that a killed spore had sent into its stub finds its way out by itself, but not while it is stopped, and until then its registers are not the program's.
 * After stop_wait. 0: it is not inside; -ETIMEDOUT: it was sent on its way, and is to be waited for again (STOP_SEIZED); -ESRCH
 */
int inject_let_out(struct stop *s);
/* Removes one, in a process whose area is mapped, by a batch of its first thread. */
int inject_remove_leftover(struct injection *in, uint64_t start, uint64_t end);
