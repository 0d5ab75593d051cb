/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Descriptors that stand for events: eventfd(2), signalfd(2), timerfd_create(2), pidfd_open(2), epoll(7). */

#include "maker.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

static int fd = -1, fd2 = -1, fds[2];
static pthread_t thread;
static pid_t thread_tid;
static pid_t kid;
static uint64_t thread_got;

static int readable(int f)
{
	struct pollfd p = { .fd = f, .events = POLLIN };

	return poll(&p, 1, 0);
}

/* eventfd. arg: its value. */

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

/* signalfd, with something to read. */

static int signalfd_make(struct maker_ctx *ctx)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGRTMIN + 3);
	CHECK(!sigprocmask(SIG_BLOCK, &set, NULL));
	fd = signalfd(-1, &set, SFD_NONBLOCK);
	sigdelset(&set, SIGUSR1);
	fd2 = signalfd(-1, &set, SFD_CLOEXEC);
	CHECK(fd >= 0 && fd2 >= 0);
	CHECK(!kill(getpid(), SIGUSR1));
	CHECK(!sigqueue(getpid(), SIGRTMIN + 3, (union sigval){ .sival_int = 66 }));
	return 0;
}

static int signalfd_use(struct maker_ctx *ctx)
{
	struct signalfd_siginfo si;

	SAME(read(fd2, &si, sizeof(si)), sizeof(si));
	SAME(si.ssi_signo, SIGRTMIN + 3);
	SAME(si.ssi_int, 66);
	SAME(read(fd, &si, sizeof(si)), sizeof(si));
	SAME(si.ssi_signo, SIGUSR1);
	SAME(si.ssi_pid, getpid());
	SAME(read(fd, &si, sizeof(si)), -1);
	SAME(errno, EAGAIN);
	CHECK(!kill(getpid(), SIGUSR1));
	SAME(readable(fd), 1);
	SAME(readable(fd2), 0);
	return 0;
}

static void *reads_signal(void *arg)
{
	struct signalfd_siginfo si;

	thread_tid = tid_self();
	if (read(fd, &si, sizeof(si)) == sizeof(si))
		thread_got = si.ssi_signo;
	return NULL;
}

static int signalfd_reading_make(struct maker_ctx *ctx)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	CHECK(!sigprocmask(SIG_BLOCK, &set, NULL));
	fd = signalfd(-1, &set, 0);
	TRY(thread_start(&thread, reads_signal, NULL));
	CHECK(UNTIL(thread_tid));
	return until_blocked_in(thread_tid, SYS_read);
}

