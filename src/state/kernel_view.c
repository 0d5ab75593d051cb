/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/kernel_view.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kernel/uapi.h"

/* What stands behind an open /proc/PID/mem is that memory. */
int kernel_mm(struct capture *c, const struct process *p, uint64_t *mm)
{
	_cleanup_fd_ int fd = openat(p->living_fd, "mem", O_RDONLY | O_CLOEXEC);
	uint64_t file;

	return fd < 0 ? -errno : kernel_peek_file(c->kernel, fd, &file, mm);
}

struct process *kernel_mm_owner(struct capture *c, uint64_t mm)
{
	uint64_t other = 0;

	for (size_t i = 0; i < c->tree->n_processes; i++) {
		struct process *p = c->tree->processes[i];

		if (!p->zombie && kernel_mm(c, p, &other) == 0 && other == mm)
			return p;
	}
	return NULL;
}

int kernel_object(struct capture *c, const struct file_look *f, uint64_t *object)
{
	int fd = file_dup(c, f);
	uint64_t file;

	return fd < 0 ? fd : kernel_peek_file(c->kernel, fd, &file, object);
}

/* --- tasks --- */

#define SIZEOF_UPID  16	  /* a number and a namespace */
#define WORKERS_MOST 1024 /* beside the threads */

/* From a pidfd to its pid, the first of its tasks (PIDTYPE_PID), and what that has of io_uring: by pidfs, and before Linux 6.9. */
static const struct kernel_step of_pidfs[] = { { "file", "f_inode" }, { "inode", "i_private" }, { "pid", "tasks" },
	{ "task_struct", "io_uring", "pid_links" } };
static const struct kernel_step of_anonymous[] = { { "file", "private_data" }, { "pid", "tasks" },
	{ "task_struct", "io_uring", "pid_links" } };

enum { OF_PID, OF_TASK, OF_IO_URING, OF_COUNT };

/* As far as `last`. */
static int way_of_pidfd(struct capture *c, int fd, size_t last, uint64_t found[OF_COUNT])
{
	uint64_t values[1 + OF_COUNT];
	int err = kernel_peek_way(c->kernel, fd, of_pidfs, last + 2, values);

	if (!err && values[1])
		memcpy(found, values + 1, (last + 1) * sizeof(*found));
	else
		err = kernel_peek_way(c->kernel, fd, of_anonymous, last + 1, found);
	return err;
}

static int pid_of_pidfd(struct capture *c, int fd, uint64_t *pid)
{
	uint64_t found[OF_COUNT] = { 0 };
	int err = way_of_pidfd(c, fd, OF_PID, found);

	*pid = found[OF_PID];
	return err;
}

/* How deep the keeper's own pid namespace is: that of the numbers in struct thread. */
static int own_level(struct capture *c, uint64_t *level)
{
	_cleanup_fd_ int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	uint64_t pid = 0;
	int err = fd < 0 ? -errno : pid_of_pidfd(c, fd, &pid);

	return err ? err : kernel_peek_member(c->kernel, pid, "pid", "level", level);
}

/* Whose number that struct pid is. */
static int thread_of_pid(struct capture *c, uint64_t pid, struct thread **out)
{
	uint64_t level, deepest, numbers;
	int32_t number = 0;
	int err = own_level(c, &level);

	if (!err)
		err = kernel_peek_member(c->kernel, pid, "pid", "level", &deepest);
	if (!err)
		err = kernel_peek_address(c->kernel, pid, "pid", "numbers", &numbers);
	if (!err && deepest < level)
		err = -ESRCH;
	if (!err)
		err = kernel_peek_bytes(c->kernel, numbers + level * SIZEOF_UPID, &number, sizeof(number));
	if (!err)
		*out = tree_find_tid(c->tree, number);
	return err ? err : *out ? 0 : -ESRCH;
}

int kernel_thread(struct capture *c, uint64_t task, struct thread **out)
{
	uint64_t pid, exited;
	int err = kernel_peek_member(c->kernel, task, "task_struct", "exit_state", &exited);

	*out = NULL;
	if (!err)
		err = kernel_peek_member(c->kernel, task, "task_struct", "thread_pid", &pid);
	return err || exited || !pid ? err : thread_of_pid(c, pid, out);
}

