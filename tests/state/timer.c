/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Timers that send signals: setitimer(2), timer_create(2). */

#include "maker.h"

#include <sys/time.h>

enum { EARLY_MS = 2, LATE_MS = 700 };

static _Atomic int fired;
static _Atomic int64_t fired_at;
static _Atomic int fired_value, fired_overrun, fired_tid;

static void fire(int sig, siginfo_t *si, void *uc)
{
	fired_at = now_ms(CLOCK_MONOTONIC);
	fired_value = si->si_value.sival_int;
	fired_overrun = si->si_overrun;
	fired_tid = tid_self();
	fired++;
}

static int catch (int sig)
{
	struct sigaction sa = { .sa_sigaction = fire, .sa_flags = SA_SIGINFO | SA_RESTART };

	CHECK(!sigaction(sig, &sa, NULL));
	return 0;
}

/* Due at a time: not before; and not much after, or after use began, whichever is later. */
static int in_time(int64_t at, int64_t due, int64_t use_began)
{
	CHECK(at >= due - EARLY_MS);
	CHECK(at <= (due > use_began ? due : use_began) + LATE_MS);
	return 0;
}

static int64_t due, began;

static void burn(void)
{
	for (volatile int i = 0; i < 20000; i++)
		;
	getppid();
}

/* arg: which interval timer. */

static const int itimer_signal[] = { SIGALRM, SIGVTALRM, SIGPROF };

static int itimer_make(struct maker_ctx *ctx)
{
	struct itimerval v = { .it_value = { ctx->delay_ms / 1000, ctx->delay_ms % 1000 * 1000 } };

	TRY(catch (itimer_signal[ctx->arg]));
	due = now_ms(CLOCK_MONOTONIC) + ctx->delay_ms;
	CHECK(!setitimer((int)ctx->arg, &v, NULL));
	return 0;
}

static int itimer_use(struct maker_ctx *ctx)
{
	struct itimerval v;

	began = now_ms(CLOCK_MONOTONIC);
	if (ctx->arg) {
		/* Counts processor time: little was used, so all of it still lies ahead. */
		int64_t cpu = now_ms(CLOCK_PROCESS_CPUTIME_ID), spent;

		CHECK(!getitimer((int)ctx->arg, &v));
		CHECK(v.it_value.tv_sec * 1000 + v.it_value.tv_usec / 1000 > ctx->delay_ms * 3 / 4);
		SAME(fired, 0);
		while (!fired && now_ms(CLOCK_PROCESS_CPUTIME_ID) - cpu < 3 * ctx->delay_ms)
			burn();
		spent = now_ms(CLOCK_PROCESS_CPUTIME_ID) - cpu;
		SAME(fired, 1);
		CHECK(spent > ctx->delay_ms / 2);
		return 0;
	}
	CHECK(UNTIL(fired));
	TRY(in_time(fired_at, due, began));
	CHECK(!getitimer((int)ctx->arg, &v));
	SAME(v.it_value.tv_sec + v.it_value.tv_usec, 0);
	return 0;
}

static int itimer_interval_make(struct maker_ctx *ctx)
{
	struct itimerval v = { .it_interval = { 0, 50000 }, .it_value = { 0, 50000 } };

	TRY(catch (itimer_signal[ctx->arg]));
	CHECK(!setitimer((int)ctx->arg, &v, NULL));
	return 0;
}

static int itimer_interval_use(struct maker_ctx *ctx)
{
	struct itimerval v;
	int was = fired;

	CHECK(!getitimer((int)ctx->arg, &v));
	SAME(v.it_interval.tv_usec, 50000);
	for (int64_t since = now_ms(CLOCK_MONOTONIC);
		ctx->arg && fired < was + 4 && now_ms(CLOCK_MONOTONIC) < since + 20000;)
		burn();
	CHECK(UNTIL(fired >= was + 4));
	return 0;
}

