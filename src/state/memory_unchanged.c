/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Memory that is known not to have changed since the parent: where its pages lie in the parent's chain. */
#include <errno.h>
#include <stdlib.h>

#include "state/memory.h"
#include "state/older.h"

/* What is made of ranges of pages that were not written since the look before the stop. */
struct taking {
	struct capture *c;
	struct memory_plan *plan;
	const struct page_ranges *before; /* written until then; sorted */
	struct page_ranges *present;
	size_t at_before, room;
	struct older_cursor older;
};

static int add_run(struct taking *t, struct page_run run)
{
	struct memory_state *s = &t->plan->state;

	if (s->n_runs == t->room) {
		size_t room = t->room ? 2 * t->room : 64;
		struct page_run *grown = reallocarray(s->runs, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		s->runs = grown;
		t->room = room;
	}
	s->runs[s->n_runs++] = run;
	t->plan->unchanged += run.pages;
	image_refer(t->c->writer, run.file);
	return 0;
}

static int add_present(struct taking *t, uint64_t start, uint64_t end)
{
	return page_ranges_add(t->present, (struct page_range){ .start = start, .pages = (end - start) / PAGE_SIZE });
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
			r = add_run(t, run);
		} else {
			to = MIN(end, next);
			r = add_present(t, start, to);
		}
	}
	return r;
}

/* By turns: what was not written before, and what was. */
static int take_range(struct taking *t, uint64_t start, uint64_t end)
{
	const struct page_ranges *b = t->before;
	int r = 0;

	while (t->at_before < b->n && page_range_end(&b->list[t->at_before]) <= start)
		t->at_before++;
	for (size_t i = t->at_before; r == 0 && start < end; i++) {
		uint64_t from = i < b->n ? MIN(MAX(b->list[i].start, start), end) : end;
		uint64_t to = i < b->n ? MIN(page_range_end(&b->list[i]), end) : end;

		if (from > start)
			r = take_clean(t, start, from);
		if (r == 0 && to > from)
			r = add_present(t, from, to);
		start = to;
	}
	return r;
}

int memory_take_unchanged(struct capture *c, struct memory_plan *plan, const struct page_ranges *unchanged,
	const struct page_ranges *before, struct page_ranges *present)
{
	struct taking t = {
		.c = c, .plan = plan, .before = before, .present = present, .older = { .memory = plan->older }
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < unchanged->n; i++)
		r = take_range(&t, unchanged->list[i].start, page_range_end(&unchanged->list[i]));
	page_ranges_sort(present->list, present->n);
	return r;
}
