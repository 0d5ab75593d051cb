/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "remote/stop.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/macro.h"
#include "kernel/uapi.h"
#include "remote/memory.h"
#include "remote/trace.h"

#define RELEASE_MS 100

struct ptrace_rseq {
	uint64_t pointer;
	uint32_t size, signature, flags, pad;
};

#define USER_CS_64     0x33
#define RSEQ_CS_OFFSET 8 /* struct rseq.rseq_cs */

/* State of the task as /proc has it, 0 if it is gone. */
static char proc_state(pid_t tid)
{
	char path[32], text[256], *end;
	_cleanup_fd_ int fd = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return 0;
	text[n] = 0;
	end = strrchr(text, ')');
	return end && end[1] ? end[2] : 0;
}

static bool ended(pid_t tid)
{
	char state = proc_state(tid);

	return !state || state == 'Z' || state == 'X';
}

static int gone(struct stop *s)
{
	s->state = STOP_GONE;
	return -ESRCH;
}

int stop_seize(struct stop *s, pid_t tid, uint64_t options)
{
	*s = (struct stop){ .tid = tid };
	options |= PTRACE_O_TRACESYSGOOD;
	/* A filter of the task's would kill it for the stub's calls. Only for CAP_SYS_ADMIN; others go without. */
	if (!ptrace(PTRACE_SEIZE, tid, 0, options | PTRACE_O_SUSPEND_SECCOMP) ||
		!ptrace(PTRACE_SEIZE, tid, 0, options)) {
		s->state = STOP_SEIZED;
		return 0;
	}
	/* EPERM is also what a zombie answers. */
	if (errno == ESRCH || (errno == EPERM && ended(tid)))
		return gone(s);
	return -errno;
}

int stop_options(const struct stop *s, uint64_t options)
{
	options |= PTRACE_O_TRACESYSGOOD;
	if (!ptrace(PTRACE_SETOPTIONS, s->tid, 0, options | PTRACE_O_SUSPEND_SECCOMP) ||
		!ptrace(PTRACE_SETOPTIONS, s->tid, 0, options))
		return 0;
	return -errno;
}

int stop_interrupt(struct stop *s)
{
	if (s->state == STOP_STOPPED)
		return 0;
	if (s->state != STOP_SEIZED && s->state != STOP_RUNNING)
		return -ESRCH;
	if (ptrace(PTRACE_INTERRUPT, s->tid, 0, 0) < 0)
		return errno == ESRCH ? gone(s) : -errno;
	return 0;
}

/*
 * A task that was group-stopped when seized reports that by itself, and the INTERRUPT is still to come: it would stop the
 * next thing that the task is to do. One more, which adds nothing to one pending, and both are out of the way.
 */
static int drain(struct stop *s, int timeout_ms)
{
	ptrace(PTRACE_INTERRUPT, s->tid, 0, 0);
	if (ptrace(PTRACE_CONT, s->tid, 0, 0) < 0)
		return -errno;
	return trace_event_stop(s, timeout_ms);
}

int stop_wait(struct stop *s, int timeout_ms)
{
	int r;

	if (s->state == STOP_STOPPED)
		return 0;
	if (s->state != STOP_SEIZED)
		return -ESRCH;
	r = trace_event_stop(s, timeout_ms);
	if (!r && s->group_stopped)
		r = drain(s, MAX(timeout_ms, 1000));
	if (r == -ETIMEDOUT && ended(s->tid))
		return gone(s);
	if (r < 0)
		return r;
	s->state = STOP_STOPPED;
	return stop_read(s);
}

static int read_rseq(struct stop *s)
{
	struct ptrace_rseq c = { 0 };

	s->rseq = (struct rseq_registration){ 0 };
	s->rseq_cs = 0;
	/* A kernel without this call has rseq all the same, but no way to know where it is: then a section may commit unaborted. */
	if (ptrace(SPORE_PTRACE_GET_RSEQ_CONFIGURATION, s->tid, sizeof(c), &c) < 0 || !c.pointer)
		return 0;
	s->rseq = (struct rseq_registration){ REMOTE(c.pointer), c.size, c.signature, c.flags };
	if (remote_read(s->tid, REMOTE(c.pointer + RSEQ_CS_OFFSET), &s->rseq_cs, sizeof(s->rseq_cs)) < 0)
		s->rseq_cs = 0;
	return 0;
}

