/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Threads asleep in a system call with a timeout: none may end early, nor with EINTR, nor begin its wait
 * anew. Each has slept half its time when it is ready. And threads asleep without a timeout, until something
 * comes.
 */

#include "maker.h"

#include <linux/futex.h>
#include <poll.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/timerfd.h>

static struct timespec span(int64_t ms)
{
	return (struct timespec){ ms / 1000, ms % 1000 * 1000000 };
}

static struct timespec at(clockid_t clock, int64_t ms)
{
	int64_t t = now_ns(clock) + ms * 1000000;

	return (struct timespec){ t / 1000000000, t % 1000000000 };
}

static int expired(long r, int want)
{
	return r == want ? 0 : r < 0 ? errno : EPROTO;
}

/* Each sleeps for that long and answers 0, or an errno that it should not have seen. */

static int by_nanosleep(int ms)
{
	struct timespec t = span(ms), rem = { 0 };
	long r;

	/* The C library has no wrapper of it. The number as an immediate operand is how the oracle knows a
	 * restarted call. */
	__asm__ volatile("mov %[nr], %%eax\n syscall"
			 : "=&a"(r)
			 : [nr] "i"(SYS_nanosleep), "D"(&t), "S"(&rem)
			 : "memory", "rcx", "r11");
	return r ? (int)-r : 0;
}

static int by_clock_nanosleep(int ms)
{
	struct timespec t = span(ms);

	return clock_nanosleep(CLOCK_BOOTTIME, 0, &t, NULL);
}

static int by_clock_nanosleep_abs(int ms)
{
	struct timespec t = at(CLOCK_MONOTONIC, ms);

	return expired(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL), 0);
}

static int by_clock_nanosleep_real(int ms)
{
	struct timespec t = at(CLOCK_REALTIME, ms);

	return expired(syscall(SYS_clock_nanosleep, CLOCK_REALTIME, TIMER_ABSTIME, &t, NULL), 0);
}

static int by_poll(int ms)
{
	return expired(syscall(SYS_poll, NULL, 0, ms), 0);
}

static int by_ppoll(int ms)
{
	struct timespec t = span(ms);

	return expired(syscall(SYS_ppoll, NULL, 0, &t, NULL, 8), 0);
}

static int by_select(int ms)
{
	struct timeval t = { ms / 1000, ms % 1000 * 1000 };

	return expired(syscall(SYS_select, 0, NULL, NULL, NULL, &t), 0);
}

static int by_pselect(int ms)
{
	struct timespec t = span(ms);

	return expired(syscall(SYS_pselect6, 0, NULL, NULL, NULL, &t, NULL), 0);
}

static int by_futex(int ms)
{
	struct timespec t = span(ms);
	uint32_t word = 0;
	long r = syscall(SYS_futex, &word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, &t, NULL, 0);

	return r == -1 && errno == ETIMEDOUT ? 0 : expired(r, 0x77);
}

static int by_futex_abs(int ms)
{
	struct timespec t = at(CLOCK_MONOTONIC, ms);
	uint32_t word = 0;
	long r = syscall(SYS_futex, &word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, 0, &t, NULL, ~0u);

	return r == -1 && errno == ETIMEDOUT ? 0 : expired(r, 0x77);
}

static int by_epoll_wait(int ms)
{
	int e = epoll_create1(EPOLL_CLOEXEC), r;
	struct epoll_event ev;

	r = expired(syscall(SYS_epoll_wait, e, &ev, 1, ms), 0);
	close(e);
	return r;
}

static int by_epoll_pwait2(int ms)
{
	int e = epoll_create1(EPOLL_CLOEXEC), r;
	struct timespec t = span(ms);
	struct epoll_event ev;

	r = expired(syscall(SYS_epoll_pwait2, e, &ev, 1, &t, NULL, 8), 0);
	close(e);
	return r;
}

static int by_sigtimedwait(int ms)
{
	struct timespec t = span(ms);
	sigset_t set;
	long r;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 9);
	r = syscall(SYS_rt_sigtimedwait, &set, NULL, &t, 8);
	return r == -1 && errno == EAGAIN ? 0 : expired(r, 0x77);
}

