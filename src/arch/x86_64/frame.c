/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Layout: arch/x86/include/uapi/asm/sigcontext.h and ucontext.h; checks in arch/x86/kernel/fpu/signal.c. */
#include "arch/x86_64/frame.h"

#include <assert.h>
#include <cpuid.h>
#include <string.h>

#include "base/macro.h"

#define UC_FP_XSTATE	     1
#define UC_SIGCONTEXT_SS     2
#define UC_STRICT_RESTORE_SS 4

#define XSTATE_MAGIC1 0x46505853u
#define XSTATE_MAGIC2 0x46505845u

#define FXSAVE_SIZE	512
#define FXSAVE_SW	464 /* where ptrace puts the enabled features, and a frame its struct fpx_sw_bytes */
#define XSTATE_BV	512
#define FEATURE_XTILE	(1ull << 18) /* AMX: large, and only in the state of tasks that have used it */
#define ALTSTACK_IGNORE 0x7fff	     /* no valid ss_flags: rt_sigreturn then leaves the alternate stack as it is */

struct frame {
	uint64_t pretcode;
	struct {
		uint64_t flags, link;
		uint64_t ss_sp;
		uint32_t ss_flags, ss_pad;
		uint64_t ss_size;
		uint64_t r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, eflags;
		uint16_t cs, gs, fs, ss;
		uint64_t err, trapno, oldmask, cr2;
		uint64_t fpstate;
		uint64_t reserved[8];
		uint64_t sigmask;
	} uc;
};
static_assert(sizeof(struct frame) == FRAME_HEAD, "the kernel's rt_sigframe up to its siginfo");

struct fpx_sw {
	uint32_t magic1, extended_size;
	uint64_t xfeatures;
	uint32_t xstate_size;
	uint32_t padding[7];
};

#define FRAME_FPSTATE (8 + ALIGN_UP(sizeof(struct frame) - 8, FRAME_ALIGN))

static uint64_t xstate_word(const struct task_regs *r, size_t offset)
{
	uint64_t v = 0;

	if (r->xstate_size >= offset + sizeof(v))
		memcpy(&v, r->xstate + offset, sizeof(v));
	return v;
}

/* A task that has not used AMX has no room for it, and the kernel refuses a frame that is larger than its room. */
static bool without_amx(const struct task_regs *r)
{
	return (xstate_word(r, FXSAVE_SW) & FEATURE_XTILE) && !(xstate_word(r, XSTATE_BV) & FEATURE_XTILE);
}

/*
 * Extended state as it goes into the frame; without XSAVE, just the FXSAVE part. AMX's is the last. The processor is
 * asked only where it has AMX: in a virtual machine CPUID costs tens of microseconds.
 */
static size_t frame_xstate_size(const struct task_regs *r)
{
	unsigned int size, offset, c, d;

	if (r->xstate_size <= FXSAVE_SIZE)
		return FXSAVE_SIZE;
	if (without_amx(r) && __get_cpuid_count(0xd, 18, &size, &offset, &c, &d))
		return MIN((size_t)offset, r->xstate_size);
	return r->xstate_size;
}

size_t frame_size(const struct task_regs *r)
{
	return FRAME_FPSTATE + frame_xstate_size(r) + sizeof(uint32_t);
}

size_t frame_size_max(const struct task_regs *r)
{
	return FRAME_FPSTATE + MAX(r->xstate_size, (size_t)FXSAVE_SIZE) + sizeof(uint32_t);
}

struct user_regs_struct gp_restarted(const struct user_regs_struct *gp)
{
	struct user_regs_struct out = *gp;

	if ((int64_t)gp->orig_rax < 0)
		return out;
	switch ((int64_t)gp->rax) {
	case -512: /* ERESTARTSYS */
	case -513: /* ERESTARTNOINTR */
	case -514: /* ERESTARTNOHAND */
	case -516: /* ERESTART_RESTARTBLOCK: from the start, for a frame cannot hold what the kernel remembers */
		out.rax = gp->orig_rax;
		out.rip -= 2;
	}
	out.orig_rax = -1ull;
	return out;
}

static void put_xstate(uint8_t *fpstate, const struct task_regs *r)
{
	size_t size = frame_xstate_size(r);
	uint32_t magic2 = XSTATE_MAGIC2;
	struct fpx_sw sw = {
		.magic1 = XSTATE_MAGIC1, .extended_size = (uint32_t)size + 4, .xstate_size = (uint32_t)size
	};

	memcpy(fpstate, r->xstate, MIN(size, r->xstate_size));
	if (r->xstate_size <= FXSAVE_SIZE)
		return;
	sw.xfeatures = xstate_word(r, FXSAVE_SW) & ~(without_amx(r) ? FEATURE_XTILE : 0);
	memcpy(fpstate + FXSAVE_SW, &sw, sizeof(sw));
	memcpy(fpstate + size, &magic2, sizeof(magic2));
}

void frame_build(uint8_t *buf, uint64_t at, const struct task_regs *r, uint64_t sigmask, uint64_t restorer)
{
	struct user_regs_struct gp = gp_restarted(&r->gp);
	struct frame f = {
		.pretcode = restorer,
		.uc = {
			.flags = UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS,
			.ss_flags = ALTSTACK_IGNORE,
			.r8 = gp.r8, .r9 = gp.r9, .r10 = gp.r10, .r11 = gp.r11,
			.r12 = gp.r12, .r13 = gp.r13, .r14 = gp.r14, .r15 = gp.r15,
			.rdi = gp.rdi, .rsi = gp.rsi, .rbp = gp.rbp, .rbx = gp.rbx,
			.rdx = gp.rdx, .rax = gp.rax, .rcx = gp.rcx, .rsp = gp.rsp,
			.rip = gp.rip, .eflags = gp.eflags,
			.cs = (uint16_t)gp.cs, .gs = (uint16_t)gp.gs, .fs = (uint16_t)gp.fs, .ss = (uint16_t)gp.ss,
			.fpstate = at + FRAME_FPSTATE,
			.sigmask = sigmask,
		},
	};

	memset(buf, 0, frame_size(r));
	memcpy(buf, &f, sizeof(f));
	put_xstate(buf + FRAME_FPSTATE, r);
}

bool frame_is_ours(const uint8_t head[FRAME_HEAD], uint64_t at, uint64_t restorer)
{
	struct frame f;

	memcpy(&f, head, sizeof(f));
	return f.pretcode == restorer && f.uc.ss_flags == ALTSTACK_IGNORE && f.uc.fpstate == at + FRAME_FPSTATE;
}