static void read_sud(struct stop *s)
{
	if (ptrace(SPORE_PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG, s->tid, sizeof(s->sud), &s->sud) < 0)
		memset(&s->sud, 0, sizeof(s->sud)), s->sud_untold = true;
}

int stop_read(struct stop *s)
{
	int r = task_regs_get(s->tid, &s->regs);

	if (!r)
		r = trace_sigmask_get(s->tid, &s->sigmask);
	if (!r)
		r = read_rseq(s);
	if (r == -ESRCH)
		return gone(s);
	if (r < 0)
		return r;
	read_sud(s);
	return 0;
}

bool stop_runs_64_bit(const struct stop *s)
{
	return s->regs.gp.cs == USER_CS_64;
}

int64_t stop_interrupted_call(const struct stop *s)
{
	int64_t call = (int64_t)s->regs.gp.orig_rax;
	struct __attribute__((packed)) {
		uint8_t mov_eax;
		uint32_t number;
		uint16_t syscall;
	} code;

	if (call != SYS_restart_syscall ||
		remote_read(s->tid, REMOTE(s->regs.gp.rip - sizeof(code)), &code, sizeof(code)) < 0)
		return call;
	if (code.mov_eax != 0xb8 || code.syscall != 0x050f)
		return call;
	switch (code.number) { /* those that restart that way */
	case SYS_nanosleep:
	case SYS_clock_nanosleep:
	case SYS_poll:
	case SYS_futex:
		return code.number;
	}
	return call;
}

int stop_bring_back(struct stop *s)
{
	/* Not twice: a second INTERRUPT would wait for the next time that it runs. */
	int r = s->called_back ? 0 : stop_interrupt(s);

	s->called_back = false;
	if (!r)
		r = trace_event_stop(s, TRACE_PROMPT_MS);
	if (r < 0)
		return r;
	s->state = STOP_STOPPED;
	return trace_put_back(s);
}

bool stop_alive(void *stop)
{
	struct stop *s = stop;
	int status, sig;

	if (trace_wait(s, 0, &status) < 0)
		return s->state != STOP_GONE && !trace_is_exiting(s->tid);
	sig = WSTOPSIG(status);
	if (status >> 16 == PTRACE_EVENT_STOP) {
		s->group_stopped = sig != SIGTRAP;
		s->stop_signal = s->group_stopped ? sig : 0;
	}
	ptrace(PTRACE_CONT, s->tid, 0, status >> 16 ? 0 : sig & 0x7f);
	return true;
}

void stop_put_back(struct stop *s)
{
	trace_put_back(s);
	/* The kernel has forgotten the section since the task ran elsewhere. Told of it again, it aborts it, as after any stop. */
	if (s->regs_dirty && s->rseq_cs)
		remote_write(s->tid, REMOTE(s->rseq.rseq.v + RSEQ_CS_OFFSET), &s->rseq_cs, sizeof(s->rseq_cs));
	if (s->sud_off)
		ptrace(SPORE_PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG, s->tid, sizeof(s->sud), &s->sud);
}

static void release_stopped(struct stop *s)
{
	stop_put_back(s);
	s->let_go_at = clock_us();
	ptrace(PTRACE_DETACH, s->tid, 0, 0);
	s->state = STOP_NONE;
}

void stop_release(struct stop *s)
{
	/* What runs cannot be detached. */
	if (s->state == STOP_RUNNING)
		stop_bring_back(s);
	else if (s->state == STOP_SEIZED && !stop_interrupt(s) && !stop_wait(s, RELEASE_MS))
		s->state = STOP_STOPPED;
	if (s->state == STOP_STOPPED)
		release_stopped(s);
	task_regs_free(&s->regs);
}
