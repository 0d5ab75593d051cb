/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Attributes of a thread: personality, parent-death signal, what it asked of the processor's speculation,
 * memory errors and I/O flushing. personality(2), prctl(2); kernel/sys.c, kernel/exec_domain.c,
 * arch/x86/kernel/cpu/bugs.c, mm/memory-failure.c; selftests/prctl.
 *
 * The parent-death signal is set after the credentials, since their change clears it.
 */
#include "object/component.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "kernel/capability.h"
#include "state/owner.h"

/* PF_MEMALLOC_NOIO and PF_LOCAL_THROTTLE: what PR_SET_IO_FLUSHER sets. Its getter needs CAP_SYS_RESOURCE, the
 * flags in stat do not. */
#define PF_IO_FLUSHER 0x00180000u

#define N_SPECULATION 3 /* PR_SPEC_STORE_BYPASS, _INDIRECT_BRANCH, _L1D_FLUSH */
#define MCE_DEFAULT   PR_MCE_KILL_DEFAULT

struct thread_attributes_state {
	object_id of;
	uint32_t personality;
	uint8_t pdeathsig;
	bool io_flusher;
	uint8_t mce_kill;
	uint32_t store_bypass, indirect_branch, l1d_flush;
};

static const struct field thread_attributes_fields[] = {
	FIELD_REF(struct thread_attributes_state, of, "of", "thread", REF_STRONG, "the thread"),
	FIELD_HEX(struct thread_attributes_state, personality, "personality", "personality(2)"),
	FIELD_UINT(struct thread_attributes_state, pdeathsig, "pdeathsig",
		"PR_GET_PDEATHSIG: the signal sent when its parent dies"),
	FIELD_BOOL(struct thread_attributes_state, io_flusher, "io_flusher", "PR_GET_IO_FLUSHER"),
	FIELD_UINT(struct thread_attributes_state, mce_kill, "mce_kill", "PR_MCE_KILL_GET"),
	FIELD_HEX(struct thread_attributes_state, store_bypass, "store_bypass",
		"PR_GET_SPECULATION_CTRL of PR_SPEC_STORE_BYPASS"),
	FIELD_HEX(struct thread_attributes_state, indirect_branch, "indirect_branch",
		"the same of PR_SPEC_INDIRECT_BRANCH"),
	FIELD_HEX(struct thread_attributes_state, l1d_flush, "l1d_flush", "the same of PR_SPEC_L1D_FLUSH"),
	FIELD_END,
};

struct thread_attributes_scratch {
	int32_t *pdeathsig;
	uint32_t personality, mce_kill, speculation[N_SPECULATION];
};

static void thread_attributes_ask(struct capture *c, struct batch *b, void *scratch)
{
	struct thread_attributes_scratch *s = scratch;
	void *room = NULL;
	uint64_t at = batch_room(b, sizeof(*s->pdeathsig), &room).v;

	s->pdeathsig = room;
	batch_call(b, "prctl(PR_GET_PDEATHSIG)", SYS_prctl, PR_GET_PDEATHSIG, at);
	s->personality = batch_call(b, "personality", SYS_personality, 0xffffffff);
	s->mce_kill = batch_call(b, "prctl(PR_MCE_KILL_GET)", SYS_prctl, PR_MCE_KILL_GET);
	batch_may_fail(b, s->mce_kill);
	for (uint64_t i = 0; i < N_SPECULATION; i++) {
		s->speculation[i] =
			batch_call(b, "prctl(PR_GET_SPECULATION_CTRL)", SYS_prctl, PR_GET_SPECULATION_CTRL, i);
		batch_may_fail(b, s->speculation[i]);
	}
}

static uint32_t speculation_answer(const struct batch *b, uint32_t op)
{
	int64_t r = batch_result(b, op);

	return r < 0 ? 0 : (uint32_t)r;
}

