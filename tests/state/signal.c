/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Signals: dispositions, handlers that are running, tasks that wait for one. signal(7). */

#include "signal_seen.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <ucontext.h>

static pid_t kid;
static pthread_t thread;
static _Atomic pid_t thread_tid;
static _Atomic int thread_bad;

/* Every signal with a disposition of its own; each flag at least once. */

static const int all_flags[] = { 0, SA_RESTART, SA_NODEFER, SA_RESETHAND, SA_NOCLDSTOP, SA_NOCLDWAIT, SA_ONSTACK,
	SA_SIGINFO, SA_RESTART | SA_SIGINFO | SA_ONSTACK, 0x800 /* SA_EXPOSE_TAGBITS */ };

static void disposition(int sig, struct sigaction *sa)
{
	memset(sa, 0, sizeof(*sa));
	sa->sa_flags = all_flags[(size_t)sig % (sizeof(all_flags) / sizeof(all_flags[0]))];
	sigemptyset(&sa->sa_mask);
	sigaddset(&sa->sa_mask, 1 + sig % 31);
	sigaddset(&sa->sa_mask, SIGRTMIN + sig % 20);
	if (sig % 7 == 3) {
		sa->sa_handler = SIG_IGN;
		sa->sa_flags &= ~SA_SIGINFO;
	} else if (sa->sa_flags & SA_SIGINFO) {
		sa->sa_sigaction = note_info;
	} else {
		sa->sa_handler = note;
	}
}

static bool may_change(int sig)
{
	return sig != SIGKILL && sig != SIGSTOP && (sig < 32 || sig >= SIGRTMIN);
}

static int handlers_make(struct maker_ctx *ctx)
{
	struct sigaction sa;

	for (int s = 1; s <= SIGRTMAX; s++) {
		if (!may_change(s))
			continue;
		disposition(s, &sa);
		CHECK(!sigaction(s, &sa, NULL));
	}
	return 0;
}

static int handlers_use(struct maker_ctx *ctx)
{
	struct sigaction sa, now;

	for (int s = 1; s <= SIGRTMAX; s++) {
		if (!may_change(s))
			continue;
		disposition(s, &sa);
		CHECK(!sigaction(s, NULL, &now));
		CHECK(now.sa_handler == sa.sa_handler);
		SAME(now.sa_flags & ~0x04000000, sa.sa_flags);
		for (int i = 1; i < 32; i++)
			if (i != SIGKILL && i != SIGSTOP)
				SAME(sigismember(&now.sa_mask, i), sigismember(&sa.sa_mask, i));
		for (int i = SIGRTMIN; i <= SIGRTMAX; i++)
			SAME(sigismember(&now.sa_mask, i), sigismember(&sa.sa_mask, i));
	}
	CHECK(!raise(SIGUSR2));
	SAME(count, 1);
	SAME(last_signo, SIGUSR2);
	return 0;
}

/* A handler that runs once. */

static int resethand_make(struct maker_ctx *ctx)
{
	TRY(catch (SIGUSR1, SA_RESETHAND));
	TRY(catch (SIGUSR2, SA_RESETHAND));
	return raise(SIGUSR2);
}

static int resethand_use(struct maker_ctx *ctx)
{
	struct sigaction sa;

	CHECK(!sigaction(SIGUSR2, NULL, &sa));
	CHECK(sa.sa_handler == SIG_DFL);
	CHECK(!raise(SIGUSR1));
	CHECK(!sigaction(SIGUSR1, NULL, &sa));
	CHECK(sa.sa_handler == SIG_DFL);
	SAME(count, 2);
	return 0;
}

/* Ignored signals stay ignored, and children that nobody waits for leave no zombie. */

static int ignored_make(struct maker_ctx *ctx)
{
	CHECK(signal(SIGTERM, SIG_IGN) != SIG_ERR);
	CHECK(signal(SIGCHLD, SIG_IGN) != SIG_ERR);
	return 0;
}

static int ignored_use(struct maker_ctx *ctx)
{
	pid_t p;

	CHECK(!kill(getpid(), SIGTERM));
	p = fork();
	CHECK(p >= 0);
	if (!p)
		_exit(1);
	SAME(waitpid(p, NULL, 0), -1);
	SAME(errno, ECHILD);
	return 0;
}

