/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Signals: dispositions, masks, what is pending, handlers that are running, tasks that wait for one.
 * signal(7). */

#include "maker.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <ucontext.h>

enum { BASE = SIGUSR1 };

static volatile sig_atomic_t count, last_signo, last_code, last_value;
static volatile pid_t last_tid;
static int order[64];

static void note(int sig)
{
	count++;
	last_signo = sig;
}

static void note_info(int sig, siginfo_t *si, void *uc)
{
	if (count < 64)
		order[count] = si->si_value.sival_int;
	count++;
	last_signo = sig;
	last_code = si->si_code;
	last_value = si->si_value.sival_int;
	last_tid = tid_self();
}

static int catch (int sig, int flags)
{
	struct sigaction sa = { .sa_sigaction = note_info, .sa_flags = flags | SA_SIGINFO };

	sigemptyset(&sa.sa_mask);
	CHECK(!sigaction(sig, &sa, NULL));
	return 0;
}

static sigset_t one(int sig)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	return set;
}

static int mask(int how, int sig)
{
	sigset_t set = one(sig);

	SAME(pthread_sigmask(how, &set, NULL), 0);
	return 0;
}

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

/* Pending for the process. */

static int pending_shared_make(struct maker_ctx *ctx)
{
	TRY(mask(SIG_BLOCK, SIGUSR1));
	TRY(catch (SIGUSR1, 0));
	return kill(getpid(), SIGUSR1);
}

static int pending_shared_use(struct maker_ctx *ctx)
{
	sigset_t set;

	CHECK(!sigpending(&set));
	SAME(sigismember(&set, SIGUSR1), 1);
	SAME(count, 0);
	TRY(mask(SIG_UNBLOCK, SIGUSR1));
	SAME(count, 1);
	SAME(last_code, SI_USER);
	CHECK(!sigpending(&set));
	SAME(sigismember(&set, SIGUSR1), 0);
	return 0;
}

/* Ten of one real-time signal, with values and in order, and two others. */

static int pending_queue_make(struct maker_ctx *ctx)
{
	for (int s = SIGRTMIN + 1; s <= SIGRTMIN + 3; s++) {
		TRY(mask(SIG_BLOCK, s));
		TRY(catch (s, 0));
	}
	for (int i = 0; i < 10; i++)
		CHECK(!sigqueue(getpid(), SIGRTMIN + 2, (union sigval){ .sival_int = 100 + i }));
	CHECK(!sigqueue(getpid(), SIGRTMIN + 3, (union sigval){ .sival_int = 7 }));
	CHECK(!sigqueue(getpid(), SIGRTMIN + 1, (union sigval){ .sival_int = -8 }));
	return 0;
}

static int pending_queue_use(struct maker_ctx *ctx)
{
	siginfo_t si;
	sigset_t set;

	for (int s = 1; s <= 3; s++) {
		set = one(SIGRTMIN + s);
		for (int i = 0; i < (s == 2 ? 10 : 1); i++) {
			SAME(sigwaitinfo(&set, &si), SIGRTMIN + s);
			SAME(si.si_code, SI_QUEUE);
			SAME(si.si_pid, getpid());
			SAME(si.si_uid, getuid());
			SAME(si.si_value.sival_int, s == 2 ? 100 + i : s == 1 ? -8 : 7);
		}
		SAME(sigtimedwait(&set, &si, &(struct timespec){ 0 }), -1);
	}
	return 0;
}

/* Pending for one thread: only that one gets it. */

static _Atomic int thread_up, thread_go, thread_bad;
static pid_t thread_tid;
static pthread_t thread;

static void *blocks_usr1(void *arg)
{
	if (mask(SIG_BLOCK, SIGUSR1) || mask(SIG_BLOCK, SIGRTMIN + 5))
		thread_bad++;
	thread_tid = tid_self();
	thread_up = 1;
	wait_for(&thread_go);
	if (count)
		thread_bad++;
	if (mask(SIG_UNBLOCK, SIGUSR1) || mask(SIG_UNBLOCK, SIGRTMIN + 5))
		thread_bad++;
	if (count != 3 || last_tid != thread_tid)
		thread_bad++;
	return NULL;
}