/* Expired with its signal blocked: the next interval begins when the signal is taken. */
static int itimer_expired_make(struct maker_ctx *ctx)
{
	struct itimerval v = { .it_interval = { 0, 50000 }, .it_value = { 0, 1000 } };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	CHECK(!sigprocmask(SIG_BLOCK, &set, NULL));
	TRY(catch (SIGALRM));
	CHECK(!setitimer(ITIMER_REAL, &v, NULL));
	nap(20);
	return 0;
}

static int itimer_expired_use(struct maker_ctx *ctx)
{
	struct itimerval v;
	sigset_t set;

	CHECK(!getitimer(ITIMER_REAL, &v));
	SAME(v.it_value.tv_usec, 0);
	SAME(v.it_interval.tv_usec, 50000);
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	CHECK(!sigprocmask(SIG_UNBLOCK, &set, NULL));
	SAME(fired, 1);
	CHECK(UNTIL(fired >= 4));
	return 0;
}

static int alarm_far_make(struct maker_ctx *ctx)
{
	alarm(5000);
	return 0;
}

static int alarm_far_use(struct maker_ctx *ctx)
{
	unsigned left = alarm(0);

	CHECK(left > 4900 && left <= 5000);
	return 0;
}

/* POSIX timers. arg: the clock. */

static int raw_timer(int clock, int notify, int signo, int value, int *id)
{
	struct sigevent ev = { .sigev_notify = notify, .sigev_signo = signo, .sigev_value.sival_int = value };

	if (notify & SIGEV_THREAD_ID)
		ev._sigev_un._tid = tid_self();
	return (int)syscall(SYS_timer_create, clock, &ev, id);
}

static int set_timer(int id, int flags, int64_t ms, int64_t interval)
{
	struct itimerspec v = { .it_value = { ms / 1000, ms % 1000 * 1000000 },
		.it_interval = { interval / 1000, interval % 1000 * 1000000 } };

	CHECK(!syscall(SYS_timer_settime, id, flags, &v, NULL));
	return 0;
}

static int timer_left(int id, int64_t *left, int64_t *interval)
{
	struct itimerspec v;

	CHECK(!syscall(SYS_timer_gettime, id, &v));
	*left = v.it_value.tv_sec * 1000 + v.it_value.tv_nsec / 1000000;
	*interval = v.it_interval.tv_sec * 1000 + v.it_interval.tv_nsec / 1000000;
	return 0;
}

static int timer_id;

static int posix_make(struct maker_ctx *ctx)
{
	TRY(catch (SIGRTMIN));
	NEED(!raw_timer((int)ctx->arg, SIGEV_SIGNAL, SIGRTMIN, 4242, &timer_id));
	due = now_ms(CLOCK_MONOTONIC) + ctx->delay_ms;
	return set_timer(timer_id, 0, ctx->delay_ms, 0);
}

static int posix_use(struct maker_ctx *ctx)
{
	began = now_ms(CLOCK_MONOTONIC);
	CHECK(UNTIL(fired));
	TRY(in_time(fired_at, due, began));
	SAME(fired_value, 4242);
	SAME(fired_overrun, 0);
	CHECK(!syscall(SYS_timer_delete, timer_id));
	return 0;
}

static int posix_cpu_use(struct maker_ctx *ctx)
{
	int64_t left, interval;

	TRY(timer_left(timer_id, &left, &interval));
	CHECK(left > ctx->delay_ms * 3 / 4);
	SAME(fired, 0);
	began = now_ms(CLOCK_PROCESS_CPUTIME_ID);
	while (!fired && now_ms(CLOCK_PROCESS_CPUTIME_ID) - began < 3 * ctx->delay_ms)
		burn();
	SAME(fired, 1);
	SAME(fired_value, 4242);
	return 0;
}

/* Absolute times: of the real-time clock they are not moved by a pause, of the monotonic one they are. */
static int absolute_make(struct maker_ctx *ctx)
{
	int64_t at = now_ms((clockid_t)ctx->arg) + ctx->delay_ms;

	TRY(catch (SIGRTMIN));
	CHECK(!raw_timer((int)ctx->arg, SIGEV_SIGNAL, SIGRTMIN, 4242, &timer_id));
	due = at;
	return set_timer(timer_id, TIMER_ABSTIME, at, 0);
}

