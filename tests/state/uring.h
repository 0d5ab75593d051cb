/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the makers of io_urings share: a ring, mapped as liburing maps it, and requests that go through it one by one. */
#pragma once

#include "maker.h"

#include <linux/io_uring.h>
#include <sched.h>

struct ring {
	int fd;
	struct io_uring_params p;
	char *rings, *sqes;
	size_t size;
	uint32_t next; /* submissions, as the program counts them */
};

/* cq_entries are four times the entries. All answer 0, or fail the maker. */
int ring_open(struct ring *r, unsigned int entries, unsigned int flags);
/* The same, with what r->p says already; the rest of it is zero. */
int ring_open_with(struct ring *r, unsigned int entries, unsigned int flags);
volatile uint32_t *ring_word(struct ring *r, uint32_t offset);
/* The next request, zeroed but for these; it is for the program to submit. */
struct io_uring_sqe *ring_queue(struct ring *r, int opcode, uint64_t number);
int ring_enter(struct ring *r, unsigned int submit);
/* The next completion, waited for. */
int ring_take(struct ring *r, uint64_t number, int result);
/* n requests that do nothing. */
int ring_pass(struct ring *r, uint64_t n);
/* n requests, then completions that are not taken and requests that are not submitted. */
int ring_leave(struct ring *r, uint64_t n);
/* These. */
int ring_finish(struct ring *r);
/* More than once around, and its counters go on from where they were. */
int ring_works(struct ring *r);
/* Where a worker of the kernel that carries out a request may run. */
int ring_worker_runs_on(struct ring *r, cpu_set_t *set);
