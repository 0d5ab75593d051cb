/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* io_uring: rings in each condition, mapped as liburing maps them. io_uring_setup(2), io_uring_enter(2), io_uring_register(2). */

#include "uring.h"

#include <poll.h>

static struct ring ring, second;
static int ends[2];
static pthread_t thread;
static pid_t thread_tid;
static int thread_result;

/* arg: flags. */
static int idle_make(struct maker_ctx *ctx)
{
	return ring_open(&ring, 8, (unsigned int)ctx->arg);
}

static int idle_use(struct maker_ctx *ctx)
{
	if (ctx->arg & IORING_SETUP_R_DISABLED) {
		SAME(syscall(SYS_io_uring_enter, ring.fd, 0, 0, 0, NULL, 0), -1);
		CHECK(!syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0));
	}
	return ring_works(&ring);
}

/* Used for a while: completions not taken, requests not submitted. arg: how many went through before. */
static int used_make(struct maker_ctx *ctx)
{
	TRY(ring_open(&ring, 8, IORING_SETUP_CQSIZE));
	return ring_leave(&ring, (uint64_t)ctx->arg);
}

static int used_use(struct maker_ctx *ctx)
{
	TRY(ring_finish(&ring));
	return ring_works(&ring);
}

/* All of the room for completions is taken. */
static int full_make(struct maker_ctx *ctx)
{
	TRY(ring_open(&ring, 8, IORING_SETUP_CQSIZE));
	TRY(ring_pass(&ring, 13));
	for (uint64_t i = 0; i < ring.p.cq_entries; i++) {
		ring_queue(&ring, IORING_OP_NOP, 100 + i);
		TRY(ring_enter(&ring, 1));
	}
	return 0;
}

static int full_use(struct maker_ctx *ctx)
{
	for (uint64_t i = 0; i < ring.p.cq_entries; i++)
		TRY(ring_take(&ring, 100 + i, 0));
	return ring_works(&ring);
}

/* Requests that asked for no completion. */
static int silent_make(struct maker_ctx *ctx)
{
	TRY(ring_open(&ring, 8, IORING_SETUP_CQSIZE));
	TRY(ring_pass(&ring, 3));
	for (int i = 0; i < 4; i++) {
		ring_queue(&ring, IORING_OP_NOP, 9)->flags = IOSQE_CQE_SKIP_SUCCESS;
		TRY(ring_enter(&ring, 1));
	}
	return ctx->arg ? ring_pass(&ring, (uint64_t)ctx->arg) : 0;
}

static int drains(struct ring *r, int result)
{
	ring_queue(r, IORING_OP_NOP, 70)->flags = IOSQE_IO_DRAIN;
	TRY(ring_enter(r, 1));
	return ring_take(r, 70, result);
}

static int silent_use(struct maker_ctx *ctx)
{
	TRY(drains(&ring, -EOPNOTSUPP));
	return ring_works(&ring);
}

static int draining_make(struct maker_ctx *ctx)
{
	TRY(ring_open(&ring, 8, IORING_SETUP_CQSIZE));
	return ring_pass(&ring, 2);
}

static int draining_use(struct maker_ctx *ctx)
{
	TRY(drains(&ring, 0));
	return ring_works(&ring);
}

/* More completions than requests. */
static int multishot_make(struct maker_ctx *ctx)
{
	struct io_uring_sqe *sqe;

	TRY(ring_open(&ring, 8, IORING_SETUP_CQSIZE));
	CHECK(!pipe2(ends, O_CLOEXEC));
	sqe = ring_queue(&ring, IORING_OP_POLL_ADD, 5);
	sqe->fd = ends[0];
	sqe->poll32_events = POLLIN;
	sqe->len = IORING_POLL_ADD_MULTI;
	TRY(ring_enter(&ring, 1));
	for (int i = 0; i < 6; i++) {
		SAME(write(ends[1], "x", 1), 1);
		TRY(ring_take(&ring, 5, POLLIN));
	}
	sqe = ring_queue(&ring, IORING_OP_POLL_REMOVE, 6);
	sqe->addr = 5;
	TRY(ring_enter(&ring, 1));
	TRY(ring_take(&ring, 6, 0)); /* the removal is told first */
	return ring_take(&ring, 5, -ECANCELED);
}

