/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sockets, pipes, ptys, message queues, eventfds, epolls and their like of the tree that a process outside it has open too: refused, for it would be left with a dead end, or hold an
 * address that the restored tree needs. To ask every process of the system takes long: the ends are noted while the tree is stopped, and looked for once it
 * runs again. proc_pid_fd(5), proc_pid_stat(5).
 */
#pragma once

#include "object/component.h"
#include "state/sharing_outside.h"

struct outside_end {
	uint64_t dev, ino;
	pid_t tid; /* of what has no number of its own: a thread that has it, */
	int fd;	   /* and as which descriptor */
	pid_t pid; /* who has it, for the refusal */
	char process[64];
	struct object_name name;
};

struct outside_ends {
	struct outside_end *list; /* by inode */
	size_t n;
	bool eventfds, numberless; /* there are some among them */
	pid_t *tree;		   /* the processes that were the tree, in order */
	size_t n_tree;
	struct outside_sharers sharers;
	uint64_t noted_at; /* as a process's start time: a younger process is no holder from outside */
};

int outside_ends_note(struct capture *c); /* fills *c->ends */
/* Adds a refusal for each of them that is found outside. The tree may run, if it was stopped when they were noted. */
int outside_ends_check(const struct outside_ends *e, struct problems *ps);
void outside_ends_free(struct outside_ends *e);
