/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/halt.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "engine/members.h"
#include "engine/search.h"
#include "engine/settle.h"
#include "engine/snapshot.h"
#include "remote/inject.h"

#define ROUND_WAIT_MS 50 /* for one task to stop, before others are let go for its sake */
#define BREATH_US     2000

/* --- one round: each worker over its own processes --- */

struct halt {
	struct search search;
	bool stop; /* not only a look */
	uint64_t deadline;
	/* Of this round, summed up by the workers. */
	_Atomic(size_t) n_new;	   /* threads that were new, or are not stopped yet */
	_Atomic(size_t) n_pending; /* seized, but not stopped */
};

static void note_first_stop(struct tree *t)
{
	uint64_t none = 0;

	if (!t->stopped_at)
		atomic_compare_exchange_strong(&t->stopped_at, &none, clock_us());
}

static int seize_new(struct halt *h, struct process *p)
{
	struct sleep_watch watch = { .allowed = 0 };

	for (size_t i = 0; i < p->n_threads; i++) {
		struct thread *th = &p->threads[i];
		int r;

		if (th->stop.state != STOP_NONE)
			continue;
		if (sleep_watch_is_stale(&watch))
			look_at_sleeps(p, &watch);
		r = stop_seize(&th->stop, th->tid, 0);
		note_first_stop(p->tree);
		if (r == 0)
			r = stop_interrupt(&th->stop);
		if (r == -ESRCH)
			th->stop.state = STOP_GONE;
		else if (r < 0 && !strcmp(p->stat.comm, COPY_NAME))
			return failed(h->search.ps, BLAME_PROCESS(p, .remedy = "wait for it to end"), -EBUSY,
				"another spore is at work: it saves a process of the tree from this copy of its "
				"memory");
		else if (r < 0)
			return failed(h->search.ps,
				BLAME_PROCESS(p, .remedy = "run spore as root, and without a debugger attached to it"),
				r, "thread %d cannot be traced: %s", th->tid, strerror(-r));
	}
	return 0;
}

/* The leader of a process with other threads may be dead; it is kept, since it holds the pid. */
static int wait_stopped(struct halt *h, struct process *p, size_t *n_pending, bool *ended)
{
	for (size_t i = 0; i < p->n_threads;) {
		struct thread *th = &p->threads[i];
		bool fresh = th->stop.state == STOP_SEIZED;
		int r = 0;

		if (fresh)
			r = stop_wait(&th->stop, ROUND_WAIT_MS);
		if (r == 0 && fresh)
			r = inject_let_out(&th->stop);
		if (r == 0 && th->stop.state == STOP_STOPPED && fresh)
			sleep_wind_back(&th->stop);
		if (r == -ETIMEDOUT) {
			(*n_pending)++;
			r = 0;
		}
		*ended |= r == -ESRCH;
		if (r == -ESRCH)
			th->stop.state = STOP_GONE;
		else if (r < 0)
			return failed(h->search.ps, BLAME_PROCESS(p), r, "thread %d cannot be stopped: %s", th->tid,
				strerror(-r));
		if (th->stop.state == STOP_GONE && th->tid != p->pid)
			thread_drop(p, i);
		else
			i++;
	}
	return 0;
}

/*
 * Is it a zombie (0), alive (1), or gone (negative)? As good as gone is one that nobody will wait for (X): it is still a child of its parent until it has
 * let go of its number itself, for which a busy machine may take its time, and found again as long as that lasts.
 */
static int refresh_state(struct process *p)
{
	int r = proc_stat_read(p->proc_fd, &p->stat);

	if (r < 0 || (p->stat.state == 'X' && p->n_threads <= 1))
		return -ESRCH;
	p->zombie = p->stat.state == 'Z' && p->n_threads <= 1;
	return p->zombie ? 0 : 1;
}

/* Its children are such too, by the hundred. */
static int refuse_kernel_thread(struct halt *h, const struct process *p)
{
	return refused(h->search.ps,
		BLAME_PROCESS(p, .object = "kernel thread", .remedy = "name a process that runs a program"),
		"there is no program to save");
}

/* Not touched yet, and no child of the one that named it: its number may have been taken again meanwhile. */
static bool is_another(const struct process *p)
{
	return p->n_threads && p->threads[0].stop.state == STOP_NONE && p->parent && p->stat.ppid != p->parent->pid;
}

/* The first half of a round: what is new is seized and told to stop, in all processes of a worker before it waits for any. */
static int begin_round(struct halt *h, struct process *p, size_t *n_new)
{
	int r;

	if (p->complete)
		return 0;
	r = search_threads(p, n_new);
	if (r == 0)
		r = refresh_state(p);
	p->gone = r < 0;
	if (r >= 0 && h->stop && is_another(p)) {
		p->gone = true;
		(*n_new)++; /* one more round: if it is the tree's all the same, its parent names it */
		return 0;
	}
	if (r > 0 && p->stat.flags & PF_KTHREAD)
		return refuse_kernel_thread(h, p);
	if (r > 0 && h->stop)
		r = seize_new(h, p);
	return r == -ESRCH || r > 0 ? 0 : r;
}

