/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* timerfd: a timer behind a descriptor, in each clock and condition. timerfd_create(2). */

#include "maker.h"

#include <sys/timerfd.h>

static int fd = -1;
static pthread_t thread;
static pid_t thread_tid;
static uint64_t thread_got;

static void *reads(void *arg)
{
	thread_tid = tid_self();
	if (read(fd, &thread_got, 8) != 8)
		thread_got = 0;
	return NULL;
}

/* timerfd. arg: the clock. */

static int64_t due;

static int arm(int f, int flags, int64_t ms, int64_t interval)
{
	struct itimerspec v = { .it_value = { ms / 1000, ms % 1000 * 1000000 },
		.it_interval = { interval / 1000, interval % 1000 * 1000000 } };

	CHECK(!timerfd_settime(f, flags, &v, NULL));
	return 0;
}

/* The clock that an alarm clock ticks with; without a device for alarms only that one can be read. */
static clockid_t ticks_with(long clock)
{
	return clock == CLOCK_REALTIME_ALARM   ? CLOCK_REALTIME
	       : clock == CLOCK_BOOTTIME_ALARM ? CLOCK_BOOTTIME
					       : (clockid_t)clock;
}

static int timerfd_make(struct maker_ctx *ctx)
{
	fd = timerfd_create((clockid_t)ctx->arg, TFD_NONBLOCK | TFD_CLOEXEC);
	NEED(fd >= 0);
	due = now_ms(ticks_with(ctx->arg)) + ctx->delay_ms;
	return arm(fd, 0, ctx->delay_ms, 0);
}

static int timerfd_use(struct maker_ctx *ctx)
{
	struct itimerspec v;
	uint64_t n = 0;

	SAME(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	CHECK(UNTIL(read(fd, &n, 8) == 8));
	SAME(n, 1);
	if (ticks_with(ctx->arg) != CLOCK_REALTIME) /* relative: the time that the tree did not exist is not counted */
		CHECK(now_ms(ticks_with(ctx->arg)) >= due - 2);
	CHECK(!timerfd_gettime(fd, &v));
	SAME(v.it_value.tv_sec + v.it_value.tv_nsec, 0);
	return 0;
}

static int timerfd_absolute_make(struct maker_ctx *ctx)
{
	fd = timerfd_create((clockid_t)ctx->arg, 0);
	CHECK(fd >= 0);
	due = now_ms((clockid_t)ctx->arg) + ctx->delay_ms;
	return arm(fd, TFD_TIMER_ABSTIME, due, 0);
}

static int timerfd_absolute_use(struct maker_ctx *ctx)
{
	uint64_t n = 0;

	SAME(read(fd, &n, 8), 8);
	SAME(n, 1);
	CHECK(now_ms((clockid_t)ctx->arg) >= due - 2);
	return 0;
}

/* Expirations that nobody read, more than a busy machine is late, and more to come. */
static int timerfd_ticks_make(struct maker_ctx *ctx)
{
	fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	CHECK(fd >= 0);
	due = now_ms(CLOCK_MONOTONIC);
	TRY(arm(fd, 0, 20, 20));
	nap(510);
	return 0;
}

static int timerfd_ticks_use(struct maker_ctx *ctx)
{
	struct itimerspec v;
	int64_t before = now_ms(CLOCK_MONOTONIC) - due, after;
	uint64_t n = 0;

	SAME(read(fd, &n, 8), 8);
	after = now_ms(CLOCK_MONOTONIC) - due;
	CHECK(n >= 25);
	CHECK((int64_t)n >= before / 20 - 15 && (int64_t)n <= after / 20 + 15);
	CHECK(!timerfd_gettime(fd, &v));
	SAME(v.it_interval.tv_nsec, 20000000);
	CHECK(UNTIL(read(fd, &n, 8) == 8));
	return 0;
}

/* Expired once, unread, no interval. */
static int timerfd_expired_make(struct maker_ctx *ctx)
{
	fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK);
	CHECK(fd >= 0);
	TRY(arm(fd, 0, 1, 0));
	nap(20);
	return 0;
}