static int pending_thread_make(struct maker_ctx *ctx)
{
	TRY(catch (SIGUSR1, 0));
	TRY(catch (SIGRTMIN + 5, 0));
	TRY(thread_start(&thread, blocks_usr1, NULL));
	CHECK(UNTIL(thread_up));
	CHECK(!pthread_kill(thread, SIGUSR1));
	SAME(pthread_sigqueue(thread, SIGRTMIN + 5, (union sigval){ .sival_int = 1 }), 0);
	SAME(pthread_sigqueue(thread, SIGRTMIN + 5, (union sigval){ .sival_int = 2 }), 0);
	return 0;
}

static int pending_thread_use(struct maker_ctx *ctx)
{
	sigset_t set;

	CHECK(!sigpending(&set));
	SAME(sigismember(&set, SIGUSR1), 0);
	SAME(count, 0);
	let_go(&thread_go);
	SAME(pthread_join(thread, NULL), 0);
	SAME(thread_bad, 0);
	SAME(count, 3);
	return 0;
}

/* The same signal pending for the process and for one of its threads are two. */
static int pending_both_make(struct maker_ctx *ctx)
{
	TRY(mask(SIG_BLOCK, SIGUSR2));
	TRY(catch (SIGUSR2, 0));
	CHECK(!kill(getpid(), SIGUSR2));
	return (int)syscall(SYS_tgkill, getpid(), tid_self(), SIGUSR2);
}

static int pending_both_use(struct maker_ctx *ctx)
{
	sigset_t set = one(SIGUSR2);
	siginfo_t si;

	/* The C library's sigwaitinfo would call both SI_USER. */
	SAME(syscall(SYS_rt_sigtimedwait, &set, &si, NULL, 8), SIGUSR2);
	SAME(si.si_code, SI_TKILL);
	SAME(syscall(SYS_rt_sigtimedwait, &set, &si, NULL, 8), SIGUSR2);
	SAME(si.si_code, SI_USER);
	return 0;
}

/* Every kind of origin that a program can put in a siginfo of its own, and all bytes that the kernel keeps of
 * it. */

static const int codes[] = { SI_USER, SI_QUEUE, SI_TIMER, SI_MESGQ, SI_ASYNCIO, SI_SIGIO, SI_TKILL, SI_KERNEL, -20, 1,
	2, 5 };

enum { N_CODES = sizeof(codes) / sizeof(codes[0]) };

static void make_info(int i, siginfo_t *si)
{
	memset(si, 0, sizeof(*si));
	fill((char *)si + 16, 32, (uint64_t)i);
	si->si_signo = SIGRTMIN + 4;
	si->si_errno = 50 + i;
	si->si_code = codes[i];
}

static int pending_codes_make(struct maker_ctx *ctx)
{
	siginfo_t si;

	TRY(mask(SIG_BLOCK, SIGRTMIN + 4));
	for (int i = 0; i < N_CODES; i++) {
		make_info(i, &si);
		CHECK(!syscall(SYS_rt_sigqueueinfo, getpid(), SIGRTMIN + 4, &si));
	}
	return 0;
}

static int pending_codes_use(struct maker_ctx *ctx)
{
	sigset_t set = one(SIGRTMIN + 4);
	siginfo_t si, was;

	for (int i = 0; i < N_CODES; i++) {
		make_info(i, &was);
		SAME(syscall(SYS_rt_sigtimedwait, &set, &si, NULL, 8), SIGRTMIN + 4);
		SAME(si.si_code, codes[i]);
		SAME(si.si_errno, 50 + i);
		SAME(si.si_pid, was.si_pid);
		SAME(si.si_uid, was.si_uid);
		if (codes[i] < 0)
			SAME(si.si_value.sival_int, was.si_value.sival_int);
	}
	return 0;
}