int kernel_pid_thread(struct capture *c, uint64_t pid, struct thread **out)
{
	uint64_t tasks, first = 0;
	int err = kernel_peek_address(c->kernel, pid, "pid", "tasks", &tasks);

	*out = NULL;
	if (!err)
		err = kernel_peek_bytes(c->kernel, tasks, &first, sizeof(first));
	return err || !first ? err : thread_of_pid(c, pid, out);
}

static int task_of_pidfd(struct capture *c, int fd, uint64_t *task)
{
	uint64_t found[OF_COUNT] = { 0 }, links;
	int err = way_of_pidfd(c, fd, OF_TASK, found);

	if (!err)
		err = kernel_peek_address(c->kernel, 0, "task_struct", "pid_links", &links);
	*task = err ? 0 : found[OF_TASK] - links;
	return err ? err : found[OF_TASK] ? 0 : -ESRCH;
}

int kernel_task_of_pidfd(struct capture *c, int fd, uint64_t *task)
{
	return task_of_pidfd(c, fd, task);
}

int kernel_task(struct capture *c, struct process *p, uint64_t *task)
{
	int fd;

	*task = p->task;
	if (*task)
		return 0;
	fd = process_pidfd(p);
	return fd < 0 ? fd : task_of_pidfd(c, fd, task);
}

int kernel_each_task(
	struct capture *c, struct process *p, int (*fn)(struct capture *c, uint64_t task, void *arg), void *arg)
{
	uint64_t task = 0, signal = 0, head = 0, offset = 0, node = 0;
	int err = kernel_task(c, p, &task);

	if (!err)
		err = kernel_peek_member(c->kernel, task, "task_struct", "signal", &signal);
	if (!err)
		err = kernel_peek_address(c->kernel, signal, "signal_struct", "thread_head", &head);
	if (!err)
		err = kernel_peek_address(c->kernel, 0, "task_struct", "thread_node", &offset);
	if (!err)
		err = kernel_peek_member(c->kernel, head, "list_head", "next", &node);
	while (!err && node != head) {
		err = fn(c, node - offset, arg);
		if (!err)
			err = kernel_peek_member(c->kernel, node, "list_head", "next", &node);
	}
	return err;
}

struct tasks {
	uint64_t *list;
	size_t n, room;
};

static int collect(struct capture *c, uint64_t task, void *arg)
{
	struct tasks *t = arg;

	if (t->n == t->room)
		return -E2BIG;
	t->list[t->n++] = task;
	return 0;
}

bool kernel_tasks_share(struct capture *c, struct process *p, const char *member)
{
	struct tasks t = { .room = p->n_threads + WORKERS_MOST };
	_cleanup_free_ uint64_t *list = t.list = calloc(t.room, sizeof(*t.list));
	uint64_t shared = 0;
	int err = list ? kernel_each_task(c, p, collect, &t) : -ENOMEM;

	if (!err)
		err = kernel_peek_many(c->kernel, t.list, t.n, "task_struct", member);
	for (size_t i = 0; i < t.n && !err; i++) {
		if (shared && t.list[i] && t.list[i] != shared)
			return false;
		shared = t.list[i] ? t.list[i] : shared;
	}
	return !err && shared;
}

int kernel_leader_io_uring(struct capture *c, struct process *p, uint64_t *address)
{
	uint64_t found[OF_COUNT] = { 0 };
	int fd, err;

	*address = p->io_uring;
	if (p->task)
		return 0;
	fd = process_pidfd(p);
	err = fd < 0 ? fd : way_of_pidfd(c, fd, OF_IO_URING, found);
	*address = found[OF_IO_URING];
	return err;
}

int kernel_own_task(struct capture *c, uint64_t *task)
{
	_cleanup_fd_ int fd = (int)syscall(SYS_pidfd_open, gettid(), SPORE_PIDFD_THREAD);

	return fd < 0 ? -errno : task_of_pidfd(c, fd, task);
}

/* --- those of all processes --- */