static int thread_attributes_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	const struct thread_attributes_scratch *got = scratch;
	struct thread_attributes_state *s = state;
	int64_t mce = batch_result(b, got->mce_kill);

	*s = (struct thread_attributes_state){
		.of = c->thread->id,
		.personality = (uint32_t)batch_result(b, got->personality),
		.pdeathsig = (uint8_t)*got->pdeathsig,
		.io_flusher = (c->thread->stat.flags & PF_IO_FLUSHER) == PF_IO_FLUSHER,
		.mce_kill = mce < 0 ? MCE_DEFAULT : (uint8_t)mce,
		.store_bypass = speculation_answer(b, got->speculation[0]),
		.indirect_branch = speculation_answer(b, got->speculation[1]),
		.l1d_flush = speculation_answer(b, got->speculation[2]),
	};
	return 0;
}

/* --- restore --- */

static int thread_attributes_validate(struct restore *r, const struct record *rec)
{
	const struct thread_attributes_state *s = rec->state;

	if (s->io_flusher && !capable_own(CAP_SYS_RESOURCE))
		refused(r->ps,
			BLAME(.pid = owner_vpid(r, s->of), .object = "IO_FLUSHER",
				.remedy = "give spore CAP_SYS_RESOURCE"),
			"only CAP_SYS_RESOURCE may set it");
	return 0;
}

/* A newborn has what spore's thread has: only what differs is set, and only where this machine lets it be. */
static void build_speculation(struct build *b, uint64_t which, uint32_t want)
{
	int own = prctl(PR_GET_SPECULATION_CTRL, which, 0, 0, 0);
	uint32_t value = want & ~(uint32_t)PR_SPEC_PRCTL;

	if (!(want & PR_SPEC_PRCTL) || (uint32_t)own == want)
		return;
	if (own < 0 || !(own & PR_SPEC_PRCTL)) {
		changed(b->ps, BLAME(.pid = b->thread->vtid, .object = "speculation control"),
			"this machine does not let a thread choose %s",
			which == PR_SPEC_STORE_BYPASS	   ? "store bypass"
			: which == PR_SPEC_INDIRECT_BRANCH ? "indirect branches"
							   : "flushing of the L1 data cache");
		return;
	}
	batch_call(b->batch, "prctl(PR_SET_SPECULATION_CTRL)", SYS_prctl, PR_SET_SPECULATION_CTRL, which, value);
}

static int thread_attributes_arm(struct build *build, const void *state)
{
	const struct thread_attributes_state *s = state;
	struct batch *b = build->batch;

	batch_call(b, "personality", SYS_personality, s->personality);
	if (s->io_flusher)
		batch_call(b, "prctl(PR_SET_IO_FLUSHER)", SYS_prctl, PR_SET_IO_FLUSHER, 1);
	if (s->mce_kill != prctl(PR_MCE_KILL_GET, 0, 0, 0, 0))
		batch_call(b, "prctl(PR_MCE_KILL)", SYS_prctl, PR_MCE_KILL, PR_MCE_KILL_SET, s->mce_kill);
	build_speculation(build, PR_SPEC_STORE_BYPASS, s->store_bypass);
	build_speculation(build, PR_SPEC_INDIRECT_BRANCH, s->indirect_branch);
	build_speculation(build, PR_SPEC_L1D_FLUSH, s->l1d_flush);
	return 0;
}

static int thread_attributes_identity(struct build *b, const void *state)
{
	const struct thread_attributes_state *s = state;

	if (s->pdeathsig)
		batch_call(b->batch, "prctl(PR_SET_PDEATHSIG)", SYS_prctl, PR_SET_PDEATHSIG, s->pdeathsig);
	return 0;
}

const struct component component_thread_attributes = {
	.kind = {
		.name = "thread_attributes",
		.version = 1,
		.size = sizeof(struct thread_attributes_state),
		.fields = thread_attributes_fields,
		.doc = "personality, parent-death signal and the like of a thread",
		.sources = "personality(2), prctl(2); kernel/sys.c, arch/x86/kernel/cpu/bugs.c; selftests/prctl",
	},
	.scope = SCOPE_THREAD,
	.scratch_size = sizeof(struct thread_attributes_scratch),
	.ask = thread_attributes_ask,
	.capture = thread_attributes_capture,
	.validate = thread_attributes_validate,
	.build = { [STAGE_ARM] = thread_attributes_arm, [STAGE_IDENTITY] = thread_attributes_identity },
};
