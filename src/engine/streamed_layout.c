/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/streamed_layout.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* One process's pages by address, and those of them that its children inherit. */
struct placing {
	const struct tree *tree;
	const struct memory_plan *plans;
	size_t process;
	struct piece *own;
	size_t n_own;
	struct page_ranges inherited;
	struct pieces_laid *out;
};

static int by_start(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static void add_own(struct placing *p, const struct page_ranges *ranges, const uint8_t *stash, bool copied)
{
	for (size_t i = 0; i < ranges->n; i++) {
		const struct page_range *r = &ranges->list[i];

		p->own[p->n_own++] = (struct piece){ .start = r->start,
			.pages = r->pages,
			.process = p->process,
			.stash = stash,
			.copied = copied,
			.over = r->over,
			.shared = r->shared };
		if (stash)
			stash += r->pages * PAGE_SIZE;
	}
}

static int find_own(struct placing *p)
{
	const struct memory_plan *plan = &p->plans[p->process];

	p->own = calloc(plan->present.n + plan->later.n + 1, sizeof(*p->own));
	if (!p->own)
		return -ENOMEM;
	add_own(p, &plan->present, plan->stash, false);
	add_own(p, &plan->later, NULL, true);
	qsort(p->own, p->n_own, sizeof(*p->own), by_start);
	return 0;
}

static int find_inherited(struct placing *p)
{
	object_id id = p->tree->processes[p->process]->id;
	int r = 0;

	for (size_t i = 0; r == 0 && i < p->tree->n_processes; i++)
		if (p->plans[i].state.of && p->plans[i].state.forked_from == id)
			for (size_t k = 0; r == 0 && k < p->plans[i].inherited.n; k++)
				r = page_ranges_add(&p->inherited, p->plans[i].inherited.list[k]);
	page_ranges_sort(p->inherited.list, p->inherited.n);
	return r;
}

static int add_piece(struct pieces_laid *l, const struct piece *piece)
{
	if (l->n == l->room) {
		size_t room = l->room ? 2 * l->room : 256;
		struct piece *grown = reallocarray(l->list, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		l->list = grown;
		l->room = room;
	}
	l->list[l->n] = *piece;
	l->list[l->n++].at = l->pages;
	l->pages += piece->pages;
	return 0;
}

/* The first [*n] pages of a piece are inherited by somebody, or are not. *at: of the sorted ranges, moves on. */
static bool cut(const struct page_ranges *inherited, size_t *at, const struct piece *piece, uint64_t *n)
{
	uint64_t end = piece->start + piece->pages * PAGE_SIZE, covered = piece->start;

	while (*at < inherited->n && page_range_end(&inherited->list[*at]) <= piece->start)
		++*at;
	/* of several children: ranges may overlap, and one may end before one that began earlier */
	for (size_t i = *at; i < inherited->n && inherited->list[i].start <= covered && covered < end; i++)
		covered = MAX(covered, page_range_end(&inherited->list[i]));
	if (covered > piece->start) {
		*n = (MIN(covered, end) - piece->start) / PAGE_SIZE;
		return true;
	}
	if (*at < inherited->n)
		end = MIN(end, inherited->list[*at].start);
	*n = (end - piece->start) / PAGE_SIZE;
	return false;
}

/* Of the process's pages those that are inherited, or those that are not. */
static int place(struct placing *p, bool first)
{
	size_t at = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < p->n_own; i++)
		for (struct piece rest = p->own[i]; r == 0 && rest.pages;) {
			struct piece part = rest;

			if (cut(&p->inherited, &at, &rest, &part.pages) == first)
				r = add_piece(p->out, &part);
			rest.start += part.pages * PAGE_SIZE;
			rest.pages -= part.pages;
			if (rest.stash)
				rest.stash += part.pages * PAGE_SIZE;
		}
	return r;
}

static int place_process(
	const struct tree *t, const struct memory_plan *plans, size_t process, bool first, struct pieces_laid *out)
{
	struct placing p = { .tree = t, .plans = plans, .process = process, .out = out };
	int r = plans[process].state.of ? find_own(&p) : 0;

	if (r == 0 && p.n_own)
		r = find_inherited(&p);
	if (r == 0)
		r = place(&p, first);
	if (first) /* whoever is forked next waits for no block of another's */
		out->pages = ALIGN_UP(out->pages, (uint64_t)PAGE_BLOCK);
	free(p.own);
	free(p.inherited.list);
	return r;
}

static size_t depth_of(const struct process *p)
{
	size_t depth = 0;

	while ((p = p->parent))
		depth++;
	return depth;
}

/* By generations, as they are born again. */
static int place_first(const struct tree *t, const struct memory_plan *plans, struct pieces_laid *out)
{
	size_t left = t->n_processes;
	int r = 0;

	for (size_t depth = 0; r == 0 && left; depth++)
		for (size_t i = 0; r == 0 && i < t->n_processes; i++)
			if (depth_of(t->processes[i]) == depth) {
				r = place_process(t, plans, i, true, out);
				left--;
			}
	out->first_blocks = out->pages / PAGE_BLOCK;
	return r;
}

int lay_out(const struct tree *t, const struct memory_plan *plans, struct pieces_laid *out)
{
	int r = place_first(t, plans, out);

	for (size_t i = 0; r == 0 && i < t->n_processes; i++)
		r = place_process(t, plans, i, false, out);
	return r;
}

/* --- runs --- */

static int add_run(struct memory_state *s, size_t *room, const struct piece *p, unsigned int file)
{
	if (s->n_runs == *room) {
		struct page_run *grown = reallocarray(s->runs, *room ? 2 * *room : 16, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		s->runs = grown;
		*room = *room ? 2 * *room : 16;
	}
	s->runs[s->n_runs++] = (struct page_run){ .start = p->start, .pages = p->pages, .file = file, .at = p->at };
	return 0;
}

static int run_by_start(const void *a, const void *b)
{
	const struct page_run *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static void join_runs(struct memory_state *s)
{
	size_t n = 0;

	if (s->n_runs)
		qsort(s->runs, s->n_runs, sizeof(*s->runs), run_by_start);
	for (size_t i = 0; i < s->n_runs; i++) {
		struct page_run *last = n ? &s->runs[n - 1] : NULL;

		if (last && last->start + last->pages * PAGE_SIZE == s->runs[i].start &&
			last->at + last->pages == s->runs[i].at)
			last->pages += s->runs[i].pages;
		else
			s->runs[n++] = s->runs[i];
	}
	s->n_runs = n;
}

int laid_runs(const struct pieces_laid *l, struct memory_plan *plans, size_t n, unsigned int file)
{
	_cleanup_free_ size_t *rooms = calloc(n + 1, sizeof(*rooms));
	int r = rooms ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < l->n; i++)
		r = add_run(&plans[l->list[i].process].state, &rooms[l->list[i].process], &l->list[i], file);
	for (size_t i = 0; r == 0 && i < n; i++)
		join_runs(&plans[i].state);
	return r;
}
