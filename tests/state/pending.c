/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Signals that are pending, for a process or for a thread of it. sigpending(2), sigqueue(3). */

#include "signal_seen.h"

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

const struct maker makers_pending[] = {
	ROW("process", "SIGUSR1 pending for the process", pending_shared),
	ROW("queue", "twelve queued real-time signals with values, in order", pending_queue),
	ROW("thread", "signals pending for one thread", pending_thread),
	ROW("both", "one signal pending for the process and for its thread", pending_both),
	ROW("codes", "every origin that a siginfo may state", pending_codes),
	{ "tstp", "a blocked SIGTSTP", pending_tstp_make, pending_tstp_use, MAKER_NO_STOP },
	ROW("chld", "a blocked SIGCHLD of a zombie", pending_chld),
	ROW("consumed-chld", "a zombie whose SIGCHLD was handled", no_second_chld),
	{ 0 },
};
