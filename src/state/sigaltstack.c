/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A thread's alternate signal stack. sigaltstack(2); kernel/signal.c, include/linux/sched/signal.h;
 * selftests/sigaltstack.
 *
 * The stub's own stack is neither, so the kernel says what is set without SS_ONSTACK, which it works out anew
 * from the stack pointer on each call.
 */
#include "object/component.h"

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1u << 31)
#endif

struct sigaltstack_state {
	object_id of;
	uint64_t sp, size;
	bool autodisarm;
};

static const struct field sigaltstack_fields[] = {
	FIELD_REF(struct sigaltstack_state, of, "of", "thread", REF_STRONG, "the thread"),
	FIELD_HEX(struct sigaltstack_state, sp, "sp", "its lowest address"),
	FIELD_UINT(struct sigaltstack_state, size, "size", "in bytes"),
	FIELD_BOOL(struct sigaltstack_state, autodisarm, "autodisarm",
		"SS_AUTODISARM: forgotten while a handler runs on it"),
	FIELD_END,
};

struct sigaltstack_scratch {
	stack_t *got;
};

static void sigaltstack_ask(struct capture *c, struct batch *b, void *scratch)
{
	struct sigaltstack_scratch *s = scratch;
	void *room = NULL;
	uint64_t at = batch_room(b, sizeof(stack_t), &room).v;

	s->got = room;
	batch_call(b, "sigaltstack", SYS_sigaltstack, 0, at);
}

static int sigaltstack_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	const struct sigaltstack_scratch *got = scratch;
	struct sigaltstack_state *s = state;

	if (got->got->ss_flags & SS_DISABLE)
		return CAPTURE_NOTHING;
	*s = (struct sigaltstack_state){
		.of = c->thread->id,
		.sp = (uint64_t)(uintptr_t)got->got->ss_sp,
		.size = got->got->ss_size,
		.autodisarm = (unsigned int)got->got->ss_flags & SS_AUTODISARM,
	};
	return 0;
}

static int sigaltstack_arm(struct build *b, const void *state)
{
	const struct sigaltstack_state *s = state;
	stack_t ss = {
		.ss_sp = (void *)(uintptr_t)s->sp,
		.ss_size = s->size,
		.ss_flags = s->autodisarm ? (int)SS_AUTODISARM : 0,
	};

	batch_call(b->batch, "sigaltstack", SYS_sigaltstack, batch_copy(b->batch, &ss, sizeof(ss)).v, 0);
	return 0;
}

const struct component component_sigaltstack = {
	.kind = {
		.name = "sigaltstack",
		.version = 1,
		.size = sizeof(struct sigaltstack_state),
		.fields = sigaltstack_fields,
		.doc = "a thread's alternate signal stack",
		.sources = "sigaltstack(2); kernel/signal.c; selftests/sigaltstack",
	},
	.scope = SCOPE_THREAD,
	.scratch_size = sizeof(struct sigaltstack_scratch),
	.ask = sigaltstack_ask,
	.capture = sigaltstack_capture,
	.build = { [STAGE_ARM] = sigaltstack_arm },
};
