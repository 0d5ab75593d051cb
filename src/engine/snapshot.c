/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/snapshot.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/members.h"
#include "engine/settle.h"
#include "engine/streamed_pages.h"
#include "kernel/memory_room.h"
#include "state/memory.h"
#include "state/sleep.h"

/* Of what a fork copies; below that, to save them takes no longer than a fork. -Dtest_copies=true has another. */
#ifndef LEAST_PAGES
#define LEAST_PAGES 1024
#endif
#define ARENA	    (64 * 1024)
#define SWEEP_TRIES 25
#define STOP_MS	    50
#define REAP_US	    5000000
#define REAP_WAIT   2000

/* --- which pages --- */

/* Not what lies over a file: who truncates that takes the pages away from every mapping, and a copy would show what the file has then. */
static bool is_forked(const struct memory_area *a)
{
	return a->kind == AREA_ANON && !(a->flags & (AREA_DONTFORK | AREA_WIPEONFORK | AREA_DROPPABLE));
}

/* The part of *r, from its start on, that lies in one area; *r is what follows. *at: an area before it, moves on. */
static struct page_range cut_at_area(const struct memory_state *s, struct page_range *r, size_t *at)
{
	struct page_range part = *r;

	while (*at < s->n_areas && s->areas[*at].end <= r->start)
		(*at)++;
	if (*at < s->n_areas)
		part.pages = MIN(part.pages, (s->areas[*at].end - part.start) / PAGE_SIZE);
	r->start += part.pages * PAGE_SIZE;
	r->pages -= part.pages;
	return part;
}

/* What of those present a fork copies, and what it does not. NULL, NULL: they are only counted. */
static uint64_t divide(const struct memory_plan *plan, struct page_ranges *now, struct page_ranges *later)
{
	uint64_t pages = 0;
	size_t at = 0;

	for (size_t i = 0; i < plan->present.n; i++)
		for (struct page_range r = plan->present.list[i]; r.pages;) {
			struct page_range part = cut_at_area(&plan->state, &r, &at);
			bool copied = at < plan->state.n_areas && is_forked(&plan->state.areas[at]);

			if (copied)
				pages += part.pages;
			if (copied && later) {
				part.shared = true; /* with the process: to be read as what is to stay so */
				later->list[later->n++] = part;
			} else if (now) {
				now->list[now->n++] = part;
			}
		}
	return pages;
}

static bool make_room(const struct memory_plan *plan, struct page_ranges *now, struct page_ranges *later)
{
	size_t most = plan->present.n + plan->state.n_areas;

	*now = (struct page_ranges){ .list = calloc(most, sizeof(*now->list)), .room = most };
	*later = (struct page_ranges){ .list = calloc(most, sizeof(*later->list)), .room = most };
	return now->list && later->list;
}

/* --- taking --- */

/* A fork takes as long for all of the memory as a copy does for this part of it. */
#define FORK_SHARE 28

static bool is_worth_a_fork(const struct pass *pass, const struct memory_plan *plan, uint64_t pages)
{
	return pages >= pass->least_forked && pages > plan->unchanged / FORK_SHARE;
}

static struct thread *first_stopped(struct process *p)
{
	for (size_t i = 0; i < p->n_threads; i++)
		if (p->threads[i].stop.state == STOP_STOPPED)
			return &p->threads[i];
	return NULL;
}

/*
 * A segment is kept out of the fork, but a filter may end that batch in the middle, which would leave it out of the program's own forks. And of huge pages a copy may
 * lose some when the parent writes, where the pool is short.
 */
static bool may_fork(const struct process *p, const struct thread *th)
{
	for (size_t i = 0; i < p->maps.n; i++) {
		const struct proc_map *m = &p->maps.list[i];

		if (th->status.seccomp && !strncmp(m->name, "/SYSV", 5))
			return false;
		if (!m->shared && strstr(m->flags, "ht"))
			return false;
	}
	return true;
}

