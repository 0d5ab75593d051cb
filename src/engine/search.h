/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where the tasks of a tree are looked for: in the lists that the kernel keeps of a task's children, in one pass over /proc where it keeps
 * none, in a cgroup. What the workers find at the same time is noted, and becomes part of the tree between their rounds.
 */
#pragma once

#include <pthread.h>

#include "engine/workers.h"
#include "object/tree.h"

struct search {
	struct tree *tree;
	struct workers *workers;
	struct problems *ps;
	pthread_mutex_t lock; /* of what was found since the last adoption */
	struct found {
		struct process *parent;
		pid_t parent_tid; /* 0: not known */
		pid_t pid;
	} * found;
	size_t n_found, room;
	size_t n_lost; /* found, and gone before they could be added */
};

void search_begin(struct search *s, struct tree *t, struct workers *w, struct problems *ps);
void search_end(struct search *s);

/* By any worker, for its own processes: */

/* New threads of a process, in the order of their numbers; the leader comes first by being the lowest or by being asked for. */
int search_threads(struct process *p, size_t *n_new);
/* Notes the children of its threads, where the kernel lists them: of each `step`th, since of many threads each worker may look at some, not only its own. */
int search_children(struct search *s, struct process *p, size_t first, size_t step);

/* Between rounds: */

int search_cgroup(struct search *s, const char *path);
/* Makes what was noted part of the tree: how many are new. Who is gone by now may have left children to another of the tree: one more round tells. */
size_t search_adopt(struct search *s);
/*
 * Of one pass over /proc, all that is below the tree. It comes after the round's stops, so that what it misses was born to, or left
 * to, a task that was not stopped yet when it began: the round then was not the last.
 */
int search_scan(struct search *s, size_t *added);