static int by_sem(int ms)
{
	struct timespec t = at(CLOCK_MONOTONIC, ms);
	int r;
	sem_t sem;

	sem_init(&sem, 0, 0);
	r = sem_clockwait(&sem, CLOCK_MONOTONIC, &t);
	return r == -1 && errno == ETIMEDOUT ? 0 : expired(r, 0x77);
}

static int by_cond(int ms)
{
	pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
	pthread_cond_t c = PTHREAD_COND_INITIALIZER;
	struct timespec t = at(CLOCK_REALTIME, ms);
	int r;

	pthread_mutex_lock(&m);
	r = pthread_cond_timedwait(&c, &m, &t);
	pthread_mutex_unlock(&m);
	return r == ETIMEDOUT ? 0 : r ? r : EPROTO;
}

static int by_mutex(int ms)
{
	static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
	struct timespec t = at(CLOCK_MONOTONIC, ms);
	int r;

	pthread_mutex_lock(&m);
	r = pthread_mutex_clocklock(&m, CLOCK_MONOTONIC, &t);
	return r == ETIMEDOUT ? 0 : r ? r : EPROTO;
}

static int by_timerfd(int ms)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), r;
	struct itimerspec v = { .it_value = span(ms) };
	uint64_t n = 0;

	timerfd_settime(fd, 0, &v, NULL);
	r = expired(read(fd, &n, sizeof(n)), sizeof(n));
	close(fd);
	return r ? r : n == 1 ? 0 : EPROTO;
}

static const struct {
	int (*by)(int ms);
	long nr;
	clockid_t clock;
} ways[] = {
	{ by_nanosleep, SYS_nanosleep, CLOCK_MONOTONIC },
	{ by_clock_nanosleep, SYS_clock_nanosleep, CLOCK_BOOTTIME },
	{ by_clock_nanosleep_abs, SYS_clock_nanosleep, CLOCK_MONOTONIC },
	{ by_clock_nanosleep_real, SYS_clock_nanosleep, CLOCK_REALTIME },
	{ by_poll, SYS_poll, CLOCK_MONOTONIC },
	{ by_ppoll, SYS_ppoll, CLOCK_MONOTONIC },
	{ by_select, SYS_select, CLOCK_MONOTONIC },
	{ by_pselect, SYS_pselect6, CLOCK_MONOTONIC },
	{ by_futex, SYS_futex, CLOCK_MONOTONIC },
	{ by_futex_abs, SYS_futex, CLOCK_MONOTONIC },
	{ by_epoll_wait, SYS_epoll_wait, CLOCK_MONOTONIC },
	{ by_epoll_pwait2, SYS_epoll_pwait2, CLOCK_MONOTONIC },
	{ by_sigtimedwait, SYS_rt_sigtimedwait, CLOCK_MONOTONIC },
	{ by_sem, SYS_futex, CLOCK_MONOTONIC },
	{ by_cond, SYS_futex, CLOCK_REALTIME },
	{ by_mutex, SYS_futex, CLOCK_MONOTONIC },
	{ by_timerfd, SYS_read, CLOCK_MONOTONIC },
};

static pthread_t thread;
static _Atomic pid_t thread_tid;
static int result, length, way;
static int64_t began, ended;

static void *sleeps(void *arg)
{
	began = now_ms(ways[way].clock);
	thread_tid = tid_self();
	result = ways[way].by(length);
	ended = now_ms(ways[way].clock);
	return NULL;
}

static int timed_make(struct maker_ctx *ctx)
{
	way = (int)ctx->arg;
	length = ctx->delay_ms;
	TRY(thread_start(&thread, sleeps, NULL));
	CHECK(UNTIL(thread_tid));
	TRY(until_blocked_in(thread_tid, ways[way].nr));
	nap(length / 2);
	return 0;
}

static int timed_use(struct maker_ctx *ctx)
{
	int64_t late = length * 2 / 5, due, now = now_ms(ways[way].clock);

	if (late < 300)
		late = 300;
	SAME(pthread_join(thread, NULL), 0);
	SAME(result, 0);
	due = began + length;
	CHECK(ended >= due - 1);
	CHECK(ended <= (due > now ? due : now) + late);
	return 0;
}

/* Without a timeout: a pipe is written, a child ends. */