static int timerfd_expired_use(struct maker_ctx *ctx)
{
	uint64_t n = 0;

	SAME(readable(fd), 1);
	SAME(read(fd, &n, 8), 8);
	SAME(n, 1);
	SAME(read(fd, &n, 8), -1);
	SAME(errno, EAGAIN);
	return 0;
}

static int timerfd_disarmed_make(struct maker_ctx *ctx)
{
	fd = timerfd_create(CLOCK_MONOTONIC, 0);
	CHECK(fd >= 0);
	return 0;
}

static int timerfd_disarmed_use(struct maker_ctx *ctx)
{
	uint64_t n = 0;

	SAME(readable(fd), 0);
	TRY(arm(fd, 0, 5, 0));
	SAME(read(fd, &n, 8), 8);
	return 0;
}

/* Far ahead, to be cancelled if somebody sets the clock; nobody does. */
static int timerfd_cancel_make(struct maker_ctx *ctx)
{
	fd = timerfd_create(CLOCK_REALTIME, 0);
	CHECK(fd >= 0);
	due = now_ms(CLOCK_REALTIME) + 5000000;
	return arm(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, due, 3000);
}

static int timerfd_cancel_use(struct maker_ctx *ctx)
{
	struct itimerspec v;

	CHECK(!timerfd_gettime(fd, &v));
	SAME(v.it_interval.tv_sec, 3);
	CHECK(llabs(now_ms(CLOCK_REALTIME) + v.it_value.tv_sec * 1000 - due) < 2000);
	CHECK(file_has("/proc/self/fdinfo/3", "settime flags: 03"));
	return 0;
}

static int timerfd_reading_make(struct maker_ctx *ctx)
{
	fd = timerfd_create(CLOCK_MONOTONIC, 0);
	CHECK(fd >= 0);
	due = now_ms(CLOCK_MONOTONIC) + ctx->delay_ms;
	TRY(arm(fd, 0, ctx->delay_ms, 0));
	TRY(thread_start(&thread, reads, NULL));
	CHECK(UNTIL(thread_tid));
	return until_blocked_in(thread_tid, SYS_read);
}

static int timerfd_reading_use(struct maker_ctx *ctx)
{
	SAME(pthread_join(thread, NULL), 0);
	SAME(thread_got, 1);
	CHECK(now_ms(CLOCK_MONOTONIC) >= due - 2);
	return 0;
}

#define CLOCK(name, c)                                                                                                 \
	{                                                                                                              \
		name, "a timerfd of " #c, timerfd_make, timerfd_use, 0, c                                              \
	}

const struct maker makers_timerfd[] = {
	CLOCK("realtime", CLOCK_REALTIME),
	CLOCK("monotonic", CLOCK_MONOTONIC),
	CLOCK("boottime", CLOCK_BOOTTIME),
	CLOCK("realtime-alarm", CLOCK_REALTIME_ALARM),
	CLOCK("boottime-alarm", CLOCK_BOOTTIME_ALARM),
	{ "absolute-realtime", "at a time of CLOCK_REALTIME", timerfd_absolute_make, timerfd_absolute_use, 0,
		CLOCK_REALTIME },
	{ "absolute-monotonic", "at a time of CLOCK_MONOTONIC", timerfd_absolute_make, timerfd_absolute_use, 0,
		CLOCK_MONOTONIC },
	ROW("ticks", "expirations that nobody read, and more to come", timerfd_ticks),
	ROW("expired", "one expiration that nobody read", timerfd_expired),
	ROW("disarmed", "a timerfd never set", timerfd_disarmed),
	ROW("cancel", "one to be cancelled when the clock is set", timerfd_cancel),
	ROW("reading", "a thread asleep in its read", timerfd_reading),
	{ 0 },
};
