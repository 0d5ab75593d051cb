/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* io_uring: rings that one thread alone may submit to (IORING_SETUP_SINGLE_ISSUER), and complete (DEFER_TASKRUN). io_uring_setup(2). */
#include "uring.h"

#include <poll.h>

#define SINGLE	 (IORING_SETUP_CQSIZE | IORING_SETUP_SINGLE_ISSUER)
#define DEFERRED (SINGLE | IORING_SETUP_DEFER_TASKRUN)
#define USUAL	 (DEFERRED | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG)

static struct ring ring, second;
static int ends[2], result;
static pthread_t thread;
static volatile pid_t ready_tid;

/* Another thread may not. */
static void *intrudes(void *arg)
{
	ring_queue(&ring, IORING_OP_NOP, 99);
	result = syscall(SYS_io_uring_enter, ring.fd, 1, 0, 0, NULL, 0) < 0 ? -errno : 0;
	return NULL;
}

static int is_alone(void)
{
	SAME(pthread_create(&thread, NULL, intrudes, NULL), 0);
	SAME(pthread_join(thread, NULL), 0);
	SAME(result, -EEXIST);
	TRY(ring_enter(&ring, 1));
	return ring_take(&ring, 99, 0);
}

/* arg: flags. */
static int idle_make(struct maker_ctx *ctx)
{
	return ring_open(&ring, 8, (unsigned int)ctx->arg);
}

static int idle_use(struct maker_ctx *ctx)
{
	if (ctx->arg & IORING_SETUP_R_DISABLED)
		CHECK(!syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0));
	TRY(is_alone());
	return ring_works(&ring);
}

/* Completions not taken, requests not submitted. */
static int used_make(struct maker_ctx *ctx)
{
	TRY(ring_open(&ring, 8, (unsigned int)ctx->arg));
	return ring_leave(&ring, 29);
}

static int used_use(struct maker_ctx *ctx)
{
	TRY(ring_finish(&ring));
	TRY(is_alone());
	return ring_works(&ring);
}

/* Many requests, the last of which asked for no completion if arg says so. */
static int long_make(struct maker_ctx *ctx)
{
	TRY(ring_open(&ring, 4, USUAL));
	TRY(ring_pass(&ring, 50003));
	for (int i = 0; i < ctx->arg; i++) {
		ring_queue(&ring, IORING_OP_NOP, 9)->flags = IOSQE_CQE_SKIP_SUCCESS;
		TRY(ring_enter(&ring, 1));
	}
	return 0;
}

static int long_use(struct maker_ctx *ctx)
{
	ring_queue(&ring, IORING_OP_NOP, 70)->flags = IOSQE_IO_DRAIN;
	TRY(ring_enter(&ring, 1));
	TRY(ring_take(&ring, 70, ctx->arg ? -EOPNOTSUPP : 0));
	return ring_works(&ring);
}

/* More completions than there is room for at once, of one request; the last are not taken. */
static int multishot_make(struct maker_ctx *ctx)
{
	struct io_uring_sqe *sqe;

	TRY(ring_open(&ring, 2, (unsigned int)ctx->arg));
	CHECK(!pipe2(ends, O_CLOEXEC));
	sqe = ring_queue(&ring, IORING_OP_POLL_ADD, 5);
	sqe->fd = ends[0];
	sqe->poll32_events = POLLIN;
	sqe->len = IORING_POLL_ADD_MULTI;
	TRY(ring_enter(&ring, 1));
	for (int i = 0; i < 300; i++) {
		SAME(write(ends[1], "x", 1), 1);
		TRY(ring_take(&ring, 5, POLLIN));
	}
	sqe = ring_queue(&ring, IORING_OP_POLL_REMOVE, 6);
	sqe->addr = 5;
	TRY(ring_enter(&ring, 1));
	TRY(ring_take(&ring, 6, 0));
	TRY(ring_take(&ring, 5, -ECANCELED));
	ring_queue(&ring, IORING_OP_NOP, 7);
	return ring_enter(&ring, 1);
}