static int multishot_use(struct maker_ctx *ctx)
{
	return ring_works(&ring);
}

/* Registered files, by number, with a gap between them. */
static int files_make(struct maker_ctx *ctx)
{
	int fds[4];

	TRY(ring_open(&ring, 8, IORING_SETUP_CQSIZE));
	CHECK(!pipe2(ends, O_CLOEXEC));
	fds[0] = ends[1];
	fds[1] = fds[2] = -1;
	fds[3] = ends[0];
	CHECK(!syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_FILES, fds, 4));
	return ring_pass(&ring, 3);
}

static int through_files(int number, int opcode, void *byte, int result)
{
	struct io_uring_sqe *sqe = ring_queue(&ring, opcode, 8);

	sqe->fd = number;
	sqe->flags = IOSQE_FIXED_FILE;
	sqe->addr = (uintptr_t)byte;
	sqe->len = 1;
	TRY(ring_enter(&ring, 1));
	return ring_take(&ring, 8, result);
}

static int files_use(struct maker_ctx *ctx)
{
	char out = 'f', in = 0;

	TRY(through_files(0, IORING_OP_WRITE, &out, 1));
	TRY(through_files(3, IORING_OP_READ, &in, 1));
	SAME(in, 'f');
	TRY(through_files(1, IORING_OP_READ, &in, -EBADF));
	TRY(through_files(4, IORING_OP_READ, &in, -EBADF));
	return ring_works(&ring);
}

/* A child shares it, and maps it; two numbers are the same. */
static int shared_use(struct maker_ctx *ctx)
{
	SAME(ring_word(&ring, ring.p.cq_off.tail)[0], 7);
	ring_queue(&ring, IORING_OP_NOP, 55);
	return ring_enter(&ring, 1);
}

static int shared_make(struct maker_ctx *ctx)
{
	TRY(ring_open(&ring, 8, IORING_SETUP_CQSIZE));
	TRY(ring_open(&second, 16, IORING_SETUP_CQSIZE));
	TRY(ring_pass(&ring, 7));
	TRY(ring_pass(&second, 9));
	ends[0] = dup(ring.fd);
	return kid_start(ctx, NULL, shared_use, NULL);
}

static int shared_after(struct maker_ctx *ctx)
{
	TRY(kids_finish(ctx));
	ring.next++;
	ring.fd = ends[0];
	TRY(ring_take(&ring, 55, 0));
	TRY(ring_works(&second));
	return ring_works(&ring);
}

/* A request that a worker of the kernel carried out: the worker shows among the threads. */
static int worker_make(struct maker_ctx *ctx)
{
	TRY(ring_open(&ring, 8, IORING_SETUP_CQSIZE));
	ring_queue(&ring, IORING_OP_NOP, 3)->flags = IOSQE_ASYNC;
	TRY(ring_enter(&ring, 1));
	return ring_take(&ring, 3, 0);
}

static int worker_use(struct maker_ctx *ctx)
{
	ring_queue(&ring, IORING_OP_NOP, 4)->flags = IOSQE_ASYNC;
	TRY(ring_enter(&ring, 1));
	TRY(ring_take(&ring, 4, 0));
	return ring_works(&ring);
}