static bool all_stopped(const struct process *p)
{
	for (size_t i = 0; i < p->n_threads; i++)
		if (p->threads[i].stop.state != STOP_STOPPED && p->threads[i].stop.state != STOP_GONE)
			return false;
	return p->n_threads > 0 && !p->zombie;
}

static bool has_ended(const struct process *p)
{
	for (size_t i = 0; i < p->n_threads; i++)
		if (p->threads[i].stop.state != STOP_GONE)
			return false;
	return p->n_threads > 0;
}

/* Its last thread ended while it was to be stopped: it is a zombie or gone, and has left its children to others; or nearly so. */
static void settle_ended(struct process *p, size_t *n_new, size_t *n_pending)
{
	int r = refresh_state(p);

	p->gone = r < 0;
	if (r > 0) {
		p->threads[0].stop.state = STOP_NONE;
		(*n_pending)++;
	} else {
		(*n_new)++;
	}
}

#define THREADS_MANY 64 /* the children of so many are looked for by all workers */

static bool has_many(const struct process *p)
{
	return p->n_threads >= THREADS_MANY;
}

/*
 * The second: with all its threads stopped, and none new since, a process makes no more threads nor children. Only children of others that end
 * may still come to it.
 */
static int end_round(struct halt *h, struct process *p, size_t *n_new, size_t *n_pending)
{
	/* Or one that was a zombie when we traced it: once waited for it is gone, if its parent ignores SIGCHLD. */
	bool ended = !p->zombie;
	size_t new = 0;
	int r = 0;

	if (p->gone)
		return 0;
	if (h->stop && !p->complete) {
		r = wait_stopped(h, p, n_pending, &ended);
		if (r == 0 && ended && has_ended(p)) {
			settle_ended(p, n_new, n_pending);
		} else if (r == 0 && all_stopped(p)) {
			r = search_threads(p, &new);
			p->complete = r == 0 && !new;
			*n_new +=
				new +
				p->complete; /* its orphans may have gone to one whose children were read before: once more */
		}
	}
	if (r < 0 && r != -ESRCH)
		return r;
	return has_many(p) ? 0 : search_children(&h->search, p, 0, 1);
}

static int round_of_worker(unsigned int worker, void *arg)
{
	struct halt *h = arg;
	size_t n_new = 0, n_pending = 0;
	int r = 0;

	for (size_t i = 0; i < h->search.tree->n_processes && r == 0; i++)
		if (h->search.tree->processes[i]->worker == worker)
			r = begin_round(h, h->search.tree->processes[i], &n_new);
	for (size_t i = 0; i < h->search.tree->n_processes && r == 0; i++)
		if (h->search.tree->processes[i]->worker == worker)
			r = end_round(h, h->search.tree->processes[i], &n_new, &n_pending);
	h->n_new += n_new;
	h->n_pending += n_pending;
	return r;
}

/* --- between rounds --- */

static int children_of_worker(unsigned int worker, void *arg)
{
	struct halt *h = arg;
	int r = 0;

	for (size_t i = 0; i < h->search.tree->n_processes && r == 0; i++) {
		struct process *p = h->search.tree->processes[i];

		if (!p->gone && has_many(p))
			r = search_children(&h->search, p, worker, workers_count(h->search.workers));
	}
	return r;
}

static int children_of_many(struct halt *h)
{
	for (size_t i = 0; i < h->search.tree->n_processes; i++)
		if (has_many(h->search.tree->processes[i]))
			return workers_each(h->search.workers, children_of_worker, h);
	return 0;
}

/* A parent in vfork stops only when its child has called exec: the children of whoever does not stop are let run for a breath. */
static int release_children_of_pending(unsigned int worker, void *arg)
{
	struct halt *h = arg;

	for (size_t i = 0; i < h->search.tree->n_processes; i++) {
		struct process *p = h->search.tree->processes[i];
		bool pending = false;

		if (p->worker != worker || !p->parent)
			continue;
		for (size_t k = 0; k < p->parent->n_threads; k++)
			pending |= p->parent->threads[k].stop.state == STOP_SEIZED;
		if (pending)
			settle_process(p);
		for (size_t k = 0; pending && k < p->n_threads; k++) {
			stop_release(&p->threads[k].stop);
			task_regs_free(&p->threads[k].stop.regs);
			p->threads[k].stop = (struct stop){ .tid = p->threads[k].tid };
			p->complete = false;
		}
	}
	return 0;
}

static int name_pending(struct halt *h)
{
	for (size_t i = 0; i < h->search.tree->n_processes; i++) {
		struct process *p = h->search.tree->processes[i];

		for (size_t k = 0; k < p->n_threads; k++)
			if (p->threads[k].stop.state == STOP_SEIZED)
				failed(h->search.ps,
					BLAME_PROCESS(p, .remedy = "it may be waiting for slow storage, or for a vfork "
								   "child; try again later"),
					-ETIMEDOUT, "thread %d did not stop in time", p->threads[k].tid);
	}
	return -ETIMEDOUT;
}