static int absolute_use(struct maker_ctx *ctx)
{
	int64_t now;

	CHECK(UNTIL(fired));
	now = now_ms((clockid_t)ctx->arg);
	CHECK(now >= due - EARLY_MS);
	SAME(fired_value, 4242);
	return 0;
}

static int far_make(struct maker_ctx *ctx)
{
	CHECK(!raw_timer(CLOCK_REALTIME, SIGEV_SIGNAL, SIGRTMIN, 1, &timer_id));
	due = now_ms(CLOCK_REALTIME) + 5000000;
	return set_timer(timer_id, TIMER_ABSTIME, due, 7000);
}

static int far_use(struct maker_ctx *ctx)
{
	int64_t left, interval;

	TRY(timer_left(timer_id, &left, &interval));
	SAME(interval, 7000);
	CHECK(llabs(now_ms(CLOCK_REALTIME) + left - due) < 100);
	return 0;
}

static int none_make(struct maker_ctx *ctx)
{
	CHECK(!raw_timer(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0, &timer_id));
	due = now_ms(CLOCK_MONOTONIC) + ctx->delay_ms;
	return set_timer(timer_id, 0, ctx->delay_ms, 0);
}

static int none_use(struct maker_ctx *ctx)
{
	int64_t left, interval, now;

	TRY(timer_left(timer_id, &left, &interval));
	now = now_ms(CLOCK_MONOTONIC);
	CHECK(left ? llabs(now + left - due) < 100 : now >= due - EARLY_MS);
	while (left) {
		nap(5);
		TRY(timer_left(timer_id, &left, &interval));
	}
	CHECK(now_ms(CLOCK_MONOTONIC) >= due - EARLY_MS);
	return 0;
}

/* To one thread. */

static _Atomic int thread_tid, thread_go;
static pthread_t thread;

static void *owner(void *arg)
{
	struct maker_ctx *ctx = arg;

	if (raw_timer(CLOCK_MONOTONIC, SIGEV_SIGNAL | SIGEV_THREAD_ID, SIGRTMIN, 5, &timer_id) ||
		set_timer(timer_id, 0, ctx->delay_ms, 0))
		return arg;
	thread_tid = tid_self();
	wait_for(&thread_go);
	return NULL;
}

static int thread_make(struct maker_ctx *ctx)
{
	TRY(catch (SIGRTMIN));
	due = now_ms(CLOCK_MONOTONIC) + ctx->delay_ms;
	TRY(thread_start(&thread, owner, ctx));
	CHECK(UNTIL(thread_tid));
	return 0;
}

static int thread_use(struct maker_ctx *ctx)
{
	void *answer = NULL;

	began = now_ms(CLOCK_MONOTONIC);
	CHECK(UNTIL(fired));
	TRY(in_time(fired_at, due, began));
	SAME(fired_tid, thread_tid);
	let_go(&thread_go);
	SAME(pthread_join(thread, &answer), 0);
	CHECK(!answer);
	return 0;
}

/* On the processor time of one thread; arg: made by another than the first, and whom it signals. */

enum { SIGNALS_ANY = 0, SIGNALS_FIRST = 1, SIGNALS_SECOND = 2, BY_SECOND = 4, COUNTED_MS = 150 };

static _Atomic int second_tid, first_tid, second_up, second_burns, second_ends;
static _Atomic int counted_failed;

static int counted_timer(long arg)
{
	struct sigevent ev = { .sigev_notify = arg & 3 ? SIGEV_THREAD_ID : SIGEV_SIGNAL, .sigev_signo = SIGRTMIN };

	ev._sigev_un._tid = arg & SIGNALS_FIRST ? first_tid : second_tid;
	return syscall(SYS_timer_create, CLOCK_THREAD_CPUTIME_ID, &ev, &timer_id) ||
	       set_timer(timer_id, 0, COUNTED_MS, 0);
}

