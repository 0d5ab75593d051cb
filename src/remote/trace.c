/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "remote/trace.h"

#include <errno.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/macro.h"
#include "kernel/procfs.h"

#define SYSCALL_STOP  (SIGTRAP | 0x80) /* by PTRACE_O_TRACESYSGOOD */
#define EAGER	      8		       /* how often to look again without a sleep */
#define SYSCALL_INSN  2		       /* its length */
#define EVENT(status) ((unsigned int)(status) >> 16)

static int64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/*
 * A wait with a timeout does not exist, and SIGCHLD belongs to the program that uses the library. Most stops come within
 * microseconds, so look a few times at once, then sleep longer and longer. Not sched_yield: on a busy processor
 * each one puts this thread a whole slice behind everybody else (measured: 12 ms for an injection in place of 0.9).
 */
static void pause_before(int attempt)
{
	struct timespec t = { 0, 3000 };

	if (attempt < EAGER)
		return;
	t.tv_nsec <<= MIN((attempt - EAGER) / 8, 7);
	nanosleep(&t, NULL);
}

bool trace_is_exiting(pid_t tid)
{
	_cleanup_fd_ int dir = procfs_open_pid(tid);
	struct proc_stat st;

	return dir >= 0 && proc_stat_read(dir, &st) == 0 && st.flags & PF_EXITING;
}

#define PATIENCE 64 /* looks, of some milliseconds */

int trace_wait(struct stop *s, int timeout_ms, int *status)
{
	int64_t end = 0;

	for (int attempt = 0;; attempt++) {
		pid_t got = waitpid(s->tid, status, __WALL | WNOHANG);

		if (got == s->tid && WIFSTOPPED(*status))
			return 0;
		if (got == s->tid || (got < 0 && errno == ECHILD) ||
			(attempt % PATIENCE == PATIENCE - 1 && trace_is_exiting(s->tid))) {
			s->state = STOP_GONE;
			return -ESRCH;
		}
		if (attempt == EAGER)
			end = now_us() + timeout_ms * INT64_C(1000);
		if (!timeout_ms || (attempt > EAGER && now_us() >= end))
			return -ETIMEDOUT;
		pause_before(attempt);
	}
}

static int resume(struct stop *s, int request, int status)
{
	int sig = WSTOPSIG(status);

	/* A signal that was about to be delivered must go on being so; every other stop has nothing to hand on. */
	if (EVENT(status) || sig == SYSCALL_STOP)
		sig = 0;
	if (!ptrace(request, s->tid, 0, sig))
		return 0;
	return -errno;
}

static void note_group_stop(struct stop *s, int status)
{
	s->group_stopped = WSTOPSIG(status) != SIGTRAP;
	s->stop_signal = s->group_stopped ? WSTOPSIG(status) : 0;
}

int trace_event_stop(struct stop *s, int timeout_ms)
{
	int status, r;

	for (;;) {
		r = trace_wait(s, timeout_ms, &status);
		if (r < 0)
			return r;
		if (EVENT(status) == PTRACE_EVENT_STOP) {
			note_group_stop(s, status);
			return 0;
		}
		/* Entering any stop forgets a pending INTERRUPT. */
		ptrace(PTRACE_INTERRUPT, s->tid, 0, 0);
		r = resume(s, PTRACE_CONT, status);
		if (r < 0 && r != -ESRCH)
			return r;
	}
}

static int syscall_stop(struct stop *s)
{
	int status, r;

	for (;;) {
		r = trace_wait(s, TRACE_PROMPT_MS, &status);
		if (r < 0)
			return r;
		if (!EVENT(status) && WSTOPSIG(status) == SYSCALL_STOP)
			return 0;
		if (EVENT(status) == PTRACE_EVENT_STOP)
			note_group_stop(s, status);
		r = resume(s, PTRACE_SYSCALL, status);
		if (r < 0 && r != -ESRCH)
			return r;
	}
}

/* Inside the kernel the number of the call is in orig_rax. */
static int change_call(struct stop *s, const struct user_regs_struct *gp)
{
	struct user_regs_struct inside = *gp;

	inside.orig_rax = gp->rax;
	inside.rax = -(uint64_t)ENOSYS;
	inside.rip += SYSCALL_INSN;
	return ptrace(PTRACE_SETREGS, s->tid, 0, &inside) < 0 ? -errno : 0;
}

void trace_set_call(struct user_regs_struct *gp, uint64_t insn, long nr, const uint64_t args[6])
{
	gp->rip = insn;
	gp->rax = (uint64_t)nr;
	gp->orig_rax = -1ull;
	gp->rdi = args[0];
	gp->rsi = args[1];
	gp->rdx = args[2];
	gp->r10 = args[3];
	gp->r8 = args[4];
	gp->r9 = args[5];
}

int64_t trace_call(struct stop *s, const struct user_regs_struct *approach, const struct user_regs_struct *gp)
{
	struct user_regs_struct after;
	int r;

	/* Registers before the mask: what they hold knows how to put the mask back, if this is where spore dies. */
	if (ptrace(PTRACE_SETREGS, s->tid, 0, approach) < 0)
		return -errno;
	r = trace_sigmask_set(s->tid, ~0ull);
	if (r < 0)
		return r;
	if (ptrace(PTRACE_SYSCALL, s->tid, 0, 0) < 0)
		return -errno;
	r = syscall_stop(s);
	if (r < 0)
		return r;
	/*
	 * Not to the exit stop of the call: what is restored there goes to user space as it is, and a sleep that was interrupted before would
	 * be seen to return -516. PTRACE_SINGLESTEP would leave a trap flag behind when spore dies.
	 */
	ptrace(PTRACE_INTERRUPT, s->tid, 0, 0);
	if (approach != gp)
		r = change_call(s, gp);
	if (r < 0)
		return r;
	if (ptrace(PTRACE_CONT, s->tid, 0, 0) < 0)
		return -errno;
	r = trace_event_stop(s, TRACE_PROMPT_MS);
	if (r < 0)
		return r;
	if (ptrace(PTRACE_GETREGS, s->tid, 0, &after) < 0)
		return -errno;
	return (int64_t)after.rax;
}

int trace_sigmask_get(pid_t tid, uint64_t *mask)
{
	return ptrace(PTRACE_GETSIGMASK, tid, sizeof(*mask), mask) < 0 ? -errno : 0;
}

int trace_sigmask_set(pid_t tid, uint64_t mask)
{
	return ptrace(PTRACE_SETSIGMASK, tid, sizeof(mask), &mask) < 0 ? -errno : 0;
}

/* Mask first: until the registers are back the task could still put its mask right by itself, if spore died here. */
int trace_put_back(struct stop *s)
{
	int r = s->regs_dirty ? trace_sigmask_set(s->tid, s->sigmask) : 0;

	return r < 0 ? r : task_gp_set(s->tid, &s->regs.gp);
}
