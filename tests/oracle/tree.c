/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Finding the tree, and the names that its processes have among themselves. */

#include <errno.h>
#include <signal.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "oracle.h"

/* Field n (from 1, as in proc(5)) of a line of /proc/PID/stat; the name in field 2 may hold blanks and
 * brackets. */
char *stat_field(char *stat, unsigned n)
{
	char *p = strrchr(stat, ')');

	if (!p)
		return NULL;
	p++;
	for (unsigned i = 2; p && i < n; i++) {
		p = strchr(p, ' ');
		if (p)
			p++;
		if (i + 1 == n)
			return p;
	}
	return NULL;
}

/* Field `level` of a line such as "NSpid: 812 7 1"; -1 if the task is not that deep. */
static long nested_id(const char *status, const char *name, size_t level)
{
	char buf[256], *save = NULL;
	size_t n = 0;

	if (!line_value(status, name, buf, sizeof(buf)))
		return -1;
	for (char *p = strtok_r(buf, " \t", &save); p; p = strtok_r(NULL, " \t", &save))
		if (n++ == level)
			return atol(p);
	return -1;
}

static size_t nesting(const char *status)
{
	size_t n = 0;

	while (nested_id(status, "NSpid", n) >= 0)
		n++;
	return n;
}

static void learn_ids(struct oracle *o, const char *status, char *stat)
{
	static const struct {
		const char *name;
		unsigned field;
	} groups[] = { { "NSpgid", 5 }, { "NSsid", 6 } };

	for (size_t i = 0; i < ARRAY_SIZE(groups); i++) {
		long outer = strtol(stat_field(stat, groups[i].field), NULL, 10);
		long inner = nested_id(status, groups[i].name, o->level);

		if (outer > 0 && inner > 0)
			table_add(&o->inner, outer, 0, inner);
	}
}

#define IO_WORKER 0x4010 /* PF_IO_WORKER, PF_USER_WORKER */

static int add_tasks(struct oracle *o, struct proc *p)
{
	char path[64];
	struct dirent *e;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", p->pid);
	dir = opendir(path);
	if (!dir)
		return -errno;
	while ((e = readdir(dir))) {
		pid_t tid = atoi(e->d_name);
		_free_ char *status = NULL;
		_free_ char *stat = NULL;
		struct task *t;

		if (tid <= 0)
			continue;
		status = slurpf(NULL, "/proc/%d/task/%d/status", p->pid, tid);
		stat = slurpf(NULL, "/proc/%d/task/%d/stat", p->pid, tid);
		if (!status || !stat || !stat_field(stat, 9))
			continue;
		if (tid != p->pid &&
			strtoul(stat_field(stat, 9), NULL, 10) & IO_WORKER) /* the kernel's own: they come and go */
			continue;
		p->tasks = reallocarray(p->tasks, p->ntasks + 1, sizeof(*p->tasks));
		t = &p->tasks[p->ntasks++];
		*t = (struct task){ .tid = tid, .state = *stat_field(stat, 3), .call = -1 };
		t->inner = nested_id(status, "NSpid", o->level);
		table_set(&o->inner, tid, 0, t->inner);
		table_set(&o->members, tid, 0, p->pid);
		if (tid != p->pid)
			continue;
		p->inner = t->inner;
		p->state = t->state;
		learn_ids(o, status, stat);
	}
	closedir(dir);
	return 0;
}

static int add_process(struct oracle *o, pid_t pid, pid_t parent)
{
	struct proc *p;

	o->procs = reallocarray(o->procs, o->nprocs + 1, sizeof(*o->procs));
	p = &o->procs[o->nprocs];
	*p = (struct proc){ .pid = pid, .parent = parent };
	if (add_tasks(o, p) < 0 || !p->ntasks)
		return -ESRCH;
	o->nprocs++;
	return 0;
}

static void add_children(struct oracle *o, size_t of)
{
	for (size_t i = 0; i < o->procs[of].ntasks; i++) {
		pid_t pid = o->procs[of].pid;
		_free_ char *list = slurpf(NULL, "/proc/%d/task/%d/children", pid, o->procs[of].tasks[i].tid);
		char *save = NULL;

		for (char *s = list ? strtok_r(list, " \n", &save) : NULL; s; s = strtok_r(NULL, " \n", &save))
			add_process(o, atoi(s), pid);
	}
}

static int by_inner_pid(const void *a, const void *b)
{
	return ((const struct proc *)a)->inner - ((const struct proc *)b)->inner;
}

static int by_inner_tid(const void *a, const void *b)
{
	const struct task *x = a, *y = b;

	/* The leader first, though a reused number can make it the larger one. */
	if ((x->tid == x->proc->pid) != (y->tid == y->proc->pid))
		return x->tid == x->proc->pid ? -1 : 1;
	return x->inner - y->inner;
}

int tree_find(struct oracle *o)
{
	_free_ char *status = slurpf(NULL, "/proc/%d/status", o->root);

	if (!status)
		return -ESRCH;
	o->level = nesting(status) - 1;
	if (add_process(o, o->root, 0) < 0)
		return -ESRCH;
	for (size_t i = 0; i < o->nprocs; i++)
		add_children(o, i);
	qsort(o->procs, o->nprocs, sizeof(*o->procs), by_inner_pid);
	for (size_t i = 0; i < o->nprocs; i++) {
		struct proc *p = &o->procs[i];

		snprintf(p->prefix, sizeof(p->prefix), "%d", p->inner);
		for (size_t j = 0; j < p->ntasks; j++)
			p->tasks[j].proc = p;
		qsort(p->tasks, p->ntasks, sizeof(*p->tasks), by_inner_tid);
	}
	return 0;
}

void tree_free(struct oracle *o)
{
	struct table *tables[] = { &o->inner, &o->members, &o->objects, &o->namespaces, &o->ttys, &o->eventfds,
		&o->outside_pipes, &o->contents, &o->shared_pages, &o->pty_masters };

	for (size_t i = 0; i < o->nprocs; i++)
		free(o->procs[i].tasks);
	free(o->procs);
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
		table_free(tables[i]);
}

/* A leader that has exited before its threads has no memory and no descriptors to show; they do. */
pid_t live_tid(const struct proc *p)
{
	for (size_t i = 0; i < p->ntasks; i++)
		if (p->tasks[i].state != 'Z')
			return p->tasks[i].tid;
	return p->pid;
}

bool in_tree(struct oracle *o, pid_t tid)
{
	return table_get(&o->members, tid, 0, NULL);
}

/*
 * How the tree calls what the oracle knows as `outer`. A group or session that the tree is in may be named after one who is dead, or not
 * of the tree; any other who lives, but not in the tree, is only "outside": he need not be the same after a restore.
 */
const char *name_of(struct oracle *o, long outer, char buf[32])
{
	uint64_t inner;

	if (outer <= 0)
		snprintf(buf, 32, "%ld", outer);
	else if (table_get(&o->inner, outer, 0, &inner))
		snprintf(buf, 32, "%ld", (long)inner);
	else if (!in_tree(o, outer) && (kill(outer, 0) == 0 || errno == EPERM))
		snprintf(buf, 32, "outside");
	else
		snprintf(buf, 32, "gone");
	return buf;
}