static int signalfd_reading_use(struct maker_ctx *ctx)
{
	CHECK(!kill(getpid(), SIGUSR2));
	SAME(pthread_join(thread, NULL), 0);
	SAME(thread_got, SIGUSR2);
	return 0;
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

/* Five expirations that nobody read, and more to come. */
static int timerfd_ticks_make(struct maker_ctx *ctx)
{
	fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	CHECK(fd >= 0);
	due = now_ms(CLOCK_MONOTONIC);
	TRY(arm(fd, 0, 20, 20));
	nap(110);
	return 0;
}

static int timerfd_ticks_use(struct maker_ctx *ctx)
{
	struct itimerspec v;
	int64_t passed;
	uint64_t n = 0;

	SAME(read(fd, &n, 8), 8);
	passed = now_ms(CLOCK_MONOTONIC) - due;
	CHECK(n >= 5);
	CHECK(llabs((int64_t)n - passed / 20) <= 5);
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

/* pidfd: of a living child, of ourselves, of a zombie, of one long gone. */

static int pidfd_living_make(struct maker_ctx *ctx)
{
	TRY(kid_start(ctx, NULL, NULL, &kid));
	fd = pidfd_open(kid, 0);
	fd2 = pidfd_open(getpid(), PIDFD_NONBLOCK);
	NEED(fd >= 0 && fd2 >= 0);
	return 0;
}

static int pidfd_living_use(struct maker_ctx *ctx)
{
	siginfo_t si = { 0 };

	SAME(readable(fd), 0);
	CHECK(!pidfd_send_signal(fd2, 0, NULL, 0));
	SAME(fcntl(fd2, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	SAME(fcntl(fd, F_GETFD), FD_CLOEXEC);
	CHECK(!pidfd_send_signal(fd, SIGTERM, NULL, 0));
	CHECK(!waitid(P_PIDFD, (id_t)fd, &si, WEXITED));
	SAME(si.si_pid, kid);
	SAME(si.si_status, SIGTERM);
	SAME(readable(fd), 1);
	return 0;
}

/* Of one thread: it is readable when that ends, whatever the process does. */

static int pidfd_thread_make(struct maker_ctx *ctx)
{
	fd = pidfd_open(tid_self(), O_EXCL); /* PIDFD_THREAD */
	NEED(fd >= 0);
	return 0;
}

static int pidfd_thread_use(struct maker_ctx *ctx)
{
	SAME(fcntl(fd, F_GETFL) & O_EXCL, O_EXCL);
	SAME(readable(fd), 0);
	return 0;
}

static int pidfd_zombie_make(struct maker_ctx *ctx)
{
	siginfo_t si;

	kid = fork();
	CHECK(kid >= 0);
	if (!kid)
		_exit(8);
	fd = pidfd_open(kid, 0);
	CHECK(fd >= 0);
	return waitid(P_PID, (id_t)kid, &si, WEXITED | WNOWAIT);
}

static int pidfd_zombie_use(struct maker_ctx *ctx)
{
	siginfo_t si = { 0 };

	SAME(readable(fd), 1);
	CHECK(!waitid(P_PIDFD, (id_t)fd, &si, WEXITED));
	SAME(si.si_pid, kid);
	SAME(si.si_status, 8);
	return 0;
}

static int pidfd_gone_make(struct maker_ctx *ctx)
{
	TRY(pidfd_zombie_make(ctx));
	SAME(waitpid(kid, NULL, 0), kid);
	return 0;
}

static int pidfd_gone_use(struct maker_ctx *ctx)
{
	SAME(pidfd_send_signal(fd, 0, NULL, 0), -1);
	SAME(errno, ESRCH);
	SAME(readable(fd), 1);
	return 0;
}

/* epoll. arg: flags of the one entry, a pipe that has data. */

static int ep = -1;

static int add(int e, int f, uint32_t events, uint64_t data)
{
	struct epoll_event ev = { .events = events, .data.u64 = data };

	CHECK(!epoll_ctl(e, EPOLL_CTL_ADD, f, &ev));
	return 0;
}

static int wait_one(int e, uint32_t *events, uint64_t *data)
{
	struct epoll_event ev[4] = { 0 };
	int n = epoll_wait(e, ev, 4, 0);

	*events = ev[0].events;
	*data = ev[0].data.u64;
	return n;
}

/* struct epoll_params of linux/eventpoll.h, and EPIOC[SG]PARAMS */
struct busy_poll {
	uint32_t us;
	uint16_t budget;
	uint8_t prefer, pad;
};

static int epoll_busy_make(struct maker_ctx *ctx)
{
	struct busy_poll p = { 50, 16, 1, 0 };

	ep = epoll_create1(EPOLL_CLOEXEC);
	CHECK(ep >= 0);
	NEED(!ioctl(ep, _IOW(0x8A, 1, struct busy_poll), &p));
	return 0;
}

static int epoll_busy_use(struct maker_ctx *ctx)
{
	struct busy_poll p = { 0 };

	CHECK(!ioctl(ep, _IOR(0x8A, 2, struct busy_poll), &p));
	SAME(p.us, 50);
	SAME(p.budget, 16);
	SAME(p.prefer, 1);
	return 0;
}

static int epoll_make(struct maker_ctx *ctx)
{
	ep = epoll_create1(EPOLL_CLOEXEC);
	CHECK(ep >= 0 && !pipe(fds));
	TRY(add(ep, fds[0], (uint32_t)ctx->arg, 0xdeadbeefcafe0001));
	return 0;
}

static int epoll_use(struct maker_ctx *ctx)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLONESHOT, .data.u64 = 5 };
	uint32_t events;
	uint64_t data;

	SAME(fcntl(ep, F_GETFD), FD_CLOEXEC);
	SAME(wait_one(ep, &events, &data), 0);
	SAME(write(fds[1], "a", 1), 1);
	SAME(wait_one(ep, &events, &data), 1);
	SAME(data, 0xdeadbeefcafe0001);
	SAME(events, EPOLLIN);
	SAME(wait_one(ep, &events, &data), ctx->arg & (EPOLLET | EPOLLONESHOT) ? 0 : 1);
	SAME(write(fds[1], "b", 1), 1);
	SAME(wait_one(ep, &events, &data), ctx->arg & EPOLLONESHOT ? 0 : 1);
	CHECK(!epoll_ctl(ep, EPOLL_CTL_MOD, fds[0], &ev));
	SAME(wait_one(ep, &events, &data), 1);
	return 0;
}

/* Ready before: level stays, edge was seen or not, one-shot is spent. arg: flags; entry was reported already.
 */

static int epoll_seen_make(struct maker_ctx *ctx)
{
	uint32_t events;
	uint64_t data;

	TRY(epoll_make(ctx));
	SAME(write(fds[1], "x", 1), 1);
	SAME(wait_one(ep, &events, &data), 1);
	return 0;
}

static int epoll_seen_use(struct maker_ctx *ctx)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = 6 };
	uint32_t events;
	uint64_t data;

	SAME(wait_one(ep, &events, &data), ctx->arg & (EPOLLET | EPOLLONESHOT) ? 0 : 1);
	CHECK(!epoll_ctl(ep, EPOLL_CTL_MOD, fds[0], &ev));
	SAME(wait_one(ep, &events, &data), 1);
	SAME(data, 6);
	return 0;
}