static int fds[2];
static pid_t kid;
static long forever_nr;

static void *waits(void *arg)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = 42 };
	struct pollfd p = { .fd = fds[0], .events = POLLIN };
	int e, status = 0;
	siginfo_t si;
	fd_set set;

	thread_tid = tid_self();
	errno = 0;
	switch (forever_nr) {
	case SYS_poll:
		result = expired(syscall(SYS_poll, &p, 1, -1), 1);
		break;
	case SYS_ppoll:
		result = expired(syscall(SYS_ppoll, &p, 1, NULL, NULL, 8), 1);
		break;
	case SYS_select:
		FD_ZERO(&set);
		FD_SET(fds[0], &set);
		result = expired(syscall(SYS_select, fds[0] + 1, &set, NULL, NULL, NULL), 1);
		break;
	case SYS_epoll_wait:
		e = epoll_create1(EPOLL_CLOEXEC);
		epoll_ctl(e, EPOLL_CTL_ADD, fds[0], &ev);
		ev.data.u64 = 0;
		result = expired(syscall(SYS_epoll_wait, e, &ev, 1, -1), 1);
		if (!result && ev.data.u64 != 42)
			result = EPROTO;
		break;
	case SYS_wait4:
		result = expired(syscall(SYS_wait4, -1, &status, 0, NULL), kid);
		break;
	case SYS_waitid:
		result = expired(syscall(SYS_waitid, P_PID, kid, &si, WEXITED, NULL), 0);
		break;
	}
	if (status)
		result = EPROTO;
	return NULL;
}

static int forever_make(struct maker_ctx *ctx)
{
	forever_nr = ctx->arg;
	CHECK(!pipe(fds));
	if (forever_nr == SYS_wait4 || forever_nr == SYS_waitid)
		TRY(kid_start(ctx, NULL, NULL, &kid));
	TRY(thread_start(&thread, waits, NULL));
	CHECK(UNTIL(thread_tid));
	return until_blocked_in(thread_tid, forever_nr);
}

static int forever_use(struct maker_ctx *ctx)
{
	TRY(until_blocked_in(thread_tid, forever_nr));
	if (ctx->shared)
		let_go(&ctx->shared->go);
	SAME(write(fds[1], "x", 1), 1);
	SAME(pthread_join(thread, NULL), 0);
	SAME(result, 0);
	return 0;
}

#define TIMED(name, i, flags)                                                                                          \
	{                                                                                                              \
		name, "half a sleep by " name, timed_make, timed_use, flags, i                                         \
	}
#define FOREVER(name, nr, flags)                                                                                       \
	{                                                                                                              \
		name "-forever", name " without a timeout", forever_make, forever_use, flags, nr                       \
	}

const struct maker makers_sleep[] = {
	TIMED("nanosleep", 0, MAKER_BUSY),
	TIMED("clock_nanosleep", 1, MAKER_BUSY),
	TIMED("clock_nanosleep-absolute", 2, 0),
	TIMED("clock_nanosleep-realtime", 3, 0),
	TIMED("poll", 4, 0),
	TIMED("ppoll", 5, MAKER_BUSY),
	TIMED("select", 6, MAKER_BUSY),
	TIMED("pselect", 7, MAKER_BUSY),
	TIMED("futex", 8, 0),
	TIMED("futex-absolute", 9, 0),
	TIMED("epoll_wait", 10, MAKER_NO_STOP),
	TIMED("epoll_pwait2", 11, MAKER_NO_STOP),
	TIMED("sigtimedwait", 12, MAKER_NO_STOP),
	TIMED("sem_clockwait", 13, 0),
	TIMED("pthread_cond_timedwait", 14, 0),
	TIMED("pthread_mutex_clocklock", 15, 0),
	TIMED("timerfd", 16, 0),
	FOREVER("poll", SYS_poll, 0),
	FOREVER("ppoll", SYS_ppoll, 0),
	FOREVER("select", SYS_select, 0),
	FOREVER("epoll_wait", SYS_epoll_wait, MAKER_NO_STOP),
	FOREVER("wait4", SYS_wait4, 0),
	FOREVER("waitid", SYS_waitid, 0),
	{ 0 },
};
