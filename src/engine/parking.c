/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pages are shared by fork alone, and so by whoever was born with its forebear's memory: a process with something to share, and all from whom it descends, does
 * not call exec again in a clone, although it had called it. Those with little are made anew in each clone, as ever.
 */
#include "engine/parking.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"

#ifndef LEAST_SHARED
#define LEAST_SHARED 256 /* pages of a process */
#endif
#define AREA_MOST  (1ull << 40) /* bytes */
#define DEPTH_MOST 256		/* of forebears through whom memory is handed on */
#define STEP	   (2ull << 20) /* a huge page stays one where it is as far from such a boundary as it was */

/* --- who and what --- */

struct choice {
	struct plan *plan;
	struct parking *out;
	bool *shares, *carries; /* by process */
	bool bottom_up;		/* of this process's own memory, which all are to have been forked from */
	uint64_t at;
};

static bool parks(const struct memory_state *m, const struct memory_area *a)
{
	return a->end - a->start <= AREA_MOST && memory_may_park(m, a);
}

static uint64_t pages_to_park(const struct memory_state *m)
{
	uint64_t n = 0;

	for (size_t i = 0; m && i < m->n_areas; i++)
		if (parks(m, &m->areas[i]))
			n += memory_pages_in(m, &m->areas[i]);
	return n;
}

static size_t index_of(const struct plan *plan, const struct new_process *p)
{
	size_t i = 0;

	while (plan->r->processes[i] != p)
		i++;
	return i;
}

/* Where new mappings go is decided at an exec, and inherited. */
static bool can_inherit(const struct choice *c, const struct new_process *p)
{
	int depth = 0;

	for (; p; p = inherits_from(p), depth++) {
		const struct memory_state *m = plan_memory(c->plan, p);

		if (depth == DEPTH_MOST || (m && m->bottom_up != c->bottom_up))
			return false;
	}
	return true;
}

static void choose_processes(struct choice *c)
{
	const struct restore *r = c->plan->r;

	for (size_t i = 0; i < r->n_processes; i++) {
		struct new_process *p = r->processes[i];

		if (p->zombie || pages_to_park(c->plan->memories[i]) < LEAST_SHARED || !can_inherit(c, p))
			continue;
		c->shares[i] = true;
		for (; p; p = inherits_from(p))
			c->carries[index_of(c->plan, p)] = true;
	}
}

static int own_direction(bool *up)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	void *one = mmap(NULL, PAGE_SIZE, PROT_NONE, flags, -1, 0);
	void *two = mmap(NULL, PAGE_SIZE, PROT_NONE, flags, -1, 0);

	if (one == MAP_FAILED || two == MAP_FAILED)
		return -errno;
	*up = two > one;
	munmap(one, PAGE_SIZE);
	munmap(two, PAGE_SIZE);
	return 0;
}

/* --- where --- */

static void count(const struct choice *c, size_t *n_areas, uint64_t *size)
{
	*n_areas = 0;
	*size = STEP;
	for (size_t i = 0; i < c->plan->r->n_processes; i++)
		for (size_t k = 0; c->shares[i] && k < c->plan->memories[i]->n_areas; k++) {
			const struct memory_area *a = &c->plan->memories[i]->areas[k];

			if (parks(c->plan->memories[i], a)) {
				++*n_areas;
				*size += a->end - a->start + 2 * STEP;
			}
		}
}

/* Never beside another, with which it would be one mapping. */
static void place_area(struct choice *c, const struct memory_area *a)
{
	uint64_t at = ALIGN_UP(c->at + PAGE_SIZE, STEP) + a->start % STEP;

	c->out->areas[c->out->n_areas++] = (struct parked_area){ a->start, a->end, at };
	c->at = at + (a->end - a->start);
}

