/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * thread: a task's processor state and what the kernel keeps for its C library. clone(2), set_tid_address(2), get_robust_list(2), rseq(2),
 * PR_SET_SYSCALL_USER_DISPATCH in prctl(2); kernel/rseq.c, arch/x86/kernel/fpu; selftests/rseq, selftests/x86.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "state/process.h"
#include "state/sleep.h"

#define REG(name) FIELD_HEX(struct regs_state, name, #name, "")

static const struct field regs_fields[] = {
	REG(r15),
	REG(r14),
	REG(r13),
	REG(r12),
	REG(rbp),
	REG(rbx),
	REG(r11),
	REG(r10),
	REG(r9),
	REG(r8),
	REG(rax),
	REG(rcx),
	REG(rdx),
	REG(rsi),
	REG(rdi),
	REG(orig_rax),
	REG(rip),
	REG(cs),
	REG(eflags),
	REG(rsp),
	REG(ss),
	REG(fs_base),
	REG(gs_base),
	REG(ds),
	REG(es),
	REG(fs),
	REG(gs),
	FIELD_END,
};

static const struct field thread_fields[] = {
	FIELD_REF(struct thread_state, of, "of", "process", REF_STRONG, "its process"),
	FIELD_UINT(struct thread_state, tid, "tid", "the leader's is the process's pid"),
	FIELD_BOOL(struct thread_state, exited, "exited", "a leader that ended before its threads"),
	FIELD_TEXT(struct thread_state, name, "name", "PR_SET_NAME"),
	FIELD_STRUCT(struct thread_state, regs, "regs", regs_fields,
		"general registers as user_regs_struct has them; orig_rax and rax say which system call was "
		"interrupted, and how the kernel goes on with it"),
	FIELD_BLOB(
		struct thread_state, xstate, "xstate", "x87, SSE, AVX and more in the form of XSAVE (NT_X86_XSTATE)"),
	FIELD_HEX(struct thread_state, blocked, "blocked", "signal mask"),
	FIELD_HEX(struct thread_state, rseq, "rseq", "address registered by rseq(2)"),
	FIELD_UINT(struct thread_state, rseq_size, "rseq_size", "bytes registered"),
	FIELD_HEX(struct thread_state, rseq_signature, "rseq_signature", "before abort handlers"),
	FIELD_HEX(struct thread_state, rseq_cs, "rseq_cs", "the critical section under way, which is to abort"),
	FIELD_UINT(struct thread_state, dispatch_mode, "dispatch_mode", "syscall user dispatch: 1 on"),
	FIELD_HEX(struct thread_state, dispatch_selector, "dispatch_selector", "address of its selector byte"),
	FIELD_HEX(struct thread_state, dispatch_offset, "dispatch_offset", "start of the range that is exempt"),
	FIELD_HEX(struct thread_state, dispatch_len, "dispatch_len", "length of that range"),
	FIELD_HEX(struct thread_state, robust_list, "robust_list", "head of the list of robust futexes"),
	FIELD_UINT(struct thread_state, robust_list_len, "robust_list_len", "its size"),
	FIELD_HEX(struct thread_state, clear_child_tid, "clear_child_tid", "cleared and woken when the thread ends"),
	FIELD_STRUCT(
		struct thread_state, restart, "restart", restart_fields, "the system call that the stop interrupted"),
	FIELD_END,
};

struct thread_scratch {
	uint64_t *tid_address;
};

static void thread_ask(struct capture *c, struct batch *b, void *scratch)
{
	struct thread_scratch *s = scratch;
	struct remote_addr to = batch_room(b, sizeof(uint64_t), (void **)&s->tid_address);

	batch_may_fail(b, batch_call(b, "prctl(PR_GET_TID_ADDRESS)", SYS_prctl, PR_GET_TID_ADDRESS, to.v));
}

/* user_regs_struct has the same members in the same order. */
static_assert(sizeof(struct regs_state) == sizeof(struct user_regs_struct), "registers are copied as they are");

static int copy_xstate(const struct task_regs *regs, struct blob *out)
{
	out->data = malloc(regs->xstate_size);
	if (!out->data)
		return -ENOMEM;
	memcpy(out->data, regs->xstate, regs->xstate_size);
	out->size = regs->xstate_size;
	return 0;
}

static int thread_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	const struct thread_scratch *asked = scratch;
	struct thread *th = c->thread;
	struct stop *stop = &th->stop;
	struct thread_state *s = state;
	size_t len = 0;
	void *head = NULL;

	s->of = c->process->id;
	s->tid = (uint64_t)th->vtid;
	s->exited = stop->state == STOP_GONE;
	memcpy(s->name, th->stat.comm, sizeof(s->name) - 1);
	s->blocked = th->status.sig_blocked;
	if (s->exited)
		return 0;
	memcpy(&s->regs, &stop->regs.gp, sizeof(s->regs));
	s->restart = th->restart;
	s->blocked = stop->sigmask;
	s->rseq = stop->rseq.rseq.v;
	s->rseq_size = stop->rseq.size;
	s->rseq_signature = stop->rseq.signature;
	s->rseq_cs = stop->rseq_cs;
	s->dispatch_mode = stop->sud.mode;
	s->dispatch_selector = stop->sud.selector;
	s->dispatch_offset = stop->sud.offset;
	s->dispatch_len = stop->sud.len;
	s->clear_child_tid = asked && asked->tid_address ? *asked->tid_address : 0;
	if (syscall(SYS_get_robust_list, th->tid, &head, &len) == 0) {
		s->robust_list = (uint64_t)head;
		s->robust_list_len = len;
	}
	return copy_xstate(&stop->regs, &s->xstate);
}

static int thread_arm(struct build *b, const void *state)
{
	const struct thread_state *s = state;

	if (s->exited)
		return 0;
	batch_call(b->batch, "prctl(PR_SET_NAME)", SYS_prctl, PR_SET_NAME, batch_string(b->batch, s->name).v);
	batch_call(b->batch, "set_tid_address", SYS_set_tid_address, s->clear_child_tid);
	if (s->robust_list)
		batch_call(b->batch, "set_robust_list", SYS_set_robust_list, s->robust_list, s->robust_list_len);
	if (s->rseq)
		batch_call(b->batch, "rseq", SYS_rseq, s->rseq, s->rseq_size, 0, s->rseq_signature);
	return 0;
}

const struct component component_thread = {
	.kind = {
		.name = "thread",
		.version = 1,
		.size = sizeof(struct thread_state),
		.fields = thread_fields,
		.doc = "a thread: its registers, and what the kernel keeps for its C library",
		.sources = "clone(2), rseq(2), set_tid_address(2), get_robust_list(2), prctl(2); kernel/rseq.c; selftests/rseq",
		.critical = true,
	},
	.scope = SCOPE_THREAD,
	.scratch_size = sizeof(struct thread_scratch),
	.ask = thread_ask,
	.capture = thread_capture,
	.build = { [STAGE_ARM] = thread_arm },
};