static void burn_own(int ms)
{
	int64_t end = now_ms(CLOCK_THREAD_CPUTIME_ID) + ms;

	while (now_ms(CLOCK_THREAD_CPUTIME_ID) < end)
		burn();
}

static void *second_thread(void *arg)
{
	second_tid = tid_self();
	counted_failed = (long)arg & BY_SECOND && counted_timer((long)arg);
	let_go(&second_up);
	wait_for(&second_burns);
	burn_own(2 * COUNTED_MS);
	wait_for(&second_ends);
	return NULL;
}

static int counted_make(struct maker_ctx *ctx)
{
	TRY(catch (SIGRTMIN));
	first_tid = tid_self();
	TRY(thread_start(&thread, second_thread, (void *)ctx->arg));
	wait_for(&second_up);
	CHECK(!counted_failed && (ctx->arg & BY_SECOND || !counted_timer(ctx->arg)));
	return 0;
}

static int counted_use(struct maker_ctx *ctx)
{
	bool second = ctx->arg & BY_SECOND;

	if (second)
		burn_own(2 * COUNTED_MS);
	else
		let_go(&second_burns);
	nap(100);
	if (!second) /* it has burnt */
		CHECK(UNTIL(task_state(second_tid) == 'S'));
	SAME(fired, 0);
	if (second)
		let_go(&second_burns);
	else
		burn_own(2 * COUNTED_MS);
	CHECK(UNTIL(fired));
	if (ctx->arg & 3)
		SAME(fired_tid, ctx->arg & SIGNALS_FIRST ? first_tid : second_tid);
	let_go(&second_burns);
	let_go(&second_ends);
	return pthread_join(thread, NULL);
}

/* timer_create of the C library with a function: a helper thread of its own, whose sigwaitinfo a stop ends, which is seen on its stack. */

static timer_t lib_timer;

static void call(union sigval v)
{
	fired_value = v.sival_int;
	fired++;
}

static int function_make(struct maker_ctx *ctx)
{
	struct sigevent ev = {
		.sigev_notify = SIGEV_THREAD, .sigev_value.sival_int = 31, .sigev_notify_function = call
	};
	struct itimerspec v = { .it_value = { ctx->delay_ms / 1000, ctx->delay_ms % 1000 * 1000000 } };

	CHECK(!timer_create(CLOCK_MONOTONIC, &ev, &lib_timer));
	CHECK(!timer_settime(lib_timer, 0, &v, NULL));
	return 0;
}

static int function_use(struct maker_ctx *ctx)
{
	CHECK(UNTIL(fired == 1));
	SAME(fired_value, 31);
	CHECK(!timer_delete(lib_timer));
	return 0;
}

static int interval_make(struct maker_ctx *ctx)
{
	TRY(catch (SIGRTMIN));
	CHECK(!raw_timer(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN, 9, &timer_id));
	return set_timer(timer_id, 0, 60, 60);
}

static int interval_use(struct maker_ctx *ctx)
{
	int was = fired;
	int64_t left, interval;

	TRY(timer_left(timer_id, &left, &interval));
	SAME(interval, 60);
	CHECK(UNTIL(fired >= was + 4));
	return 0;
}

/*
 * Expired many times while blocked: one signal, and the count of the rest. No call gives a timer its count: a restore says that it is
 * lost, and the count begins anew with the restored timer (docs/coverage.md, posix_timers).
 */

static int overrun_make(struct maker_ctx *ctx)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	CHECK(!sigprocmask(SIG_BLOCK, &set, NULL));
	CHECK(!raw_timer(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN, 9, &timer_id));
	began = now_ms(CLOCK_MONOTONIC);
	TRY(set_timer(timer_id, 0, 10, 10));
	nap(100);
	return 0;
}

