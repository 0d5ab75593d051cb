/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A live process tree as a checkpoint finds it. Pids: `pid` and `tid` count in the keeper's pid namespace, `vpid` and `vtid` in that of the
 * tree's root. The image holds only the latter.
 */
#pragma once

#include "arch/x86_64/restart.h"
#include "base/problem.h"
#include "container/container.h"
#include "image/field.h"
#include "kernel/procfs.h"
#include "remote/inject.h"
#include "remote/stop.h"

struct process;

struct thread {
	struct process *process;
	pid_t tid, vtid;
	object_id id;
	int proc_fd; /* O_PATH of /proc/PID/task/TID */
	struct proc_stat stat;
	struct proc_status status; /* read inside the stop */
	struct stop stop;
	struct sleep_seen seen;	      /* just before the stop */
	struct restart_state restart; /* what the stop interrupted */
	size_t slot;
};

/* One descriptor of a process, as looked at. Common to all kinds of files. */
struct file_look {
	struct process *process;
	int fd;
	bool cloexec;
	char *link;	/* readlink of /proc/PID/fd/N: "pipe:[123]", "/path", "anon_inode:[eventfd]" */
	char *info;	/* text of /proc/PID/fdinfo/N */
	uint64_t flags; /* of the description, octal "flags:" without O_CLOEXEC */
	int64_t pos;
	uint64_t dev, ino, mode; /* fstat */
	uint64_t rdev, size, nlink;
	int dup;	/* the same description in the keeper, from pidfd_getfd; -1 until file_dup() */
	object_id file; /* id of the description: equal for all that share it */
	int64_t mnt_id;
	const struct file_look
		*carrier; /* in flight: it lies in the queue of that socket, and fd is a number in this process */
	struct description *description; /* object/descriptions.h */
};

/* That of a process's leader, as keyrings.c saw it: what is inherited and what is not can only be told when all are known. */
struct session_keyring {
	int32_t serial; /* 0: not known */
	uint32_t uid, gid, permissions;
	size_t n_keys;	   /* linked to it */
	bool user_keyring; /* that of the process's user is one of them */
	bool by_kernel;	   /* its name is the kernel's, */
	bool anonymous;	   /* which is "_ses": nobody named it */
	char name[64];
};

struct process {
	struct tree *tree;
	struct process *parent; /* within the tree; NULL: the root */
	pid_t parent_tid;	/* the thread of it whose child this is; 0: not known */
	pid_t pid, vpid;
	object_id id;
	int proc_fd; /* O_PATH of /proc/PID */
	/* A thread that lives, and its /proc/TID: a leader that has ended has no memory, namespaces and executable. Else the leader. Once identified. */
	pid_t living_tid;
	int living_fd;
	struct session_keyring session_keyring;
	int pid_fd;
	struct proc_stat stat;
	struct proc_status status;
	bool zombie;		/* no threads, no memory: an exit code that waits for its parent */
	struct thread *threads; /* [0] is the leader */
	size_t n_threads;
	bool gone, complete; /* of the search: it was reaped; all of it is stopped */
	unsigned int worker; /* index of the worker that owns it: only that one may use ptrace on it */
	struct injection injection;
	/* Of this stop, where the kernel can be looked at (state/kernel_view.h): the task_struct of its leader, 0: not known; what that has of io_uring, and the struct nsproxy. */
	uint64_t task, io_uring, nsproxy;
	bool same_namespaces; /* all its threads are in those of the one that lives */
	bool injected;
	bool last_detached;	 /* it was the last user of a System V segment that nobody has attached now */
	struct written *written; /* what tells which of its pages were written: state/written.h; NULL: nothing does */
	struct proc_maps maps;	 /* read once in each stop, before an area is mapped */
	struct file_look *files; /* by number */
	size_t n_files;
	object_id descriptors; /* of the first process that has its table: CLONE_FILES shares it */
};

struct tree {
	pid_t root_pid;
	char *cgroup;		    /* the tree is that of a cgroup */
	bool scan;		    /* no /proc/PID/task/TID/children here: every process is asked for its parent */
	struct process **processes; /* parents before children; [0] is the root */
	size_t n_processes, room;
	size_t n_threads;
	/* The time by the clock: before the first task was told to stop, and before the last one was let go, or when none was left to be. 0: not yet */
	_Atomic(uint64_t) stopped_at, running_at;
	long n_cpus;	 /* that the machine may ever have */
	bool own_pid_ns; /* the root is pid 1 of its pid namespace */
	/* Of the root, read by the first look at a process that compares with it. 0: not read yet, or none. */
	_Atomic(uint64_t) namespaces[10];
	_Atomic(uint64_t) cgroups; /* a hash of them */
	bool patient;		   /* where nothing but what passes stands in the way it is tried again */
	bool strict;		   /* what the restored tree would find cut off is refused, not told */
	_Atomic(bool) unlabeled;   /* no security module gives labels here */
	bool moved; /* a restore gave it a pid namespace and a /proc of its own; all else is the host's */
	struct container_entry *container; /* of the root, when `spore run` or a restore made it; NULL */
};

struct process *tree_find(const struct tree *t, pid_t pid); /* by pid */
struct process *tree_find_vpid(const struct tree *t, pid_t vpid);
struct thread *tree_find_tid(const struct tree *t, pid_t tid);

/* A task of the root's whose /proc shows its namespaces: that of a leader that has ended does not. */
static inline pid_t tree_living(const struct tree *t)
{
	return t->processes[0]->living_tid;
}

/* Who a problem is about. */
#define BLAME_PROCESS(p, ...) BLAME(.pid = (p)->pid, .process = (p)->stat.comm, __VA_ARGS__)
