/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ended_scheduling: how a leader that has ended was scheduled, as sched_getattr(2), getpriority(2), sched_getaffinity(2) and /proc/PID/stat tell for as
 * long as it is not reaped: a zombie, or one whose other threads go on. kernel/exit.c, kernel/sched/syscalls.c.
 */
#include "state/owner.h"
#include "state/scheduling.h"

static const struct field ended_scheduling_fields[] = {
	FIELD_REF(struct scheduling_state, of, "of", "process", REF_STRONG, "the process whose leader it was"),
	SCHEDULING_FIELDS,
	FIELD_END,
};

static int ended_scheduling_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	const struct process *p = c->process;
	struct scheduling_state *s = state;

	if (!leader_has_ended(p))
		return CAPTURE_NOTHING;
	s->of = p->id;
	return scheduling_read(c, p->pid, s);
}

/* The end of a deadline task clears its budget, and leaves its policy: any budget will do for as long as it lives. */
static int ended_scheduling_identity(struct build *b, const void *state)
{
	struct scheduling_state s = *(const struct scheduling_state *)state;

	if (s.policy == POLICY_DEADLINE) {
		s.runtime = 1000000;
		s.deadline = s.period = 1000000000;
	}
	scheduling_build_affinity(b, &s);
	scheduling_build_policy(b->batch, &s);
	return 0;
}

const struct component component_ended_scheduling = {
	.kind = {
		.name = "ended_scheduling",
		.version = 1,
		.size = sizeof(struct scheduling_state),
		.fields = ended_scheduling_fields,
		.doc = "how the leader of a process was scheduled, if it has ended",
		.sources = "sched(7), sched_setattr(2); kernel/exit.c, kernel/sched/syscalls.c, fs/proc/array.c",
	},
	.scope = SCOPE_PROCESS,
	.zombies = true,
	.capture = ended_scheduling_capture,
	.validate = scheduling_validate,
	.build = { [STAGE_IDENTITY] = ended_scheduling_identity },
};