/* A thread asleep for a completion. */
static void *waits(void *arg)
{
	thread_tid = tid_self();
	thread_result = syscall(SYS_io_uring_enter, ring.fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0 ? -errno : 1;
	return NULL;
}

static int waiting_make(struct maker_ctx *ctx)
{
	TRY(ring_open(&ring, 8, IORING_SETUP_CQSIZE));
	TRY(thread_start(&thread, waits, NULL));
	CHECK(UNTIL(thread_tid));
	return until_blocked_in(thread_tid, SYS_io_uring_enter);
}

static int waiting_use(struct maker_ctx *ctx)
{
	SAME(thread_result, 0);
	ring_queue(&ring, IORING_OP_NOP, 4);
	TRY(ring_enter(&ring, 1));
	SAME(pthread_join(thread, NULL), 0);
	SAME(thread_result, 1);
	TRY(ring_take(&ring, 4, 0));
	return ring_works(&ring);
}

/* Out of scope: requests that do not end, and what is registered. */
enum { POLL, TIMEOUT, CLOSED_FILE };

static int register_one(unsigned int opcode, void *arg, unsigned int n)
{
	long r = syscall(SYS_io_uring_register, ring.fd, opcode, arg, n);

	NEED(r >= 0);
	return 0;
}

static int refused_make(struct maker_ctx *ctx)
{
	static struct __kernel_timespec hour = { .tv_sec = 3600 };
	struct io_uring_sqe *sqe;

	TRY(ring_open(&ring, 8, IORING_SETUP_CQSIZE));
	CHECK(!pipe2(ends, O_CLOEXEC));
	switch (ctx->arg) {
	case POLL:
		sqe = ring_queue(&ring, IORING_OP_POLL_ADD, 5);
		sqe->fd = ends[0];
		sqe->poll32_events = POLLIN;
		return ring_enter(&ring, 1);
	case TIMEOUT:
		sqe = ring_queue(&ring, IORING_OP_TIMEOUT, 5);
		sqe->addr = (uintptr_t)&hour;
		sqe->len = 1;
		return ring_enter(&ring, 1);
	default:
		TRY(register_one(IORING_REGISTER_FILES, ends, 2));
		return close(ends[1]);
	}
}

static int refused_use(struct maker_ctx *ctx)
{
	if (ctx->arg == POLL) {
		SAME(write(ends[1], "x", 1), 1);
		return ring_take(&ring, 5, POLLIN);
	}
	ring_queue(&ring, IORING_OP_NOP, 6);
	TRY(ring_enter(&ring, 1));
	return ring_take(&ring, 6, 0);
}

static int mapped_make(struct maker_ctx *ctx)
{
	TRY(ring_open(&ring, 8, IORING_SETUP_CQSIZE));
	return close(ring.fd);
}

static int mapped_use(struct maker_ctx *ctx)
{
	SAME(*ring_word(&ring, ring.p.sq_off.ring_entries), 8);
	return 0;
}

#define IDLE(name, what, flags)                                                                                        \
	{                                                                                                              \
		name, what, idle_make, idle_use, 0, IORING_SETUP_CQSIZE | (flags)                                      \
	}
#define OUT(name, what, which, word) REFUSED(name, what, refused_make, refused_use, which, "io_uring.*" word)

const struct maker makers_io_uring[] = {
	IDLE("idle", "a ring that was never used", 0),
	IDLE("idle-large-entries", "one with large requests and completions", IORING_SETUP_SQE128 | IORING_SETUP_CQE32),
	IDLE("idle-cooperative", "one whose completions interrupt nobody",
		IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG),
	IDLE("idle-disabled", "one that is not enabled yet", IORING_SETUP_R_DISABLED),
	{ "used", "completions not taken, requests not submitted", used_make, used_use, 0, 0 },
	{ "used-wrapped", "around the end of its rings", used_make, used_use, 0, 29 },
	{ "used-long", "after many requests", used_make, used_use, 0, 100003 },
	ROW("full", "no room for completions", full),
	{ "silent", "requests that asked for no completion", silent_make, silent_use, 0, 0 },
	{ "silent-among", "and others after them", silent_make, silent_use, 0, 20 },
	ROW("draining", "one where a request may wait for all others", draining),
	ROW("multishot", "more completions than requests", multishot),
	ROW("files", "registered files", files),
	{ "shared", "a child has it too, and a second one", shared_make, shared_after },
	ROW("worker", "a worker of the kernel has carried out a request", worker),
	{ "waiting", "a thread asleep for a completion", waiting_make, waiting_use, MAKER_NO_STOP },
	OUT("poll", "a poll under way", POLL, "under way"),
	OUT("timeout", "a timeout under way", TIMEOUT, "under way"),
	OUT("closed-file", "a registered file that is not open otherwise", CLOSED_FILE, "registered file"),
	REFUSED("mapped", "one held by its mapping alone", mapped_make, mapped_use, 0, "io_uring"),
	{ 0 },
};
