/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/members.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "container/container.h"

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
	t->n_cpus = sysconf(_SC_NPROCESSORS_CONF);
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

int tree_add_process(struct tree *t, struct process *parent, pid_t pid, unsigned int worker)
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

struct thread *thread_of(struct process *p, pid_t tid)
{
	for (size_t i = 0; i < p->n_threads; i++)
		if (p->threads[i].tid == tid)
			return &p->threads[i];
	return NULL;
}

int thread_add(struct process *p, pid_t tid)
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

void thread_drop(struct process *p, size_t i)
{
	thread_close(&p->threads[i]);
	memmove(&p->threads[i], &p->threads[i + 1], (p->n_threads - i - 1) * sizeof(p->threads[0]));
	p->n_threads--;
}

size_t tree_workers(const struct tree *t)
{
	size_t n = 1;

	for (size_t i = 0; i < t->n_processes; i++)
		n = MAX(n, (size_t)t->processes[i]->worker + 1);
	return n;
}

void tree_drop_gone(struct tree *t)
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

int tree_order(struct tree *t)
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
