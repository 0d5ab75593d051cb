/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Landlock domains: landlock_restrict_self(2); security/landlock/task.c (hook_ptrace_access_check). The kernel shows to nobody whether a thread has one, but none
 * that has may look at a process outside of it: get_robust_list(2) of a witness then gives EPERM. So each thread is made to try. Refused: a domain's rules can be read by nobody.
 */
#include "object/component.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "state/owner.h"
#include "state/witness.h"

#ifndef LANDLOCK_CREATE_RULESET_VERSION
#define LANDLOCK_CREATE_RULESET_VERSION (1u << 0)
#endif

struct landlock_scratch {
	uint32_t look;
	pid_t witness; /* 0: this kernel has no Landlock; negative errno: none could be made */
};

static bool kernel_has_landlock(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) > 0;
}

static void landlock_ask(struct capture *c, struct batch *b, void *scratch)
{
	struct landlock_scratch *s = scratch;
	const struct proc_status *st = &c->thread->status;
	void *room = NULL;
	uint64_t at;

	if (!kernel_has_landlock())
		return;
	s->witness = witness_for(c->witnesses, c->tree, st->uid[0], st->gid[0]);
	if (s->witness <= 0)
		return;
	at = batch_room(b, 2 * sizeof(uint64_t), &room).v;
	s->look =
		batch_call(b, "get_robust_list", SYS_get_robust_list, (uint64_t)s->witness, at, at + sizeof(uint64_t));
	batch_may_fail(b, s->look);
}

static int landlock_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	const struct landlock_scratch *s = scratch;
	int64_t r = s->witness > 0 ? batch_result(b, s->look) : s->witness;
	char object[48];

	(void)state;
	snprintf(object, sizeof(object), "Landlock domain of thread %d", c->thread->tid);
	if (s->witness > 0 && r == -EPERM)
		refused(c->ps,
			BLAME_PROCESS(c->process, .object = object,
				.remedy =
					"start the program without its sandbox, or leave this process out of the tree"),
			"it has confined itself (landlock_restrict_self), or another security module does; a restore "
			"would set it free");
	else if (r < 0)
		changed(c->ps, BLAME_PROCESS(c->process, .object = object),
			"it cannot be told whether it has one, which would be lost: %s", strerror((int)-r));
	return CAPTURE_NOTHING;
}

static const struct field no_fields[] = { FIELD_END };

const struct component component_landlock = {
	.kind = {
		.name = "landlock",
		.version = 1,
		.size = sizeof(object_id),
		.fields = no_fields,
		.doc = "only looked at: a thread in a Landlock domain is refused",
		.sources = "landlock(7), landlock_restrict_self(2); security/landlock; selftests/landlock",
	},
	.scope = SCOPE_THREAD,
	.scratch_size = sizeof(struct landlock_scratch),
	.ask = landlock_ask,
	.capture = landlock_capture,
};
