/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From a ring that is made to one that is as it was. Whoever enables a ring with IORING_SETUP_SINGLE_ISSUER is the only one that may submit from then on: so the thread
 * that was it does that, and winds the ring on itself, as many turns in each round as fit a batch. What is registered, with the ring or by restrictions forbidden, comes before.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "state/files.h"
#include "state/io_uring.h"
#include "state/io_uring_tasks.h"
#include "state/memory.h"
#include "state/owner.h"

/* A ring in the rounds. */
struct turning {
	const struct record *rec;
	const struct io_uring_state *s;
	struct ring_made *g;
	struct new_thread *submitter; /* NULL: anybody, or nobody any more */
	uint64_t head_at;	      /* where that has the word that tells what it took */
	struct winding winding;
	struct lent lent;
	int zeros; /* /dev/zero, and the number that it has for a while in the submitter: each its own, since two may share a table */
	int number;
	uint8_t byte;
	bool enabled;
};

struct rounds_of_rings {
	struct turning *list;
	size_t n;
	enum { MAKE, FETCH, REGISTER, TELL_TASKS, TURN } phase;
	size_t told;
};

static bool stays_disabled(const struct turning *t)
{
	return t->s->flags & IORING_SETUP_R_DISABLED;
}

static bool is_polled(const struct turning *t)
{
	return t->s->flags & IORING_SETUP_SQPOLL;
}

/* --- what the keeper does --- */

static int enable_and_wind(void *arg)
{
	struct turning *t = arg;

	if (syscall(SYS_io_uring_register, t->g->fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0) < 0)
		return -errno;
	t->enabled = true;
	return wind(&t->winding, t->g);
}

/* The memory of the process has the ring where its program is to find it. */
static uint64_t find_head(const struct restore *r, const struct turning *t)
{
	size_t n;
	const struct record *rec = image_records(r->image, &component_memory.kind, &n);
	const uint64_t offset = t->g->p.cq_off.head;

	if (t->s->rings_at)
		return t->submitter->process->id == t->s->process ? t->s->rings_at + offset : 0;
	for (size_t i = 0; i < n; i++) {
		const struct memory_state *m = rec[i].state;

		for (size_t k = 0; m->of == t->submitter->process->id && k < m->n_areas; k++) {
			const struct memory_area *a = &m->areas[k];
			uint64_t first = a->offset & (IORING_OFF_CQ_RING - 1);

			if (a->backing == t->rec->id && a->prot & PROT_WRITE && !(a->offset & IORING_OFF_SQES) &&
				first <= offset && offset - first < a->end - a->start)
				return a->start + offset - first;
		}
	}
	return 0;
}

static int register_ring(struct restore *r, struct turning *t)
{
	int err = ring_register(r, t->g);

	return err ? failed(r->ps, BLAME(.object = "io_uring"), err, "what was registered with it cannot be again: %s",
			     strerror(-err))
		   : 0;
}

/* A byte that whoever submits has to spare: the keeper, or in a ring of buffers the number of one, which nobody needs meanwhile. */
static int lend_buffers(struct restore *r, struct turning *t)
{
	const struct io_uring_provided *p = NULL;

	for (size_t i = 0; i < t->s->n_provided; i++)
		if (t->s->provided[i].ring_entries && t->s->provided[i].taken)
			p = &t->s->provided[i];
	if (!p)
		return 0;
	if (t->submitter && t->submitter->process->id != p->process)
		return -EXDEV;
	t->zeros = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	if (t->zeros < 0)
		return -errno;
	t->winding.zeros = t->submitter ? t->number : t->zeros;
	return provided_lend(r, t->s,
		t->submitter ? p->address + offsetof(struct io_uring_buf, bid) : (uintptr_t)&t->byte, &t->lent);
}

static int wind_by_keeper(struct restore *r, struct turning *t)
{
	int err = lend_buffers(r, t);

	return err ? err : call_in_child(enable_and_wind, t); /* it is a user of the ring's until it ends */
}

static int begin_ring(struct restore *r, struct turning *t)
{
	wind_silently(t->g);
	if (wind_begin(&t->winding, t->g) < 0)
		return failed(r->ps, BLAME(.object = "io_uring"), -EBADMSG, "the image has an impossible one");
	if (stays_disabled(t))
		return 0;
	t->submitter = t->s->submitter ? owner_thread(r, t->s->submitter) : NULL;
	if (!t->submitter)
		return wind_by_keeper(r, t);
	t->head_at = find_head(r, t);
	return lend_buffers(r, t);
}

static int end_ring(struct restore *r, struct turning *t)
{
	int err = t->submitter && is_polled(t) ? wind(&t->winding, t->g) : 0;

	if (!err)
		err = wind_end(t->g);
	if (!err)
		err = provided_give_back(r, t->s, &t->lent);

	return err ? failed(r->ps, BLAME(.object = "io_uring"), err, "cannot be brought to where it was: %s",
			     strerror(-err))
		   : 0;
}

/* --- what the tree's tasks do --- */

uint32_t ring_fetch(struct build *b, const struct ring_made *g)
{
	return build_fetch(b, "fetching an io_uring", g->fd);
}

void ring_drop(struct build *b, uint32_t fetched)
{
	batch_use(b->batch, batch_call(b->batch, "close of an io_uring", SYS_close, 0), 0, fetched);
}

/* What has to do with their memory. 1: there was something to do. */
static int queue_memory(struct restore *r, const struct rounds_of_rings *all, struct callers *callers)
{
	bool any = false;

	for (size_t k = 0; k < r->n_processes; k++) {
		struct build *b = NULL;

		for (size_t i = 0; i < all->n; i++) {
			if (!ring_has_memory_of(all->list[i].s, r->processes[k]))
				continue;
			b = b ? b : callers->add(callers, &r->processes[k]->threads[0]);
			if (!b)
				return -ENOMEM;
			ring_queue_memory(b, all->list[i].g);
			any = true;
		}
	}
	return any;
}

