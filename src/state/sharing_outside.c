/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* clone(2), unshare(2), kcmp(2); kernel/fork.c, include/linux/fdtable.h, fs_struct.h, mm_types.h. */
#include "state/sharing_outside.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kernel/sched.h"
#include "state/kernel_view.h"
#include "state/outsiders.h"
#include "state/owner.h"

static const struct kind {
	const char *what;
	int type;
	const char *pointer, *structure,
		*count; /* task_struct has a pointer to a structure, which counts who shares it */
} kinds[SHARED_KINDS] = {
	{ "memory (CLONE_VM)", KCMP_VM, "mm", "mm_struct", "mm_users" },
	{ "a working directory and umask (CLONE_FS)", KCMP_FS, "fs", "fs_struct", "users" },
	{ "a descriptor table (CLONE_FILES)", KCMP_FILES, "files", "files_struct", "count" },
};

#define REMEDY "checkpoint when the two share it no more, or name a tree that holds that process too"

static void refuse_sharer(struct problems *ps, const struct blame *who, const struct kind *k, pid_t pid)
{
	struct blame blame = *who;
	char object[64];

	snprintf(object, sizeof(object), "what it shares with process %d", pid);
	blame.object = object;
	blame.remedy = REMEDY;
	refused(ps, &blame, "%s: sharing with a process outside the tree cannot be carried", k->what);
}

/* --- by counting --- */

struct shared {
	struct process *process;
	uint64_t at;
	size_t users, sharers; /* as the kernel counts them; threads of the tree's, without workers of io_uring */
};

static size_t threads_alive(const struct process *p)
{
	size_t n = 0;

	for (size_t i = 0; i < p->n_threads; i++)
		n += p->threads[i].stop.state != STOP_GONE;
	return n;
}

static int by_address(const void *a, const void *b)
{
	const struct shared *x = a, *y = b;

	return (x->at > y->at) - (x->at < y->at);
}

/* Of all processes, by kind; those with one thing are put together. Answers how many are left. */
static size_t merge(struct shared *list, size_t n)
{
	size_t kept = 0;

	qsort(list, n, sizeof(*list), by_address);
	for (size_t i = 0; i < n; i++)
		if (kept && list[kept - 1].at == list[i].at)
			list[kept - 1].sharers += list[i].sharers;
		else
			list[kept++] = list[i];
	return kept;
}

struct counting {
	const struct kind *kind;
	uint64_t object;
	size_t n;
};

static int count_one(struct capture *c, uint64_t task, void *arg)
{
	struct counting *k = arg;
	uint64_t at = 0;
	int err = kernel_peek_member(c->kernel, task, "task_struct", k->kind->pointer, &at);

	k->n += !err && at == k->object;
	return err;
}

/* How many of the process's threads have it, and workers of io_uring too. */
static size_t count_all(struct capture *c, struct process *p, const struct kind *k, uint64_t object)
{
	struct counting counting = { .kind = k, .object = object };

	kernel_each_task(c, p, count_one, &counting);
	return counting.n;
}

static size_t count_in_tree(struct capture *c, const struct kind *k, uint64_t object)
{
	size_t n = 0;

	for (size_t i = 0; i < c->tree->n_processes; i++)
		if (!c->tree->processes[i]->zombie)
			n += count_all(c, c->tree->processes[i], k, object);
	return n;
}

struct finding {
	struct capture *c;
	const struct kind *kind;
	const struct shared *shared;
	pid_t found;
	bool unsure; /* of somebody it could not be told */
};

/* Of who may not be compared: that of its leader. */
static bool points_there(const struct finding *f, pid_t pid)
{
	_cleanup_fd_ int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	uint64_t task = 0, at = 0;

	return fd >= 0 && kernel_task_of_pidfd(f->c, fd, &task) == 0 &&
	       kernel_peek_member(f->c->kernel, task, "task_struct", f->kind->pointer, &at) == 0 && at == f->shared->at;
}

