/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* io_uring: what the kernel keeps for each thread: numbers for rings, and its workers' processors and limits. io_uring_register(2). */
#include "uring.h"

#include <sched.h>
#include <sys/resource.h>

static struct ring ring, second;
static int ends[2], result;
static uint32_t limits[2];
static pthread_t thread;
static volatile pid_t ready_tid;

/* As IORING_ENTER_REGISTERED_RING has it. */
static int enter_number(unsigned int number)
{
	return (int)syscall(SYS_io_uring_enter, number, 0, 0, 1u << 4, NULL, 0);
}

static int number(struct ring *r, unsigned int offset)
{
	struct io_uring_rsrc_update u = { .offset = offset, .data = (uint64_t)r->fd };

	SAME(syscall(SYS_io_uring_register, r->fd, IORING_REGISTER_RING_FDS, &u, 1), 1);
	return 0;
}

/* arg: flags of the ring. */
static int numbered_make(struct maker_ctx *ctx)
{
	TRY(ring_open(&ring, 8, IORING_SETUP_CQSIZE | (unsigned int)ctx->arg));
	TRY(ring_open(&second, 8, IORING_SETUP_CQSIZE));
	TRY(number(&ring, 3));
	TRY(number(&second, 15));
	return ring_pass(&ring, 9);
}

static int numbered_use(struct maker_ctx *ctx)
{
	for (unsigned int i = 0; i < 16; i++)
		SAME(enter_number(i), i == 3 || i == 15 ? 0 : -1);
	ring_queue(&ring, IORING_OP_NOP, 5);
	SAME(syscall(SYS_io_uring_enter, 3, 1, 0, 1u << 4, NULL, 0), 1);
	TRY(ring_take(&ring, 5, 0));
	ring_queue(&second, IORING_OP_NOP, 6);
	SAME(syscall(SYS_io_uring_enter, 15, 1, 0, 1u << 4, NULL, 0), 1);
	TRY(ring_take(&second, 6, 0));
	TRY(number(&ring, 0));
	TRY(ring_works(&second));
	return ring_works(&ring);
}

/* Each thread has its own. */
static void *numbers(void *arg)
{
	char byte;

	result = ring_open(&second, 8, IORING_SETUP_CQSIZE | IORING_SETUP_SINGLE_ISSUER) || number(&second, 2) ||
		 ring_pass(&second, 3);
	ready_tid = tid_self();
	result = result || read(ends[0], &byte, 1) != 1 || enter_number(2) != 0 || enter_number(1) != -1 ||
		 ring_pass(&second, 60);
	return NULL;
}

static int threads_make(struct maker_ctx *ctx)
{
	TRY(ring_open(&ring, 8, IORING_SETUP_CQSIZE));
	TRY(number(&ring, 1));
	CHECK(!pipe2(ends, O_CLOEXEC));
	TRY(thread_start(&thread, numbers, NULL));
	CHECK(UNTIL(ready_tid));
	SAME(result, 0);
	return until_blocked_in(ready_tid, SYS_read);
}

static int threads_use(struct maker_ctx *ctx)
{
	SAME(enter_number(1), 0);
	SAME(enter_number(2), -1);
	SAME(write(ends[1], "x", 1), 1);
	SAME(pthread_join(thread, NULL), 0);
	SAME(result, 0);
	return ring_works(&ring);
}

/* A ring that is open nowhere any more. */
static int hidden_make(struct maker_ctx *ctx)
{
	TRY(numbered_make(ctx));
	return close(second.fd);
}

static int hidden_use(struct maker_ctx *ctx)
{
	SAME(enter_number(15), 0);
	return ring_works(&ring);
}

static int affinity_make(struct maker_ctx *ctx)
{
	cpu_set_t set;

	CHECK(!sched_getaffinity(0, sizeof(set), &set));
	NEED(CPU_COUNT(&set) > 1 && CPU_ISSET(1, &set));
	CPU_ZERO(&set);
	CPU_SET(1, &set);
	TRY(ring_open(&ring, 8, IORING_SETUP_CQSIZE | (unsigned int)ctx->arg));
	CHECK(!syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_IOWQ_AFF, &set, sizeof(set)));
	return ring_pass(&ring, 2);
}

static int affinity_use(struct maker_ctx *ctx)
{
	cpu_set_t set;

	TRY(ring_worker_runs_on(&ring, &set));
	SAME(CPU_COUNT(&set), 1);
	CHECK(CPU_ISSET(1, &set));
	CHECK(!syscall(SYS_io_uring_register, ring.fd, IORING_UNREGISTER_IOWQ_AFF, NULL, 0));
	return ring_works(&ring);
}

/* Those that a new thread gets. */
static void *asks(void *arg)
{
	result = ring_pass(&ring, 1);
	memset(limits, 0, sizeof(limits));
	result = result || syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_IOWQ_MAX_WORKERS, limits, 2) < 0;
	return NULL;
}

/* How many workers there may be: those that the ring says, or that its size and the limit of processes do. */
static int limits_make(struct maker_ctx *ctx)
{
	uint32_t asked[2] = { (uint32_t)ctx->arg, ctx->arg ? 33 : 0 };

	TRY(ring_open(&ring, 4, IORING_SETUP_CQSIZE | (ctx->arg ? 0 : IORING_SETUP_SINGLE_ISSUER)));
	if (ctx->arg)
		CHECK(!syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_IOWQ_MAX_WORKERS, asked, 2));
	TRY(ring_pass(&ring, 2));
	if (!ctx->arg) {
		TRY(ring_open(&second, 2, IORING_SETUP_CQSIZE));
		TRY(ring_pass(&second, 2));
	}
	return 0;
}

static int limits_use(struct maker_ctx *ctx)
{
	struct rlimit processes;

	getrlimit(RLIMIT_NPROC, &processes);
	memset(limits, 0, sizeof(limits));
	CHECK(!syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_IOWQ_MAX_WORKERS, limits, 2));
	SAME(limits[0], ctx->arg ? 5 : 4);
	SAME(limits[1], ctx->arg ? 33 : (uint32_t)processes.rlim_cur);
	if (ctx->arg) {
		TRY(thread_start(&thread, asks, NULL));
		SAME(pthread_join(thread, NULL), 0);
		SAME(result, 0);
		SAME(limits[0], 5);
		SAME(limits[1], 33);
	}
	return ring_works(&ring);
}

#define ARG(name, what, of, arg)                                                                                       \
	{                                                                                                              \
		name, what, of##_make, of##_use, 0, arg                                                                \
	}

const struct maker makers_uring_task[] = {
	ARG("numbered", "rings known by a number", numbered, 0),
	ARG("numbered-single", "one of them of one thread", numbered,
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN),
	ROW("threads", "two threads with numbers of their own", threads),
	REFUSED("hidden", "one that has nothing but its number", hidden_make, hidden_use, 0, "io_uring.*registered"),
	ARG("affinity", "where its workers run", affinity, 0),
	ARG("affinity-single", "the same, of one thread", affinity,
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN),
	ARG("limits", "how many workers a ring gives", limits, 0),
	ARG("limits-set", "how many it was told", limits, 5),
	{ 0 },
};
