/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Signals that wait for one thread (tgkill, pthread_kill, faults that were blocked), in their order, with
 * their siginfo. signal(7), PTRACE_PEEKSIGINFO, rt_tgsigqueueinfo(2); kernel/signal.c;
 * selftests/ptrace/peeksiginfo.c. Those of the whole process: shared_pending.c.
 */
#include "state/pending_signals.h"

#include <sys/syscall.h>

static const struct field pending_fields[] = {
	FIELD_REF(struct pending_state, of, "of", "thread", REF_STRONG, "the thread"),
	FIELD_LIST(struct pending_state, signals, n_signals, "signals", pending_signal_fields,
		"in the order of their queue"),
	FIELD_END,
};

static int thread_pending_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	struct pending_state *s = state;

	s->of = c->thread->id;
	return pending_capture(c, c->thread, false, c->thread->status.sig_pending, s);
}

static int thread_pending_arm(struct build *b, const void *state)
{
	const struct pending_state *s = state;

	for (size_t i = 0; i < s->n_signals; i++) {
		if (!pending_is_queued(b->restore, b->process->id, &s->signals[i]))
			continue;
		batch_call(b->batch, "rt_tgsigqueueinfo", SYS_rt_tgsigqueueinfo, (uint64_t)b->process->vpid,
			(uint64_t)b->thread->vtid, s->signals[i].signal,
			batch_copy(b->batch, s->signals[i].info.data, s->signals[i].info.size).v);
	}
	return 0;
}

const struct component component_pending = {
	.kind = {
		.name = "pending",
		.version = 1,
		.size = sizeof(struct pending_state),
		.fields = pending_fields,
		.doc = "signals that wait for one thread",
		.sources = "signal(7), rt_tgsigqueueinfo(2); kernel/signal.c; selftests/ptrace/peeksiginfo.c",
	},
	.scope = SCOPE_THREAD,
	.capture = thread_pending_capture,
	.validate = pending_validate,
	.build = { [STAGE_ARM] = thread_pending_arm },
};
