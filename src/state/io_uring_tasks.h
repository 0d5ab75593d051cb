/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "object/component.h"

struct io_uring_task {
	object_id thread;
	uint64_t bounded, unbounded; /* workers */
	struct blob cpus;	     /* of them; empty: as usual */
};

struct io_uring_numbered {
	object_id thread;
	uint64_t number;
	object_id ring;
};

struct io_uring_tasks_state {
	object_id of;
	struct io_uring_task *tasks;
	size_t n_tasks;
	struct io_uring_numbered *numbered;
	size_t n_numbered;
};

extern const struct component component_io_uring_tasks;

/* --- checkpoint: of a thread's workers (struct io_wq) */
struct ring;
/* How many there may be: 0 for files, 1 for all else. */
uint64_t io_uring_workers(struct ring *g, uint64_t wq, size_t which);
/* Where they may run, if that is not as usual. task: the thread's. 0, -ENOENT: it has none, or another errno. */
int io_uring_worker_cpus(struct ring *g, uint64_t task, struct blob *out);

/* While rings are made and not enabled yet: all of it, in the threads. Answers 1, to be asked again with round + 1; 0, or negative errno. */
int io_uring_tasks_queue(struct restore *r, struct callers *callers, size_t round);
