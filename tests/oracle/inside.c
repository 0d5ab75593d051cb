/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Some state is known to the process alone. The oracle stops its threads by ptrace, lets them run system
 * calls through a `syscall` instruction of their own vDSO, and puts everything back. Neither the stop nor the
 * calls may be seen: a call that a stop interrupts is restarted by the kernel when the registers are back as
 * they were, and one that a stop makes return EINTR (epoll_wait, sigtimedwait, semop...) is wound back to its
 * start.
 */

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "oracle.h"

#ifndef PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG
#define PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG 0x4210
#define PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG 0x4211
#endif
#ifndef PTRACE_O_SUSPEND_SECCOMP
#define PTRACE_O_SUSPEND_SECCOMP (1 << 21)
#endif

#define SYSCALL_STOP (SIGTRAP | 0x80)
#define PATIENCE_MS  2000 /* a thread in vfork or in slow storage does not stop; it is left out, by name */

static long request(int what, pid_t tid, uint64_t addr, const void *data)
{
	return ptrace(what, tid, (void *)addr, (void *)data);
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Waits a bounded time for one tracee. 0: it did not come. */
static pid_t wait_for(pid_t tid, int *status)
{
	int64_t deadline = 0;

	for (unsigned spin = 0;; spin++) {
		pid_t pid = waitpid(tid, status, __WALL | WNOHANG);

		if (pid)
			return pid;
		if (spin < 50) {
			sched_yield();
			continue;
		}
		if (!deadline)
			deadline = now_ms() + PATIENCE_MS;
		else if (now_ms() > deadline)
			return 0;
		nanosleep(&(struct timespec){ .tv_nsec = 20000 }, NULL);
	}
}

/* Until the stop that was asked for, or the group stop that was there; a signal on its way is let pass first.
 */
static bool wait_stopped(struct stopped *s)
{
	int status;

	for (;;) {
		pid_t pid = wait_for(s->task->tid, &status);

		if (pid == 0)
			return false;
		if (pid < 0 || !WIFSTOPPED(status)) {
			s->task->gone = true;
			return false;
		}
		if (status >> 16 == PTRACE_EVENT_STOP) {
			s->group_stop = WSTOPSIG(status) != SIGTRAP;
			return true;
		}
		request(PTRACE_CONT, s->task->tid, 0, (void *)(long)WSTOPSIG(status));
	}
}

static void seize(struct stopped *s)
{
	pid_t tid = s->task->tid;

	if (s->task->state == 'Z' || s->task->state == 'X' || s->task->state == 't')
		return;
	if (request(PTRACE_SEIZE, tid, 0, (void *)PTRACE_O_TRACESYSGOOD) < 0)
		return;
	s->held = true;
	/* One in a group stop reports it by itself; an interruption on top would come later, in the middle.
	 */
	if (s->task->state != 'T')
		request(PTRACE_INTERRUPT, tid, 0, NULL);
}

static void suspend_seccomp(struct stopped *s)
{
	char value[16];
	_free_ char *status = slurpf(NULL, "/proc/%d/task/%d/status", s->task->proc->pid, s->task->tid);

	if (status && line_value(status, "Seccomp", value, sizeof(value)) && atoi(value))
		request(PTRACE_SETOPTIONS, s->task->tid, 0,
			(void *)(long)(PTRACE_O_TRACESYSGOOD | PTRACE_O_SUSPEND_SECCOMP));
}

static void suspend_dispatch(struct stopped *s)
{
	struct dispatch off = { 0 };

	if (request(PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG, s->task->tid, sizeof(s->dispatch), &s->dispatch) < 0)
		return;
	s->dispatched = s->dispatch.mode != 0;
	if (s->dispatched)
		request(PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG, s->task->tid, sizeof(off), &off);
}

/* A system call made inside a restartable sequence would clear this pointer, and the sequence would be
 * committed. */
static void remember_rseq(struct stopped *s)
{
	struct __ptrace_rseq_configuration conf = { 0 };
	struct iovec local = { &s->rseq_cs, 8 };
	struct iovec remote;

	if (request(PTRACE_GET_RSEQ_CONFIGURATION, s->task->tid, sizeof(conf), &conf) < 0)
		return;
	s->task->rseq = conf.rseq_abi_pointer;
	s->task->rseq_size = conf.rseq_abi_size;
	remote = (struct iovec){ (void *)(conf.rseq_abi_pointer + 8), 8 };
	if (s->task->rseq && process_vm_readv(s->task->tid, &local, 1, &remote, 1, 0) != 8)
		s->rseq_cs = 0;
}

static void restore_rseq(struct stopped *s)
{
	struct iovec local = { &s->rseq_cs, 8 };
	struct iovec remote = { (void *)(s->task->rseq + 8), 8 };

	if (s->task->rseq && s->rseq_cs)
		process_vm_writev(s->task->tid, &local, 1, &remote, 1, 0);
}

/* Whether a signal waits that the thread will take at once: then EINTR is that signal's doing, and stays. */
static bool signal_due(const struct stopped *s)
{
	_free_ char *status = slurpf(NULL, "/proc/%d/task/%d/status", s->task->proc->pid, s->task->tid);
	uint64_t pending = 0;
	char value[32];

	if (status && line_value(status, "SigPnd", value, sizeof(value)))
		pending |= strtoull(value, NULL, 16);
	if (status && line_value(status, "ShdPnd", value, sizeof(value)))
		pending |= strtoull(value, NULL, 16);
	return pending & ~s->mask;
}

static void take(struct stopped *s)
{
	uint64_t all = ~0UL;

	request(PTRACE_GETREGS, s->task->tid, 0, &s->regs);
	request(PTRACE_GETSIGMASK, s->task->tid, sizeof(s->mask), &s->mask);
	s->task->blocked = registers_blocked(&s->regs);
	/* In a group stop the EINTR is the stop signal's. close() must not be made twice. */
	s->wind_back = s->regs.rax == (unsigned long long)-EINTR && s->task->blocked && !s->group_stop &&
		       s->regs.orig_rax != SYS_close && !signal_due(s);
	suspend_seccomp(s);
	suspend_dispatch(s);
	remember_rseq(s);
	request(PTRACE_SETSIGMASK, s->task->tid, sizeof(all), &all);
}

static void let_go(struct stopped *s)
{
	pid_t tid = s->task->tid;
	struct user_regs_struct regs = s->regs;

	if (s->wind_back) {
		regs.rax = regs.orig_rax;
		regs.rip -= 2;
		regs.orig_rax = -1;
	}
	request(PTRACE_SETREGS, tid, 0, &regs);
	request(PTRACE_SETSIGMASK, tid, sizeof(s->mask), &s->mask);
	if (s->dispatched)
		request(PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG, tid, sizeof(s->dispatch), &s->dispatch);
	restore_rseq(s);
	request(PTRACE_DETACH, tid, 0, NULL);
}

static bool resume_to_syscall_stop(struct stopped *s)
{
	int status;

	do {
		if (request(PTRACE_SYSCALL, s->task->tid, 0, NULL) < 0 || wait_for(s->task->tid, &status) <= 0 ||
			!WIFSTOPPED(status)) {
			s->task->gone = true;
			return false;
		}
	} while (WSTOPSIG(status) != SYSCALL_STOP);
	return true;
}

/* One system call in a stopped thread. Its result is the kernel's: a negative errno on failure. */
long remote_call(
	struct inside *in, struct stopped *s, long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e)
{
	struct user_regs_struct regs = s->regs;
	struct __ptrace_syscall_info info = { 0 };

	if (s->task->gone)
		return -ESRCH;
	regs.rip = in->syscall_at;
	regs.rax = nr;
	regs.rdi = a;
	regs.rsi = b;
	regs.rdx = c;
	regs.r10 = d;
	regs.r8 = e;
	regs.r9 = 0;
	regs.orig_rax = -1;
	if (request(PTRACE_SETREGS, s->task->tid, 0, &regs) < 0)
		return -errno;
	if (!resume_to_syscall_stop(s) || !resume_to_syscall_stop(s))
		return -ESRCH;
	if (request(PTRACE_GET_SYSCALL_INFO, s->task->tid, sizeof(info), &info) < 0 ||
		info.op != PTRACE_SYSCALL_INFO_EXIT)
		return -EPROTO;
	return info.exit.rval;
}

bool remote_read(struct stopped *s, uint64_t at, void *buf, size_t len)
{
	struct iovec local = { buf, len };
	struct iovec remote = { (void *)at, len };

	return process_vm_readv(s->task->tid, &local, 1, &remote, 1, 0) == (ssize_t)len;
}

/* 0f 05 anywhere in the vDSO; else in any executable mapping (a program may unmap its vDSO). */
static uint64_t find_syscall(const struct proc *p)
{
	_free_ char *maps = slurpf(NULL, "/proc/%d/task/%d/maps", p->pid, live_tid(p));
	uint64_t found = 0;
	char *save = NULL;

	for (char *line = maps ? strtok_r(maps, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save)) {
		uint64_t start, end;
		bool vdso = strstr(line, "[vdso]");
		_free_ unsigned char *code = NULL;
		struct iovec local, remote;
		char x;

		if (sscanf(line, "%lx-%lx %*c%*c%c", &start, &end, &x) != 3 || x != 'x' || (found && !vdso))
			continue;
		if (strstr(line, "[vsyscall]"))
			continue;
		if (end - start > 1 << 20)
			end = start + (1 << 20);
		code = malloc(end - start);
		local = (struct iovec){ code, end - start };
		remote = (struct iovec){ (void *)start, end - start };
		if (process_vm_readv(live_tid(p), &local, 1, &remote, 1, 0) != (ssize_t)(end - start))
			continue;
		for (uint64_t i = 0; i + 1 < end - start; i++) {
			if (code[i] == 0x0f && code[i + 1] == 0x05) {
				found = start + i;
				break;
			}
		}
	}
	return found;
}

/*
 * A page for answers: mapped for the moment, so that no byte of the program's own is written. Where the
 * program may map nothing more, a piece of its stack is borrowed and put back.
 */
static bool take_scratch(struct inside *in, struct stopped *s)
{
	struct iovec local = { in->saved, sizeof(in->saved) };
	struct iovec remote;
	long at = remote_call(in, s, SYS_mmap, 0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	if (at > 0) {
		in->scratch = at;
		return true;
	}
	in->scratch = (s->regs.rsp - 128 - 2 * PAGE) & ~(PAGE - 1);
	remote = (struct iovec){ (void *)in->scratch, PAGE };
	in->scratch_borrowed = true;
	return process_vm_readv(s->task->tid, &local, 1, &remote, 1, 0) == (ssize_t)PAGE;
}

static void give_scratch_back(struct inside *in, struct stopped *s)
{
	struct iovec local = { in->saved, sizeof(in->saved) };
	struct iovec remote = { (void *)in->scratch, PAGE };

	if (in->scratch_borrowed)
		process_vm_writev(s->task->tid, &local, 1, &remote, 1, 0);
	else
		remote_call(in, s, SYS_munmap, in->scratch, PAGE, 0, 0, 0);
}

static void hold_all(struct inside *in)
{
	for (size_t i = 0; i < in->p->ntasks; i++) {
		in->stopped[i].task = &in->p->tasks[i];
		seize(&in->stopped[i]);
	}
	for (size_t i = 0; i < in->p->ntasks; i++) {
		struct stopped *s = &in->stopped[i];

		if (!s->held)
			continue;
		s->held = wait_stopped(s);
		if (s->held)
			take(s);
	}
}

static bool is_still(const struct inside *in)
{
	for (size_t i = 0; i < in->p->ntasks; i++) {
		const struct stopped *s = &in->stopped[i];

		if (s->task->state == 'Z')
			continue;
		if (!s->held || !(s->task->blocked || s->group_stop))
			return false;
	}
	return true;
}

static void ask(struct inside *in, struct stopped *worker)
{
	if (worker->regs.cs != 0x33) {
		fact(in->o, in->p->prefix, "inside", "not asked: 32-bit code");
		return;
	}
	in->syscall_at = find_syscall(in->p);
	if (!in->syscall_at || !take_scratch(in, worker)) {
		fact(in->o, in->p->prefix, "inside", "not asked: no room for the questions");
		return;
	}
	ask_process(in, worker);
	for (size_t i = 0; i < in->p->ntasks; i++)
		if (in->stopped[i].held)
			ask_thread(in, &in->stopped[i]);
	give_scratch_back(in, worker);
}

void inside_facts(struct oracle *o, struct proc *p)
{
	struct inside in = { .o = o, .p = p };
	struct stopped *worker = NULL;

	in.stopped = calloc(p->ntasks, sizeof(*in.stopped));
	hold_all(&in);
	p->still = o->opt.still || is_still(&in);
	for (size_t i = 0; i < p->ntasks; i++) {
		struct stopped *s = &in.stopped[i];

		if (s->held && !worker)
			worker = s;
		if (!s->held && s->task->state != 'Z') {
			char prefix[48];

			thread_prefix(s->task, prefix);
			fact(o, prefix, "inside", "not asked: it does not stop");
		}
	}
	if (worker)
		ask(&in, worker);
	for (size_t i = 0; i < p->ntasks; i++)
		if (in.stopped[i].held)
			let_go(&in.stopped[i]);
	free(in.stopped);
}