static void compare_outsider(void *arg, pid_t pid, int dir)
{
	struct finding *f = arg;
	_cleanup_free_ int *tids = NULL;
	size_t n = 0;
	bool same = false;

	if (f->found || procfs_numbers(dir, "task", &tids, &n) < 0)
		return;
	for (size_t i = 0; i < n && !same; i++) {
		int r = kernel_kcmp(tids[i], f->shared->process->living_tid, f->kind->type);

		same = r == 0 || (r < 0 && errno == EPERM && points_there(f, pid));
		f->unsure |= r < 0 && errno != ESRCH && errno != EPERM;
	}
	f->found = same ? pid : 0;
}

#define FIRST_PID_NAMESPACE 0xeffffffc /* PROC_PID_INIT_INO: its processes are all that there are */

static bool sees_all(void)
{
	struct stat st;

	return stat("/proc/self/ns/pid", &st) == 0 && st.st_ino == FIRST_PID_NAMESPACE;
}

#define TRIES 6

/* Who reads a process's memory is counted as its user for that moment, and there may be many who do: so all are asked when the number does not come down. */
static bool has_others(struct capture *c, const struct kind *k, const struct shared *s, struct finding *f)
{
	struct timespec moment = { .tv_nsec = 250000 };

	for (int i = 0; i < TRIES; i++, moment.tv_nsec *= 2) {
		uint64_t users;

		if (kernel_peek_member(c->kernel, s->at, k->structure, k->count, &users) < 0)
			break;
		if (users <= s->sharers || users <= count_in_tree(c, k, s->at))
			return false;
		nanosleep(&moment, NULL);
	}
	f->unsure = outsiders_each(c->tree, compare_outsider, f) < 0 || f->unsure;
	return f->found || f->unsure || k->type != KCMP_VM || !sees_all();
}

static void look_for_others(struct capture *c, const struct kind *k, const struct shared *s)
{
	struct finding f = { c, k, s, 0, false };
	const struct process *root = c->tree->processes[0];

	if (!has_others(c, k, s, &f) || (f.found == root->stat.ppid && s->process == root))
		return; /* sharing.c names these two */
	if (f.found)
		refuse_sharer(c->ps, BLAME_PROCESS(s->process), k, f.found);
	else
		refused(c->ps,
			BLAME_PROCESS(
				s->process, .passing = true, .remedy = "checkpoint when nobody shares it any more"),
			"%s: more share it than there are tasks in the tree, and who does cannot be seen from here",
			k->what);
}

/* tasks: of all n processes, which are those of the list. */
static int look_at_kind(struct capture *c, const struct kind *k, const uint64_t *tasks, struct shared *list, size_t n)
{
	_cleanup_free_ uint64_t *at = calloc(2 * n + 1, sizeof(*at));
	uint64_t *users = at ? at + n : NULL;
	int err;

	if (!at)
		return -ENOMEM;
	memcpy(at, tasks, n * sizeof(*at));
	err = kernel_peek_many(c->kernel, at, n, "task_struct", k->pointer);
	memcpy(users, at, n * sizeof(*at));
	if (!err)
		err = kernel_peek_many(c->kernel, users, n, k->structure, k->count);
	for (size_t i = 0; i < n && !err; i++) {
		list[i].at = at[i];
		list[i].users = users[i];
		list[i].sharers = threads_alive(list[i].process);
	}
	n = err ? 0 : merge(list, n);
	for (size_t i = 0; i < n; i++)
		if (list[i].users > list[i].sharers)
			look_for_others(c, k, &list[i]);
	return err;
}

static int look_at_all(struct capture *c, uint64_t *tasks, struct shared *list)
{
	int err = 0;

	for (size_t k = 0; k < SHARED_KINDS && !err; k++) {
		size_t n = 0;

		for (size_t i = 0; i < c->tree->n_processes && !err; i++) {
			struct process *p = c->tree->processes[i];

			if (p->zombie)
				continue;
			list[n].process = p;
			err = kernel_task(c, p, &tasks[n++]);
		}
		if (!err)
			err = look_at_kind(c, &kinds[k], tasks, list, n);
	}
	return err;
}

