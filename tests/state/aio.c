/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* AIO contexts: io_setup(2) and what follows; fs/aio.c. The ring is read as libaio does: struct aio_ring below. */

#include "maker.h"

#include <linux/aio_abi.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

struct ring {
	uint32_t id, slots, head, tail, magic, compat, incompat, header;
	struct io_event events[];
};

static aio_context_t aio, others[3];
static int fd = -1, ends[2];
static struct iocb one;
static pthread_t thread;
static pid_t thread_tid;
static char *block;

static volatile struct ring *ring_of(aio_context_t x)
{
	return (volatile struct ring *)x;
}

/* A request that ends in io_submit itself: n bytes of /dev/zero, each with a number of its own. */
static int submit_to(aio_context_t x, uint64_t number, uint64_t n)
{
	static char room[4096];
	struct iocb *p = &one;

	one = (struct iocb){ .aio_data = number,
		.aio_lio_opcode = IOCB_CMD_PREAD,
		.aio_fildes = (uint32_t)fd,
		.aio_buf = (uintptr_t)room,
		.aio_nbytes = n };
	return syscall(SYS_io_submit, x, 1, &p) == 1 ? 0 : errno;
}

static int submit(uint64_t number)
{
	return submit_to(aio, number, number % 100);
}

static int take_from(aio_context_t x, uint64_t number, long long result)
{
	struct io_event e;

	SAME(syscall(SYS_io_getevents, x, 1, 1, &e, &(struct timespec){ 10, 0 }), 1);
	SAME(e.data, number);
	SAME(e.obj, (uintptr_t)&one);
	SAME(e.res, result);
	return 0;
}

static int take(uint64_t number)
{
	return take_from(aio, number, (long long)(number % 100));
}

static int set_up(unsigned int requests)
{
	fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	NEED(!syscall(SYS_io_setup, requests, &aio));
	return 0;
}

/* The context works, as long as no event waits in it, through all of its ring and beyond its end. */
static int works(void)
{
	for (uint64_t i = 0; i < ring_of(aio)->slots + 3; i++) {
		SAME(submit(i), 0);
		TRY(take(i));
	}
	return 0;
}

static uint32_t seen_slots;

/* arg: what io_setup is asked for. */
static int idle_make(struct maker_ctx *ctx)
{
	TRY(set_up((unsigned int)ctx->arg));
	seen_slots = ring_of(aio)->slots;
	return 0;
}

static int idle_use(struct maker_ctx *ctx)
{
	SAME(ring_of(aio)->slots, seen_slots);
	SAME(syscall(SYS_io_getevents, aio, 0, 1, NULL, &(struct timespec){ 0 }), 0);
	TRY(works());
	SAME(syscall(SYS_io_destroy, aio), 0);
	SAME(syscall(SYS_io_getevents, aio, 0, 1, NULL, &(struct timespec){ 0 }), -1);
	return 0;
}

/* Events that nobody has read. arg: how many went through the ring before. */
static int unread_make(struct maker_ctx *ctx)
{
	TRY(set_up(8));
	for (long i = 0; i < ctx->arg; i++) {
		SAME(submit((uint64_t)i), 0);
		TRY(take((uint64_t)i));
	}
	for (uint64_t i = 0; i < 5; i++)
		SAME(submit(1000 + i), 0);
	return 0;
}

static int unread_use(struct maker_ctx *ctx)
{
	for (uint64_t i = 0; i < 5; i++)
		TRY(take(1000 + i));
	return works();
}

/* Two are taken out of the ring by the program itself. */
static int by_hand_make(struct maker_ctx *ctx)
{
	TRY(unread_make(ctx));
	ring_of(aio)->head = (ring_of(aio)->head + 2) % ring_of(aio)->slots;
	return 0;
}

static int by_hand_use(struct maker_ctx *ctx)
{
	for (uint64_t i = 2; i < 5; i++)
		TRY(take(1000 + i));
	return works();
}

/* So many that no more are accepted. */
static uint64_t accepted;

static int full_make(struct maker_ctx *ctx)
{
	TRY(set_up(8));
	while (!submit(accepted))
		accepted++;
	CHECK(accepted > 8);
	return 0;
}

static int full_use(struct maker_ctx *ctx)
{
	SAME(submit(0), EAGAIN);
	for (uint64_t i = 0; i < accepted; i++)
		TRY(take(i));
	return works();
}

