/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a thread set of an x86 processor beside its registers. arch_prctl(2), PR_SET_TSC in prctl(2),
 * set_thread_area(2), ioperm(2); arch/x86/kernel/process.c, tls.c, ioport.c, shstk.c; selftests/x86. Time
 * stamp counter and CPUID faulting are carried; the rest is refused where it is in use. iopl.c has iopl(2).
 */
#include "object/component.h"

#include <asm/ldt.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "kernel/uapi.h"
#include "state/owner.h"

#define GDT_TLS_FIRST 12 /* GDT_ENTRY_TLS_MIN of x86-64 */
#define GDT_TLS_COUNT 3
#define CS_32	      0x23
#define PORTS_BYTES   8192

struct x86_state {
	object_id of;
	bool tsc_faults, cpuid_faults;
};

static const struct field x86_fields[] = {
	FIELD_REF(struct x86_state, of, "of", "thread", REF_STRONG, "the thread"),
	FIELD_BOOL(struct x86_state, tsc_faults, "tsc_faults",
		"PR_TSC_SIGSEGV: reading the time stamp counter is a fault"),
	FIELD_BOOL(struct x86_state, cpuid_faults, "cpuid_faults", "ARCH_SET_CPUID: the CPUID instruction is a fault"),
	FIELD_END,
};

struct x86_scratch {
	uint32_t cpuid;
	int32_t *tsc;
	uint64_t *shadow_stack;
};

static void x86_ask(struct capture *c, struct batch *b, void *scratch)
{
	struct x86_scratch *s = scratch;
	void *tsc = NULL, *shadow_stack = NULL;
	uint64_t tsc_at = batch_room(b, sizeof(*s->tsc), &tsc).v;
	uint64_t shadow_stack_at = batch_room(b, sizeof(*s->shadow_stack), &shadow_stack).v;

	s->tsc = tsc;
	s->shadow_stack = shadow_stack;
	batch_call(b, "prctl(PR_GET_TSC)", SYS_prctl, PR_GET_TSC, tsc_at);
	s->cpuid = batch_call(b, "arch_prctl(ARCH_GET_CPUID)", SYS_arch_prctl, SPORE_ARCH_GET_CPUID);
	batch_may_fail(b, s->cpuid);
	batch_may_fail(b, batch_call(b, "arch_prctl(ARCH_SHSTK_STATUS)", SYS_arch_prctl, SPORE_ARCH_SHSTK_STATUS,
				  shadow_stack_at));
}

/* Thread areas in the global descriptor table: of 32-bit programs, mostly. An empty one reads as not present
 * and no more. */
static bool has_thread_area(pid_t tid)
{
	for (int i = GDT_TLS_FIRST; i < GDT_TLS_FIRST + GDT_TLS_COUNT; i++) {
		struct user_desc d = { 0 };

		if (ptrace((enum __ptrace_request)SPORE_PTRACE_GET_THREAD_AREA, tid, i, &d) == 0 &&
			(d.base_addr || d.limit || !d.seg_not_present))
			return true;
	}
	return false;
}

static bool has_ports(pid_t tid)
{
	uint8_t ports[PORTS_BYTES];
	struct iovec iov = { ports, sizeof(ports) };

	if (ptrace(PTRACE_GETREGSET, tid, SPORE_NT_386_IOPERM, &iov) < 0)
		return false;
	/* A clear bit is a port that may be used. */
	for (size_t i = 0; i < iov.iov_len; i++)
		if (ports[i] != 0xff)
			return true;
	return false;
}

static int refuse(struct capture *c, const char *object, const char *text)
{
	return refused(c->ps, BLAME_PROCESS(c->process, .object = object), "thread %d %s", c->thread->tid, text);
}

static int refuse_what_is_not_carried(struct capture *c, const struct x86_scratch *got)
{
	int r = 0;

	if (c->thread->stop.regs.gp.cs == CS_32)
		r = refuse(c, "32-bit code", "runs in 32-bit mode");
	if (*got->shadow_stack)
		r = refuse(c, "shadow stack", "has a shadow stack");
	if (has_thread_area(c->thread->tid))
		r = refuse(c, "thread area", "has an entry in the global descriptor table (set_thread_area)");
	if (has_ports(c->thread->tid))
		r = refuse(c, "I/O ports", "may use I/O ports (ioperm)");
	return r;
}

static int x86_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	const struct x86_scratch *got = scratch;
	struct x86_state *s = state;
	int r = refuse_what_is_not_carried(c, got);

	if (r < 0)
		return r;
	*s = (struct x86_state){
		.of = c->thread->id,
		.tsc_faults = *got->tsc == PR_TSC_SIGSEGV,
		.cpuid_faults = batch_result(b, got->cpuid) == 0,
	};
	return s->tsc_faults || s->cpuid_faults ? 0 : CAPTURE_NOTHING;
}

static int x86_validate(struct restore *r, const struct record *rec)
{
	const struct x86_state *s = rec->state;

	/* Allowing what is allowed anyway tells whether this processor can fault on CPUID at all. */
	if (s->cpuid_faults && syscall(SYS_arch_prctl, SPORE_ARCH_SET_CPUID, 1) < 0)
		refused(r->ps,
			BLAME(.pid = owner_vpid(r, s->of), .object = "CPUID faulting",
				.remedy = "restore on a processor that has it"),
			"this processor cannot make the CPUID instruction a fault");
	return 0;
}

static int x86_identity(struct build *b, const void *state)
{
	const struct x86_state *s = state;

	if (s->tsc_faults)
		batch_call(b->batch, "prctl(PR_SET_TSC)", SYS_prctl, PR_SET_TSC, PR_TSC_SIGSEGV);
	if (s->cpuid_faults)
		batch_call(b->batch, "arch_prctl(ARCH_SET_CPUID)", SYS_arch_prctl, SPORE_ARCH_SET_CPUID, 0);
	return 0;
}

const struct component component_x86 = {
	.kind = {
		.name = "x86",
		.version = 1,
		.size = sizeof(struct x86_state),
		.fields = x86_fields,
		.doc = "what a thread set of an x86 processor beside its registers",
		.sources = "arch_prctl(2), prctl(2); arch/x86/kernel/process.c; selftests/x86",
	},
	.scope = SCOPE_THREAD,
	.scratch_size = sizeof(struct x86_scratch),
	.ask = x86_ask,
	.capture = x86_capture,
	.validate = x86_validate,
	.build = { [STAGE_IDENTITY] = x86_identity },
};
