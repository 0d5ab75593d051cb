/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Signals that wait for any thread of a process to take them, in their order, with the siginfo that the
 * handler will see. signal(7), PTRACE_PEEKSIGINFO, rt_sigqueueinfo(2); kernel/signal.c;
 * selftests/ptrace/peeksiginfo.c.
 *
 * A process may queue a siginfo of any kind to itself only: so the leader does it, with every signal blocked.
 */
#include "state/pending_signals.h"

#include <sys/syscall.h>

static const struct field shared_pending_fields[] = {
	FIELD_REF(struct pending_state, of, "of", "process", REF_STRONG, "the process"),
	FIELD_LIST(struct pending_state, signals, n_signals, "signals", pending_signal_fields,
		"in the order of their queue"),
	FIELD_END,
};

static int shared_pending_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	struct pending_state *s = state;

	s->of = c->process->id;
	return pending_capture(c, c->thread, true, c->thread->status.shared_pending, s);
}

static int shared_pending_arm(struct build *b, const void *state)
{
	const struct pending_state *s = state;

	for (size_t i = 0; i < s->n_signals; i++) {
		if (!pending_is_queued(b->restore, b->process->id, &s->signals[i]))
			continue;
		batch_call(b->batch, "rt_sigqueueinfo", SYS_rt_sigqueueinfo, (uint64_t)b->process->vpid,
			s->signals[i].signal, batch_copy(b->batch, s->signals[i].info.data, s->signals[i].info.size).v);
	}
	return 0;
}

const struct component component_shared_pending = {
	.kind = {
		.name = "shared_pending",
		.version = 1,
		.size = sizeof(struct pending_state),
		.fields = shared_pending_fields,
		.doc = "signals that wait for a process",
		.sources = "signal(7), rt_sigqueueinfo(2); kernel/signal.c; selftests/ptrace/peeksiginfo.c",
	},
	.scope = SCOPE_PROCESS,
	.capture = shared_pending_capture,
	.validate = pending_validate,
	.build = { [STAGE_ARM] = shared_pending_arm },
};
