/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * sharing: what clone(2) can make two processes share, and what cannot be shared again: memory (CLONE_VM), descriptors (CLONE_FILES), working directory
 * (CLONE_FS), signal actions (CLONE_SIGHAND). kcmp(2); kernel/fork.c; selftests/kcmp. Threads of one process share all of it, and that is carried.
 */
#include <errno.h>
#include <linux/kcmp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "object/component.h"

static const struct {
	int type;
	const char *what;
} kinds[] = {
	{ KCMP_VM, "memory (CLONE_VM, or a vfork whose child has not called exec yet)" },
	{ KCMP_FILES, "a table of descriptors (CLONE_FILES)" },
	{ KCMP_FS, "a working directory and umask (CLONE_FS)" },
	{ KCMP_SIGHAND, "signal actions (CLONE_SIGHAND)" },
};

static bool same(pid_t a, pid_t b, int type)
{
	return syscall(SYS_kcmp, a, b, type, 0, 0) == 0;
}

static void compare(struct capture *c, const struct process *other)
{
	char object[64];

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (!same(c->process->pid, other->pid, kinds[i].type))
			continue;
		snprintf(object, sizeof(object), "what it shares with process %d", other->vpid);
		refused(c->ps, BLAME_PROCESS(c->process, .object = object, .remedy = "checkpoint when the two share it no more"),
			"%s: sharing between processes cannot be carried", kinds[i].what);
	}
}

/* Sharing comes from clone: with the parent, or with whom the same parent made before. */
static int sharing_look(struct capture *c)
{
	const struct process *before = NULL;

	if (!c->process->parent)
		return 0;
	for (size_t i = 0; i < c->tree->n_processes && c->tree->processes[i] != c->process; i++)
		if (c->tree->processes[i]->parent == c->process->parent && !c->tree->processes[i]->zombie)
			before = c->tree->processes[i];
	if (!c->process->parent->zombie)
		compare(c, c->process->parent);
	if (before)
		compare(c, before);
	return 0;
}

static int sharing_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	sharing_look(c);
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
		.doc = "what two processes share; refused",
		.sources = "clone(2), kcmp(2); kernel/fork.c; selftests/kcmp",
	},
	.scope = SCOPE_PROCESS,
	.look = sharing_look,
	.capture = sharing_capture,
};