static int fork_process(struct pass *pass, struct process *p, struct thread *th, struct memory_copy *copy)
{
	struct problems unheeded;
	int r;

	problems_init(&unheeded);
	r = inject_begin(&p->injection, p->living_tid, &th->stop, &p->maps, 2, ARENA + p->maps.n * 256, pass->gadgets,
		&unheeded);
	if (r == 0) {
		p->injected = true;
		r = copy_take(&p->injection, &p->maps, copy);
		inject_end(&p->injection);
		p->injected = false;
	}
	problems_free(&unheeded);
	return r;
}

/* If both write all of it, as much memory again is needed: that must be there, for the machine and for the control group. */
static bool has_room(struct pass *pass, const struct process *p, uint64_t pages)
{
	uint64_t sum = atomic_fetch_add(&pass->copied_pages, pages) + pages;

	return memory_room(p->living_fd) / 2 > sum * PAGE_SIZE;
}

static int take(struct pass *pass, size_t index)
{
	struct process *p = pass->c->tree->processes[index];
	struct memory_plan *plan = &pass->plans[index];
	struct memory_copy *copy = &pass->snapshots[index].copy;
	struct thread *th = p->zombie ? NULL : first_stopped(p);
	struct page_ranges now, later;
	uint64_t pages;

	if (!th || !plan->state.of || !may_fork(p, th))
		return 0;
	pages = divide(plan, NULL, NULL);
	if (!is_worth_a_fork(pass, plan, pages) || !has_room(pass, p, pages))
		return 0;
	if (!make_room(plan, &now, &later) || fork_process(pass, p, th, copy) < 0) {
		free(now.list);
		free(later.list);
		return 0;
	}
	divide(plan, &now, &later);
	free(plan->present.list);
	plan->present = now;
	plan->later = later;
	plan->copy = copy->stop.tid;
	atomic_fetch_add(&pass->c->copies, 1);
	return 0;
}

static bool any_is_large(const struct pass *pass)
{
	for (size_t i = 0; i < pass->c->tree->n_processes; i++)
		if (is_worth_a_fork(pass, &pass->plans[i], divide(&pass->plans[i], NULL, NULL)))
			return true;
	return false;
}

static uint64_t pages_of_smaller(const struct pass *pass, uint64_t least)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < pass->c->tree->n_processes; i++) {
		uint64_t pages = divide(&pass->plans[i], NULL, NULL);

		sum += pages < least ? pages : 0;
	}
	return sum;
}

/* What is not forked for a stream is kept in memory until it is sent. */
static uint64_t least_to_fork(const struct pass *pass)
{
	uint64_t least = LEAST_PAGES;

	while (image_is_stream(pass->c->writer) && least > 1 && pages_of_smaller(pass, least) > STREAM_STASH)
		least /= 2;
	return least;
}

void snapshots_take(struct pass *pass)
{
	pass->least_forked = least_to_fork(pass);
	if (!any_is_large(pass))
		return;
	pass->snapshots = calloc(pass->c->tree->n_processes, sizeof(*pass->snapshots));
	if (!pass->snapshots)
		return;
	engine_phase(pass->c->events, "snapshot");
	pass_run(pass, take);
}

/* --- ending --- */

static int begin_stop(struct thread *th)
{
	struct proc_stat st;
	int r;

	look_at_sleep(th);
	r = stop_seize(&th->stop, th->tid, 0);
	if (r == 0 && proc_stat_read(th->proc_fd, &st) < 0)
		r = -ESRCH; /* and its number is another's */
	return r == 0 ? stop_interrupt(&th->stop) : r;
}

/* A stop of one thread, while the others run. -ETIMEDOUT: it is still to come. -EPERM, -EAGAIN, -ENOTSUP: it may be otherwise a moment later */
static int reap_by(struct process *p, struct thread *th, pid_t vpid)
{
	struct proc_maps maps = { 0 };
	int r = th->stop.state == STOP_NONE ? begin_stop(th) : 0;

	if (r == 0)
		r = stop_wait(&th->stop, STOP_MS);
	if (r == -ETIMEDOUT)
		return r;
	if (r == 0) {
		sleep_wind_back(&th->stop);
		settle_process(p);
		r = proc_maps_read(th->proc_fd, &maps);
	}
	if (r == 0)
		r = copy_reap(&th->stop, &maps, vpid);
	proc_maps_free(&maps);
	stop_release(&th->stop);
	return r;
}

