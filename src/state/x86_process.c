/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a process set of an x86 processor. arch_prctl(2), modify_ldt(2); arch/x86/kernel/fpu/xstate.c, ldt.c,
 * process_64.c; selftests/x86 (amx.c, ldt_gdt.c, lam.c). Leave to use large register state (AMX) is carried;
 * a local descriptor table and tagged addresses are refused.
 */
#include "object/component.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kernel/uapi.h"
#include "state/files.h"
#include "state/owner.h"

#define XFEATURES 64

struct x86_process_state {
	object_id of;
	uint64_t xfeatures;
};

static const struct field x86_process_fields[] = {
	FIELD_REF(struct x86_process_state, of, "of", "process", REF_STRONG, "the process"),
	FIELD_HEX(struct x86_process_state, xfeatures, "xfeatures",
		"ARCH_GET_XCOMP_PERM: what it asked leave to use, above what all may"),
	FIELD_END,
};

struct x86_process_scratch {
	uint32_t ldt;
	uint64_t *xfeatures, *untag_mask;
};

static void ask_arch(struct batch *b, const char *what, uint64_t code, uint64_t **local)
{
	void *room = NULL;
	uint64_t at = batch_room(b, sizeof(**local), &room).v;
	uint32_t op = batch_call(b, what, SYS_arch_prctl, code, at);

	batch_may_fail(b, op);
	*local = room;
}

static void x86_process_ask(struct capture *c, struct batch *b, void *scratch)
{
	struct x86_process_scratch *s = scratch;
	void *room = NULL;
	uint64_t at = batch_room(b, 8, &room).v;

	s->ldt = batch_call(b, "modify_ldt", SYS_modify_ldt, 0, at, 8);
	batch_may_fail(b, s->ldt);
	ask_arch(b, "arch_prctl(ARCH_GET_XCOMP_PERM)", SPORE_ARCH_GET_XCOMP_PERM, &s->xfeatures);
	ask_arch(b, "arch_prctl(ARCH_GET_UNTAG_MASK)", SPORE_ARCH_GET_UNTAG_MASK, &s->untag_mask);
}

/* What a process that asked for nothing may use: this one. */
static uint64_t usual_xfeatures(void)
{
	uint64_t mask = 0;

	return syscall(SYS_arch_prctl, SPORE_ARCH_GET_XCOMP_PERM, &mask) < 0 ? 0 : mask;
}

static int x86_process_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	const struct x86_process_scratch *got = scratch;
	struct x86_process_state *s = state;

	/* modify_ldt returns an int in a register that may not be sign-extended. */
	if ((int32_t)batch_result(b, got->ldt) > 0)
		return refused(c->ps, BLAME_PROCESS(c->process, .object = "LDT"),
			"it has a local descriptor table (modify_ldt)");
	if (*got->untag_mask && *got->untag_mask != UINT64_MAX)
		return refused(
			c->ps, BLAME_PROCESS(c->process, .object = "tagged addresses"), "linear address masking is on");
	s->of = c->process->id;
	s->xfeatures = *got->xfeatures & ~usual_xfeatures();
	return s->xfeatures ? 0 : CAPTURE_NOTHING;
}

/* A 32-bit program cannot run the stub. */
static int x86_process_look(struct capture *c)
{
	_cleanup_fd_ int exe = openat(c->process->living_fd, "exe", O_PATH | O_CLOEXEC);
	_cleanup_fd_ int fd = exe < 0 ? -1 : reopen_unseen(c, exe);
	unsigned char ident[EI_NIDENT];

	if (fd >= 0 && pread(fd, ident, sizeof(ident), 0) == sizeof(ident) && !memcmp(ident, ELFMAG, SELFMAG) &&
		ident[EI_CLASS] == ELFCLASS32)
		refused(c->ps, BLAME_PROCESS(c->process, .object = "32-bit code"), "it is a 32-bit program");
	return 0;
}

static int x86_process_validate(struct restore *r, const struct record *rec)
{
	const struct x86_process_state *s = rec->state;
	uint64_t supported = 0;

	syscall(SYS_arch_prctl, SPORE_ARCH_GET_XCOMP_SUPP, &supported);
	if (s->xfeatures & ~supported)
		refused(r->ps,
			BLAME(.pid = owner_vpid(r, s->of), .object = "extended registers",
				.remedy = "restore on a processor that has them"),
			"it uses processor state 0x%llx, which is not here",
			(unsigned long long)(s->xfeatures & ~supported));
	return 0;
}

static int x86_process_attach(struct build *b, const void *state)
{
	const struct x86_process_state *s = state;

	for (uint64_t i = 0; i < XFEATURES; i++)
		if (s->xfeatures >> i & 1)
			batch_call(b->batch, "arch_prctl(ARCH_REQ_XCOMP_PERM)", SYS_arch_prctl,
				SPORE_ARCH_REQ_XCOMP_PERM, i);
	return 0;
}

const struct component component_x86_process = {
	.kind = {
		.name = "x86_process",
		.version = 1,
		.size = sizeof(struct x86_process_state),
		.fields = x86_process_fields,
		.doc = "what a process set of an x86 processor",
		.sources = "arch_prctl(2), modify_ldt(2); arch/x86/kernel/fpu/xstate.c, ldt.c; selftests/x86",
	},
	.scope = SCOPE_PROCESS,
	.look = x86_process_look,
	.scratch_size = sizeof(struct x86_process_scratch),
	.ask = x86_process_ask,
	.capture = x86_process_capture,
	.validate = x86_process_validate,
	.build = { [STAGE_ATTACH] = x86_process_attach },
};