/* Tasks inside a handler: on the normal stack, on the alternate one, one inside another. arg says which. */

static char altstack[65536];
static _Atomic int in_handler;
static volatile int handler_bad;
static struct maker_shared *page;

static void stays(int sig, siginfo_t *si, void *uc)
{
	char here[256];
	bool on_alt = (char *)here >= altstack && (char *)here < altstack + sizeof(altstack);
	stack_t s;

	fill(here, sizeof(here), (uint64_t)sig);
	if (sig == SIGUSR1 && page->value[0] == 2) {
		raise(SIGUSR2);
	} else {
		page->flag[0] = 1;
		wait_for(&page->go);
	}
	sigaltstack(NULL, &s);
	if (on_alt != (page->value[0] > 0) || ((s.ss_flags & SS_ONSTACK) != 0) != on_alt || si->si_signo != sig)
		handler_bad++;
	if (check_fill(here, sizeof(here), (uint64_t)sig))
		handler_bad++;
	in_handler++;
}

static int enters_handler(struct maker_ctx *ctx)
{
	stack_t s = { .ss_sp = altstack, .ss_size = sizeof(altstack) };
	struct sigaction sa = { .sa_sigaction = stays, .sa_flags = SA_SIGINFO | (ctx->arg ? SA_ONSTACK : 0) };
	volatile double x = 1.5;
	sigset_t set;

	if (ctx->arg)
		CHECK(!sigaltstack(&s, NULL));
	sigemptyset(&sa.sa_mask);
	sigaddset(&sa.sa_mask, SIGHUP);
	CHECK(!sigaction(SIGUSR1, &sa, NULL));
	CHECK(!sigaction(SIGUSR2, &sa, NULL));
	CHECK(!raise(SIGUSR1));
	SAME(in_handler, ctx->arg == 2 ? 2 : 1);
	SAME(handler_bad, 0);
	CHECK(x == 1.5);
	SAME(pthread_sigmask(SIG_SETMASK, NULL, &set), 0);
	SAME(sigismember(&set, SIGHUP), 0);
	SAME(sigismember(&set, SIGUSR1), 0);
	return 0;
}

static int in_handler_make(struct maker_ctx *ctx)
{
	page = shared(ctx);
	page->value[0] = ctx->arg;
	kid = fork();
	CHECK(kid >= 0);
	if (!kid)
		_exit(enters_handler(ctx));
	ctx->kids[ctx->n_kids++] = kid;
	CHECK(UNTIL(page->flag[0]));
	return 0;
}

/* A call that a handler interrupts after the restore: restarted, or ended by EINTR. */

static int pipe_fds[2];
static ssize_t got;
static int got_errno;

static void *reads(void *arg)
{
	char c;

	thread_tid = tid_self();
	got = read(pipe_fds[0], &c, 1);
	got_errno = errno;
	return NULL;
}

static int restart_make(struct maker_ctx *ctx)
{
	CHECK(!pipe(pipe_fds));
	TRY(catch (SIGUSR1, (int)ctx->arg));
	TRY(thread_start(&thread, reads, NULL));
	CHECK(UNTIL(thread_tid));
	return until_blocked_in(thread_tid, SYS_read);
}

static int restart_use(struct maker_ctx *ctx)
{
	TRY(until_blocked_in(thread_tid, SYS_read));
	SAME(pthread_kill(thread, SIGUSR1), 0);
	CHECK(UNTIL(count == 1));
	if (ctx->arg) {
		TRY(until_blocked_in(thread_tid, SYS_read));
		SAME(write(pipe_fds[1], "x", 1), 1);
	}
	SAME(pthread_join(thread, NULL), 0);
	if (ctx->arg)
		SAME(got, 1);
	else
		SAME(got == -1 ? got_errno : 0, EINTR);
	return 0;
}

/* A thread that waits for a signal: arg is the system call. */

static long waits_in;
static siginfo_t waited;

