/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The processes and threads that a tree is known to have: a search adds them as it meets them, and what has gone is dropped again. */
#pragma once

#include "object/tree.h"

int tree_new(pid_t root, const char *cgroup, struct problems *ps, struct tree **out);
void tree_free(struct tree *t); /* takes NULL; tasks must have been let go */

/* -ESRCH: it has gone meanwhile. */
int tree_add_process(struct tree *t, struct process *parent, pid_t pid, unsigned int worker);
/* A process is gone when its directory of /proc no longer answers: it was reaped. */
void tree_drop_gone(struct tree *t);
/* Orders parents before children, and gives the rest of the tree (a cgroup's strays) no parent. */
int tree_order(struct tree *t);
/* Of how many workers they are, counted from the first. */
size_t tree_workers(const struct tree *t);

struct thread *thread_of(struct process *p, pid_t tid); /* NULL: not known yet */
/* -ESRCH: it has ended meanwhile. */
int thread_add(struct process *p, pid_t tid);
void thread_drop(struct process *p, size_t i);
