/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/search.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "engine/members.h"

void search_begin(struct search *s, struct tree *t, struct workers *w, struct problems *ps)
{
	*s = (struct search){ .tree = t, .workers = w, .ps = ps };
	pthread_mutex_init(&s->lock, NULL);
}

void search_end(struct search *s)
{
	pthread_mutex_destroy(&s->lock);
	free(s->found);
}

static void note(struct search *s, struct process *parent, pid_t parent_tid, pid_t pid)
{
	struct found *grown;

	pthread_mutex_lock(&s->lock);
	if (s->n_found == s->room) {
		grown = reallocarray(s->found, s->room ? 2 * s->room : 64, sizeof(*grown));
		if (!grown) {
			pthread_mutex_unlock(&s->lock);
			failed(s->ps, NULL, -ENOMEM, "out of memory");
			return;
		}
		s->found = grown;
		s->room = s->room ? 2 * s->room : 64;
	}
	s->found[s->n_found++] = (struct found){ parent, parent_tid, pid };
	pthread_mutex_unlock(&s->lock);
}

/* Of a task that is gone there are none; of any other they must be known, or a child would be missed. */
static int children_of_task(struct search *s, struct process *p, pid_t tid)
{
	_cleanup_free_ char *text = NULL;
	char name[48];
	int r;

	snprintf(name, sizeof(name), "task/%d/children", tid);
	r = procfs_read(p->proc_fd, name, &text, NULL);
	if (r == -ENOENT || r == -ESRCH)
		return 0;
	if (r < 0)
		return failed(s->ps, BLAME_PROCESS(p), r, "the children of its thread %d cannot be read: %s", tid,
			strerror(-r));
	for (char *c = text; *c;) {
		char *end;
		long pid = strtol(c, &end, 10);

		if (end == c)
			break;
		note(s, p, tid, (pid_t)pid);
		c = end + strspn(end, " \n");
	}
	return 0;
}

int search_children(struct search *s, struct process *p, size_t first, size_t step)
{
	int r = 0;

	for (size_t i = first; r == 0 && i < p->n_threads && !s->tree->scan; i += step)
		r = children_of_task(s, p, p->threads[i].tid);
	return r;
}

/* A worker of io_uring, or the thread that polls a ring: the kernel's own, which shows among the threads. It runs nothing of the program. */
static bool is_io_worker(const struct thread *th)
{
	struct proc_stat st;

	return proc_stat_read(th->proc_fd, &st) == 0 && st.flags & (PF_IO_WORKER | PF_USER_WORKER);
}

static int add_thread(struct process *p, pid_t tid, size_t *n_new)
{
	int r = thread_add(p, tid);

	if (r < 0)
		return r == -ENOMEM ? r : 0;
	if (tid != p->pid && is_io_worker(&p->threads[p->n_threads - 1]))
		thread_drop(p, p->n_threads - 1);
	else
		(*n_new)++;
	return 0;
}

int search_threads(struct process *p, size_t *n_new)
{
	_cleanup_free_ int *tids = NULL;
	size_t n = 0;
	int r = procfs_numbers(p->proc_fd, "task", &tids, &n);

	if (r < 0)
		return -ESRCH;
	for (size_t pass = 0; pass < 2; pass++)
		for (size_t i = 0; r == 0 && i < n; i++)
			if ((tids[i] == p->pid) == (pass == 0) && !thread_of(p, tids[i]))
				r = add_thread(p, tids[i], n_new);
	return r;
}

size_t search_adopt(struct search *s)
{
	struct tree *t = s->tree;
	size_t added = 0;

	for (size_t i = 0; i < s->n_found; i++) {
		const struct found *f = &s->found[i];
		struct process *known = tree_find(t, f->pid);
		unsigned int worker = (unsigned int)(t->n_processes % workers_count(s->workers));

		if (!known && tree_add_process(t, f->parent, f->pid, worker) == 0) {
			known = t->processes[t->n_processes - 1];
			added++;
		}
		if (known) {
			known->parent = f->parent;
			known->parent_tid = f->parent_tid;
		} else {
			s->n_lost++;
		}
	}
	s->n_found = 0;
	return added;
}

int search_scan(struct search *s, size_t *added)
{
	_cleanup_fd_ int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_free_ struct proc_parent *list = NULL;
	size_t n = 0, more;
	int r = proc < 0 ? -errno : procfs_parents(proc, &list, &n);

	if (r < 0)
		return failed(s->ps, BLAME(.object = "/proc"), r, "cannot be read: %s", strerror(-r));
	do {
		for (size_t i = 0; i < n; i++) {
			struct process *parent = tree_find(s->tree, list[i].parent);

			if (parent)
				note(s, parent, 0, list[i].pid);
		}
		more = search_adopt(s);
		*added += more;
	} while (more);
	return 0;
}

int search_cgroup(struct search *s, const char *path)
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
		note(s, NULL, 0, (pid_t)atoi(c));
	dir = opendir(path);
	for (struct dirent *e; dir && (e = readdir(dir));) {
		_cleanup_free_ char *sub = NULL;

		if (e->d_type != DT_DIR || e->d_name[0] == '.')
			continue;
		if (asprintf(&sub, "%s/%s", path, e->d_name) < 0)
			return -ENOMEM;
		r = search_cgroup(s, sub);
		if (r < 0)
			return r;
	}
	return 0;
}
