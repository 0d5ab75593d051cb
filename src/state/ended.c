/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ended: who a leader was that has ended, as /proc/PID/status and the siginfo of its end tell for as long as it is not reaped: a zombie, or one
 * whose other threads go on. credentials(7), waitid(2); kernel/exit.c, fs/proc/array.c.
 */
#include "state/credentials.h"

#include <sys/prctl.h>
#include <sys/syscall.h>

#include "state/owner.h"

static const struct field ended_fields[] = {
	FIELD_REF(struct credentials_state, of, "of", "process", REF_STRONG, "the process whose leader it was"),
	CREDENTIALS_FIELDS,
	FIELD_BOOL(struct credentials_state, no_new_privs, "no_new_privs", "NoNewPrivs"),
	FIELD_UINT(struct credentials_state, dumpable, "dumpable", "of its process, which a change of identity clears"),
	FIELD_END,
};

struct ended_scratch {
	uint32_t dumpable;
};

static void ended_ask(struct capture *c, struct batch *b, void *scratch)
{
	struct ended_scratch *s = scratch;

	if (leader_has_ended(c->process))
		s->dumpable = batch_call(b, "prctl(PR_GET_DUMPABLE)", SYS_prctl, PR_GET_DUMPABLE);
}

/* b, scratch: NULL for a zombie. */
static int ended_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	const struct ended_scratch *asked = scratch;
	const struct process *p = c->process;
	struct credentials_state *s = state;
	int r;

	if (!leader_has_ended(p))
		return CAPTURE_NOTHING;
	r = credentials_from_status(&p->status, s);
	s->of = p->id;
	s->dumpable = p->zombie ? 1 : (uint8_t)batch_result(b, asked->dumpable);
	return r;
}

const struct component component_ended = {
	.kind = {
		.name = "ended",
		.version = 1,
		.size = sizeof(struct credentials_state),
		.fields = ended_fields,
		.doc = "who the leader of a process was, if it has ended",
		.sources = "credentials(7), waitid(2); kernel/exit.c, fs/proc/array.c",
	},
	.scope = SCOPE_PROCESS,
	.zombies = true,
	.scratch_size = sizeof(struct ended_scratch),
	.ask = ended_ask,
	.capture = ended_capture,
	.validate = credentials_validate,
	.build = { [STAGE_IDENTITY] = credentials_identity },
};