static void *waits(void *arg)
{
	sigset_t set = one(SIGUSR1), none;
	struct pollfd none_at_all = { .fd = -1 };
	struct timespec t = { 1000, 0 };

	sigfillset(&none);
	sigdelset(&none, SIGUSR1);
	thread_tid = tid_self();
	switch (waits_in) {
	case SYS_pause:
		mask(SIG_UNBLOCK, SIGUSR1);
		got = syscall(SYS_pause);
		mask(SIG_BLOCK, SIGUSR1);
		break;
	case SYS_rt_sigsuspend:
		got = sigsuspend(&none);
		break;
	case SYS_ppoll:
		got = ppoll(&none_at_all, 1, &t, &none);
		break;
	default:
		got = syscall(SYS_rt_sigtimedwait, &set, &waited, arg ? &t : NULL, 8);
		break;
	}
	got_errno = errno;
	if (pthread_sigmask(SIG_SETMASK, NULL, &none) || !sigismember(&none, SIGUSR1) || sigismember(&none, SIGUSR2))
		thread_bad++;
	return NULL;
}

static int waits_make(struct maker_ctx *ctx)
{
	waits_in = labs(ctx->arg);
	TRY(mask(SIG_BLOCK, SIGUSR1));
	TRY(catch (SIGUSR1, SA_RESTART));
	TRY(thread_start(&thread, waits, ctx->arg < 0 ? &waits_in : NULL));
	CHECK(UNTIL(thread_tid));
	return until_blocked_in(thread_tid, waits_in);
}

static int waits_use(struct maker_ctx *ctx)
{
	TRY(until_blocked_in(thread_tid, waits_in));
	CHECK(!sigqueue(getpid(), SIGUSR1, (union sigval){ .sival_int = 99 }));
	SAME(pthread_join(thread, NULL), 0);
	SAME(thread_bad, 0);
	if (waits_in == SYS_rt_sigtimedwait) {
		SAME(got, SIGUSR1);
		SAME(waited.si_value.sival_int, 99);
		SAME(count, 0);
		return 0;
	}
	SAME(got == -1 ? got_errno : 0, EINTR);
	SAME(count, 1);
	SAME(last_value, 99);
	return 0;
}

/* An alternate stack that is put away while a handler runs on it. */

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1u << 31)
#endif

static int autodisarm_make(struct maker_ctx *ctx)
{
	stack_t s = { .ss_sp = altstack, .ss_size = sizeof(altstack), .ss_flags = (int)SS_AUTODISARM };

	return sigaltstack(&s, NULL);
}

static int autodisarm_use(struct maker_ctx *ctx)
{
	stack_t s;

	CHECK(!sigaltstack(NULL, &s));
	SAME((unsigned)s.ss_flags, SS_AUTODISARM);
	SAME((uintptr_t)s.ss_sp, (uintptr_t)altstack);
	SAME(s.ss_size, sizeof(altstack));
	return 0;
}

const struct maker makers_signal[] = {
	{ "handlers", "every signal with a disposition, flags and mask of its own", handlers_make, handlers_use,
		MAKER_NO_STOP },
	{ "resethand", "a handler that runs once, used and unused", resethand_make, resethand_use },
	{ "ignored", "SIGTERM and SIGCHLD ignored", ignored_make, ignored_use },
	{ "in-handler", "a process inside a handler", in_handler_make, NULL, 0, 0 },
	{ "in-handler-altstack", "inside a handler on the alternate stack", in_handler_make, NULL, 0, 1 },
	{ "in-handler-nested", "inside a handler inside a handler", in_handler_make, NULL, 0, 2 },
	ROW("altstack-autodisarm", "an alternate stack that is put away in a handler", autodisarm),
	{ "restarts", "a read that SA_RESTART will restart", restart_make, restart_use, 0, SA_RESTART },
	{ "interrupts", "a read that a handler will interrupt", restart_make, restart_use },
	{ "pause", "a thread in pause", waits_make, waits_use, 0, SYS_pause },
	{ "sigsuspend", "a thread in sigsuspend", waits_make, waits_use, 0, SYS_rt_sigsuspend },
	{ "ppoll-mask", "a thread in ppoll with a mask", waits_make, waits_use, MAKER_BUSY, SYS_ppoll },
	{ "sigwaitinfo", "a thread in sigwaitinfo", waits_make, waits_use, MAKER_NO_STOP, SYS_rt_sigtimedwait },
	{ "sigtimedwait", "a thread in sigtimedwait with a long timeout", waits_make, waits_use,
		MAKER_NO_STOP | MAKER_BUSY,
		-SYS_rt_sigtimedwait }, /* what is left of the time is written below its stack */
	{ 0 },
};
