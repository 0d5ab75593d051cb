/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* io_uring: rings in each condition, mapped as liburing maps them. io_uring_setup(2), io_uring_enter(2), io_uring_register(2). */

#include "maker.h"

#include <linux/io_uring.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

struct ring {
	int fd;
	struct io_uring_params p;
	char *rings, *sqes;
	size_t size;
	uint32_t next; /* submissions, as the program counts them */
};

static struct ring ring, second;
static int ends[2];
static pthread_t thread;
static pid_t thread_tid;
static int thread_result;

static volatile uint32_t *word(struct ring *r, uint32_t offset)
{
	return (volatile uint32_t *)(r->rings + offset);
}

static int open_ring(struct ring *r, unsigned int entries, unsigned int flags)
{
	size_t cqe = flags & IORING_SETUP_CQE32 ? 32 : 16, sqe = flags & IORING_SETUP_SQE128 ? 128 : 64;

	memset(r, 0, sizeof(*r));
	r->p.flags = flags;
	r->p.cq_entries = 4 * entries;
	r->fd = (int)syscall(SYS_io_uring_setup, entries, &r->p);
	NEED(r->fd >= 0);
	r->size = r->p.sq_off.array + r->p.sq_entries * 4;
	if (r->p.cq_off.cqes + r->p.cq_entries * cqe > r->size)
		r->size = r->p.cq_off.cqes + r->p.cq_entries * cqe;
	r->rings = mmap(NULL, r->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQ_RING);
	r->sqes = mmap(
		NULL, r->p.sq_entries * sqe, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQES);
	CHECK(r->rings != MAP_FAILED && r->sqes != MAP_FAILED);
	return 0;
}

static struct io_uring_sqe *queue(struct ring *r, int opcode, uint64_t number)
{
	uint32_t i = r->next++ & (r->p.sq_entries - 1);
	size_t size = r->p.flags & IORING_SETUP_SQE128 ? 128 : 64;
	struct io_uring_sqe *sqe = (void *)(r->sqes + i * size);

	memset(sqe, 0, size);
	sqe->opcode = (uint8_t)opcode;
	sqe->user_data = number;
	sqe->fd = -1;
	if (r->p.sq_off.array)
		word(r, r->p.sq_off.array)[i] = i;
	__atomic_store_n(word(r, r->p.sq_off.tail), r->next, __ATOMIC_RELEASE);
	return sqe;
}

static int enter(struct ring *r, unsigned int submit)
{
	SAME(syscall(SYS_io_uring_enter, r->fd, submit, 0, 0, NULL, 0), submit);
	return 0;
}

/* The next completion, waited for. */
static int take(struct ring *r, uint64_t number, int result)
{
	uint32_t head = *word(r, r->p.cq_off.head);
	struct io_uring_cqe *cqe =
		(void *)(r->rings + r->p.cq_off.cqes +
			 (head & (r->p.cq_entries - 1)) * (r->p.flags & IORING_SETUP_CQE32 ? 32ul : 16ul));

	if (__atomic_load_n(word(r, r->p.cq_off.tail), __ATOMIC_ACQUIRE) == head)
		CHECK(syscall(SYS_io_uring_enter, r->fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0) >= 0);
	CHECK(__atomic_load_n(word(r, r->p.cq_off.tail), __ATOMIC_ACQUIRE) != head);
	SAME(cqe->user_data, number);
	SAME(cqe->res, result);
	__atomic_store_n(word(r, r->p.cq_off.head), head + 1, __ATOMIC_RELEASE);
	return 0;
}

static int pass(struct ring *r, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		queue(r, IORING_OP_NOP, i);
		TRY(enter(r, 1));
		TRY(take(r, i, 0));
	}
	return 0;
}

/* More than once around, and its counters go on from where they were. */
static int works(struct ring *r)
{
	uint32_t before = *word(r, r->p.sq_off.head);

	SAME(before, r->next);
	TRY(pass(r, 3 * r->p.cq_entries));
	SAME(*word(r, r->p.sq_off.head), before + 3 * r->p.cq_entries);
	SAME(*word(r, r->p.sq_off.dropped), 0);
	SAME(*word(r, r->p.cq_off.overflow), 0);
	return 0;
}