static int overrun_use(struct maker_ctx *ctx)
{
	int64_t passed;
	sigset_t set;
	siginfo_t si;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	SAME(sigwaitinfo(&set, &si), SIGRTMIN);
	passed = now_ms(CLOCK_MONOTONIC) - began;
	SAME(si.si_code, SI_TIMER);
	SAME(si.si_value.sival_int, 9);
	SAME(si.si_timerid, timer_id);
	CHECK(si.si_overrun >= 0 && si.si_overrun <= passed / 10 + 6);
	SAME(sigwaitinfo(&set, &si), SIGRTMIN);
	SAME(si.si_timerid, timer_id);
	return 0;
}

/* A timer that expired for good before: its signal is pending still. */
static int expired_make(struct maker_ctx *ctx)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	CHECK(!sigprocmask(SIG_BLOCK, &set, NULL));
	CHECK(!raw_timer(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGUSR2, 77, &timer_id));
	TRY(set_timer(timer_id, 0, 1, 0));
	nap(20);
	return 0;
}

static int expired_use(struct maker_ctx *ctx)
{
	sigset_t set;
	siginfo_t si;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	SAME(sigtimedwait(&set, &si, &(struct timespec){ 0 }), SIGUSR2);
	SAME(si.si_code, SI_TIMER);
	SAME(si.si_value.sival_int, 77);
	SAME(si.si_timerid, timer_id);
	SAME(sigtimedwait(&set, &si, &(struct timespec){ 0 }), -1);
	TRY(catch (SIGUSR2));
	CHECK(!sigprocmask(SIG_UNBLOCK, &set, NULL));
	TRY(set_timer(timer_id, 0, 1, 0));
	CHECK(UNTIL(fired == 1));
	return 0;
}

static int disarmed_make(struct maker_ctx *ctx)
{
	TRY(catch (SIGRTMIN));
	return raw_timer(CLOCK_BOOTTIME, SIGEV_SIGNAL, SIGRTMIN, 3, &timer_id);
}

static int disarmed_use(struct maker_ctx *ctx)
{
	int64_t left, interval;

	TRY(timer_left(timer_id, &left, &interval));
	SAME(left, 0);
	SAME(fired, 0);
	TRY(set_timer(timer_id, 0, 5, 0));
	CHECK(UNTIL(fired == 1));
	SAME(fired_value, 3);
	return 0;
}

/* Timers keep their numbers, gaps and all, and the next one is new. */

static int ids[10];

static int numbers_make(struct maker_ctx *ctx)
{
	for (int i = 0; i < 10; i++)
		CHECK(!raw_timer(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0, &ids[i]));
	for (int i = 0; i < 10; i += 3)
		CHECK(!syscall(SYS_timer_delete, ids[i]));
	return 0;
}

static int numbers_use(struct maker_ctx *ctx)
{
	int64_t left, interval;
	int id;

	CHECK(!raw_timer(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0, &id));
	for (int i = 0; i < 10; i++) {
		if (i % 3 == 0)
			continue;
		CHECK(id != ids[i]);
		TRY(timer_left(ids[i], &left, &interval));
		CHECK(!syscall(SYS_timer_delete, ids[i]));
	}
	return 0;
}

/* fork does not inherit timers: a child and a parent have their own under the same number. */
static int each_make(struct maker_ctx *ctx)
{
	CHECK(!raw_timer(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0, &timer_id));
	return set_timer(timer_id, 0, 1000000 * (1 + ctx->arg), 0);
}

static int each_use(struct maker_ctx *ctx)
{
	int64_t left, interval;

	TRY(timer_left(timer_id, &left, &interval));
	CHECK(llabs(left - 1000000 * (1 + ctx->arg)) < 60000);
	SAME(timer_id, 0);
	return 0;
}

static int per_process_make(struct maker_ctx *ctx)
{
	TRY(each_make(ctx));
	ctx->arg = 1;
	TRY(kid_start(ctx, each_make, each_use, NULL));
	ctx->arg = 0;
	return 0;
}

static int per_process_use(struct maker_ctx *ctx)
{
	TRY(each_use(ctx));
	return kids_finish(ctx);
}