/* Where the keeper's own descriptors lie. */
static int own_descriptors(struct capture *c, uint64_t *at)
{
	int err = kernel_own_task(c, at);

	if (!err)
		err = kernel_peek_member(c->kernel, *at, "task_struct", "files", at);
	if (!err)
		err = kernel_peek_member(c->kernel, *at, "files_struct", "fdt", at);
	return err ? err : kernel_peek_member(c->kernel, *at, "fdtable", "fd", at);
}

/* From the struct file of pidfds to their struct pid: by pidfs, and before Linux 6.9. */
static int pids_of_files(struct kernel_peek *k, const uint64_t *file, uint64_t *pid, size_t n)
{
	int err;

	memcpy(pid, file, n * sizeof(*pid));
	err = kernel_peek_many(k, pid, n, "file", "f_inode");
	if (!err)
		err = kernel_peek_many(k, pid, n, "inode", "i_private");
	if (err || pid[0])
		return err;
	memcpy(pid, file, n * sizeof(*pid));
	return kernel_peek_many(k, pid, n, "file", "private_data");
}

/* at: of each the place of its pidfd among the keeper's descriptors, which becomes its task_struct: the first in the first list of its struct pid. */
static int find_tasks(struct kernel_peek *k, uint64_t *at, uint64_t *pid, size_t n)
{
	uint64_t lists = 0, links = 0;
	int err = kernel_peek_many(k, at, n, NULL, NULL);

	if (!err)
		err = pids_of_files(k, at, pid, n);
	if (!err)
		err = kernel_peek_address(k, 0, "pid", "tasks", &lists);
	if (!err)
		err = kernel_peek_address(k, 0, "task_struct", "pid_links", &links);
	for (size_t i = 0; i < n && !err; i++)
		pid[i] += pid[i] ? lists : 0;
	if (!err)
		err = kernel_peek_many(k, pid, n, NULL, NULL);
	for (size_t i = 0; i < n && !err; i++)
		at[i] = pid[i] ? pid[i] - links : 0;
	return err;
}

static int find_of_io_uring(struct kernel_peek *k, const uint64_t *task, uint64_t *io_uring, size_t n)
{
	struct member_place place;

	if (kernel_peek_place(k, "task_struct", "io_uring", &place) < 0) {
		memset(io_uring, 0, n * sizeof(*io_uring));
		return 0;
	}
	memcpy(io_uring, task, n * sizeof(*io_uring));
	return kernel_peek_many(k, io_uring, n, "task_struct", "io_uring");
}

/* Of each process that is no zombie. */
static void note_found(const struct tree *t, const uint64_t *task, const uint64_t *io_uring, const uint64_t *nsproxy)
{
	size_t n = 0;

	for (size_t i = 0; i < t->n_processes; i++) {
		struct process *p = t->processes[i];

		if (p->zombie)
			continue;
		p->task = task[n];
		p->io_uring = io_uring[n];
		p->nsproxy = nsproxy[n++];
	}
}

int kernel_tasks_find(struct capture *c)
{
	const struct tree *t = c->tree;
	_cleanup_free_ uint64_t *at = calloc(3 * t->n_processes, sizeof(*at));
	uint64_t *other = at ? at + t->n_processes : NULL, *third = at ? other + t->n_processes : NULL, descriptors = 0;
	size_t n = 0;
	int err = at ? own_descriptors(c, &descriptors) : -ENOMEM;

	for (size_t i = 0; i < t->n_processes && !err; i++) {
		int fd = t->processes[i]->zombie ? 0 : process_pidfd(t->processes[i]);

		if (fd < 0)
			return fd;
		if (!t->processes[i]->zombie)
			at[n++] = descriptors + (uint64_t)fd * sizeof(*at);
	}
	if (!err)
		err = find_tasks(c->kernel, at, other, n);
	if (!err)
		err = find_of_io_uring(c->kernel, at, other, n);
	if (!err) {
		memcpy(third, at, n * sizeof(*at));
		err = kernel_peek_many(c->kernel, third, n, "task_struct", "nsproxy");
	}
	if (!err)
		note_found(t, at, other, third);
	return err;
}
