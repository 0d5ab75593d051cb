/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "remote/borrow.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "kernel/uapi.h"
#include "remote/memory.h"
#include "remote/trace.h"

#define RED_ZONE 128

/* Syscall user dispatch would turn our calls into signals. */
void borrow_dispatch_off(struct stop *s)
{
	struct sud_config off = { 0 };

	if (s->sud.mode && !s->sud_off)
		s->sud_off = !ptrace(SPORE_PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG, s->tid, sizeof(off), &off);
}

/*
 * The registers for a frame. In a restartable sequence the frame leads to where the kernel would have led: the abort
 * handler. (Otherwise the section would go on, having been left.)
 */
struct task_regs borrow_frame_regs(const struct stop *s)
{
	struct task_regs r = s->regs;
	int64_t call = stop_interrupted_call(s);
	struct {
		uint32_t version, flags;
		uint64_t start, length, abort;
	} cs;

	if (s->rseq_cs && !remote_read(s->tid, REMOTE(s->rseq_cs), &cs, sizeof(cs)) && r.gp.rip - cs.start < cs.length)
		r.gp.rip = cs.abort;
	/* A frame cannot hold what restart_syscall goes on from, but it can begin the call anew. */
	if (call >= 0)
		r.gp.orig_rax = (uint64_t)call;
	return r;
}

/* Has the process written to none of these pages, ever? */
static bool untouched(pid_t pid, uint64_t start, size_t size)
{
	uint64_t entry[4];
	size_t n = (start % PAGE_SIZE + size + PAGE_SIZE - 1) / PAGE_SIZE;
	char path[32];
	_cleanup_fd_ int fd = -1;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || n > ARRAY_SIZE(entry))
		return false;
	if (pread(fd, entry, n * 8, (off_t)(start / PAGE_SIZE * 8)) != (ssize_t)(n * 8))
		return false;
	for (size_t i = 0; i < n; i++)
		if (entry[i] >> 62)
			return false;
	return true;
}

/* As an earlier injection leaves the place: two pages of zeros, which no stack in use has (it has return addresses). */
static bool all_zero(pid_t pid, uint64_t at)
{
	uint8_t bytes[2 * PAGE_SIZE];

	if (remote_read(pid, REMOTE(ALIGN_DOWN(at, PAGE_SIZE)), bytes, sizeof(bytes)) < 0)
		return false;
	return !bytes[0] && !memcmp(bytes, bytes + 1, sizeof(bytes) - 1);
}

/*
 * Where the frame of the first thread may lie. Below its stack pointer only if that is in the main thread's stack: what surrounds
 * the stack pointer of a coroutine or goroutine may be another one's stack. Else at the very bottom of the main stack, where
 * that was never touched but, maybe, by an earlier frame of ours.
 */
static uint64_t outer_place(const struct injection *in, const struct layout *l, size_t size)
{
	uint64_t rsp = in->first->regs.gp.rsp, at;
	uint8_t old[FRAME_HEAD];

	if (rsp >= l->stack_start && rsp < l->stack_end) {
		at = ALIGN_DOWN(rsp - RED_ZONE - size, (uint64_t)FRAME_ALIGN) - 8;
		return at >= l->stack_start ? at : 0;
	}
	at = l->stack_start + FRAME_PADDING;
	if (l->stack_end - l->stack_start < 8 * PAGE_SIZE)
		return 0;
	if (untouched(in->pid, at, size) || all_zero(in->pid, at))
		return at;
	if (remote_read(in->pid, REMOTE(at), old, sizeof(old)) < 0 || !frame_is_ours(old, at, in->gadgets.restorer))
		return 0;
	return at;
}

int borrow_begin(struct injection *in, const struct layout *l)
{
	struct task_regs r = borrow_frame_regs(in->first);
	size_t size = frame_size(&r);
	_cleanup_free_ uint8_t *frame = NULL;

	in->outer = 0;
	if (!in->gadgets.syscall_ret || !in->gadgets.restorer)
		return 0;
	in->outer = outer_place(in, l, size);
	if (!in->outer)
		return 0;
	frame = malloc(size);
	if (!frame)
		return -ENOMEM;
	frame_build(frame, in->outer, &r, in->first->sigmask, in->gadgets.restorer);
	in->covered = malloc(size);
	in->covered_size = size;
	if (!in->covered)
		return -ENOMEM;
	if (remote_read(in->pid, REMOTE(in->outer), in->covered, size) < 0 ||
		remote_write(in->pid, REMOTE(in->outer), frame, size) < 0)
		in->outer = 0;
	return 0;
}

/* The frame goes when nothing borrowed is under way any more. */
void borrow_end(struct injection *in)
{
	if (in->outer && in->first->state == STOP_STOPPED)
		remote_write(in->pid, REMOTE(in->outer), in->covered, in->covered_size);
	free(in->covered);
	in->covered = NULL;
	in->outer = 0;
}

/*
 * A call by an instruction of the program's own. With a frame it is closed: the task goes into the kernel for rt_sigreturn, which becomes
 * the call in there, and `syscall; ret` returns into the frame, so that the task finds back from any instruction should
 * spore die. Without one, for want of a place or of the instructions, there is a window of some ten microseconds in which it would not.
 * (What a window of one microsecond keeps: a seccomp filter that kills for the call, in force again when spore dies just then.)
 */
int64_t borrow_call(struct injection *in, long nr, const uint64_t arg[6])
{
	struct stop *s = in->first;
	struct user_regs_struct gp = s->regs.gp, approach;
	int64_t result;
	int r;

	trace_set_call(&gp, in->outer ? in->gadgets.syscall_ret : in->gadgets.syscall, nr, arg);
	gp.rsp = in->outer ? in->outer : gp.rsp;
	gp.eflags = EFLAGS_PLAIN;
	approach = gp;
	approach.rax = SYS_rt_sigreturn;
	approach.rsp = gp.rsp + 8;
	borrow_dispatch_off(s);
	s->regs_dirty = true;
	result = trace_call(s, in->outer ? &approach : &gp, &gp);
	if (s->state == STOP_GONE)
		return -ESRCH;
	r = trace_put_back(s);
	return r < 0 ? r : result;
}
