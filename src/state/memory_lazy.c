/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Later come those of private anonymous areas in which many are. Not: what processes share since a fork, which must be there before the fork; what is locked, and so
 * was never to be waited for; what a fork wipes, and pages that guard, of which no userfaultfd tells; huge pages, which would come as small ones; the memory of a process with a userfaultfd of its own.
 */
#include "state/memory_lazy.h"

#include <errno.h>
#include <stdlib.h>

#include "state/memory_parked.h"
#include "state/userfaultfd.h"

#ifndef LEAST_LATER
#define LEAST_LATER 64 /* pages: to read fewer takes less time than to register their area, and to wait for them */
#endif
#ifndef LEAST_LARGE
#define LEAST_LARGE 1024 /* pages: fewer the process itself has read before others could */
#endif
#define LAST_PAGE 0x7fffffffe000ull
#define AT_ONCE                                                                                                        \
	(AREA_GROWSDOWN | AREA_LOCKED | AREA_HUGEPAGE | AREA_WIPEONFORK | AREA_SEALED | AREA_DROPPABLE | AREA_ONFAULT)

static uint64_t count_pages(const struct memory_state *m, const struct memory_area *a)
{
	uint64_t n = 0;
	size_t low = 0, high = m->n_runs;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (m->runs[mid].start + m->runs[mid].pages * PAGE_SIZE <= a->start)
			low = mid + 1;
		else
			high = mid;
	}
	for (; low < m->n_runs && m->runs[low].start < a->end && n < LEAST_LATER; low++) {
		uint64_t end = m->runs[low].start + m->runs[low].pages * PAGE_SIZE;

		n += (MIN(end, a->end) - MAX(m->runs[low].start, a->start)) / PAGE_SIZE;
	}
	return n;
}

static bool meets(const struct page_range *ranges, size_t n, const struct memory_area *a)
{
	for (size_t i = 0; i < n; i++)
		if (ranges[i].start < a->end && ranges[i].start + ranges[i].pages * PAGE_SIZE > a->start)
			return true;
	return false;
}

/* By any two processes: an area of a third at the same place is not worth telling apart. */
static bool is_shared_by_fork(const struct restore *r, const struct memory_area *a)
{
	size_t n;
	const struct record *records = image_records(r->image, &component_memory.kind, &n);

	for (size_t i = 0; i < n; i++) {
		const struct memory_state *m = records[i].state;

		if (meets(m->inherited, m->n_inherited, a))
			return true;
	}
	return false;
}

static bool may_be_copied(const struct restore *r, const struct memory_state *m, const struct memory_area *a)
{
	return a->kind == AREA_ANON && !a->backing && !(a->flags & AT_ONCE) && !m->lock_future && a->end <= LAST_PAGE &&
	       count_pages(m, a) >= LEAST_LATER && !meets(m->guards, m->n_guards, a) && !is_shared_by_fork(r, a) &&
	       !userfaultfd_is_for(r, m->of);
}

bool memory_is_lazy(const struct restore *r, const struct memory_state *m, const struct memory_area *a)
{
	return r->lazy && may_be_copied(r, m, a);
}

bool memory_is_copied(const struct restore *r, const struct memory_state *m, const struct memory_area *a)
{
	return !r->lazy && !r->parking && may_be_copied(r, m, a);
}

static int add(struct page_runs *out, const struct page_run *run, uint64_t start, uint64_t end)
{
	if (start >= end)
		return 0;
	if (out->n == out->room) {
		size_t room = out->room ? 2 * out->room : 64;
		struct page_run *grown = reallocarray(out->list, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		out->list = grown;
		out->room = room;
	}
	out->list[out->n++] = (struct page_run){ .start = start,
		.pages = (end - start) / PAGE_SIZE,
		.file = run->file,
		.at = run->at + (start - run->start) / PAGE_SIZE };
	return 0;
}

/* A run may go on in the next area. */
static int runs_where(const struct restore *r, const struct memory_state *m,
	bool (*is)(const struct restore *r, const struct memory_state *m, const struct memory_area *a), bool which,
	struct page_runs *out)
{
	size_t run = 0;

	*out = (struct page_runs){ 0 };
	for (size_t i = 0; i < m->n_areas; i++) {
		const struct memory_area *a = &m->areas[i];
		bool wanted;

		while (run < m->n_runs && m->runs[run].start + m->runs[run].pages * PAGE_SIZE <= a->start)
			run++;
		if (run == m->n_runs || m->runs[run].start >= a->end)
			continue;
		wanted = is(r, m, a) == which;
		for (size_t k = run; wanted && k < m->n_runs && m->runs[k].start < a->end; k++)
			if (add(out, &m->runs[k], MAX(m->runs[k].start, a->start),
				    MIN(m->runs[k].start + m->runs[k].pages * PAGE_SIZE, a->end)) < 0) {
				free(out->list);
				*out = (struct page_runs){ 0 };
				return -ENOMEM;
			}
	}
	return 0;
}

int memory_lazy_runs(const struct restore *r, const struct memory_state *m, bool later, struct page_runs *out)
{
	return runs_where(r, m, memory_is_lazy, later, out);
}

int memory_copied_runs(const struct restore *r, const struct memory_state *m, bool copied, struct page_runs *out)
{
	return runs_where(r, m, memory_is_copied, copied, out);
}

int memory_runs_now(const struct restore *r, const struct memory_state *m, struct page_runs *out)
{
	if (r->lazy || r->parking)
		return runs_where(r, m, r->lazy ? memory_is_lazy : memory_is_parked, false, out);
	*out = (struct page_runs){ .list = m->runs, .n = m->n_runs }; /* borrowed: there is no room */
	return 0;
}

void memory_runs_done(struct page_runs *runs)
{
	if (runs->room)
		free(runs->list);
	*runs = (struct page_runs){ 0 };
}

static uint64_t count_runs(const struct page_run *runs, size_t n)
{
	uint64_t pages = 0;

	for (size_t i = 0; i < n; i++)
		pages += runs[i].pages;
	return pages;
}

/* Of a lazy restore and of clones little is left to be read. */
bool memory_is_large(const struct restore *r, const struct memory_state *m)
{
	return !r->streamed && !r->lazy && !r->parking && count_runs(m->runs, m->n_runs) >= LEAST_LARGE;
}