static int epoll_unseen_make(struct maker_ctx *ctx)
{
	TRY(epoll_make(ctx));
	SAME(write(fds[1], "x", 1), 1);
	return 0;
}

static int epoll_unseen_use(struct maker_ctx *ctx)
{
	uint32_t events;
	uint64_t data;

	SAME(wait_one(ep, &events, &data), 1);
	SAME(data, 0xdeadbeefcafe0001);
	SAME(wait_one(ep, &events, &data), ctx->arg & (EPOLLET | EPOLLONESHOT) ? 0 : 1);
	return 0;
}

/* One epoll within another. */
static int epoll_nested_make(struct maker_ctx *ctx)
{
	ctx->arg = EPOLLIN;
	TRY(epoll_make(ctx));
	fd = epoll_create1(0);
	CHECK(fd >= 0);
	TRY(add(fd, ep, EPOLLIN, 77));
	fd2 = epoll_create1(0);
	CHECK(fd2 >= 0);
	return add(fd2, fd, EPOLLIN, 88);
}

static int epoll_nested_use(struct maker_ctx *ctx)
{
	uint32_t events;
	uint64_t data;

	SAME(wait_one(fd2, &events, &data), 0);
	SAME(write(fds[1], "x", 1), 1);
	SAME(wait_one(fd2, &events, &data), 1);
	SAME(data, 88);
	SAME(wait_one(fd, &events, &data), 1);
	SAME(data, 77);
	return 0;
}

/* Registered under a number that was closed since; the open file lives on under another. */
static int epoll_closed_make(struct maker_ctx *ctx)
{
	int number;

	ctx->arg = EPOLLIN;
	TRY(epoll_make(ctx));
	number = dup(fds[0]);
	TRY(add(ep, number, EPOLLIN, 99));
	CHECK(!close(number));
	return epoll_ctl(ep, EPOLL_CTL_DEL, fds[0], NULL);
}

static int epoll_closed_use(struct maker_ctx *ctx)
{
	uint32_t events;
	uint64_t data;

	SAME(wait_one(ep, &events, &data), 0);
	SAME(write(fds[1], "x", 1), 1);
	SAME(wait_one(ep, &events, &data), 1);
	SAME(data, 99);
	return 0;
}

