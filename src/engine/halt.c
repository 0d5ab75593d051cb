/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/halt.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "container/container.h"
#include "state/sleep.h"

#define ROUND_WAIT_MS 50 /* for one task to stop, before others are let go for its sake */
#define LET_GO_MS     1000
#define BREATH_US     2000
/* How long a look at the sleeps of a process and its stop take when nothing comes between, and how often it is tried. */
#define LOOK_US		   3000
#define LOOK_PER_THREAD_US 100
#define LOOK_TRIES	   3

/* --- the list of processes ---------------------------------------------------------------------------------------- */

static void thread_close(struct thread *th)
{
	task_regs_free(&th->stop.regs);
	proc_status_free(&th->status);
	close_fd(&th->proc_fd);
}

static void process_free(struct process *p)
{
	for (size_t i = 0; i < p->n_threads; i++)
		thread_close(&p->threads[i]);
	free(p->threads);
	proc_maps_free(&p->maps);
	proc_status_free(&p->status);
	if (p->living_fd != p->proc_fd)
		close_fd(&p->living_fd);
	close_fd(&p->proc_fd);
	close_fd(&p->pid_fd);
	free(p);
}

int tree_new(pid_t root, const char *cgroup, struct problems *ps, struct tree **out)
{
	struct tree *t = calloc(1, sizeof(*t));

	if (!t)
		return failed(ps, NULL, -ENOMEM, "out of memory");
	t->root_pid = root;
	t->scan = access("/proc/thread-self/children", F_OK) < 0; /* CONFIG_PROC_CHILDREN */
	if (cgroup) {
		t->cgroup = strdup(cgroup);
		if (!t->cgroup) {
			free(t);
			return failed(ps, NULL, -ENOMEM, "out of memory");
		}
	}
	*out = t;
	return 0;
}

void tree_free(struct tree *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->n_processes; i++)
		process_free(t->processes[i]);
	if (t->container) {
		container_spec_free(&t->container->spec);
		free(t->container);
	}
	free(t->processes);
	free(t->cgroup);
	free(t);
}