/* A keeper is an orphan: its parent is the next subreaper above the command that asked, which is then in the tree as well. */
static int refuse_own_tree(struct halt *h)
{
	const struct process *self = tree_find(h->search.tree, getpid());

	if (!self)
		return 0;
	return refused(h->search.ps,
		BLAME_PROCESS(self, .object = "spore itself",
			.remedy = "call spore from a process that is no part of the tree, or save a process below it"),
		"the tree holds the spore that is to stop it");
}

static int rounds(struct halt *h)
{
	struct tree *t = h->search.tree;
	int r = 0;

	for (;;) {
		size_t added;

		h->n_new = h->n_pending = h->search.n_lost = 0;
		if (t->cgroup)
			r = search_cgroup(&h->search, t->cgroup);
		if (r == 0)
			r = workers_some(h->search.workers, tree_workers(t), round_of_worker, h);
		if (r == 0)
			r = children_of_many(h);
		if (r < 0)
			return r;
		tree_drop_gone(t);
		added = search_adopt(&h->search);
		r = t->scan ? search_scan(&h->search, &added) : 0;
		if (r == 0)
			r = refuse_own_tree(h);
		if (r < 0)
			return r;
		if (!h->n_pending && !added && (!(h->n_new || h->search.n_lost) || !h->stop))
			return 0;
		if (clock_us() > h->deadline)
			return h->n_pending ? name_pending(h)
					    : failed(h->search.ps, NULL, -ETIMEDOUT,
						      "the tree makes new tasks faster than they can be stopped");
		if (h->n_pending) {
			workers_some(h->search.workers, tree_workers(t), release_children_of_pending, h);
			usleep(BREATH_US);
		}
	}
}

static const char *why_no_process(pid_t pid)
{
	_cleanup_fd_ int dir = procfs_open_pid(pid);
	struct proc_stat st;

	if (dir >= 0 && proc_stat_read(dir, &st) == 0 && st.state == 'Z')
		return "it has ended, and only waits for its parent to take its status (a zombie)";
	return "no such process";
}

static int halt_run(struct tree *t, struct workers *w, bool stop, uint32_t timeout_ms, struct problems *ps)
{
	struct halt h = { .stop = stop, .deadline = clock_us() + 1000ull * timeout_ms };
	int r = 0;

	search_begin(&h.search, t, w, ps);
	if (!t->cgroup && !t->n_processes)
		r = tree_add_process(t, NULL, t->root_pid, 0);
	if (r == -ESRCH)
		failed(ps, BLAME(.pid = t->root_pid), -ESRCH, "%s", why_no_process(t->root_pid));
	if (r == 0)
		r = rounds(&h);
	if (r == 0)
		r = tree_order(t);
	/* It may have ended since it was named. */
	if (r == 0 && (!t->n_processes || t->processes[0]->zombie))
		r = failed(ps, BLAME(.pid = t->root_pid), -ESRCH, "%s",
			t->cgroup ? "no process in the cgroup" : why_no_process(t->root_pid));
	search_end(&h.search);
	return r;
}

int tree_find_tasks(struct tree *t, struct workers *w, struct problems *ps)
{
	return halt_run(t, w, false, 10000, ps);
}

static int settle_of_worker(unsigned int worker, void *arg)
{
	struct tree *t = arg;

	for (size_t i = 0; i < t->n_processes; i++)
		if (t->processes[i]->worker == worker)
			settle_process(t->processes[i]);
	return 0;
}

int tree_stop(struct tree *t, struct workers *w, uint32_t timeout_ms, struct problems *ps)
{
	int r = halt_run(t, w, true, timeout_ms, ps);

	workers_some(w, tree_workers(t), settle_of_worker, t);
	if (r == 0)
		snapshots_sweep(t, w, ps);
	if (r < 0)
		tree_release(t, w);
	return r;
}

static int release_of_worker(unsigned int worker, void *arg)
{
	struct tree *t = arg;

	for (size_t i = 0; i < t->n_processes; i++)
		for (size_t k = 0; t->processes[i]->worker == worker && k < t->processes[i]->n_threads; k++)
			stop_release(&t->processes[i]->threads[k].stop);
	return 0;
}

static uint64_t last_let_go(const struct tree *t)
{
	uint64_t last = 0;

	for (size_t i = 0; i < t->n_processes; i++)
		for (size_t k = 0; k < t->processes[i]->n_threads; k++)
			last = MAX(last, t->processes[i]->threads[k].stop.let_go_at);
	return last;
}

void tree_release(struct tree *t, struct workers *w)
{
	workers_some(w, tree_workers(t), release_of_worker, t);
	t->running_at = last_let_go(t);
	if (!t->running_at) /* it was killed meanwhile */
		t->running_at = clock_us();
}
