/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* continued: that SIGCONT has continued a child, and its parent has not waited for that. wait(2) WCONTINUED; kernel/exit.c, kernel/signal.c. */
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "object/component.h"
#include "object/identity.h"

#define CHILDREN 64 /* of more, only the first are asked for */

struct continued_state {
	object_id of, child;
};

static const struct field continued_fields[] = {
	FIELD_REF(struct continued_state, of, "of", "process", REF_STRONG, "the parent, or the child itself"),
	FIELD_REF(struct continued_state, child, "child", "process", REF_LATE, "in the parent's: who was continued"),
	FIELD_END,
};

struct continued_scratch {
	size_t n;
	struct {
		const struct process *child;
		siginfo_t *info;
		uint32_t op;
	} list[CHILDREN];
};

static void continued_ask(struct capture *c, struct batch *b, void *scratch)
{
	struct continued_scratch *s = scratch;

	for (size_t i = 0; i < c->tree->n_processes && s->n < CHILDREN; i++) {
		const struct process *child = c->tree->processes[i];
		struct remote_addr to;

		if (child->parent != c->process || child->zombie)
			continue;
		to = batch_room(b, sizeof(siginfo_t), (void **)&s->list[s->n].info);
		s->list[s->n].child = child;
		s->list[s->n].op = batch_call(b, "waitid(WCONTINUED)", SYS_waitid, P_PID, (uint64_t)child->vpid, to.v,
			WCONTINUED | WNOHANG | WNOWAIT, 0);
		batch_may_fail(b, s->list[s->n++].op);
	}
}

extern const struct component component_continued;

static int continued_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	const struct continued_scratch *s = scratch;
	int r = 0;

	for (size_t i = 0; r == 0 && i < s->n; i++) {
		struct continued_state parents = { c->process->id, s->list[i].child->id },
				       childs = { s->list[i].child->id, 0 };

		if (batch_result(b, s->list[i].op) != 0 || !s->list[i].info->si_pid)
			continue;
		r = image_add(c->writer, &component_continued.kind, identity_fresh(c->identities), &parents);
		if (r == 0)
			r = image_add(c->writer, &component_continued.kind, identity_fresh(c->identities), &childs);
	}
	return r < 0 ? r : CAPTURE_NOTHING;
}
/* Signals are blocked here, so that each can be awaited; what the parent was told in the tree's first life, it is not to be told again. */
static int continued_attach(struct build *b, const void *state)
{
	const struct continued_state *s = state;
	struct new_process *child = s->child ? restore_process(b->restore, s->child) : NULL;
	static const int signals[] = { SIGSTOP, SIGCONT }, events[] = { WSTOPPED, WCONTINUED | WNOWAIT };
	uint64_t set = 1ull << (SIGCHLD - 1);
	struct timespec wait = { 1, 0 };

	for (size_t i = 0; child && i < 2; i++) {
		batch_call(b->batch, "kill", SYS_kill, (uint64_t)child->vpid, (uint64_t)signals[i]);
		batch_call(b->batch, "waitid", SYS_waitid, P_PID, (uint64_t)child->vpid, 0, (uint64_t)events[i], 0);
		batch_may_fail(b->batch, batch_call(b->batch, "rt_sigtimedwait", SYS_rt_sigtimedwait,
						 batch_copy(b->batch, &set, sizeof(set)).v, 0,
						 batch_copy(b->batch, &wait, sizeof(wait)).v, sizeof(set)));
	}
	return 0;
}

/* In the child: the SIGCONT that did it. Before pending signals are put back. */
static int continued_arm(struct build *b, const void *state)
{
	const struct continued_state *s = state;
	uint64_t set = 1ull << (SIGCONT - 1);
	struct timespec now = { 0, 0 };

	if (!s->child)
		batch_may_fail(b->batch, batch_call(b->batch, "rt_sigtimedwait", SYS_rt_sigtimedwait,
						 batch_copy(b->batch, &set, sizeof(set)).v, 0,
						 batch_copy(b->batch, &now, sizeof(now)).v, sizeof(set)));
	return 0;
}

const struct component component_continued = {
	.kind = {
		.name = "continued",
		.version = 1,
		.size = sizeof(struct continued_state),
		.fields = continued_fields,
		.doc = "a child that was continued, and not yet waited for",
		.sources = "wait(2); kernel/exit.c, kernel/signal.c",
	},
	.scope = SCOPE_PROCESS,
	.scratch_size = sizeof(struct continued_scratch),
	.ask = continued_ask,
	.capture = continued_capture,
	.build = { [STAGE_ATTACH] = continued_attach, [STAGE_ARM] = continued_arm },
};
