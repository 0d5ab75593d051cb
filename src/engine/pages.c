/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/pages.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "state/older.h"

#define ITEM_PAGES  4096 /* 16 MiB: what a worker takes at a time */
#define STASH_PAGES 256	 /* of what is read in the stop */

/* A stretch of one process's ranges. Items are taken in order, and their runs joined in order. */
struct item {
	size_t process;
	struct page_range *ranges;
	size_t n_ranges;
	uint64_t at; /* page in the process's stash */
	struct page_runs runs;
};

struct copying {
	struct capturing *c;
	struct memory_plan *plans;
	bool later;
	_Atomic(size_t) *left; /* items of each process */
	struct item *items;
	size_t n_items, room;
	atomic_size_t next;
	atomic_ulong saved, unchanged, done;
	uint64_t total;
};

static int item_add(struct copying *k, size_t process, struct page_range *ranges, size_t n, uint64_t at)
{
	if (k->n_items == k->room) {
		struct item *grown = reallocarray(k->items, k->room ? 2 * k->room : 64, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		k->items = grown;
		k->room = k->room ? 2 * k->room : 64;
	}
	k->items[k->n_items++] = (struct item){ .process = process, .ranges = ranges, .n_ranges = n, .at = at };
	return 0;
}

/* Cuts ranges larger than an item, so that each item is a slice of the list. */
static int cut_ranges(struct page_ranges *r, uint64_t most)
{
	struct page_ranges cut = { 0 };

	for (size_t i = 0; i < r->n; i++)
		for (uint64_t done = 0; done < r->list[i].pages; done += most) {
			if (cut.n == cut.room) {
				struct page_range *grown =
					reallocarray(cut.list, cut.room ? 2 * cut.room : r->n + 64, sizeof(*grown));

				if (!grown) {
					free(cut.list);
					return -ENOMEM;
				}
				cut.list = grown;
				cut.room = cut.room ? 2 * cut.room : r->n + 64;
			}
			cut.list[cut.n] = r->list[i];
			cut.list[cut.n].start += done * PAGE_SIZE;
			cut.list[cut.n++].pages = MIN(r->list[i].pages - done, most);
		}
	free(r->list);
	*r = cut;
	return 0;
}

static int divide_plan(struct copying *k, size_t process)
{
	struct page_ranges *ranges = k->later ? &k->plans[process].later : &k->plans[process].present;
	uint64_t at = 0, most = k->plans[process].stash ? STASH_PAGES : ITEM_PAGES;
	int r = cut_ranges(ranges, most);

	for (size_t i = 0; r == 0 && i < ranges->n;) {
		uint64_t pages = 0;
		size_t n = 0;

		while (i + n < ranges->n && (!n || pages + ranges->list[i + n].pages <= most))
			pages += ranges->list[i + n++].pages;
		k->total += pages;
		r = item_add(k, process, &ranges->list[i], n, at);
		at += pages;
		i += n;
	}
	return r;
}

static void tell_progress(struct copying *k, const struct item *item)
{
	uint64_t pages = 0;

	for (size_t i = 0; i < item->n_ranges; i++)
		pages += item->ranges[i].pages;
	pages += atomic_fetch_add(&k->done, pages);
	if (k->c->events && k->c->events->progress)
		k->c->events->progress(k->c->events->data, "memory", pages * PAGE_SIZE, k->total * PAGE_SIZE);
}

/* A copy that is saved costs its process memory and faults no longer. Its tracer has still to wait for it: so the number stays its own. */
static void item_done(struct copying *k, const struct item *item)
{
	if (--k->left[item->process] == 0 && k->later && k->plans[item->process].copy)
		kill(k->plans[item->process].copy, SIGKILL);
}

static int save_item(struct copying *k, struct item *item, struct page_saving *s)
{
	const struct memory_plan *plan = &k->plans[item->process];
	struct process *p = k->c->tree->processes[item->process];
	uint64_t before = s->saved, unchanged = s->unchanged;
	int r;

	s->runs = &item->runs;
	if (!plan->stash)
		r = pages_save(s, k->later ? plan->copy : p->living_tid, plan->older, item->ranges, item->n_ranges);
	else if (k->later)
		r = pages_save_read(s, plan->stash + item->at * PAGE_SIZE, plan->older, item->ranges, item->n_ranges);
	else
		r = pages_read(p->living_tid, item->ranges, item->n_ranges, plan->stash + item->at * PAGE_SIZE);
	if (r < 0 && !k->c->ps->n_failed)
		failed(k->c->ps, BLAME_PROCESS(p, .object = "memory"), r, "its pages cannot be saved: %s",
			strerror(-r));
	atomic_fetch_add(&k->saved, s->saved - before);
	atomic_fetch_add(&k->unchanged, s->unchanged - unchanged);
	tell_progress(k, item);
	if (r == 0)
		item_done(k, item);
	return r;
}

static int copy_of_worker(unsigned int worker, void *arg)
{
	struct copying *k = arg;
	size_t room = (k->c->older ? 3 : 1) * PAGE_BLOCK * PAGE_SIZE;
	_cleanup_free_ uint8_t *buffer = aligned_alloc(PAGE_SIZE, room);
	struct page_saving s = {
		.image = k->c->writer,
		.older = k->c->older ? k->c->older->image : NULL,
		.buffer = buffer,
		.cache.bytes = buffer + (k->c->older ? 2 * PAGE_BLOCK * PAGE_SIZE : 0),
	};
	int r = buffer ? 0 : -ENOMEM;

	while (r == 0) {
		size_t i = atomic_fetch_add(&k->next, 1);

		if (i >= k->n_items || engine_is_cancelled(k->c->events))
			break;
		if (!k->c->writers[worker] && (k->later || !k->plans[k->items[i].process].stash))
			r = page_writer_open(k->c->writer, &k->c->writers[worker]);
		s.writer = k->c->writers[worker];
		if (r == 0)
			r = save_item(k, &k->items[i], &s);
	}
	return r;
}

static int join_runs(struct copying *k)
{
	for (size_t i = 0; i < k->n_items; i++) {
		struct memory_state *s = &k->plans[k->items[i].process].state;
		size_t n = k->items[i].runs.n;
		struct page_run *grown;

		if (!n)
			continue;
		grown = reallocarray(s->runs, s->n_runs + n, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		s->runs = grown;
		memcpy(s->runs + s->n_runs, k->items[i].runs.list, n * sizeof(*grown));
		s->n_runs += n;
	}
	return 0;
}

static int copy_all(struct capturing *c, struct memory_plan *plans, bool later)
{
	struct copying k = { .c = c, .plans = plans, .later = later };
	int r = 0;

	if (!c->writers)
		c->writers = calloc(workers_count(c->workers), sizeof(struct page_writer *));
	k.left = calloc(c->tree->n_processes, sizeof(*k.left));
	if (!c->writers || !k.left)
		r = -ENOMEM;
	for (size_t i = 0; r == 0 && i < c->tree->n_processes; i++)
		if (plans[i].state.of)
			r = divide_plan(&k, i);
	for (size_t i = 0; r == 0 && i < k.n_items; i++)
		k.left[k.items[i].process]++;
	if (r == 0)
		r = workers_some(c->workers, k.n_items, copy_of_worker, &k);
	if (r == 0)
		r = join_runs(&k);
	c->pages += k.saved;
	c->unchanged += k.unchanged;
	for (size_t i = 0; i < k.n_items; i++)
		free(k.items[i].runs.list);
	free(k.items);
	free(k.left);
	return r;
}

/* Room that was made before the stop, for as many processes as it is enough for. */
static void divide_stash(struct capturing *c, struct memory_plan *plans)
{
	uint64_t left = c->leaves ? c->stash_pages : 0;
	uint8_t *at = c->stash;

	for (size_t i = 0; i < c->tree->n_processes; i++) {
		uint64_t pages = 0;

		if (!plans[i].state.of || plans[i].later.n)
			continue;
		for (size_t k = 0; k < plans[i].present.n; k++)
			pages += plans[i].present.list[k].pages;
		if (!pages || pages > left)
			continue;
		plans[i].stash = at;
		at += pages * PAGE_SIZE;
		left -= pages;
	}
}

int pages_copy(struct capturing *c, struct memory_plan *plans)
{
	int r;

	divide_stash(c, plans);
	r = copy_all(c, plans, false);
	for (size_t i = 0; i < c->tree->n_processes; i++)
		if (plans[i].stash) {
			plans[i].later = plans[i].present;
			plans[i].present = (struct page_ranges){ 0 };
		}
	return r;
}

int pages_copy_later(struct capturing *c, struct memory_plan *plans)
{
	return copy_all(c, plans, true);
}

static int compress_held(unsigned int worker, void *arg)
{
	struct capturing *c = arg;
	struct page_writer *p;
	int r = 0;

	while (r == 0 && !engine_is_cancelled(c->events) && (p = image_next_held(c->writer)))
		r = page_writer_compress(p);
	return r;
}

int pages_compress(struct capturing *c)
{
	size_t files = image_count_held(c->writer);

	return files ? workers_some(c->workers, files, compress_held, c) : 0;
}
