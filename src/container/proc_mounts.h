/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A tree that moves to a pid namespace of its own sees the host's mounts, but for /proc, which shows the processes of the
 * namespace in which it was mounted: wherever the host has one, the tree gets another, in a mount namespace of its own.
 */
#pragma once

#include <stddef.h>

#include "base/problem.h"
#include "kernel/mountinfo.h"

struct proc_mount {
	char *point;
	unsigned long flags; /* MS_* */
	char *data;	     /* such as "hidepid=2"; may be NULL */
	struct proc_mount *next;
	char **above; /* what is mounted below it, to be kept: /proc/sys/fs/binfmt_misc */
	int *fds;     /* of each, in the first process */
	size_t n_above;
};

/* Those of this process, outermost first. */
int proc_mounts_find(struct proc_mount **out, struct problems *ps);
void proc_mounts_free(struct proc_mount *list);
/* In the first process of the new namespaces: system calls only. As container_setup, *what names the step. */
int proc_mounts_renew(const struct proc_mount *list, const char **what);
/* Has a process that moved the mounts that it was given? Others are refused by name. */
int proc_mounts_check(pid_t pid, struct problems *ps);
