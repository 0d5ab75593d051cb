/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "object/tree.h"

struct process *tree_find(const struct tree *t, pid_t pid)
{
	for (size_t i = 0; i < t->n_processes; i++)
		if (t->processes[i]->pid == pid)
			return t->processes[i];
	return NULL;
}

struct process *tree_find_vpid(const struct tree *t, pid_t vpid)
{
	for (size_t i = 0; i < t->n_processes; i++)
		if (t->processes[i]->vpid == vpid)
			return t->processes[i];
	return NULL;
}

struct thread *tree_find_tid(const struct tree *t, pid_t tid)
{
	for (size_t i = 0; i < t->n_processes; i++)
		for (size_t k = 0; k < t->processes[i]->n_threads; k++)
			if (t->processes[i]->threads[k].tid == tid)
				return &t->processes[i]->threads[k];
	return NULL;
}
