/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mremap(2), MADV_DONTFORK in madvise(2). Not parked: what grows by itself, as a stack; what is locked, for to lock is to write (a fault for writing takes each page
 * out of the sharing); droppable memory, which a fork wipes; an area in which pages are the forebear's since a fork, and so shared with that one already.
 */
#include "state/memory_parked.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "state/memory_build.h"

#ifndef LEAST_PARKED
#define LEAST_PARKED 16 /* pages of an area: what is less is sooner read */
#endif
#define NOT_PARKED (AREA_GROWSDOWN | AREA_LOCKED | AREA_ONFAULT | AREA_DROPPABLE)

const struct parked_process *parked_process_of(const struct restore *r, object_id process)
{
	const struct parking *p = r->parking;

	for (size_t i = 0; p && i < p->n_processes; i++)
		if (p->processes[i].of == process)
			return &p->processes[i];
	return NULL;
}

uint64_t parked_at(const struct restore *r, const struct memory_state *m, const struct memory_area *a)
{
	const struct parked_process *p = a->kind == AREA_ANON ? parked_process_of(r, m->of) : NULL;

	for (size_t i = 0; p && i < p->n; i++)
		if (r->parking->areas[p->first + i].start == a->start)
			return r->parking->areas[p->first + i].at;
	return 0;
}

bool memory_is_parked(const struct restore *r, const struct memory_state *m, const struct memory_area *a)
{
	return parked_at(r, m, a) != 0;
}

static const struct page_run *first_run(const struct memory_state *m, uint64_t start)
{
	size_t low = 0, high = m->n_runs;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (m->runs[mid].start + m->runs[mid].pages * PAGE_SIZE <= start)
			low = mid + 1;
		else
			high = mid;
	}
	return &m->runs[low];
}

uint64_t memory_pages_in(const struct memory_state *m, const struct memory_area *a)
{
	uint64_t n = 0;

	for (const struct page_run *run = first_run(m, a->start); run < m->runs + m->n_runs && run->start < a->end;
		run++)
		n += (MIN(run->start + run->pages * PAGE_SIZE, a->end) - MAX(run->start, a->start)) / PAGE_SIZE;
	return n;
}

static bool inherits_in(const struct memory_state *m, const struct memory_area *a)
{
	for (size_t i = 0; i < m->n_inherited; i++)
		if (m->inherited[i].start < a->end &&
			m->inherited[i].start + m->inherited[i].pages * PAGE_SIZE > a->start)
			return true;
	return false;
}

bool memory_may_park(const struct memory_state *m, const struct memory_area *a)
{
	return a->kind == AREA_ANON && !a->backing && !(a->flags & NOT_PARKED) &&
	       memory_pages_in(m, a) >= LEAST_PARKED && !inherits_in(m, a);
}

void parked_move(struct build *b, const struct memory_area *a, uint64_t at)
{
	uint64_t size = a->end - a->start;
	uint32_t op = batch_call(b->batch, memory_label(b->batch, "mremap of shared pages to %lx", a->start),
		SYS_mremap, at, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, a->start);

	batch_expect(b->batch, op, (int64_t)a->start);
}

const struct parked_area *parked_for_others(const struct build *b, size_t *n)
{
	const struct parking *all = b->restore->parking;
	const struct parked_process *p = parked_process_of(b->restore, b->process->id);
	size_t first = p ? p->first + p->n : 0;

	*n = 0;
	while (p && first + *n < all->n_areas && all->areas[first + *n].at < p->last)
		++*n;
	return p ? &all->areas[first] : NULL;
}

/* Between the areas nothing is mapped, of which madvise tells when it has done the rest (ENOMEM). */
static void advise(struct batch *b, uint64_t from, uint64_t to, int advice)
{
	if (from < to)
		batch_may_fail(
			b, batch_call(b, "madvise of shared pages", SYS_madvise, from, to - from, (uint64_t)advice));
}

void parked_hold_back(struct build *b)
{
	const struct parked_process *p = parked_process_of(b->restore, b->process->id);

	if (p)
		advise(b->batch, p->to, p->last, MADV_DONTFORK);
}

void parked_offer(const struct restore *r, struct batch *b, object_id process)
{
	const struct parked_process *p = parked_process_of(r, process);

	if (p)
		advise(b, p->from, p->last, MADV_DOFORK);
}

void parked_part_with(const struct restore *r, struct batch *b, object_id process)
{
	const struct parked_process *p = parked_process_of(r, process);

	if (p && p->from < p->last)
		batch_call(b, "munmap of shared pages", SYS_munmap, p->from, p->last - p->from);
}