static bool is_busy(const struct turning *t)
{
	return t->submitter && (!t->enabled || !wind_is_done(&t->winding)) && !(t->enabled && is_polled(t));
}

static void wind_with_zeros(struct build *b, struct turning *t)
{
	uint32_t fetched = build_fetch(b, "fetching /dev/zero", t->zeros);

	batch_use(b->batch, batch_call(b->batch, "dup3 of /dev/zero", SYS_dup3, 0, (uint64_t)t->number, O_CLOEXEC), 0,
		fetched);
	wind_queue(&t->winding, t->g, b, t->head_at);
	batch_call(b->batch, "close of /dev/zero", SYS_close, (uint64_t)t->number);
	batch_use(b->batch, batch_call(b->batch, "close of /dev/zero", SYS_close, 0), 0, fetched);
}

static int queue_ring(struct build *b, struct turning *t)
{
	int err = t->enabled ? wind_prepare(&t->winding, t->g) : 0;
	uint32_t fetched;

	if (err)
		return err;
	if (t->enabled && t->winding.some && t->lent.contents) {
		wind_with_zeros(b, t);
		return 0;
	}
	if (t->enabled) {
		wind_queue(&t->winding, t->g, b, t->head_at);
		return 0;
	}
	fetched = ring_fetch(b, t->g);
	batch_use(b->batch,
		batch_call(b->batch, "io_uring_register(IORING_REGISTER_ENABLE_RINGS)", SYS_io_uring_register, 0,
			IORING_REGISTER_ENABLE_RINGS, 0, 0),
		0, fetched);
	ring_drop(b, fetched);
	t->enabled = true;
	return 0;
}

static int by_submitter(const void *a, const void *b)
{
	const struct turning *x = a, *y = b;

	return x->submitter != y->submitter ? (x->submitter < y->submitter ? -1 : 1)
					    : (x->rec > y->rec) - (x->rec < y->rec);
}

/* All of one thread in one batch. 1: there was something to do. */
static int queue_all(struct rounds_of_rings *all, struct callers *callers)
{
	const struct new_thread *last = NULL;
	struct build *b = NULL;
	int err = 0;

	for (size_t i = 0; !err && i < all->n; i++) {
		struct turning *t = &all->list[i];

		if (!is_busy(t))
			continue;
		if (!b || t->submitter != last)
			b = callers->add(callers, t->submitter);
		last = t->submitter;
		err = b ? queue_ring(b, t) : -ENOMEM;
	}
	return err ? err : b != NULL;
}

/* --- all --- */

#define NUMBER_FIRST 64

static int collect(struct restore *r, struct rounds_of_rings *all)
{
	size_t n;
	const struct record *rec = image_records(r->image, &component_io_uring.kind, &n);

	all->list = calloc(n + 1, sizeof(*all->list));
	if (!all->list)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		struct turning *t = &all->list[all->n];

		t->rec = &rec[i];
		t->s = rec[i].state;
		t->g = restore_made(r, rec[i].id)->data;
		t->zeros = -1;
		t->number = NUMBER_FIRST + (int)i;
		all->n += t->g != NULL;
	}
	return 0;
}

static int begin(struct restore *r, struct rounds_of_rings *all)
{
	int err = collect(r, all);

	for (size_t i = 0; !err && i < all->n; i++)
		err = register_ring(r, &all->list[i]);
	return err;
}

static int begin_turning(struct restore *r, struct rounds_of_rings *all)
{
	int err = 0;

	for (size_t i = 0; !err && i < all->n; i++)
		err = begin_ring(r, &all->list[i]);
	qsort(all->list, all->n, sizeof(*all->list), by_submitter);
	return err;
}

/* What is registered, with the ring or for a thread, comes before it is enabled. */
static int next_round(struct restore *r, struct rounds_of_rings *all, struct callers *callers)
{
	int err = 0;

	if (all->phase == MAKE) {
		all->phase = FETCH;
		err = io_uring_late_make(r, callers);
	}
	if (!err && all->phase == FETCH) {
		all->phase = REGISTER;
		err = io_uring_late_fetch(r, callers);
	}
	if (!err && all->phase == REGISTER) {
		all->phase = TELL_TASKS;
		err = begin(r, all);
		if (!err)
			err = queue_memory(r, all, callers);
	}
	if (!err && all->phase == TELL_TASKS) {
		err = io_uring_tasks_queue(r, callers, all->told++);
		if (!err)
			err = begin_turning(r, all);
		if (!err)
			all->phase = TURN;
	}
	if (!err)
		err = queue_all(all, callers);
	for (size_t i = 0; !err && i < all->n; i++)
		err = end_ring(r, &all->list[i]);
	return err;
}

static void end(struct callers *callers)
{
	struct rounds_of_rings *all = callers->state;

	for (size_t i = 0; all && i < all->n; i++) {
		close_fd(&all->list[i].zeros);
		all->list[i].g->fd = -1; /* the restore's, like any other */
		ring_unmake(all->list[i].g);
	}
	if (all)
		free(all->list);
	free(all);
	callers->state = NULL;
}

int io_uring_round(struct restore *r, struct callers *callers, unsigned int n)
{
	int err;

	if (n == 0)
		callers->state = calloc(1, sizeof(struct rounds_of_rings));
	if (!callers->state)
		return n == ROUND_ABANDON ? 0 : -ENOMEM;
	err = n == ROUND_ABANDON ? 0 : next_round(r, callers->state, callers);
	if (err != 1)
		end(callers);
	return err;
}