const struct maker makers_timer[] = {
	{ "itimer-real", "ITIMER_REAL", itimer_make, itimer_use, 0, ITIMER_REAL },
	{ "itimer-virtual", "ITIMER_VIRTUAL", itimer_make, itimer_use, 0, ITIMER_VIRTUAL },
	{ "itimer-prof", "ITIMER_PROF", itimer_make, itimer_use, 0, ITIMER_PROF },
	{ "itimer-interval", "ITIMER_REAL every 50 ms", itimer_interval_make, itimer_interval_use, MAKER_RESTLESS },
	{ "itimer-expired", "ITIMER_REAL every 50 ms, expired with its signal blocked", itimer_expired_make,
		itimer_expired_use },
	{ "itimer-virtual-interval", "ITIMER_VIRTUAL every 50 ms", itimer_interval_make, itimer_interval_use, 0,
		ITIMER_VIRTUAL },
	{ "itimer-prof-interval", "ITIMER_PROF every 50 ms", itimer_interval_make, itimer_interval_use, MAKER_RESTLESS,
		ITIMER_PROF },
	{ "alarm", "alarm in 5000 seconds", alarm_far_make, alarm_far_use },
	{ "realtime", "a POSIX timer of CLOCK_REALTIME", posix_make, posix_use, 0, CLOCK_REALTIME },
	{ "monotonic", "of CLOCK_MONOTONIC", posix_make, posix_use, 0, CLOCK_MONOTONIC },
	{ "boottime", "of CLOCK_BOOTTIME", posix_make, posix_use, 0, CLOCK_BOOTTIME },
	{ "tai", "of CLOCK_TAI", posix_make, posix_use, 0, CLOCK_TAI },
	{ "realtime-alarm", "of CLOCK_REALTIME_ALARM", posix_make, posix_use, 0, CLOCK_REALTIME_ALARM },
	{ "boottime-alarm", "of CLOCK_BOOTTIME_ALARM", posix_make, posix_use, 0, CLOCK_BOOTTIME_ALARM },
	{ "process-cpu", "of the process's processor time", posix_make, posix_cpu_use, 0, CLOCK_PROCESS_CPUTIME_ID },
	{ "thread-cpu", "of a thread's processor time", posix_make, posix_cpu_use, 0, CLOCK_THREAD_CPUTIME_ID },
	ROW_ARG("counts-second", "of the processor time of the thread that made it, not the first", counted,
		BY_SECOND | SIGNALS_ANY),
	ROW_ARG("counts-second-itself", "and that it signals itself", counted, BY_SECOND | SIGNALS_SECOND),
	ROW_ARG("counts-second-first", "and that signals the first", counted, BY_SECOND | SIGNALS_FIRST),
	ROW_ARG("counts-first-second", "of the first, and that signals another", counted, SIGNALS_SECOND),
	{ "absolute-realtime", "at a time of CLOCK_REALTIME", absolute_make, absolute_use, 0, CLOCK_REALTIME },
	{ "absolute-monotonic", "at a time of CLOCK_MONOTONIC", absolute_make, absolute_use, 0, CLOCK_MONOTONIC },
	{ "absolute-boottime", "at a time of CLOCK_BOOTTIME", absolute_make, absolute_use, 0, CLOCK_BOOTTIME },
	{ "absolute-far", "far ahead, with an interval", far_make, far_use },
	{ "none", "SIGEV_NONE", none_make, none_use },
	{ "thread-id", "SIGEV_THREAD_ID", thread_make, thread_use },
	{ "function", "SIGEV_THREAD, by a thread of the C library", function_make, function_use, MAKER_NO_STOP },
	{ "interval", "every 60 ms", interval_make, interval_use, MAKER_RESTLESS },
	{ "overrun", "expired many times with its signal blocked", overrun_make, overrun_use },
	{ "expired", "expired, its signal pending", expired_make, expired_use },
	{ "disarmed", "never set", disarmed_make, disarmed_use },
	{ "numbers", "ten timers less four", numbers_make, numbers_use },
	{ "per-process", "a parent's and a child's under one number", per_process_make, per_process_use },
	{ 0 },
};