/* arg: flags. */
static int idle_make(struct maker_ctx *ctx)
{
	return open_ring(&ring, 8, (unsigned int)ctx->arg);
}

static int idle_use(struct maker_ctx *ctx)
{
	if (ctx->arg & IORING_SETUP_R_DISABLED) {
		SAME(syscall(SYS_io_uring_enter, ring.fd, 0, 0, 0, NULL, 0), -1);
		CHECK(!syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0));
	}
	return works(&ring);
}

/* Used for a while: completions not taken, requests not submitted. arg: how many went through before. */
static int used_make(struct maker_ctx *ctx)
{
	TRY(open_ring(&ring, 8, IORING_SETUP_CQSIZE));
	TRY(pass(&ring, (uint64_t)ctx->arg));
	for (uint64_t i = 0; i < 5; i++)
		queue(&ring, IORING_OP_NOP, 100 + i);
	TRY(enter(&ring, 5));
	for (uint64_t i = 0; i < 3; i++)
		queue(&ring, IORING_OP_NOP, 200 + i);
	return 0;
}

static int used_use(struct maker_ctx *ctx)
{
	for (uint64_t i = 0; i < 5; i++)
		TRY(take(&ring, 100 + i, 0));
	TRY(enter(&ring, 3));
	for (uint64_t i = 0; i < 3; i++)
		TRY(take(&ring, 200 + i, 0));
	return works(&ring);
}

/* All of the room for completions is taken. */
static int full_make(struct maker_ctx *ctx)
{
	TRY(open_ring(&ring, 8, IORING_SETUP_CQSIZE));
	TRY(pass(&ring, 13));
	for (uint64_t i = 0; i < ring.p.cq_entries; i++) {
		queue(&ring, IORING_OP_NOP, 100 + i);
		TRY(enter(&ring, 1));
	}
	return 0;
}

static int full_use(struct maker_ctx *ctx)
{
	for (uint64_t i = 0; i < ring.p.cq_entries; i++)
		TRY(take(&ring, 100 + i, 0));
	return works(&ring);
}

/* Requests that asked for no completion. */
static int silent_make(struct maker_ctx *ctx)
{
	TRY(open_ring(&ring, 8, IORING_SETUP_CQSIZE));
	TRY(pass(&ring, 3));
	for (int i = 0; i < 4; i++) {
		queue(&ring, IORING_OP_NOP, 9)->flags = IOSQE_CQE_SKIP_SUCCESS;
		TRY(enter(&ring, 1));
	}
	return ctx->arg ? pass(&ring, (uint64_t)ctx->arg) : 0;
}

static int drains(struct ring *r, int result)
{
	queue(r, IORING_OP_NOP, 70)->flags = IOSQE_IO_DRAIN;
	TRY(enter(r, 1));
	return take(r, 70, result);
}

static int silent_use(struct maker_ctx *ctx)
{
	TRY(drains(&ring, -EOPNOTSUPP));
	return works(&ring);
}

static int draining_make(struct maker_ctx *ctx)
{
	TRY(open_ring(&ring, 8, IORING_SETUP_CQSIZE));
	return pass(&ring, 2);
}

static int draining_use(struct maker_ctx *ctx)
{
	TRY(drains(&ring, 0));
	return works(&ring);
}

/* More completions than requests. */
static int multishot_make(struct maker_ctx *ctx)
{
	struct io_uring_sqe *sqe;

	TRY(open_ring(&ring, 8, IORING_SETUP_CQSIZE));
	CHECK(!pipe2(ends, O_CLOEXEC));
	sqe = queue(&ring, IORING_OP_POLL_ADD, 5);
	sqe->fd = ends[0];
	sqe->poll32_events = POLLIN;
	sqe->len = IORING_POLL_ADD_MULTI;
	TRY(enter(&ring, 1));
	for (int i = 0; i < 6; i++) {
		SAME(write(ends[1], "x", 1), 1);
		TRY(take(&ring, 5, POLLIN));
	}
	sqe = queue(&ring, IORING_OP_POLL_REMOVE, 6);
	sqe->addr = 5;
	TRY(enter(&ring, 1));
	TRY(take(&ring, 6, 0)); /* the removal is told first */
	return take(&ring, 5, -ECANCELED);
}

