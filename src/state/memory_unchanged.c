/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory that the image has before the stop, by the parent's chain or by pre-copy. Which pages these are is known before it, so that in it only those written since are taken
 * from them; where each lies is told when the tree runs again.
 */
#include <errno.h>
#include <stdlib.h>

#include "state/memory.h"
#include "state/older.h"
#include "state/written.h"

/* A walk by rising addresses. */
struct taking {
	const struct written *written;
	struct older_cursor older;
	size_t at_before, at_copied;
	/* Where a run goes to: what is settled, */
	struct page_ranges *settled;
	/* or a process's memory in an image. */
	struct memory_plan *plan;
	struct image_writer *image;
	size_t room;
};

static int add_run(struct taking *t, struct page_run run)
{
	struct memory_state *s = &t->plan->state;
	struct page_run *last = s->n_runs ? &s->runs[s->n_runs - 1] : NULL;

	if (last && last->file == run.file && last->start + last->pages * PAGE_SIZE == run.start &&
		last->at + last->pages == run.at) {
		last->pages += run.pages;
		return 0;
	}
	if (!s->runs || s->n_runs == t->room) {
		size_t room = t->room ? 2 * t->room : 64;
		struct page_run *grown = reallocarray(s->runs, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		s->runs = grown;
		t->room = room;
	}
	s->runs[s->n_runs++] = run;
	return 0;
}

static int settle(struct taking *t, uint64_t start, uint64_t pages)
{
	return page_ranges_add(t->settled, (struct page_range){ .start = start, .pages = pages });
}

static int take_older(struct taking *t, struct page_run run)
{
	if (t->settled)
		return settle(t, run.start, run.pages);
	t->plan->unchanged += run.pages;
	image_refer(t->image, run.file);
	return add_run(t, run);
}

static int take_copy(struct taking *t, const struct precopied_page *p)
{
	if (t->settled)
		return settle(t, p->address, 1);
	return p->state == PRECOPIED_ZERO ? 0 : add_run(t, (struct page_run){ p->address, 1, p->file, p->at });
}

/* Not written since the parent. What it has no page for was zero, or another process's by a fork: it is looked at. */
static int take_clean(struct taking *t, uint64_t start, uint64_t end)
{
	int r = 0;

	for (uint64_t to; r == 0 && start < end; start = to) {
		struct page_run run;
		uint64_t next;

		if (older_find(&t->older, start, &run, &next)) {
			run.pages = MIN(run.pages, (end - start) / PAGE_SIZE);
			to = start + run.pages * PAGE_SIZE;
			r = take_older(t, run);
		} else {
			to = MIN(end, next);
		}
	}
	return r;
}

/* Written since the parent: but for what was saved since then it is looked at. */
static int take_written(struct taking *t, uint64_t start, uint64_t end)
{
	const struct precopied *c = &t->written->copied;
	int r = 0;

	while (t->at_copied < c->n && c->list[t->at_copied].address < start)
		t->at_copied++;
	for (; r == 0 && t->at_copied < c->n && c->list[t->at_copied].address < end; t->at_copied++)
		if (c->list[t->at_copied].state != PRECOPIED_NOT)
			r = take_copy(t, &c->list[t->at_copied]);
	return r;
}

/* By turns: what was not written before, and what was. */
static int take_range(struct taking *t, uint64_t start, uint64_t end)
{
	const struct page_ranges *b = &t->written->before;
	int r = 0;

	while (t->at_before < b->n && page_range_end(&b->list[t->at_before]) <= start)
		t->at_before++;
	for (size_t i = t->at_before; r == 0 && start < end; i++) {
		uint64_t from = i < b->n ? MIN(MAX(b->list[i].start, start), end) : end;
		uint64_t to = i < b->n ? MIN(page_range_end(&b->list[i]), end) : end;

		if (from > start)
			r = take_clean(t, start, from);
		if (r == 0 && to > from)
			r = take_written(t, from, to);
		start = to;
	}
	return r;
}

int memory_settle(struct written *w, const struct memory_state *older)
{
	struct taking t = { .written = w, .older = { .memory = older }, .settled = &w->settled };
	uint64_t first = older->n_runs ? older->runs[0].start : UINT64_MAX;
	uint64_t end = older->n_runs
			       ? older->runs[older->n_runs - 1].start + older->runs[older->n_runs - 1].pages * PAGE_SIZE
			       : 0;

	if (w->before.n) {
		first = MIN(first, w->before.list[0].start);
		end = MAX(end, page_range_end(&w->before.list[w->before.n - 1]));
	}
	w->settled.n = 0;
	w->settled_by = older;
	return first < end ? take_range(&t, first, end) : 0;
}

int memory_take_settled(const struct page_ranges *unchanged, const struct written *w, struct page_ranges *present)
{
	int r = 0;

	for (size_t i = 0, k = 0; r == 0 && i < unchanged->n; i++) {
		uint64_t start = unchanged->list[i].start, end = page_range_end(&unchanged->list[i]);

		while (k < w->settled.n && page_range_end(&w->settled.list[k]) <= start)
			k++;
		for (size_t at = k; r == 0 && start < end; at++) {
			bool more = at < w->settled.n && w->settled.list[at].start < end;
			uint64_t to = more ? MAX(w->settled.list[at].start, start) : end;

			if (to > start)
				r = page_ranges_add(present,
					(struct page_range){ .start = start, .pages = (to - start) / PAGE_SIZE });
			start = more ? page_range_end(&w->settled.list[at]) : end;
		}
	}
	page_ranges_sort(present->list, present->n);
	return r;
}

int memory_refer_settled(struct image_writer *image, struct memory_plan *plan)
{
	struct taking t = {
		.written = plan->settled_by,
		.older = { .memory = plan->older },
		.plan = plan,
		.image = image,
		.room = plan->state.n_runs,
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < plan->settled.n; i++)
		r = take_range(&t, plan->settled.list[i].start, page_range_end(&plan->settled.list[i]));
	return r;
}