/* The number belongs to another file now, registered as well. */
static int epoll_reused_make(struct maker_ctx *ctx)
{
	int number;

	TRY(epoll_closed_make(ctx));
	number = eventfd(7, 0);
	fd = number;
	return add(ep, number, EPOLLIN, 100);
}

static int epoll_reused_use(struct maker_ctx *ctx)
{
	struct epoll_event ev[4] = { 0 };

	SAME(write(fds[1], "x", 1), 1);
	SAME(epoll_wait(ep, ev, 4, 0), 2);
	SAME(ev[0].data.u64 + ev[1].data.u64, 199);
	return 0;
}

static int epoll_many_make(struct maker_ctx *ctx)
{
	ep = epoll_create1(0);
	for (int i = 0; i < 200; i++) {
		int f = eventfd(i % 3 == 0, 0);

		CHECK(f >= 0);
		TRY(add(ep, f, EPOLLIN, (uint64_t)i));
	}
	return 0;
}

static int epoll_many_use(struct maker_ctx *ctx)
{
	struct epoll_event ev[300];
	long sum = 0;

	SAME(epoll_wait(ep, ev, 300, 0), 67);
	for (int i = 0; i < 67; i++)
		sum += (long)ev[i].data.u64;
	SAME(sum, 66 * 67 / 2 * 3);
	return 0;
}

/* One epoll of two processes. */
static int epoll_kid(struct maker_ctx *ctx)
{
	uint32_t events;
	uint64_t data;

	SAME(write(fds[1], "x", 1), 1);
	SAME(wait_one(ep, &events, &data), 1);
	return 0;
}

static int epoll_shared_make(struct maker_ctx *ctx)
{
	ctx->arg = EPOLLIN;
	TRY(epoll_make(ctx));
	return kid_start(ctx, NULL, epoll_kid, NULL);
}

static int epoll_shared_use(struct maker_ctx *ctx)
{
	uint32_t events;
	uint64_t data;

	TRY(kids_finish(ctx));
	SAME(wait_one(ep, &events, &data), 1);
	return 0;
}

/* Every kind of descriptor in one epoll, all of them ready later. */
static int epoll_kinds_make(struct maker_ctx *ctx)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	CHECK(!sigprocmask(SIG_BLOCK, &set, NULL));
	ctx->arg = EPOLLIN;
	TRY(epoll_make(ctx));
	fd = signalfd(-1, &set, 0);
	fd2 = timerfd_create(CLOCK_MONOTONIC, 0);
	TRY(kid_start(ctx, NULL, NULL, &kid));
	TRY(add(ep, fd, EPOLLIN, 1));
	TRY(add(ep, fd2, EPOLLIN, 2));
	TRY(add(ep, pidfd_open(kid, 0), EPOLLIN, 3));
	return add(ep, fds[1], EPOLLERR, 4);
}

static int epoll_kinds_use(struct maker_ctx *ctx)
{
	struct epoll_event ev[8];

	SAME(epoll_wait(ep, ev, 8, 0), 0);
	CHECK(!kill(getpid(), SIGUSR1));
	TRY(arm(fd2, 0, 1, 0));
	SAME(write(fds[1], "x", 1), 1);
	TRY(kids_finish(ctx));
	nap(10);
	SAME(epoll_wait(ep, ev, 8, 0), 4);
	CHECK(!close(fds[0]));
	return 0;
}

#define ROW(name, what, of)                                                                                            \
	{                                                                                                              \
		name, what, of##_make, of##_use                                                                        \
	}
#define CLOCK(name, c)                                                                                                 \
	{                                                                                                              \
		"timerfd-" name, "a timerfd of " #c, timerfd_make, timerfd_use, 0, c                                   \
	}