/* Who has ended has left it to somebody else, who reaps what it is left. */
static bool lives(const struct process *p)
{
	struct proc_stat st;

	return proc_stat_read(p->proc_fd, &st) == 0 && st.state != 'Z' && st.state != 'X';
}

static bool try_reap(struct process *p, pid_t vpid)
{
	for (size_t i = 0; i < p->n_threads; i++) {
		int r = p->threads[i].stop.state == STOP_GONE ? -ESRCH : reap_by(p, &p->threads[i], vpid);

		if (r == 0 || r == -ECHILD)
			return true;
		if (r == -ESRCH)
			p->threads[i].stop.state = STOP_GONE;
	}
	return false;
}

/* Those that were asked to stop for it, and did not. */
static void let_go(struct process *p)
{
	bool any = false;

	for (size_t i = 0; i < p->n_threads; i++)
		any |= p->threads[i].stop.state == STOP_SEIZED;
	if (any) /* it may stop just now, in a call that is to begin anew */
		settle_process(p);
	for (size_t i = 0; i < p->n_threads; i++)
		stop_release(&p->threads[i].stop);
}

static int end(struct pass *pass, size_t index)
{
	struct process *p = pass->c->tree->processes[index];
	struct memory_copy *copy = &pass->snapshots[index].copy;
	uint64_t deadline = clock_us() + REAP_US;
	bool done;

	copy_kill(copy);
	if (!copy->vpid)
		return 0;
	while (!(done = try_reap(p, copy->vpid)) && lives(p) && clock_us() < deadline)
		usleep(REAP_WAIT);
	let_go(p);
	if (!done && lives(p))
		changed(pass->c->ps, BLAME_PROCESS(p, .object = COPY_NAME),
			"it keeps a dead child of that name, which the next checkpoint takes away: it could not be "
			"stopped for that (a vfork, slow storage, or 32-bit code)");
	copy->vpid = 0;
	return 0;
}

void snapshots_end(struct pass *pass)
{
	if (pass->snapshots)
		pass_run(pass, end);
	free(pass->snapshots);
	pass->snapshots = NULL;
}

/* --- of a spore that was killed --- */

static bool is_lost_copy(const struct process *p)
{
	return p->zombie && p->parent && !p->stat.exit_signal && !strcmp(p->stat.comm, COPY_NAME);
}

/* A spore that is about to end it may have killed it just now, and not have waited for it yet. */
static int sweep_one(struct thread *th, const struct proc_maps *maps, pid_t vpid)
{
	int r = -EAGAIN;

	for (int i = 0; r == -EAGAIN && i < SWEEP_TRIES; i++) {
		if (i)
			usleep(REAP_WAIT);
		r = copy_reap(&th->stop, maps, vpid);
	}
	return r;
}

static int sweep_of_worker(unsigned int worker, void *arg)
{
	struct tree *t = arg;

	for (size_t i = 0; i < t->n_processes; i++) {
		struct process *p = t->processes[i];
		struct thread *th = is_lost_copy(p) && p->parent->worker == worker ? first_stopped(p->parent) : NULL;
		struct proc_status status = { 0 };
		struct proc_maps maps = { 0 };

		if (th && proc_status_read(p->proc_fd, &status) == 0 && proc_maps_read(th->proc_fd, &maps) == 0)
			p->gone = sweep_one(th, &maps, status.pid_in_ns) == 0;
		proc_maps_free(&maps);
		proc_status_free(&status);
	}
	return 0;
}

void snapshots_sweep(struct tree *t, struct workers *w, struct problems *ps)
{
	bool any = false;

	for (size_t i = 0; i < t->n_processes; i++)
		any |= is_lost_copy(t->processes[i]);
	if (!any)
		return;
	workers_some(w, tree_workers(t), sweep_of_worker, t);
	for (size_t i = 0; i < t->n_processes; i++)
		if (t->processes[i]->gone)
			t->n_threads -= t->processes[i]->n_threads;
		else if (is_lost_copy(t->processes[i]))
			changed(ps, BLAME_PROCESS(t->processes[i]),
				"a copy of its parent's memory that a killed spore left, which the parent cannot be "
				"made to "
				"reap: it is saved as a child that has ended");
	tree_drop_gone(t);
}