/* Several, and gaps between their numbers. */
static int several_make(struct maker_ctx *ctx)
{
	aio_context_t gaps[2] = { 0 };

	TRY(set_up(1));
	CHECK(!syscall(SYS_io_setup, 8, &gaps[0]));
	CHECK(!syscall(SYS_io_setup, 200, &others[0]));
	CHECK(!syscall(SYS_io_setup, 8, &gaps[1]));
	CHECK(!syscall(SYS_io_setup, 2000, &others[1]));
	CHECK(!syscall(SYS_io_destroy, gaps[0]));
	CHECK(!syscall(SYS_io_destroy, gaps[1]));
	SAME(submit_to(others[0], 7, 70), 0);
	SAME(submit_to(others[1], 8, 80), 0);
	return 0;
}

static int several_use(struct maker_ctx *ctx)
{
	SAME(ring_of(aio)->id, 0);
	SAME(ring_of(others[0])->id, 2);
	SAME(ring_of(others[1])->id, 4);
	TRY(take_from(others[1], 8, 80));
	TRY(take_from(others[0], 7, 70));
	CHECK(!syscall(SYS_io_setup, 8, &others[2])); /* the first free number */
	SAME(ring_of(others[2])->id, 1);
	return works();
}

/* A ring that was moved, is read only, locked, and not for children. */
static int moved_make(struct maker_ctx *ctx)
{
	size_t size;
	char *to;

	TRY(set_up(100));
	size = sizeof(struct ring) + ring_of(aio)->slots * sizeof(struct io_event);
	to = mmap(NULL, size + PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(to != MAP_FAILED);
	CHECK(mremap((void *)aio, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, to + PAGE) == to + PAGE);
	aio = (aio_context_t)(to + PAGE);
	SAME(submit(33), 0);
	CHECK(!mprotect(to + PAGE, PAGE, PROT_READ));
	CHECK(!mlock(to + PAGE, size) && !madvise(to + PAGE, size, MADV_DONTFORK));
	return 0;
}

static int moved_use(struct maker_ctx *ctx)
{
	CHECK(!mprotect((void *)aio, PAGE, PROT_READ | PROT_WRITE));
	TRY(take(33));
	return works();
}

/* A child has the ring of its parent's context mapped, and one of its own. */
static int child_make(struct maker_ctx *ctx)
{
	CHECK(!syscall(SYS_io_setup, 16, &others[0]));
	SAME(submit_to(others[0], 5, 50), 0);
	return 0;
}

static int child_use(struct maker_ctx *ctx)
{
	SAME(ring_of(aio)->slots, ring_of(others[0])->slots);
	SAME(ring_of(aio)->events[0].data, 44);
	SAME(syscall(SYS_io_getevents, aio, 0, 1, NULL, &(struct timespec){ 0 }), -1);
	TRY(take_from(others[0], 5, 50));
	ring_of(aio)->events[0].data = 45; /* they share it */
	return 0;
}

static int forked_make(struct maker_ctx *ctx)
{
	TRY(set_up(4));
	SAME(submit(44), 0);
	return kid_start(ctx, child_make, child_use, NULL);
}

static int forked_use(struct maker_ctx *ctx)
{
	struct io_event e;

	TRY(kids_finish(ctx));
	SAME(syscall(SYS_io_getevents, aio, 1, 1, &e, NULL), 1);
	SAME(e.data, 45);
	return works();
}

/* Somebody waits for events. */
static int thread_result;

static void *waits(void *arg)
{
	struct io_event e = { 0 };

	thread_tid = tid_self();
	thread_result = syscall(SYS_io_getevents, aio, 1, 1, &e, NULL) == 1 && e.data == 77 ? 1 : -1;
	return NULL;
}

static int waiting_make(struct maker_ctx *ctx)
{
	TRY(set_up(4));
	TRY(thread_start(&thread, waits, NULL));
	CHECK(UNTIL(thread_tid));
	return until_blocked_in(thread_tid, SYS_io_getevents);
}

static int waiting_use(struct maker_ctx *ctx)
{
	SAME(thread_result, 0);
	SAME(submit(77), 0);
	SAME(pthread_join(thread, NULL), 0);
	SAME(thread_result, 1);
	return works();
}

/* Direct writes, which end a while after their submission, each told to an eventfd too. */
enum { WRITES = 32, BLOCK = 1 << 16 };

static struct iocb writes[WRITES];

static int direct_make(struct maker_ctx *ctx)
{
	struct iocb *p[WRITES];
	int file = open(in_dir(ctx, "direct"), O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);

	NEED(file >= 0);
	TRY(set_up(WRITES));
	ends[0] = eventfd(0, 0);
	block = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	fill(block, BLOCK, 9);
	for (int i = 0; i < WRITES; i++) {
		writes[i] = (struct iocb){ .aio_data = (uint64_t)i,
			.aio_lio_opcode = IOCB_CMD_PWRITE,
			.aio_fildes = (uint32_t)file,
			.aio_buf = (uintptr_t)block,
			.aio_nbytes = BLOCK,
			.aio_offset = (int64_t)i * BLOCK,
			.aio_flags = IOCB_FLAG_RESFD,
			.aio_resfd = (uint32_t)ends[0] };
		p[i] = &writes[i];
	}
	SAME(syscall(SYS_io_submit, aio, WRITES, p), WRITES);
	ends[1] = file;
	return 0;
}

static int direct_use(struct maker_ctx *ctx)
{
	struct io_event e[WRITES];
	uint64_t told = 0, n = 0, which = 0;

	SAME(syscall(SYS_io_getevents, aio, WRITES, WRITES, e, NULL), WRITES);
	for (int i = 0; i < WRITES; i++) {
		SAME(e[i].res, BLOCK);
		which |= 1ull << e[i].data;
	}
	SAME(which, (1ull << WRITES) - 1);
	for (; n < WRITES; n += told)
		SAME(read(ends[0], &told, 8), 8);
	SAME(n, WRITES);
	for (int i = 0; i < WRITES; i++) {
		SAME(pread(ends[1], block, BLOCK, (off_t)i * BLOCK), BLOCK);
		TRY(check_fill(block, BLOCK, 9));
	}
	return works();
}

/* What does not end by itself: a poll of an empty pipe. */
static int poll_make(struct maker_ctx *ctx)
{
	struct iocb *p = &one;

	TRY(set_up(4));
	CHECK(!pipe2(ends, O_CLOEXEC));
	one = (struct iocb){
		.aio_data = 3, .aio_lio_opcode = IOCB_CMD_POLL, .aio_fildes = (uint32_t)ends[0], .aio_buf = POLLIN
	};
	SAME(syscall(SYS_io_submit, aio, 1, &p), 1);
	return 0;
}

static int poll_use(struct maker_ctx *ctx)
{
	SAME(write(ends[1], "x", 1), 1);
	return take_from(aio, 3, POLLIN | 0x40 /* POLLRDNORM */);
}

/* One that has ended is carried. */
static int polled_make(struct maker_ctx *ctx)
{
	TRY(poll_make(ctx));
	SAME(write(ends[1], "x", 1), 1);
	return 0;
}

static int polled_use(struct maker_ctx *ctx)
{
	TRY(take_from(aio, 3, POLLIN | 0x40 /* POLLRDNORM */));
	return works();
}

/* A context whose ring is not there, and a ring whose context is not. */
static int unmapped_make(struct maker_ctx *ctx)
{
	TRY(set_up(4));
	CHECK(!munmap((void *)aio, PAGE));
	return 0;
}

static int unmapped_use(struct maker_ctx *ctx)
{
	SAME(syscall(SYS_io_destroy, aio), -1);
	return 0;
}

static bool can_be_read(void *at)
{
	char byte;
	struct iovec to = { &byte, 1 }, from = { at, 1 };

	return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == 1;
}

static int orphan_make(struct maker_ctx *ctx)
{
	TRY(set_up(4));
	TRY(kid_start(ctx, NULL, NULL, NULL));
	SAME(syscall(SYS_io_destroy, aio), 0);
	CHECK(UNTIL(!can_be_read((void *)aio))); /* the kernel takes its pages away after a grace period */
	return 0;
}

#define UNREAD(name, what, before)                                                                                     \
	{                                                                                                              \
		name, what, unread_make, unread_use, 0, before                                                         \
	}

const struct maker makers_aio[] = {
	{ "idle", "a context that was never used", idle_make, idle_use, 0, 4 },
	{ "idle-large", "one for many requests", idle_make, idle_use, 0, 5000 },
	UNREAD("unread", "events that nobody has read", 0),
	UNREAD("unread-further", "in the middle of the ring", 60),
	UNREAD("unread-wrapped", "around its end", 124),
	UNREAD("unread-again", "when it was filled three times", 400),
	{ "read-by-hand", "the program took events out of the ring itself", by_hand_make, by_hand_use, 0, 20 },
	ROW("full", "so many events that no request is accepted", full),
	ROW("several", "several contexts, with gaps between their numbers", several),
	ROW("moved", "a ring that was moved, is read only and locked", moved),
	ROW("forked", "a child that has the ring mapped, and a context of its own", forked),
	{ "waiting", "a thread asleep in io_getevents", waiting_make, waiting_use, MAKER_NO_STOP },
	ROW("direct", "direct writes, told to an eventfd too", direct),
	ROW("polled", "a poll that has ended", polled),
	REFUSED("poll", "a poll under way", poll_make, poll_use, 0, "AIO context.*under way"),
	REFUSED("unmapped", "a context whose ring was unmapped", unmapped_make, unmapped_use, 0,
		"AIO context.*unmapped"),
	REFUSED("orphan", "the ring of a context that has ended", orphan_make, kids_finish, 0, "AIO context"),
	{ 0 },
};
