/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * I/O contexts that tasks share (CLONE_IO): one I/O priority, and one place in the queues of a disk. clone(2), kcmp(2); block/blk-ioc.c, kernel/kcmp.c;
 * selftests/kcmp. A task has none until it needs one, and kcmp(2) takes two that have none for two that share: so each is first compared with a task of
 * spore's that is sure to have none.
 */
#include "state/io_context.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kernel/sched.h"
#include "state/files.h"
#include "state/owner.h"

struct sharer {
	object_id thread;
};

struct io_context_state {
	struct sharer *list;
	size_t n;
};

static const struct field sharer_fields[] = {
	FIELD_REF(struct sharer, thread, "thread", "thread", REF_LATE,
		"a leader that shares with its parent's leader, or another thread that shares with its leader"),
	FIELD_END,
};

static const struct field io_context_fields[] = {
	FIELD_LIST(struct io_context_state, list, n, "list", sharer_fields, "who was born with CLONE_IO"),
	FIELD_END,
};

/* --- checkpoint --- */

struct holders {
	const struct tree *tree;
	const struct thread **list; /* those that have a context, in the kernel's order of contexts */
	size_t n;
};

/* Runs in a task of spore's that has no context. */
static int find_holders(void *arg)
{
	struct holders *h = arg;
	pid_t none = (pid_t)syscall(SYS_gettid);

	for (size_t i = 0; i < h->tree->n_processes; i++) {
		const struct process *p = h->tree->processes[i];

		for (size_t k = 0; !p->zombie && k < p->n_threads; k++) {
			int r = kernel_kcmp(none, p->threads[k].tid, KCMP_IO);

			if (r > 0)
				h->list[h->n++] = &p->threads[k];
			else if (r < 0 && errno != ESRCH)
				return -errno;
		}
	}
	return 0;
}

/* A child is born with a context of its own if its creator has an I/O priority. */
static int find_holders_from_child(struct holders *h)
{
	long own = syscall(SYS_ioprio_get, IOPRIO_OF_PROCESS, 0);
	int r;

	if (own > 0)
		syscall(SYS_ioprio_set, IOPRIO_OF_PROCESS, 0, 0);
	r = call_in_child(find_holders, h);
	if (own > 0)
		syscall(SYS_ioprio_set, IOPRIO_OF_PROCESS, 0, own);
	return r;
}

/* kcmp(2): 1 less, 2 greater. */
static int compare_contexts(const void *a, const void *b)
{
	const struct thread *x = *(const struct thread *const *)a, *y = *(const struct thread *const *)b;
	int r = kernel_kcmp(x->tid, y->tid, KCMP_IO);

	return r == 1 ? -1 : r == 2;
}

static const struct thread *creator_of(const struct thread *th)
{
	const struct process *p = th->process;

	if (th != &p->threads[0])
		return &p->threads[0];
	return p->parent && !p->parent->zombie ? &p->parent->threads[0] : NULL;
}

static bool is_among(const struct thread *th, const struct thread *const *group, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (group[i] == th)
			return true;
	return false;
}

/* All but one, which made the context, must have it from their creator. */
static int add_group(struct capture *c, struct io_context_state *s, const struct thread *const *group, size_t n)
{
	size_t without = 0;

	for (size_t i = 0; n > 1 && i < n; i++) {
		if (is_among(creator_of(group[i]), group, n))
			s->list[s->n++].thread = group[i]->id;
		else if (without++)
			return refused(c->ps,
				BLAME_PROCESS(group[i]->process, .object = "I/O context",
					.remedy = "start both without CLONE_IO"),
				"thread %d shares it with %d, which neither gave birth to the other", group[i]->tid,
				group[0]->tid == group[i]->tid ? group[1]->tid : group[0]->tid);
	}
	return 0;
}

static int io_context_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	struct io_context_state *s = state;
	_cleanup_free_ const struct thread **list = NULL;
	size_t n = 0;
	struct holders h = { .tree = c->tree };
	int r;

	for (size_t i = 0; i < c->tree->n_processes; i++)
		n += c->tree->processes[i]->n_threads;
	if (n < 2)
		return CAPTURE_NOTHING;
	h.list = list = calloc(n + 1, sizeof(const struct thread *));
	s->list = calloc(n + 1, sizeof(*s->list));
	if (!list || !s->list)
		return -ENOMEM;
	r = find_holders_from_child(&h);
	if (r < 0)
		return failed(c->ps, NULL, r, "kcmp of I/O contexts: %s", strerror(-r));
	qsort(list, h.n, sizeof(*list), compare_contexts);
	for (size_t i = 0, end; r == 0 && i < h.n; i = end) {
		for (end = i + 1; end < h.n && compare_contexts(&list[i], &list[end]) == 0;)
			end++;
		r = add_group(c, s, list + i, end - i);
	}
	return r < 0 ? r : s->n ? 0 : CAPTURE_NOTHING;
}

/* --- restore --- */

bool io_context_is_shared(const struct restore *r, object_id thread)
{
	size_t n;
	const struct record *rec = image_records(r->image, &component_io_context.kind, &n);

	for (size_t i = 0; thread && i < n; i++) {
		const struct io_context_state *s = rec[i].state;

		for (size_t k = 0; k < s->n; k++)
			if (s->list[k].thread == thread)
				return true;
	}
	return false;
}

/* Setting a priority makes a context: the one that every newborn has from spore, so that nothing else changes. */
void io_context_prepare(struct batch *b)
{
	long own = syscall(SYS_ioprio_get, IOPRIO_OF_PROCESS, 0);

	batch_call(b, "ioprio_set", SYS_ioprio_set, IOPRIO_OF_PROCESS, 0, own < 0 ? 0 : (uint64_t)own);
}

const struct component component_io_context = {
	.kind = {
		.name = "io_context",
		.version = 1,
		.size = sizeof(struct io_context_state),
		.fields = io_context_fields,
		.doc = "who shares an I/O context (CLONE_IO)",
		.sources = "clone(2), kcmp(2), ioprio_set(2); block/blk-ioc.c; selftests/kcmp",
	},
	.scope = SCOPE_TREE,
	.capture = io_context_capture,
};