static int multishot_use(struct maker_ctx *ctx)
{
	return works(&ring);
}

/* Registered files, by number, with a gap between them. */
static int files_make(struct maker_ctx *ctx)
{
	int fds[4];

	TRY(open_ring(&ring, 8, IORING_SETUP_CQSIZE));
	CHECK(!pipe2(ends, O_CLOEXEC));
	fds[0] = ends[1];
	fds[1] = fds[2] = -1;
	fds[3] = ends[0];
	CHECK(!syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_FILES, fds, 4));
	return pass(&ring, 3);
}

static int through_files(int number, int opcode, void *byte, int result)
{
	struct io_uring_sqe *sqe = queue(&ring, opcode, 8);

	sqe->fd = number;
	sqe->flags = IOSQE_FIXED_FILE;
	sqe->addr = (uintptr_t)byte;
	sqe->len = 1;
	TRY(enter(&ring, 1));
	return take(&ring, 8, result);
}

static int files_use(struct maker_ctx *ctx)
{
	char out = 'f', in = 0;

	TRY(through_files(0, IORING_OP_WRITE, &out, 1));
	TRY(through_files(3, IORING_OP_READ, &in, 1));
	SAME(in, 'f');
	TRY(through_files(1, IORING_OP_READ, &in, -EBADF));
	TRY(through_files(4, IORING_OP_READ, &in, -EBADF));
	return works(&ring);
}

/* A child shares it, and maps it; two numbers are the same. */
static int shared_use(struct maker_ctx *ctx)
{
	SAME(word(&ring, ring.p.cq_off.tail)[0], 7);
	queue(&ring, IORING_OP_NOP, 55);
	return enter(&ring, 1);
}

static int shared_make(struct maker_ctx *ctx)
{
	TRY(open_ring(&ring, 8, IORING_SETUP_CQSIZE));
	TRY(open_ring(&second, 16, IORING_SETUP_CQSIZE));
	TRY(pass(&ring, 7));
	TRY(pass(&second, 9));
	ends[0] = dup(ring.fd);
	return kid_start(ctx, NULL, shared_use, NULL);
}

static int shared_after(struct maker_ctx *ctx)
{
	TRY(kids_finish(ctx));
	ring.next++;
	ring.fd = ends[0];
	TRY(take(&ring, 55, 0));
	TRY(works(&second));
	return works(&ring);
}

/* A request that a worker of the kernel carried out: the worker shows among the threads. */
static int worker_make(struct maker_ctx *ctx)
{
	TRY(open_ring(&ring, 8, IORING_SETUP_CQSIZE));
	queue(&ring, IORING_OP_NOP, 3)->flags = IOSQE_ASYNC;
	TRY(enter(&ring, 1));
	return take(&ring, 3, 0);
}

static int worker_use(struct maker_ctx *ctx)
{
	queue(&ring, IORING_OP_NOP, 4)->flags = IOSQE_ASYNC;
	TRY(enter(&ring, 1));
	TRY(take(&ring, 4, 0));
	return works(&ring);
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
	TRY(open_ring(&ring, 8, IORING_SETUP_CQSIZE));
	TRY(thread_start(&thread, waits, NULL));
	CHECK(UNTIL(thread_tid));
	return until_blocked_in(thread_tid, SYS_io_uring_enter);
}

static int waiting_use(struct maker_ctx *ctx)
{
	SAME(thread_result, 0);
	queue(&ring, IORING_OP_NOP, 4);
	TRY(enter(&ring, 1));
	SAME(pthread_join(thread, NULL), 0);
	SAME(thread_result, 1);
	TRY(take(&ring, 4, 0));
	return works(&ring);
}

