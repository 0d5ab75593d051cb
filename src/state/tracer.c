/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A tracer: a task that a debugger holds cannot be held by spore. ptrace(2); kernel/ptrace.c;
 * selftests/ptrace. Only looked at, and refused. */
#include "object/component.h"

#include <stdio.h>
#include <unistd.h>

#include "state/owner.h"

/* A thread of spore's own is no debugger: what is not stopped may be held by one all the same. */
static bool is_own_thread(pid_t tid)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/self/task/%d", tid);
	return access(path, F_OK) == 0;
}

static int tracer_look(struct capture *c)
{
	const struct process *p = c->process;

	for (size_t i = 0; i < p->n_threads; i++) {
		pid_t tracer = p->threads[i].status.tracer;

		if (!tracer || p->threads[i].stop.state == STOP_STOPPED || is_own_thread(tracer))
			continue;
		refused(c->ps, BLAME_PROCESS(p, .object = "tracer", .remedy = "detach the debugger"),
			"thread %d is traced by process %d", p->threads[i].tid, tracer);
		break;
	}
	return 0;
}

static const struct field no_fields[] = { FIELD_END };

const struct component component_tracer = {
	.kind = {
		.name = "tracer",
		.version = 1,
		.size = sizeof(object_id),
		.fields = no_fields,
		.doc = "only looked at: a traced task is refused",
		.sources = "ptrace(2); kernel/ptrace.c; selftests/ptrace",
	},
	.scope = SCOPE_PROCESS,
	.look = tracer_look,
	.capture = capture_nothing,
};
