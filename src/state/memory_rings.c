/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Mappings of io_uring's rings. The kernel maps them where it likes, and neither mmap nor mremap may name a place (io_uring_get_unmapped_area). So
 * every other place is taken for a while.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "state/io_uring.h"
#include "state/memory_build.h"
#include "state/memory_parked.h"
#include "state/memory_parked.h"

#define TASK_END   0x7ffffffff000ull
#define FREE_FIRST 0x10000ull /* the usual vm.mmap_min_addr */

bool memory_is_ring(const struct restore *r, const struct memory_area *a)
{
	return a->backing && restore_state(r, a->backing, component_io_uring.kind.name);
}

/* Made once the tree is there, by a process of it. */
static bool is_late(const struct restore *r, const struct memory_area *a)
{
	const struct io_uring_state *s = a->backing ? restore_state(r, a->backing, component_io_uring.kind.name) : NULL;

	return s && io_uring_is_late(s);
}

static bool is_to_map(const struct build *b, const struct memory_state *parent, const struct memory_area *a)
{
	return memory_is_ring(b->restore, a) && !is_late(b->restore, a) && !(parent && memory_covering(parent, a));
}

/* What is free, when all but the rings is in place. */
struct gaps {
	struct page_range *list;
	size_t n;
};

static void gaps_free(struct gaps *g)
{
	free(g->list);
}

static void add_free(struct gaps *g, uint64_t start, uint64_t end)
{
	if (start < end)
		g->list[g->n++] = (struct page_range){ start, (end - start) / PAGE_SIZE };
}

/* What is parked there for descendants, once its own is in place. */
static void add_gap(const struct parked_area *parked, size_t n, struct gaps *g, uint64_t start, uint64_t end)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t size = parked[i].end - parked[i].start;

		if (parked[i].at < start || parked[i].at >= end)
			continue;
		add_free(g, start, parked[i].at);
		start = parked[i].at + size;
	}
	add_free(g, start, end);
}

/* Areas are sorted by address; ours lies between two of them. */
static int find_gaps(const struct build *b, const struct memory_state *m, bool late, struct gaps *g)
{
	size_t n = 0;
	const struct parked_area *parked = late ? NULL : parked_for_others(b, &n);
	uint64_t ours = b->restore->area.base.v, ours_end = ours + b->restore->area.size, at = FREE_FIRST;

	g->list = calloc(m->n_areas + n + 2, sizeof(*g->list));
	if (!g->list)
		return -ENOMEM;
	for (size_t i = 0; i <= m->n_areas; i++) {
		uint64_t end = i < m->n_areas ? m->areas[i].start : TASK_END;

		if (at <= ours && ours < end) {
			add_gap(parked, n, g, at, ours);
			at = ours_end;
		}
		add_gap(parked, n, g, at, end);
		if (i < m->n_areas)
			at = MAX(at, m->areas[i].end);
	}
	return 0;
}

static void take(struct build *b, uint64_t start, uint64_t size)
{
	batch_expect(b->batch,
		batch_call(b->batch, memory_label(b->batch, "mmap beside the rings, at %lx", start), SYS_mmap, start,
			size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, (uint64_t)-1, 0),
		(int64_t)start);
}

static int map_ring(struct build *b, struct fetched *f, const struct memory_area *a)
{
	uint64_t size = a->end - a->start;
	int fd = fetch_backing(b, f, a->backing, true);

	if (fd < 0)
		return fd;
	batch_call(b->batch, "munmap for a ring", SYS_munmap, a->start, size);
	batch_expect(b->batch,
		batch_call(b->batch, memory_label(b->batch, "mmap of a ring at %lx", a->start), SYS_mmap, 0, size,
			a->prot, MAP_SHARED, (uint64_t)fd, a->offset),
		(int64_t)a->start);
	return 0;
}

/* Takes every place but those of rings, and these too, for they go to theirs one after the other. */
static int take_all(
	struct build *b, const struct memory_state *m, const struct memory_state *parent, bool late, struct gaps *gaps)
{
	int r = find_gaps(b, m, late, gaps);

	for (size_t i = 0; r == 0 && i < gaps->n; i++)
		take(b, gaps->list[i].start, gaps->list[i].pages * PAGE_SIZE);
	for (size_t i = 0; r == 0 && i < m->n_areas; i++) {
		const struct memory_area *a = &m->areas[i];

		if (is_late(b->restore, a) || (!late && is_to_map(b, parent, a)))
			take(b, a->start, a->end - a->start);
	}
	return r;
}

static void give_up(struct build *b, uint64_t start, uint64_t size)
{
	batch_call(b->batch, "munmap beside the rings", SYS_munmap, start, size);
}

static void give_up_gaps(struct build *b, const struct gaps *gaps)
{
	for (size_t i = 0; i < gaps->n; i++)
		give_up(b, gaps->list[i].start, gaps->list[i].pages * PAGE_SIZE);
}

int memory_map_rings(
	struct build *b, struct fetched *f, const struct memory_state *m, const struct memory_state *parent)
{
	_cleanup_(gaps_free)
	struct gaps gaps = { 0 };
	bool any = false;
	int r = 0;

	for (size_t i = 0; i < m->n_areas && !any; i++)
		any = is_to_map(b, parent, &m->areas[i]);
	if (!any)
		return 0;
	r = take_all(b, m, parent, false, &gaps);
	for (size_t i = 0; r == 0 && i < m->n_areas; i++)
		if (is_to_map(b, parent, &m->areas[i]))
			r = map_ring(b, f, &m->areas[i]);
	for (size_t i = 0; r == 0 && i < m->n_areas; i++)
		if (is_late(b->restore, &m->areas[i]))
			give_up(b, m->areas[i].start, m->areas[i].end - m->areas[i].start);
	give_up_gaps(b, &gaps);
	return r;
}

/* --- those that are made late --- */

bool memory_has_late_rings(const struct restore *r, const struct memory_state *m)
{
	for (size_t i = 0; i < m->n_areas; i++)
		if (is_late(r, &m->areas[i]))
			return true;
	return false;
}

static int map_late_ring(struct build *b, const struct memory_area *a)
{
	const struct made *made = restore_made(b->restore, a->backing);
	uint64_t size = a->end - a->start;
	uint32_t fetched, op;

	if (made->fd[0] < 0)
		return -EBADMSG;
	fetched = build_fetch(b, "fetching an io_uring", made->fd[0]);
	give_up(b, a->start, size);
	op = batch_call(b->batch, memory_label(b->batch, "mmap of a ring at %lx", a->start), SYS_mmap, 0, size, a->prot,
		MAP_SHARED, 0, a->offset);
	batch_use(b->batch, op, 4, fetched);
	batch_expect(b->batch, op, (int64_t)a->start);
	batch_use(b->batch, batch_call(b->batch, "close of an io_uring", SYS_close, 0), 0, fetched);
	return 0;
}

int memory_map_late_rings(struct build *b, const struct memory_state *m)
{
	_cleanup_(gaps_free)
	struct gaps gaps = { 0 };
	int r = take_all(b, m, NULL, true, &gaps);

	for (size_t i = 0; r == 0 && i < m->n_areas; i++)
		if (is_late(b->restore, &m->areas[i]))
			r = map_late_ring(b, &m->areas[i]);
	give_up_gaps(b, &gaps);
	return r;
}
