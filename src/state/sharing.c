/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * sharing: what clone(2) can make two processes share, and what cannot be shared again: memory (CLONE_VM, and so signal actions, which need it), working
 * directory and umask (CLONE_FS). Tables of descriptors (CLONE_FILES) are carried by descriptors.c. clone(2), vfork(2), kcmp(2); kernel/fork.c.
 */
#include <errno.h>
#include <linux/kcmp.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "object/component.h"

#define VFORK_STEPS 50 /* of 10 ms */

static const struct {
	int type;
	const char *what;
} kinds[] = {
	{ KCMP_VM, "memory (CLONE_VM, or a vfork whose child has not called exec yet)" },
	{ KCMP_FS, "a working directory and umask (CLONE_FS)" },
};

/* A vfork mostly ends within a moment: it is given one. Inside the stop there is none any more, for a parent in vfork does not stop. */
static bool shares(const struct process *a, const struct process *b, int type)
{
	const struct timespec step = { 0, 10000000 };

	for (int i = 0; i < VFORK_STEPS; i++) {
		if (syscall(SYS_kcmp, a->pid, b->pid, type, 0, 0) != 0)
			return false;
		nanosleep(&step, NULL);
	}
	return true;
}

static void compare(struct capture *c, const struct process *other)
{
	char object[64];

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (!shares(c->process, other, kinds[i].type))
			continue;
		snprintf(object, sizeof(object), "what it shares with process %d", other->vpid);
		refused(c->ps,
			BLAME_PROCESS(
				c->process, .object = object, .remedy = "checkpoint when the two share it no more"),
			"%s: sharing between processes cannot be carried", kinds[i].what);
		return;
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

static const struct field no_fields[] = { FIELD_END };

const struct component component_sharing = {
	.kind = {
		.name = "sharing",
		.version = 1,
		.size = sizeof(object_id),
		.fields = no_fields,
		.doc = "what two processes share; refused",
		.sources = "clone(2), kcmp(2); kernel/fork.c; selftests/kcmp",
	},
	.scope = SCOPE_PROCESS,
	.look = sharing_look,
	.capture = sharing_capture,
};