/* A process, and behind it all who descend from it. */
static void place_process(struct choice *c, size_t i)
{
	const struct restore *r = c->plan->r;
	const struct memory_state *m = c->plan->memories[i];
	struct parked_process *p = &c->out->processes[c->out->n_processes++];

	*p = (struct parked_process){ .of = r->processes[i]->id, .first = c->out->n_areas, .from = c->at };
	for (size_t k = 0; c->shares[i] && k < m->n_areas; k++)
		if (parks(m, &m->areas[k]))
			place_area(c, &m->areas[k]);
	p->n = c->out->n_areas - p->first;
	p->to = c->at;
	for (size_t k = 0; k < r->n_processes; k++)
		if (c->carries[k] && inherits_from(r->processes[k]) == r->processes[i])
			place_process(c, k);
	p->last = c->at;
}

static int place_all(struct choice *c)
{
	size_t n_areas;
	uint64_t size;
	int r;

	count(c, &n_areas, &size);
	if (!n_areas)
		return 0;
	c->out->processes = calloc(c->plan->r->n_processes, sizeof(*c->out->processes));
	c->out->areas = calloc(n_areas, sizeof(*c->out->areas));
	if (!c->out->processes || !c->out->areas)
		return -ENOMEM;
	r = plan_find_hole(c->plan, size, &c->at);
	c->out->from = c->at;
	if (r == 0)
		place_process(c, 0);
	c->out->to = c->at;
	return r;
}

/* --- mapping and reading --- */

/* Part of a run, within one block of its page file. */
struct chunk {
	uint8_t *to;
	uint64_t file, at, pages;
};

struct reading {
	const struct image *image;
	struct problems *ps;
	struct chunk *list; /* in the order of the page files */
	size_t n, room;
	size_t *blocks; /* the first of each block, and then n */
	size_t n_blocks;
	_Atomic(size_t) next;
};