static bool can_count(const struct capture *c)
{
	return c->kernel && kernel_peek_ready(c->kernel) == 0;
}

static int sharing_outside_look(struct capture *c)
{
	_cleanup_free_ struct shared *list = NULL;
	_cleanup_free_ uint64_t *tasks = NULL;
	int err;

	if (!can_count(c))
		return 0;
	list = calloc(c->tree->n_processes, sizeof(*list));
	tasks = calloc(c->tree->n_processes, sizeof(*tasks));
	if (!list || !tasks)
		return -ENOMEM;
	err = look_at_all(c, tasks, list);
	return err ? refused(c->ps, BLAME(.object = "tasks", .remedy = KERNEL_VIEW_REMEDY),
			     "it cannot be told who shares memory, directories and descriptors with them: %s",
			     strerror(-err))
		   : 0;
}

/* --- by comparing --- */

/* kcmp(2): 1 less, 2 greater. */
static int compare(pid_t a, pid_t b, int type)
{
	int r = kernel_kcmp(a, b, type);

	return r == 0 ? 0 : r == 1 ? -1 : 1;
}

static int by_kcmp(const void *a, const void *b, void *type)
{
	const struct outside_sharer *x = a, *y = b;

	return compare(x->tid, y->tid, *(const int *)type);
}

static void note_process(struct outside_sharer *s, const struct process *p)
{
	*s = (struct outside_sharer){ .tid = owner_alive(p)->tid, .pid = p->pid };
	snprintf(s->process, sizeof(s->process), "%s", p->stat.comm);
}

int outside_sharers_note(struct capture *c, struct outside_sharers *s)
{
	const struct tree *t = c->tree;

	if (can_count(c))
		return 0;
	s->root = t->processes[0]->pid;
	s->roots_parent = t->processes[0]->stat.ppid;
	for (size_t k = 0; k < SHARED_KINDS; k++) {
		int type = kinds[k].type;

		s->n = 0;
		s->list[k] = calloc(t->n_processes, sizeof(*s->list[k]));
		if (!s->list[k])
			return -ENOMEM;
		for (size_t i = 0; i < t->n_processes; i++)
			if (!t->processes[i]->zombie)
				note_process(&s->list[k][s->n++], t->processes[i]);
		qsort_r(s->list[k], s->n, sizeof(*s->list[k]), by_kcmp, &type);
	}
	return 0;
}

static const struct outside_sharer *find(const struct outside_sharers *s, size_t kind, pid_t pid)
{
	size_t low = 0, high = s->n;

	while (low < high) {
		size_t middle = (low + high) / 2;
		const struct outside_sharer *at = &s->list[kind][middle];
		int r = compare(pid, at->tid, kinds[kind].type);

		if (r == 0)
			return at;
		if (r < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

void outside_sharers_check(const struct outside_sharers *s, pid_t pid, struct problems *ps)
{
	for (size_t k = 0; k < SHARED_KINDS; k++) {
		const struct outside_sharer *found = find(s, k, pid);

		if (found && (found->pid != s->root || pid != s->roots_parent)) /* sharing.c names these two */
			refuse_sharer(ps, BLAME(.pid = found->pid, .process = found->process), &kinds[k], pid);
	}
}

void outside_sharers_free(struct outside_sharers *s)
{
	for (size_t k = 0; k < SHARED_KINDS; k++)
		free(s->list[k]);
	*s = (struct outside_sharers){ 0 };
}

static const struct field no_fields[] = { FIELD_END };

const struct component component_sharing_outside = {
	.kind = {
		.name = "sharing_outside",
		.version = 1,
		.size = sizeof(object_id),
		.fields = no_fields,
		.doc = "what is shared with a process outside of the tree; refused",
		.sources = "clone(2), kcmp(2); kernel/fork.c",
	},
	.scope = SCOPE_TREE,
	.look = sharing_outside_look,
	.capture = capture_nothing,
};
