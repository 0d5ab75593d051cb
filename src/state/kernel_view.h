/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What components look up in the kernel's structures (kernel/peek.h), in a stop. c->kernel must not be NULL: it is in a look. */
#pragma once

#include "kernel/peek.h"
#include "object/component.h"

/* The address of a process's memory (struct mm_struct), by which the kernel's objects name it. */
int kernel_mm(struct capture *c, const struct process *p, uint64_t *mm);
/* Whose memory that is; NULL: of no process of the tree. */
struct process *kernel_mm_owner(struct capture *c, uint64_t mm);
/* The kernel's object behind an open file: file->private_data. */
int kernel_object(struct capture *c, const struct file_look *f, uint64_t *object);

/* Whose task_struct that is. 0: *out is the thread, NULL for one that has ended; -ESRCH: it is not of the tree. */
int kernel_thread(struct capture *c, uint64_t task, struct thread **out);
/* Whose struct pid that is; the same answers. */
int kernel_pid_thread(struct capture *c, uint64_t pid, struct thread **out);
/* That of the calling thread. */
int kernel_own_task(struct capture *c, uint64_t *task);
/* That of a pidfd; of a process's leader. */
int kernel_task_of_pidfd(struct capture *c, int fd, uint64_t *task);
int kernel_task(struct capture *c, struct process *p, uint64_t *task);
/* Calls fn with the task_struct of each of its threads, workers of io_uring among them, until one answers other than 0; answers that. */
int kernel_each_task(
	struct capture *c, struct process *p, int (*fn)(struct capture *c, uint64_t task, void *arg), void *arg);
/* Whether all of them that live have the same there, a pointer of task_struct. False: or it cannot be told. */
bool kernel_tasks_share(struct capture *c, struct process *p, const char *member);
/* What that has of io_uring (struct io_uring_task), in one look; 0: nothing. */
int kernel_leader_io_uring(struct capture *c, struct process *p, uint64_t *address);
/* Both of all processes at once, after which the two above know them. By one thread, while none of the others opens descriptors. */
int kernel_tasks_find(struct capture *c);

#define KERNEL_VIEW_REMEDY                                                                                             \
	"use a kernel with BPF and BTF (CONFIG_DEBUG_INFO_BTF), as a user with CAP_BPF and CAP_PERFMON"