static int multishot_use(struct maker_ctx *ctx)
{
	TRY(ring_take(&ring, 7, 0));
	TRY(is_alone());
	return ring_works(&ring);
}

/* Two rings of two threads. */
static void *owns(void *arg)
{
	char byte;

	result = ring_open(&ring, 8, USUAL) || ring_pass(&ring, 21);
	ready_tid = tid_self();
	result = result || read(ends[0], &byte, 1) != 1 || ring_pass(&ring, 50);
	return NULL;
}

static int threads_make(struct maker_ctx *ctx)
{
	TRY(ring_open(&second, 16, DEFERRED));
	TRY(ring_pass(&second, 33));
	CHECK(!pipe2(ends, O_CLOEXEC));
	TRY(thread_start(&thread, owns, NULL));
	CHECK(UNTIL(ready_tid));
	SAME(result, 0);
	return until_blocked_in(ready_tid, SYS_read);
}

static int threads_use(struct maker_ctx *ctx)
{
	SAME(syscall(SYS_io_uring_enter, ring.fd, 1, 0, 0, NULL, 0), -1);
	SAME(errno, EEXIST);
	SAME(write(ends[1], "x", 1), 1);
	SAME(pthread_join(thread, NULL), 0);
	SAME(result, 0);
	return ring_works(&second);
}

/* The thread that might has ended. */
static void *opens(void *arg)
{
	result = ring_open(&ring, 8, USUAL) || ring_pass(&ring, 21);
	return NULL;
}

static int ended_make(struct maker_ctx *ctx)
{
	TRY(thread_start(&thread, opens, NULL));
	SAME(pthread_join(thread, NULL), 0);
	return result;
}

static int ended_use(struct maker_ctx *ctx)
{
	SAME(*ring_word(&ring, ring.p.cq_off.tail), 21);
	SAME(syscall(SYS_io_uring_enter, ring.fd, 1, 0, 0, NULL, 0), -1);
	SAME(errno, EEXIST);
	return 0;
}

/* A child has it, and may not use it; the parent has unmapped it and maps it again. */
static int child_use(struct maker_ctx *ctx)
{
	SAME(syscall(SYS_io_uring_enter, ring.fd, 1, 0, 0, NULL, 0), -1);
	SAME(errno, EEXIST);
	return 0;
}

static int child_make(struct maker_ctx *ctx)
{
	TRY(ring_open(&ring, 8, DEFERRED));
	TRY(ring_pass(&ring, 2000));
	TRY(kid_start(ctx, NULL, child_use, NULL));
	CHECK(!munmap(ring.rings, ring.size));
	return 0;
}

static int child_after(struct maker_ctx *ctx)
{
	TRY(kids_finish(ctx));
	ring.rings = mmap(NULL, ring.size, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, IORING_OFF_SQ_RING);
	CHECK(ring.rings != MAP_FAILED);
	return ring_works(&ring);
}

#define FLAGS(name, what, of, flags)                                                                                   \
	{                                                                                                              \
		name, what, of##_make, of##_use, 0, flags                                                              \
	}

const struct maker makers_uring_issuer[] = {
	FLAGS("single", "only its maker may use it", idle, SINGLE),
	FLAGS("deferred", "and complete what was asked", idle, DEFERRED),
	FLAGS("usual", "and nobody is interrupted", idle, USUAL),
	FLAGS("disabled", "whoever enables it", idle, USUAL | IORING_SETUP_R_DISABLED),
	FLAGS("used-single", "completions not taken, requests not submitted", used, SINGLE),
	FLAGS("used", "the same, deferred", used, USUAL),
	{ "long", "after many requests", long_make, long_use, 0, 0 },
	{ "long-silent", "the last of which asked for no completion", long_make, long_use, 0, 3 },
	FLAGS("multishot-single", "more completions than requests", multishot, SINGLE),
	FLAGS("multishot", "the same, deferred", multishot, USUAL),
	ROW("threads", "two threads have one each", threads),
	ROW("ended", "of a thread that has ended", ended),
	{ "child", "a child has it too; it is not mapped any more", child_make, child_after },
	{ 0 },
};
