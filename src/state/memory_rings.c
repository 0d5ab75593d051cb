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

#define TASK_END   0x7ffffffff000ull
#define FREE_FIRST 0x10000ull /* the usual vm.mmap_min_addr */

bool memory_is_ring(const struct restore *r, const struct memory_area *a)
{
	return a->backing && restore_state(r, a->backing, component_io_uring.kind.name);
}

static bool is_to_map(const struct build *b, const struct memory_state *parent, const struct memory_area *a)
{
	return memory_is_ring(b->restore, a) && !(parent && memory_covering(parent, a));
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

static void add_gap(struct gaps *g, uint64_t start, uint64_t end)
{
	if (start < end)
		g->list[g->n++] = (struct page_range){ start, (end - start) / PAGE_SIZE };
}

/* Areas are sorted by address; ours lies between two of them. */
static int find_gaps(const struct build *b, const struct memory_state *m, struct gaps *g)
{
	uint64_t ours = b->restore->area.base.v, ours_end = ours + b->restore->area.size, at = FREE_FIRST;

	g->list = calloc(m->n_areas + 2, sizeof(*g->list));
	if (!g->list)
		return -ENOMEM;
	for (size_t i = 0; i <= m->n_areas; i++) {
		uint64_t end = i < m->n_areas ? m->areas[i].start : TASK_END;

		if (at <= ours && ours < end) {
			add_gap(g, at, ours);
			at = ours_end;
		}
		add_gap(g, at, end);
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
	r = find_gaps(b, m, &gaps);
	for (size_t i = 0; r == 0 && i < gaps.n; i++)
		take(b, gaps.list[i].start, gaps.list[i].pages * PAGE_SIZE);
	for (size_t i = 0; r == 0 && i < m->n_areas; i++)
		if (is_to_map(b, parent, &m->areas[i]))
			take(b, m->areas[i].start, m->areas[i].end - m->areas[i].start);
	for (size_t i = 0; r == 0 && i < m->n_areas; i++)
		if (is_to_map(b, parent, &m->areas[i]))
			r = map_ring(b, f, &m->areas[i]);
	for (size_t i = 0; r == 0 && i < gaps.n; i++)
		batch_call(b->batch, "munmap beside the rings", SYS_munmap, gaps.list[i].start,
			gaps.list[i].pages * PAGE_SIZE);
	return r;
}
