/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/settle.h"

#include "base/clock.h"

#define LET_GO_MS 1000
/* How long a look at the sleeps of a process and its stop take when nothing comes between, and how often it is tried. */
#define LOOK_US		   3000
#define LOOK_PER_THREAD_US 100
#define LOOK_TRIES	   3

bool sleep_watch_is_stale(const struct sleep_watch *w)
{
	return clock_us() - w->since > w->allowed;
}

static void look(struct thread *threads, size_t n, struct sleep_watch *w)
{
	w->allowed = LOOK_US + n * LOOK_PER_THREAD_US;
	for (int i = 0; i < LOOK_TRIES && (!i || sleep_watch_is_stale(w)); i++) {
		w->since = clock_us();
		for (size_t k = 0; k < n; k++)
			if (threads[k].stop.state == STOP_NONE)
				sleep_look(threads[k].proc_fd, &w->clock, &threads[k].seen);
		for (size_t k = 0; k < n; k++)
			if (threads[k].stop.state == STOP_NONE)
				sleep_date(&w->clock, &threads[k].seen);
	}
}

void look_at_sleeps(struct process *p, struct sleep_watch *w)
{
	look(p->threads, p->n_threads, w);
}

void look_at_sleep(struct thread *th)
{
	struct sleep_watch watch = { .allowed = 0 };

	look(th, 1, &watch);
}

/* One that was interrupted, and not yet seen to stop, is to be settled as well. */
static void await_seized(struct process *p)
{
	for (size_t k = 0; k < p->n_threads; k++)
		if (p->threads[k].stop.state == STOP_SEIZED)
			stop_wait(&p->threads[k].stop, LET_GO_MS);
}

static bool is_stopped(const struct process *p, pid_t tid)
{
	for (size_t i = 0; i < p->n_threads; i++)
		if (p->threads[i].tid == tid)
			return p->threads[i].stop.state == STOP_STOPPED;
	return false;
}

void settle_process(struct process *p)
{
	struct sleep_notes before = { 0 }, after = { 0 };

	if (p->zombie)
		return;
	await_seized(p);
	sleep_notes_load(p->pid, p->stat.starttime, &before);
	for (size_t k = 0; k < before.n; k++)
		if (!is_stopped(p, before.list[k].tid))
			sleep_notes_keep(&after, &before.list[k]);
	for (size_t k = 0; k < p->n_threads; k++)
		if (p->threads[k].stop.state == STOP_STOPPED)
			sleep_settle(&p->threads[k].stop, p->threads[k].proc_fd, &p->threads[k].seen, &before, &after,
				&p->threads[k].restart);
	if (before.n || after.n)
		sleep_notes_store(p->pid, p->stat.starttime, &after);
	sleep_notes_free(&before);
	sleep_notes_free(&after);
}
