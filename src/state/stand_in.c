/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/stand_in.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "state/ipc_namespace.h"
#include "state/process.h"

#define ACT_TIMEOUT_MS 30000
#define NUMBER_TRIES   64

void *stand_in_room(size_t size)
{
	void *room = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return room == MAP_FAILED ? NULL : room;
}

void stand_in_room_free(void *room, size_t size)
{
	if (room)
		munmap(room, size);
}

/* --- a process of its own --- */

/* Signals stay blocked in it. The kernel's error numbers fit an exit code. */
static int run_child(pid_t number, int (*fn)(void *arg), void *arg)
{
	struct clone_args args = { .set_tid = number ? (uintptr_t)&number : 0, .set_tid_size = number ? 1 : 0 };
	sigset_t all, before;
	int status = 0;
	long pid;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	pid = syscall(SYS_clone3, &args, sizeof(args));
	if (pid == 0)
		_exit(-fn(arg) & 0xff);
	if (pid < 0)
		pid = -errno;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (pid < 0)
		return (int)pid;
	while (waitpid((pid_t)pid, &status, __WALL) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -ECHILD;
}

static long highest_number(void)
{
	_cleanup_free_ char *text = NULL;

	return procfs_read(AT_FDCWD, "/proc/sys/kernel/pid_max", &text, NULL) < 0 ? 32768 : strtol(text, NULL, 10);
}

/* The next one of those that are given in turn would be missed in the tree's own namespace. */
static int run_somebody(int (*fn)(void *arg), void *arg)
{
	long top = highest_number();
	int r = -EEXIST;

	for (int i = 1; r == -EEXIST && i <= NUMBER_TRIES; i++)
		r = run_child((pid_t)(top - i), fn, arg);
	return r;
}

static int run_here(pid_t number, bool own_numbers, int (*fn)(void *arg), void *arg)
{
	return number || own_numbers ? run_child(number, fn, arg) : run_somebody(fn, arg);
}

/* setns(2) of a pid namespace counts for the children of this thread. */
static int run_in_pid_namespace(int proc_fd, pid_t number, int (*fn)(void *arg), void *arg)
{
	_cleanup_fd_ int own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
	_cleanup_fd_ int its = openat(proc_fd, "ns/pid", O_RDONLY | O_CLOEXEC);
	struct stat a, b;
	int r;

	if (own < 0 || its < 0 || fstat(own, &a) < 0 || fstat(its, &b) < 0)
		return -errno;
	if (a.st_ino == b.st_ino)
		return run_here(number, true, fn, arg);
	if (setns(its, CLONE_NEWPID) < 0)
		return -errno;
	r = run_here(number, false, fn, arg);
	setns(own, CLONE_NEWPID);
	return r;
}

int stand_in(int proc_fd, pid_t number, int (*fn)(void *arg), void *arg)
{
	struct ipc_place place;
	int r = ipc_enter(proc_fd, &place);

	if (r < 0)
		return r;
	r = number == STAND_IN_OUTSIDE ? run_child(0, fn, arg) : run_in_pid_namespace(proc_fd, number, fn, arg);
	ipc_leave(&place);
	return r;
}

int stand_in_shared(int proc_fd, int (*fn)(void *arg), void *arg, size_t size)
{
	void *room = stand_in_room(size);
	int r;

	if (!room)
		return -ENOMEM;
	memcpy(room, arg, size);
	r = stand_in(proc_fd, STAND_IN_ANYBODY, fn, room);
	memcpy(arg, room, size);
	stand_in_room_free(room, size);
	return r;
}

/* --- calls --- */

struct acting {
	struct acted_call *calls; /* in shared memory; their data are of the memory that was copied */
	size_t n;
};

static int make_calls(void *arg)
{
	struct acting *a = arg;

	for (size_t i = 0; i < a->n; i++) {
		struct acted_call *k = &a->calls[i];

		if (k->data)
			k->args[k->data_arg] = (uint64_t)(uintptr_t)k->data;
		if (k->from)
			k->args[0] = (uint64_t)a->calls[i - k->from].result;
		k->result = syscall(k->nr, k->args[0], k->args[1], k->args[2], k->args[3], k->args[4], k->args[5]);
		if (k->result < 0)
			return -errno;
	}
	return 0;
}

static int root_proc(const struct restore *r)
{
	return procfs_open_pid(r->root_pid);
}

static int act_by_stand_in(struct restore *r, pid_t number, struct acted_call *calls, size_t n)
{
	_cleanup_fd_ int proc_fd = root_proc(r);
	struct acting a = { .calls = stand_in_room(n * sizeof(*calls)), .n = n };
	int result;

	if (proc_fd < 0 || !a.calls)
		return proc_fd < 0 ? proc_fd : -ENOMEM;
	memcpy(a.calls, calls, n * sizeof(*calls));
	result = stand_in(proc_fd, number ? number : STAND_IN_OUTSIDE, make_calls, &a);
	memcpy(calls, a.calls, n * sizeof(*calls));
	stand_in_room_free(a.calls, n * sizeof(*calls));
	return result;
}

int act_in(struct restore *r, struct new_thread *t, struct acted_call *calls, size_t n)
{
	struct batch b;
	int error;

	batch_init(&b, &r->area);
	for (size_t i = 0; i < n; i++) {
		uint32_t op;

		if (calls[i].data)
			calls[i].args[calls[i].data_arg] = batch_copy(&b, calls[i].data, calls[i].size).v;
		op = batch_add(&b, calls[i].what, calls[i].nr, calls[i].args);
		if (calls[i].from)
			batch_use(&b, op, 0, op - calls[i].from);
	}
	error = batch_submit(&b, t->slot);
	if (error == 0)
		error = batch_wait(&b, t->slot, ACT_TIMEOUT_MS, NULL, NULL);
	for (size_t i = 0; error == 0 && i < n; i++)
		calls[i].result = batch_result(&b, (uint32_t)i);
	batch_free(&b);
	return error;
}

/* The first process is there before the others, whose birth gives them their numbers. */
static bool is_born(const struct restore *r, const struct new_process *p)
{
	return p == r->processes[0] || p->pid;
}

int act_as(struct restore *r, pid_t vpid, struct acted_call *calls, size_t n)
{
	struct new_process *p = vpid ? restore_vpid(r, vpid) : NULL;

	if (p && p->zombie && is_born(r, p))
		return -EEXIST;
	return p && is_born(r, p) ? act_in(r, &p->threads[0], calls, n) : act_by_stand_in(r, vpid, calls, n);
}

bool is_numbered_elsewhere(const struct restore *r)
{
	_cleanup_fd_ int proc_fd = root_proc(r);
	struct stat own, its;

	return proc_fd >= 0 && stat("/proc/self/ns/pid", &own) == 0 && fstatat(proc_fd, "ns/pid", &its, 0) == 0 &&
	       own.st_ino != its.st_ino;
}