/* A stop that is blocked, and a SIGCHLD that a zombie left. */

static int pending_tstp_make(struct maker_ctx *ctx)
{
	TRY(mask(SIG_BLOCK, SIGTSTP));
	return kill(getpid(), SIGTSTP);
}

static int pending_tstp_use(struct maker_ctx *ctx)
{
	sigset_t set = one(SIGTSTP);

	SAME(sigtimedwait(&set, NULL, &(struct timespec){ 0 }), SIGTSTP);
	return 0;
}

static pid_t kid;

static int pending_chld_make(struct maker_ctx *ctx)
{
	siginfo_t si;

	TRY(mask(SIG_BLOCK, SIGCHLD));
	TRY(catch (SIGCHLD, 0));
	kid = fork();
	CHECK(kid >= 0);
	if (!kid)
		_exit(44);
	return waitid(P_PID, (id_t)kid, &si, WEXITED | WNOWAIT);
}

static int pending_chld_use(struct maker_ctx *ctx)
{
	sigset_t set = one(SIGCHLD);
	int status;
	siginfo_t si;

	SAME(sigtimedwait(&set, &si, &(struct timespec){ 0 }), SIGCHLD);
	SAME(si.si_code, CLD_EXITED);
	SAME(si.si_pid, kid);
	SAME(si.si_status, 44);
	SAME(sigtimedwait(&set, &si, &(struct timespec){ 0 }), -1);
	SAME(waitpid(-1, &status, 0), kid);
	SAME(status, 44 << 8);
	return 0;
}

/* A zombie whose SIGCHLD was consumed: no second one. */
static int no_second_chld_make(struct maker_ctx *ctx)
{
	TRY(pending_chld_make(ctx));
	TRY(mask(SIG_UNBLOCK, SIGCHLD));
	SAME(count, 1);
	return 0;
}

static int no_second_chld_use(struct maker_ctx *ctx)
{
	int status;

	SAME(count, 1);
	SAME(waitpid(-1, &status, 0), kid);
	SAME(count, 1);
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

#define PENDING(name, what, of)                                                                                        \
	{                                                                                                              \
		name, what, of##_make, of##_use                                                                        \
	}

const struct maker makers_signal[] = {
	{ "handlers", "every signal with a disposition, flags and mask of its own", handlers_make, handlers_use,
		MAKER_NO_STOP },
	{ "resethand", "a handler that runs once, used and unused", resethand_make, resethand_use },
	{ "ignored", "SIGTERM and SIGCHLD ignored", ignored_make, ignored_use },
	PENDING("pending-process", "SIGUSR1 pending for the process", pending_shared),
	PENDING("pending-queue", "twelve queued real-time signals with values, in order", pending_queue),
	PENDING("pending-thread", "signals pending for one thread", pending_thread),
	PENDING("pending-both", "one signal pending for the process and for its thread", pending_both),
	PENDING("pending-codes", "every origin that a siginfo may state", pending_codes),
	{ "pending-tstp", "a blocked SIGTSTP", pending_tstp_make, pending_tstp_use, MAKER_NO_STOP },
	PENDING("pending-chld", "a blocked SIGCHLD of a zombie", pending_chld),
	PENDING("consumed-chld", "a zombie whose SIGCHLD was handled", no_second_chld),
	{ "in-handler", "a process inside a handler", in_handler_make, NULL, 0, 0 },
	{ "in-handler-altstack", "inside a handler on the alternate stack", in_handler_make, NULL, 0, 1 },
	{ "in-handler-nested", "inside a handler inside a handler", in_handler_make, NULL, 0, 2 },
	PENDING("altstack-autodisarm", "an alternate stack that is put away in a handler", autodisarm),
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
