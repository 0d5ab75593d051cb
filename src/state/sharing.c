/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * sharing: two processes with one memory (CLONE_VM without CLONE_THREAD) are refused. kcmp(2); kernel/fork.c; selftests/kcmp. A vfork is that for a
 * moment, so it counts only inside the stop, which waits for the child to call exec. (Other things that processes may share are their components' affair.)
 */
#include <linux/kcmp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "object/component.h"

static int refuse_same_memory(struct capture *c, const struct process *other)
{
	char object[64];

	if (syscall(SYS_kcmp, c->process->pid, other->pid, KCMP_VM, 0, 0) != 0)
		return 0;
	snprintf(object, sizeof(object), "memory shared with process %d", other->vpid);
	return refused(c->ps, BLAME_PROCESS(c->process, .object = object, .remedy = "checkpoint when the two share it no more"),
		"processes that share their memory (CLONE_VM) cannot be carried");
}

/* Sharing comes from clone: with the parent, or with whom the same parent made before. */
static int sharing_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	const struct process *before = NULL, *parent = c->process->parent;

	if (!parent)
		return CAPTURE_NOTHING;
	for (size_t i = 0; c->tree->processes[i] != c->process; i++)
		if (c->tree->processes[i]->parent == parent && !c->tree->processes[i]->zombie)
			before = c->tree->processes[i];
	if (!parent->zombie)
		refuse_same_memory(c, parent);
	if (before)
		refuse_same_memory(c, before);
	return CAPTURE_NOTHING;
}

struct sharing_state {
	object_id of;
};

static const struct field sharing_fields[] = {
	FIELD_REF(struct sharing_state, of, "of", "process", REF_STRONG, "never written: what is shared is refused"),
	FIELD_END,
};

const struct component component_sharing = {
	.kind = {
		.name = "sharing",
		.version = 1,
		.size = sizeof(struct sharing_state),
		.fields = sharing_fields,
		.doc = "memory that two processes share; refused",
		.sources = "clone(2), kcmp(2); kernel/fork.c; selftests/kcmp",
	},
	.scope = SCOPE_PROCESS,
	.capture = sharing_capture,
};
