/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A batch: system calls that another task is to run, in order, without coming back in between. Errors while building are
 * sticky: build on, and look at the answer of batch_run. The first operation that fails (negative result, unless it
 * may; or another result than expected) ends the batch and is named in the problem.
 */
#pragma once

#include <stdint.h>

#include "base/problem.h"
#include "remote/area.h"

struct batch {
	struct area *area;
	struct op *ops;	   /* in the area; grows by moving */
	const char **what; /* label of each operation, local; string literals or owned by the arena of labels */
	uint32_t n, room;
	uint32_t begun; /* where the last run of it began */
	int error;	/* sticky */
};

void batch_init(struct batch *b, struct area *a);
void batch_free(struct batch *b);

/* Adds a call with up to six arguments and returns its index. `what` is for errors, such as "mmap of the heap": a string that outlives the batch. */
uint32_t batch_add(struct batch *b, const char *what, long nr, const uint64_t args[6]);
#define batch_call(b, what, nr, ...) batch_add((b), (what), (nr), (const uint64_t[6]){ __VA_ARGS__ })

void batch_may_fail(struct batch *b, uint32_t op);
void batch_expect(struct batch *b, uint32_t op, int64_t result);
/* Argument number `arg` (from 0) of `op` is the result of the earlier operation `from`. At most 255 places back. */
void batch_use(struct batch *b, uint32_t op, unsigned int arg, uint32_t from);
/* Adds what is no call: its result is the word of 8 bytes at `address`, as it is then. For what a call answers in memory. */
uint32_t batch_load(struct batch *b, const char *what, struct remote_addr address);
/* `op` (a clone3) gives birth to a task that goes on in `child`. */
void batch_birth(struct batch *b, uint32_t op, struct slot *child);

/* Copies bytes into the arena for a call to read, and room for a call to write (local address in *local). */
struct remote_addr batch_copy(struct batch *b, const void *bytes, size_t size);
struct remote_addr batch_string(struct batch *b, const char *s);
struct remote_addr batch_room(struct batch *b, size_t size, void **local);

int64_t batch_result(const struct batch *b, uint32_t op);

/* Gives the batch to the task in that slot; waits for its end. batch_wait gives up after timeout_ms with -ETIMEDOUT, and
 * asks `alive` (may be NULL) now and then whether the task still exists (-ESRCH). Both 0 or a negative errno: of the building, or of the call that failed. */
int batch_submit(struct batch *b, struct slot *s);
int batch_wait(struct batch *b, struct slot *s, int timeout_ms, bool (*alive)(void *arg), void *arg);
/* Index of the operation that ended the batch, or b->n. */
uint32_t batch_failed_at(const struct batch *b, const struct slot *s);
/* The number of the task whose birth ended the batch, 0: it ended otherwise. batch_again runs the rest, that birth first. */
pid_t batch_unborn(const struct batch *b, const struct slot *s);
int batch_again(struct batch *b, struct slot *s);
const char *batch_what(const struct batch *b, uint32_t op);
