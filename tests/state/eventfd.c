/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* eventfd: a counter behind a descriptor. eventfd(2). */

#include "maker.h"

#include <sys/eventfd.h>

static int fd = -1;
static pthread_t thread;
static pid_t thread_tid;
static uint64_t thread_got;

/* arg: its value. */

static const uint64_t eventfd_max = 0xfffffffffffffffe;

static int eventfd_make(struct maker_ctx *ctx)
{
	uint64_t v = ctx->arg < 0 ? eventfd_max : (uint64_t)ctx->arg;

	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	CHECK(fd >= 0);
	if (v)
		SAME(write(fd, &v, 8), 8);
	return 0;
}

static int eventfd_use(struct maker_ctx *ctx)
{
	uint64_t v = 1, want = ctx->arg < 0 ? eventfd_max : (uint64_t)ctx->arg;

	SAME(fcntl(fd, F_GETFD), FD_CLOEXEC);
	if (ctx->arg < 0) {
		SAME(write(fd, &v, 8), -1);
		SAME(errno, EAGAIN);
	}
	SAME(read(fd, &v, 8), want ? 8 : -1);
	if (want)
		SAME(v, want);
	v = 3;
	SAME(write(fd, &v, 8), 8);
	SAME(read(fd, &v, 8), 8);
	SAME(v, 3);
	return 0;
}

static int semaphore_make(struct maker_ctx *ctx)
{
	fd = eventfd(3, EFD_SEMAPHORE);
	CHECK(fd >= 0);
	return 0;
}

static int semaphore_use(struct maker_ctx *ctx)
{
	uint64_t v;

	for (int i = 0; i < 3; i++) {
		SAME(read(fd, &v, 8), 8);
		SAME(v, 1);
	}
	SAME(readable(fd), 0);
	return 0;
}

static void *reads(void *arg)
{
	thread_tid = tid_self();
	if (read(fd, &thread_got, 8) != 8)
		thread_got = 0;
	return NULL;
}

static int eventfd_reading_make(struct maker_ctx *ctx)
{
	fd = eventfd(0, 0);
	TRY(thread_start(&thread, reads, NULL));
	CHECK(UNTIL(thread_tid));
	return until_blocked_in(thread_tid, SYS_read);
}

static int eventfd_reading_use(struct maker_ctx *ctx)
{
	uint64_t v = 55;

	SAME(write(fd, &v, 8), 8);
	SAME(pthread_join(thread, NULL), 0);
	SAME(thread_got, 55);
	return 0;
}

static int eventfd_kid(struct maker_ctx *ctx)
{
	uint64_t v = 9;

	SAME(write(fd, &v, 8), 8);
	return 0;
}

static int eventfd_shared_make(struct maker_ctx *ctx)
{
	ctx->arg = 4;
	TRY(eventfd_make(ctx));
	return kid_start(ctx, NULL, eventfd_kid, NULL);
}

static int eventfd_shared_use(struct maker_ctx *ctx)
{
	uint64_t v;

	TRY(kids_finish(ctx));
	SAME(read(fd, &v, 8), 8);
	SAME(v, 13);
	return 0;
}

const struct maker makers_eventfd[] = {
	{ "0", "an eventfd of 0", eventfd_make, eventfd_use, 0, 0 },
	{ "5", "an eventfd of 5", eventfd_make, eventfd_use, 0, 5 },
	{ "full", "a full eventfd", eventfd_make, eventfd_use, 0, -1 },
	ROW("semaphore", "a semaphore of 3", semaphore),
	ROW("reading", "a thread asleep in its read", eventfd_reading),
	ROW("shared", "an eventfd of two processes", eventfd_shared),
	{ 0 },
};