/* Out of scope: requests that do not end, and what is registered. */
enum { POLL, TIMEOUT, EVENTFD, PERSONALITY, RESTRICTED, BUFFERS, CLOSED_FILE };

static int register_one(unsigned int opcode, void *arg, unsigned int n)
{
	long r = syscall(SYS_io_uring_register, ring.fd, opcode, arg, n);

	NEED(r >= 0);
	return 0;
}

static int refused_make(struct maker_ctx *ctx)
{
	static struct __kernel_timespec hour = { .tv_sec = 3600 };
	static char room[PAGE];
	struct iovec buffer = { room, PAGE };
	struct io_uring_restriction only = { .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_NOP };
	struct io_uring_sqe *sqe;

	TRY(open_ring(&ring, 8, IORING_SETUP_CQSIZE | (ctx->arg == RESTRICTED ? IORING_SETUP_R_DISABLED : 0)));
	CHECK(!pipe2(ends, O_CLOEXEC));
	switch (ctx->arg) {
	case POLL:
		sqe = queue(&ring, IORING_OP_POLL_ADD, 5);
		sqe->fd = ends[0];
		sqe->poll32_events = POLLIN;
		return enter(&ring, 1);
	case TIMEOUT:
		sqe = queue(&ring, IORING_OP_TIMEOUT, 5);
		sqe->addr = (uintptr_t)&hour;
		sqe->len = 1;
		return enter(&ring, 1);
	case EVENTFD:
		ends[0] = eventfd(0, 0);
		return register_one(IORING_REGISTER_EVENTFD, &ends[0], 1);
	case PERSONALITY:
		return register_one(IORING_REGISTER_PERSONALITY, NULL, 0);
	case RESTRICTED:
		TRY(register_one(IORING_REGISTER_RESTRICTIONS, &only, 1));
		return register_one(IORING_REGISTER_ENABLE_RINGS, NULL, 0);
	case BUFFERS:
		return register_one(IORING_REGISTER_BUFFERS, &buffer, 1);
	default:
		TRY(register_one(IORING_REGISTER_FILES, ends, 2));
		return close(ends[1]);
	}
}

static int refused_use(struct maker_ctx *ctx)
{
	if (ctx->arg == POLL) {
		SAME(write(ends[1], "x", 1), 1);
		return take(&ring, 5, POLLIN);
	}
	queue(&ring, IORING_OP_NOP, 6);
	TRY(enter(&ring, 1));
	return take(&ring, 6, 0);
}

static int mapped_make(struct maker_ctx *ctx)
{
	TRY(open_ring(&ring, 8, IORING_SETUP_CQSIZE));
	return close(ring.fd);
}

static int mapped_use(struct maker_ctx *ctx)
{
	SAME(*word(&ring, ring.p.sq_off.ring_entries), 8);
	return 0;
}

static int alive_use(struct maker_ctx *ctx)
{
	CHECK(fcntl(ring.fd, F_GETFD) >= 0);
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
	OUT("eventfd", "a registered eventfd", EVENTFD, "eventfd"),
	OUT("personality", "a registered personality", PERSONALITY, "personalities"),
	OUT("restricted", "one that allows some requests only", RESTRICTED, "restrictions"),
	OUT("buffers", "registered buffers", BUFFERS, "registered buffers"),
	OUT("closed-file", "a registered file that is not open otherwise", CLOSED_FILE, "registered file"),
	REFUSED("mapped", "one held by its mapping alone", mapped_make, mapped_use, 0, "io_uring"),
	REFUSED("single-issuer", "one that only its maker may use", idle_make, idle_use,
		IORING_SETUP_CQSIZE | IORING_SETUP_SINGLE_ISSUER, "io_uring.*only the program"),
	{ "polled", "one that a thread of the kernel polls", idle_make, alive_use, MAKER_MUST_REFUSE | MAKER_RESTLESS,
		IORING_SETUP_CQSIZE | IORING_SETUP_SQPOLL, "io_uring.*only the program" },
	{ 0 },
};