/* -ESRCH: it has gone meanwhile. */
static int process_add(struct tree *t, struct process *parent, pid_t pid, unsigned int worker)
{
	struct process *p, **grown;

	if (t->n_processes == t->room) {
		grown = reallocarray(t->processes, t->room ? 2 * t->room : 64, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		t->processes = grown;
		t->room = t->room ? 2 * t->room : 64;
	}
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	*p = (struct process){
		.tree = t, .parent = parent, .pid = pid, .worker = worker, .proc_fd = -1, .living_fd = -1, .pid_fd = -1
	};
	p->proc_fd = procfs_open_pid(pid);
	if (p->proc_fd < 0) {
		process_free(p);
		return -ESRCH;
	}
	t->processes[t->n_processes++] = p;
	return 0;
}

/* --- looking for tasks: each worker over its own processes ------------------------------------------------------------- */

struct halt {
	struct tree *tree;
	struct problems *ps;
	struct workers *workers;
	bool stop; /* not only a look */
	uint64_t deadline;
	/* What a round found, under the lock. */
	pthread_mutex_t lock;
	struct found {
		struct process *parent;
		pid_t pid;
	} * found;
	size_t n_found, room;
	size_t n_new;	  /* threads that were new, or are not stopped yet */
	size_t n_pending; /* seized, but not stopped */
	size_t n_lost;	  /* found, and gone before they could be added */
};

static void note_child(struct halt *h, struct process *parent, pid_t pid)
{
	struct found *grown;

	pthread_mutex_lock(&h->lock);
	if (h->n_found == h->room) {
		grown = reallocarray(h->found, h->room ? 2 * h->room : 64, sizeof(*grown));
		if (!grown) {
			pthread_mutex_unlock(&h->lock);
			failed(h->ps, NULL, -ENOMEM, "out of memory");
			return;
		}
		h->found = grown;
		h->room = h->room ? 2 * h->room : 64;
	}
	h->found[h->n_found++] = (struct found){ parent, pid };
	pthread_mutex_unlock(&h->lock);
}

static int children_of_task(struct halt *h, struct process *p, pid_t tid)
{
	_cleanup_free_ char *text = NULL;
	char name[48];
	int r;

	snprintf(name, sizeof(name), "task/%d/children", tid);
	r = procfs_read(p->proc_fd, name, &text, NULL);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	for (char *c = text; *c;) {
		char *end;
		long pid = strtol(c, &end, 10);

		if (end == c)
			break;
		note_child(h, p, (pid_t)pid);
		c = end + strspn(end, " \n");
	}
	return 0;
}

static struct thread *thread_of(struct process *p, pid_t tid)
{
	for (size_t i = 0; i < p->n_threads; i++)
		if (p->threads[i].tid == tid)
			return &p->threads[i];
	return NULL;
}

static int thread_add(struct process *p, pid_t tid)
{
	struct thread *grown = reallocarray(p->threads, p->n_threads + 1, sizeof(*grown));
	int fd;

	if (!grown)
		return -ENOMEM;
	p->threads = grown;
	fd = procfs_open_task(p->pid, tid);
	if (fd < 0)
		return -ESRCH;
	p->threads[p->n_threads++] = (struct thread){ .process = p, .tid = tid, .proc_fd = fd, .stop = { .tid = tid } };
	return 0;
}

static void thread_drop(struct process *p, size_t i)
{
	thread_close(&p->threads[i]);
	memmove(&p->threads[i], &p->threads[i + 1], (p->n_threads - i - 1) * sizeof(p->threads[0]));
	p->n_threads--;
}

/* New threads of a process, in the order of their numbers; the leader comes first by being the lowest or by being asked for. */
static int look_for_threads(struct halt *h, struct process *p, size_t *n_new)
{
	_cleanup_free_ int *tids = NULL;
	size_t n = 0;
	int r = procfs_numbers(p->proc_fd, "task", &tids, &n);

	if (r < 0)
		return -ESRCH;
	for (size_t pass = 0; pass < 2; pass++)
		for (size_t i = 0; i < n; i++)
			if ((tids[i] == p->pid) == (pass == 0) && !thread_of(p, tids[i])) {
				r = thread_add(p, tids[i]);
				if (r == -ENOMEM)
					return r;
				if (r == 0)
					(*n_new)++;
			}
	return 0;
}

/*
 * When a sleep began can be seen only while it lasts. One that begins between the look and the stop is late by what lies
 * between them, so the look is repeated where the processor was taken away meanwhile.
 */
struct sleep_watch {
	struct sleep_clock clock;
	uint64_t since, allowed; /* in microseconds */
};

static bool is_stale(const struct sleep_watch *w)
{
	return clock_us() - w->since > w->allowed;
}

static void look_at_sleeps(struct process *p, struct sleep_watch *w)
{
	w->allowed = LOOK_US + p->n_threads * LOOK_PER_THREAD_US;
	for (int i = 0; i < LOOK_TRIES && (!i || is_stale(w)); i++) {
		w->since = clock_us();
		for (size_t k = 0; k < p->n_threads; k++)
			if (p->threads[k].stop.state == STOP_NONE)
				sleep_look(p->threads[k].proc_fd, &w->clock, &p->threads[k].seen);
	}
}

static int seize_new(struct halt *h, struct process *p)
{
	struct sleep_watch watch = { .allowed = 0 };

	for (size_t i = 0; i < p->n_threads; i++) {
		struct thread *th = &p->threads[i];
		int r;

		if (th->stop.state != STOP_NONE)
			continue;
		if (is_stale(&watch))
			look_at_sleeps(p, &watch);
		r = stop_seize(&th->stop, th->tid, 0);
		if (r == 0)
			r = stop_interrupt(&th->stop);
		if (r == -ESRCH)
			th->stop.state = STOP_GONE;
		else if (r < 0)
			return failed(h->ps,
				BLAME_PROCESS(p, .remedy = "run spore as root, and without a debugger attached to it"),
				r, "thread %d cannot be traced: %s", th->tid, strerror(-r));
	}
	return 0;
}

/* The leader of a process with other threads may be dead; it is kept, since it holds the pid. */
static int wait_stopped(struct halt *h, struct process *p, size_t *n_pending)
{
	for (size_t i = 0; i < p->n_threads;) {
		struct thread *th = &p->threads[i];
		bool fresh = th->stop.state == STOP_SEIZED;
		int r = 0;

		if (fresh)
			r = stop_wait(&th->stop, ROUND_WAIT_MS);
		if (r == 0 && th->stop.state == STOP_STOPPED && fresh)
			sleep_wind_back(&th->stop);
		if (r == -ETIMEDOUT) {
			(*n_pending)++;
			r = 0;
		}
		if (r == -ESRCH)
			th->stop.state = STOP_GONE;
		else if (r < 0)
			return failed(
				h->ps, BLAME_PROCESS(p), r, "thread %d cannot be stopped: %s", th->tid, strerror(-r));
		if (th->stop.state == STOP_GONE && th->tid != p->pid)
			thread_drop(p, i);
		else
			i++;
	}
	return 0;
}

/* Is it a zombie (0), alive (1), or gone (negative)? */
static int refresh_state(struct process *p)
{
	int r = proc_stat_read(p->proc_fd, &p->stat);

	if (r < 0)
		return -ESRCH;
	p->zombie = (p->stat.state == 'Z' || p->stat.state == 'X') && p->n_threads <= 1;
	return p->zombie ? 0 : 1;
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
	r = look_for_threads(h, p, n_new);
	if (r == 0)
		r = refresh_state(p);
	p->gone = r < 0;
	if (r >= 0 && h->stop && is_another(p)) {
		p->gone = true;
		(*n_new)++; /* one more round: if it is the tree's all the same, its parent names it */
		return 0;
	}
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
	return p->n_threads > 0 && !p->zombie;
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

/*
 * The second: with all its threads stopped, and none new since, a process makes no more threads nor children. Only children of others that end
 * may still come to it.
 */
static int end_round(struct halt *h, struct process *p, size_t *n_new, size_t *n_pending)
{
	size_t new = 0;
	int r = 0;

	if (p->gone)
		return 0;
	if (h->stop && !p->complete) {
		r = wait_stopped(h, p, n_pending);
		if (r == 0 && has_ended(p)) {
			settle_ended(p, n_new, n_pending);
		} else if (r == 0 && all_stopped(p)) {
			r = look_for_threads(h, p, &new);
			p->complete = r == 0 && !new;
			*n_new +=
				new +
				p->complete; /* its orphans may have gone to one whose children were read before: once more */
		}
	}
	if (r < 0 && r != -ESRCH)
		return r;
	for (size_t i = 0; i < p->n_threads && !h->tree->scan; i++)
		children_of_task(h, p, p->threads[i].tid);
	return 0;
}

static int round_of_worker(unsigned int worker, void *arg)
{
	struct halt *h = arg;
	size_t n_new = 0, n_pending = 0;
	int r = 0;

	for (size_t i = 0; i < h->tree->n_processes && r == 0; i++)
		if (h->tree->processes[i]->worker == worker)
			r = begin_round(h, h->tree->processes[i], &n_new);
	for (size_t i = 0; i < h->tree->n_processes && r == 0; i++)
		if (h->tree->processes[i]->worker == worker)
			r = end_round(h, h->tree->processes[i], &n_new, &n_pending);
	pthread_mutex_lock(&h->lock);
	h->n_new += n_new;
	h->n_pending += n_pending;
	pthread_mutex_unlock(&h->lock);
	return r;
}

/* --- between rounds ------------------------------------------------------------------------------------------------------ */

/* Who is gone by now may have left children to another of the tree: one more round tells. */
static size_t adopt_found(struct halt *h)
{
	struct tree *t = h->tree;
	size_t added = 0;

	for (size_t i = 0; i < h->n_found; i++) {
		struct process *known = tree_find(t, h->found[i].pid);
		unsigned int worker = (unsigned int)(t->n_processes % workers_count(h->workers));

		if (known)
			known->parent = h->found[i].parent;
		else if (process_add(t, h->found[i].parent, h->found[i].pid, worker) == 0)
			added++;
		else
			h->n_lost++;
	}
	h->n_found = 0;
	return added;
}

/*
 * Of one pass over /proc, all that is below the tree. It comes after the round's stops, so that what it misses was born to, or left
 * to, a task that was not stopped yet when it began: the round then was not the last.
 */
static int adopt_scanned(struct halt *h, size_t *added)
{
	_cleanup_fd_ int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_free_ struct proc_parent *list = NULL;
	size_t n = 0, more;
	int r = proc < 0 ? -errno : procfs_parents(proc, &list, &n);

	if (r < 0)
		return failed(h->ps, BLAME(.object = "/proc"), r, "cannot be read: %s", strerror(-r));
	do {
		for (size_t i = 0; i < n; i++) {
			struct process *parent = tree_find(h->tree, list[i].parent);

			if (parent)
				note_child(h, parent, list[i].pid);
		}
		more = adopt_found(h);
		*added += more;
	} while (more);
	return 0;
}

static int add_cgroup_processes(struct halt *h, const char *path)
{
	_cleanup_free_ char *text = NULL, *procs = NULL;
	_cleanup_dir_ DIR *dir = NULL;
	int r;

	if (asprintf(&procs, "%s/cgroup.procs", path) < 0)
		return -ENOMEM;
	r = procfs_read(AT_FDCWD, procs, &text, NULL);
	if (r < 0)
		return r;
	for (char *c = text; *c; c = strchrnul(c, '\n'), c += *c == '\n')
		note_child(h, NULL, (pid_t)atoi(c));
	dir = opendir(path);
	for (struct dirent *e; dir && (e = readdir(dir));) {
		_cleanup_free_ char *sub = NULL;

		if (e->d_type != DT_DIR || e->d_name[0] == '.')
			continue;
		if (asprintf(&sub, "%s/%s", path, e->d_name) < 0)
			return -ENOMEM;
		r = add_cgroup_processes(h, sub);
		if (r < 0)
			return r;
	}
	return 0;
}

/* A process is gone when its directory of /proc no longer answers: it was reaped. */
static void drop_gone(struct tree *t)
{
	for (size_t i = 0; i < t->n_processes;) {
		struct process *p = t->processes[i];

		if (!p->gone) {
			i++;
			continue;
		}
		t->n_processes--;
		memmove(&t->processes[i], &t->processes[i + 1], (t->n_processes - i) * sizeof(struct process *));
		for (size_t k = 0; k < t->n_processes; k++)
			if (t->processes[k]->parent == p)
				t->processes[k]->parent = NULL;
		process_free(p);
	}
}

/* One that was interrupted, and not yet seen to stop, is to be settled as well. */
static void await_seized(struct process *p)
{
	for (size_t k = 0; k < p->n_threads; k++)
		if (p->threads[k].stop.state == STOP_SEIZED)
			stop_wait(&p->threads[k].stop, LET_GO_MS);
}

/* Before anything else runs in the tasks, and before they are let go: what only the stop interrupted is wound back, and
 * what is left of each sleep is noted. */
static void settle_process(struct process *p)
{
	struct sleep_notes before = { 0 }, after = { 0 };

	if (p->zombie)
		return;
	await_seized(p);
	sleep_notes_load(p->pid, p->stat.starttime, &before);
	for (size_t k = 0; k < p->n_threads; k++)
		if (p->threads[k].stop.state == STOP_STOPPED)
			sleep_settle(&p->threads[k].stop, p->threads[k].proc_fd, &p->threads[k].seen, &before, &after,
				&p->threads[k].restart);
	if (before.n || after.n)
		sleep_notes_store(p->pid, p->stat.starttime, &after);
	sleep_notes_free(&before);
	sleep_notes_free(&after);
}

/* A parent in vfork stops only when its child has called exec: the children of whoever does not stop are let run for a breath. */
static int release_children_of_pending(unsigned int worker, void *arg)
{
	struct halt *h = arg;

	for (size_t i = 0; i < h->tree->n_processes; i++) {
		struct process *p = h->tree->processes[i];
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
	for (size_t i = 0; i < h->tree->n_processes; i++) {
		struct process *p = h->tree->processes[i];

		for (size_t k = 0; k < p->n_threads; k++)
			if (p->threads[k].stop.state == STOP_SEIZED)
				failed(h->ps,
					BLAME_PROCESS(p, .remedy = "it may be waiting for slow storage, or for a vfork "
								   "child; try again later"),
					-ETIMEDOUT, "thread %d did not stop in time", p->threads[k].tid);
	}
	return -ETIMEDOUT;
}

/* Orders parents before children, and gives the rest of the tree (a cgroup's strays) no parent. */
static int order_processes(struct tree *t)
{
	struct process **sorted = calloc(t->n_processes ? t->n_processes : 1, sizeof(*sorted));
	size_t n = 0;

	if (!sorted)
		return -ENOMEM;
	for (size_t i = 0; i < t->n_processes; i++)
		if (!t->processes[i]->parent)
			sorted[n++] = t->processes[i];
	for (size_t at = 0; at < n; at++)
		for (size_t i = 0; i < t->n_processes; i++)
			if (t->processes[i]->parent == sorted[at])
				sorted[n++] = t->processes[i];
	free(t->processes);
	t->processes = sorted;
	t->n_processes = n;
	t->room = n;
	t->n_threads = 0;
	for (size_t i = 0; i < n; i++)
		t->n_threads += sorted[i]->n_threads;
	return 0;
}

/* A keeper is an orphan: its parent is the next subreaper above the command that asked, which is then in the tree as well. */
static int refuse_own_tree(struct halt *h)
{
	const struct process *self = tree_find(h->tree, getpid());

	if (!self)
		return 0;
	return refused(h->ps,
		BLAME_PROCESS(self, .object = "spore itself",
			.remedy = "call spore from a process that is no part of the tree, or save a process below it"),
		"the tree holds the spore that is to stop it");
}

static int rounds(struct halt *h)
{
	struct tree *t = h->tree;
	int r = 0;

	for (;;) {
		size_t added;

		h->n_new = h->n_pending = h->n_lost = 0;
		if (t->cgroup)
			r = add_cgroup_processes(h, t->cgroup);
		if (r == 0)
			r = workers_each(h->workers, round_of_worker, h);
		if (r < 0)
			return r;
		drop_gone(t);
		added = adopt_found(h);
		r = t->scan ? adopt_scanned(h, &added) : 0;
		if (r == 0)
			r = refuse_own_tree(h);
		if (r < 0)
			return r;
		if (!h->n_pending && !added && (!(h->n_new || h->n_lost) || !h->stop))
			return 0;
		if (clock_us() > h->deadline)
			return h->n_pending ? name_pending(h)
					    : failed(h->ps, NULL, -ETIMEDOUT,
						      "the tree makes new tasks faster than they can be stopped");
		if (h->n_pending) {
			workers_each(h->workers, release_children_of_pending, h);
			usleep(BREATH_US);
		}
	}
}

static int halt_run(struct tree *t, struct workers *w, bool stop, uint32_t timeout_ms, struct problems *ps)
{
	struct halt h = {
		.tree = t, .ps = ps, .workers = w, .stop = stop, .deadline = clock_us() + 1000ull * timeout_ms
	};
	int r = 0;

	pthread_mutex_init(&h.lock, NULL);
	if (!t->cgroup && !t->n_processes)
		r = process_add(t, NULL, t->root_pid, 0);
	if (r == -ESRCH)
		failed(ps, BLAME(.pid = t->root_pid), -ESRCH, "no such process");
	if (r == 0)
		r = rounds(&h);
	if (r == 0)
		r = order_processes(t);
	if (r == 0 && !t->n_processes)
		r = failed(ps, BLAME(.pid = t->root_pid), -ESRCH,
			t->cgroup ? "no process in the cgroup" : "no such process");
	pthread_mutex_destroy(&h.lock);
	free(h.found);
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

	workers_each(w, settle_of_worker, t);
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

void tree_release(struct tree *t, struct workers *w)
{
	workers_each(w, release_of_worker, t);
}