static int add_chunk(struct reading *r, struct chunk new)
{
	if (r->n == r->room) {
		struct chunk *grown = reallocarray(r->list, r->room ? 2 * r->room : 256, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		r->list = grown;
		r->room = r->room ? 2 * r->room : 256;
	}
	r->list[r->n++] = new;
	return 0;
}

static int add_run(struct reading *r, const struct page_run *run, const struct parked_area *a)
{
	uint64_t start = MAX(run->start, a->start), end = MIN(run->start + run->pages * PAGE_SIZE, a->end);
	int error = 0;

	for (uint64_t n; error == 0 && start < end; start += n * PAGE_SIZE) {
		uint64_t at = run->at + (start - run->start) / PAGE_SIZE;

		n = MIN((end - start) / PAGE_SIZE, PAGE_BLOCK - at % PAGE_BLOCK);
		error = add_chunk(r, (struct chunk){ (uint8_t *)(a->at + (start - a->start)), run->file, at, n });
	}
	return error;
}

static int add_chunks(struct reading *r, const struct memory_state *m, const struct parked_area *a)
{
	int error = 0;

	for (size_t i = 0; error == 0 && i < m->n_runs; i++)
		error = add_run(r, &m->runs[i], a);
	return error;
}

static int by_place(const void *a, const void *b)
{
	const struct chunk *x = a, *y = b;

	if (x->file != y->file)
		return x->file < y->file ? -1 : 1;
	return (x->at > y->at) - (x->at < y->at);
}

static int find_blocks(struct reading *r)
{
	if (r->n)
		qsort(r->list, r->n, sizeof(*r->list), by_place);
	r->blocks = calloc(r->n + 1, sizeof(*r->blocks));
	if (!r->blocks)
		return -ENOMEM;
	for (size_t i = 0; i < r->n; i++)
		if (!i || r->list[i].file != r->list[i - 1].file ||
			r->list[i].at / PAGE_BLOCK != r->list[i - 1].at / PAGE_BLOCK)
			r->blocks[r->n_blocks++] = i;
	r->blocks[r->n_blocks] = r->n;
	return 0;
}

static int map(const struct memory_area *a, uint64_t at)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | (a->flags & AREA_NORESERVE ? MAP_NORESERVE : 0);
	void *got = mmap((void *)at, a->end - a->start, PROT_READ | PROT_WRITE, flags, -1, 0);

	if (got != (void *)at)
		return got == MAP_FAILED ? -errno : -EEXIST;
	/* As when it is made in place; a kernel without huge pages does not know them. */
	if (a->flags & (AREA_HUGEPAGE | AREA_NOHUGEPAGE))
		madvise(got, a->end - a->start, a->flags & AREA_HUGEPAGE ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	return 0;
}

static int map_process(
	const struct plan *plan, struct parking *p, const struct parked_process *of, struct reading *reading)
{
	const struct memory_state *m = plan_memory(plan, restore_process(plan->r, of->of));
	size_t next = of->first;
	int r = 0;

	for (size_t i = 0; r == 0 && i < m->n_areas && next < of->first + of->n; i++)
		if (m->areas[i].start == p->areas[next].start) {
			r = map(&m->areas[i], p->areas[next].at);
			if (r == 0)
				r = add_chunks(reading, m, &p->areas[next]);
			p->pages += memory_pages_in(m, &m->areas[i]);
			next++;
		}
	return r;
}

/* What gets there has the block's checksum. */
static int read_blocks(unsigned int worker, void *arg)
{
	struct reading *r = arg;
	_cleanup_free_ uint8_t *block = aligned_alloc(PAGE_SIZE, PAGE_BLOCK * PAGE_SIZE);
	int error = block ? 0 : -ENOMEM;

	for (size_t i; error == 0 && (i = r->next++) < r->n_blocks;) {
		const struct chunk *c = &r->list[r->blocks[i]], *end = &r->list[r->blocks[i + 1]];

		error = page_file_load(r->image, (unsigned int)c->file, c->at / PAGE_BLOCK, block, r->ps);
		for (; error == 0 && c < end; c++)
			memcpy(c->to, block + c->at % PAGE_BLOCK * PAGE_SIZE, c->pages * PAGE_SIZE);
	}
	return error;
}

static int fill(const struct plan *plan, struct workers *w, struct parking *p)
{
	struct reading reading = { .image = plan->r->image, .ps = plan->r->ps };
	int r = 0;

	for (size_t i = 0; r == 0 && i < p->n_processes; i++)
		if (p->processes[i].n)
			r = map_process(plan, p, &p->processes[i], &reading);
	if (r == 0)
		r = find_blocks(&reading);
	if (r == 0)
		r = workers_some(w, reading.n_blocks, read_blocks, &reading);
	free(reading.list);
	free(reading.blocks);
	return r;
}

/* --- all --- */

int parking_make(struct plan *plan, struct workers *w, struct parking *out)
{
	size_t n = plan->r->n_processes;
	_cleanup_free_ bool *shares = calloc(n, sizeof(*shares));
	_cleanup_free_ bool *carries = calloc(n, sizeof(*carries));
	struct choice c = { .plan = plan, .out = out, .shares = shares, .carries = carries };
	int r = shares && carries ? own_direction(&c.bottom_up) : -ENOMEM;

	*out = (struct parking){ 0 };
	if (r == 0) {
		choose_processes(&c);
		r = place_all(&c);
	}
	if (r == 0)
		r = fill(plan, w, out);
	if (r == 0)
		return 0;
	parking_unmap(out);
	parking_free(out);
	return plan->r->ps->first_error ? r
					: failed(plan->r->ps, BLAME(.object = "memory"), r,
						  "what the clones are to share cannot be read: %s", strerror(-r));
}

void parking_unmap(const struct parking *p)
{
	if (p->to > p->from)
		munmap((void *)p->from, p->to - p->from);
}

void parking_free(struct parking *p)
{
	free(p->processes);
	free(p->areas);
	*p = (struct parking){ 0 };
}
