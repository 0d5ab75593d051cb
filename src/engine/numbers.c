/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/numbers.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

static pid_t number_in_namespace(int dir)
{
	struct proc_status st;
	pid_t pid;

	if (proc_status_read(dir, &st) < 0)
		return 0;
	pid = st.pid_in_ns;
	proc_status_free(&st);
	return pid;
}

static void learn_number(struct plan *plan, pid_t pid)
{
	_cleanup_fd_ int dir = procfs_open_pid(pid);
	struct new_process *p = dir < 0 ? NULL : restore_vpid(plan->r, number_in_namespace(dir));

	if (p)
		p->pid = pid;
}

/* Where the kernel does not list children (CONFIG_PROC_CHILDREN). */
static int find_children_by_scan(struct plan *plan, struct new_process *parent)
{
	_cleanup_fd_ int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_free_ struct proc_parent *list = NULL;
	size_t n = 0;
	int r = proc < 0 ? -errno : procfs_parents(proc, &list, &n);

	for (size_t i = 0; i < n; i++)
		if (list[i].parent == parent->pid)
			learn_number(plan, list[i].pid);
	return r;
}

static int find_children_of_task(struct plan *plan, int dir, pid_t tid)
{
	_cleanup_free_ char *text = NULL;
	char name[48];
	int r;

	snprintf(name, sizeof(name), "task/%d/children", tid);
	r = procfs_read(dir, name, &text, NULL);
	for (char *c = text; r == 0 && *c;) {
		char *end;
		pid_t pid = (pid_t)strtol(c, &end, 10);

		if (end == c)
			break;
		c = end + strspn(end, " \n");
		learn_number(plan, pid);
	}
	return r;
}

static int find_children(struct plan *plan, struct new_process *parent)
{
	_cleanup_fd_ int dir = procfs_open_pid(parent->pid);
	_cleanup_free_ int *tids = NULL;
	size_t n = 0;
	int r = dir < 0 ? dir : procfs_numbers(dir, "task", &tids, &n);

	for (size_t i = 0; r == 0 && i < n; i++)
		r = find_children_of_task(plan, dir, tids[i]);
	return r == -ENOENT ? find_children_by_scan(plan, parent) : r;
}

static bool own_numbers(const struct plan *plan)
{
	return plan->move.moves || plan->r->root_pid != plan->r->processes[0]->vpid;
}

int find_numbers(struct plan *plan, struct new_process **wave, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct new_process *p = wave[i];

		if (!own_numbers(plan))
			p->pid = p->vpid;
		else if (!p->pid && p->parent)
			find_children(plan, p->parent);
		if (!p->pid)
			return failed(
				plan->r->ps, BLAME(.pid = p->vpid), -ESRCH, "was born, but cannot be found in /proc");
	}
	return 0;
}

int find_numbers_of_children(struct plan *plan)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < plan->r->n_processes; i++)
		if (birth_of(plan->r->processes[i])->has_memory && !plan->r->processes[i]->pid)
			r = find_numbers(plan, &plan->r->processes[i], 1);
	return r;
}

static int find_threads(struct new_process *p)
{
	_cleanup_fd_ int dir = procfs_open_pid(p->pid);
	_cleanup_free_ int *tids = NULL;
	size_t n = 0;
	int r = dir < 0 ? dir : procfs_numbers(dir, "task", &tids, &n);

	for (size_t i = 0; r == 0 && i < n; i++) {
		_cleanup_fd_ int task = procfs_open_task(p->pid, tids[i]);
		pid_t vtid = task < 0 ? 0 : number_in_namespace(task);

		for (size_t k = 0; k < p->n_threads; k++)
			if (p->threads[k].vtid == vtid)
				p->threads[k].tid = tids[i];
	}
	return r;
}

int find_all_threads(struct plan *plan)
{
	for (size_t i = 0; i < plan->r->n_processes; i++) {
		struct new_process *p = plan->r->processes[i];
		int r = 0;

		if (p->n_threads > 1 && own_numbers(plan))
			r = find_threads(p);
		for (size_t k = 0; r == 0 && k < p->n_threads; k++) {
			if (!own_numbers(plan))
				p->threads[k].tid = p->threads[k].vtid;
			else if (k == 0)
				p->threads[k].tid = p->pid;
			if (!p->threads[k].tid)
				r = -ESRCH;
		}
		if (r < 0)
			return failed(plan->r->ps, BLAME(.pid = p->vpid), r, "its threads cannot be found in /proc: %s",
				strerror(-r));
	}
	return 0;
}
