/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * sharing: what clone(2) can make two processes share, and what cannot be shared again: memory (CLONE_VM, and so signal actions, which need it), working
 * directory and umask (CLONE_FS). Tables of descriptors (CLONE_FILES) are carried by descriptors.c. clone(2), vfork(2), kcmp(2); kernel/fork.c.
 */
#include "object/component.h"

#include <linux/kcmp.h>
#include <stdlib.h>
#include <time.h>

#include "base/cleanup.h"
#include "kernel/sched.h"
#include "state/owner.h"

#define VFORK_STEPS 50 /* of 10 ms */

struct sharer {
	const struct process *process;
	pid_t tid;    /* a leader that has ended has neither memory nor directories */
	uint64_t key; /* what must be equal: not every pair has to be asked for */
};

static uint64_t memory_key(const struct thread *th)
{
	return th->stat.startstack ^ th->stat.start_brk ^ th->stat.arg_start << 16;
}

static uint64_t directory_key(const struct thread *th)
{
	return th->status.umask;
}

/* kcmp(2): 1 less, 2 greater. */
static int compare(const struct sharer *a, const struct sharer *b, int type)
{
	int r;

	if (a->key != b->key)
		return a->key < b->key ? -1 : 1;
	r = kernel_kcmp(a->tid, b->tid, type);
	return r == 1 ? -1 : r == 0 ? 0 : 1;
}

static int compare_memory(const void *a, const void *b)
{
	return compare(a, b, KCMP_VM);
}

static int compare_directory(const void *a, const void *b)
{
	return compare(a, b, KCMP_FS);
}

static const struct kind {
	const char *what;
	uint64_t (*key)(const struct thread *th);
	int (*compare)(const void *a, const void *b);
} kinds[] = {
	{ "memory (CLONE_VM, or a vfork whose child has not called exec yet)", memory_key, compare_memory },
	{ "a working directory and umask (CLONE_FS)", directory_key, compare_directory },
};

/* A vfork mostly ends within a moment: in a tree that runs it is given one. Inside the stop there is none any more, for a parent in vfork does not stop. */
static bool shares(const struct capture *c, const struct kind *k, const struct sharer *a, const struct sharer *b)
{
	const struct timespec step = { 0, 10000000 };

	for (int i = 0; i < VFORK_STEPS; i++) {
		if (k->compare(a, b) != 0)
			return false;
		if (c->writer)
			return true;
		nanosleep(&step, NULL);
	}
	return true;
}

static void refuse(struct capture *c, const struct kind *k, const struct sharer *s, const struct sharer *other)
{
	char object[64];

	snprintf(object, sizeof(object), "what it shares with process %d", other->process->vpid);
	refused(c->ps,
		BLAME_PROCESS(s->process, .object = object, .remedy = "checkpoint when the two share it no more"),
		"%s: sharing between processes cannot be carried", k->what);
}

/* Whom the root was born by, and may share with, need not be of the tree. */
static void look_at_parent(struct capture *c)
{
	static const struct {
		const char *what;
		int type;
	} shared[] = {
		{ "memory (CLONE_VM, or a vfork whose child has not called exec yet)", KCMP_VM },
		{ "a working directory and umask (CLONE_FS)", KCMP_FS },
		{ "a descriptor table (CLONE_FILES)", KCMP_FILES },
	};
	const struct process *root = c->tree->processes[0];
	char object[64];

	if (root->zombie || root->stat.ppid <= 0 || tree_find(c->tree, root->stat.ppid))
		return;
	snprintf(object, sizeof(object), "what it shares with process %d", root->stat.ppid);
	for (size_t i = 0; i < ARRAY_SIZE(shared); i++)
		if (kernel_kcmp(root->stat.ppid, root->living_tid, shared[i].type) == 0)
			refused(c->ps,
				BLAME_PROCESS(
					root, .object = object, .remedy = "checkpoint when the two share it no more"),
				"%s: sharing with its parent, which is outside the tree, cannot be carried",
				shared[i].what);
}

/* Of all processes: who shares what need not be parent and child, nor have a parent in common that lives. */
static int sharing_look(struct capture *c)
{
	const struct tree *t = c->tree;
	_cleanup_free_ struct sharer *list = calloc(t->n_processes + 1, sizeof(*list));

	if (!list)
		return -ENOMEM;
	look_at_parent(c);
	for (const struct kind *k = kinds; k < kinds + ARRAY_SIZE(kinds); k++) {
		size_t n = 0;

		for (size_t i = 0; i < t->n_processes; i++)
			if (!t->processes[i]->zombie && t->processes[i]->n_threads) {
				const struct thread *alive = owner_alive(t->processes[i]);

				list[n++] = (struct sharer){ t->processes[i], alive->tid, k->key(alive) };
			}
		qsort(list, n, sizeof(*list), k->compare);
		for (size_t i = 1; i < n; i++)
			if (shares(c, k, &list[i], &list[i - 1]))
				refuse(c, k, &list[i], &list[i - 1]);
	}
	return 0;
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
	.scope = SCOPE_TREE,
	.look = sharing_look,
	.capture = capture_nothing,
};