const struct maker makers_event[] = {
	{ "eventfd-0", "an eventfd of 0", eventfd_make, eventfd_use, 0, 0 },
	{ "eventfd-5", "an eventfd of 5", eventfd_make, eventfd_use, 0, 5 },
	{ "eventfd-full", "a full eventfd", eventfd_make, eventfd_use, 0, -1 },
	ROW("eventfd-semaphore", "a semaphore of 3", semaphore),
	ROW("eventfd-reading", "a thread asleep in its read", eventfd_reading),
	ROW("eventfd-shared", "an eventfd of two processes", eventfd_shared),
	ROW("signalfd", "two signalfds with signals pending", signalfd),
	ROW("signalfd-reading", "a thread asleep in its read", signalfd_reading),
	CLOCK("realtime", CLOCK_REALTIME),
	CLOCK("monotonic", CLOCK_MONOTONIC),
	CLOCK("boottime", CLOCK_BOOTTIME),
	CLOCK("realtime-alarm", CLOCK_REALTIME_ALARM),
	CLOCK("boottime-alarm", CLOCK_BOOTTIME_ALARM),
	{ "timerfd-absolute-realtime", "at a time of CLOCK_REALTIME", timerfd_absolute_make, timerfd_absolute_use, 0,
		CLOCK_REALTIME },
	{ "timerfd-absolute-monotonic", "at a time of CLOCK_MONOTONIC", timerfd_absolute_make, timerfd_absolute_use, 0,
		CLOCK_MONOTONIC },
	ROW("timerfd-ticks", "expirations that nobody read, and more to come", timerfd_ticks),
	ROW("timerfd-expired", "one expiration that nobody read", timerfd_expired),
	ROW("timerfd-disarmed", "a timerfd never set", timerfd_disarmed),
	ROW("timerfd-cancel", "one to be cancelled when the clock is set", timerfd_cancel),
	ROW("timerfd-reading", "a thread asleep in its read", timerfd_reading),
	ROW("pidfd", "pidfds of a child and of itself", pidfd_living),
	ROW("pidfd-thread", "a pidfd of a thread", pidfd_thread),
	ROW("pidfd-zombie", "a pidfd of a zombie", pidfd_zombie),
	{ "pidfd-gone", "a pidfd of a child reaped", pidfd_gone_make, pidfd_gone_use, MAKER_MAY_REFUSE, 0, "pidfd" },
	{ "epoll", "an epoll, level-triggered", epoll_make, epoll_use, 0, EPOLLIN },
	{ "epoll-edge", "edge-triggered", epoll_make, epoll_use, 0, EPOLLIN | EPOLLET },
	{ "epoll-oneshot", "one-shot", epoll_make, epoll_use, 0, EPOLLIN | EPOLLONESHOT },
	{ "epoll-exclusive", "exclusive", epoll_unseen_make, epoll_unseen_use, 0, EPOLLIN | EPOLLEXCLUSIVE },
	{ "epoll-seen", "reported and still ready", epoll_seen_make, epoll_seen_use, 0, EPOLLIN },
	{ "epoll-seen-edge", "an edge that was reported", epoll_seen_make, epoll_seen_use, 0, EPOLLIN | EPOLLET },
	{ "epoll-seen-oneshot", "one shot, spent", epoll_seen_make, epoll_seen_use, 0, EPOLLIN | EPOLLONESHOT },
	{ "epoll-unseen", "ready and not reported", epoll_unseen_make, epoll_unseen_use, 0, EPOLLIN },
	{ "epoll-unseen-edge", "an edge not reported", epoll_unseen_make, epoll_unseen_use, 0, EPOLLIN | EPOLLET },
	{ "epoll-unseen-oneshot", "one shot, not spent", epoll_unseen_make, epoll_unseen_use, 0,
		EPOLLIN | EPOLLONESHOT },
	ROW("epoll-busy-poll", "one that polls the network", epoll_busy),
	ROW("epoll-nested", "three, one inside the other", epoll_nested),
	ROW("epoll-closed", "registered under a number since closed", epoll_closed),
	ROW("epoll-reused", "a number since used again", epoll_reused),
	ROW("epoll-many", "two hundred entries", epoll_many),
	ROW("epoll-shared", "an epoll of two processes", epoll_shared),
	ROW("epoll-kinds", "entries of every kind", epoll_kinds),
	{ 0 },
};
