/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Small things that the components of processes and threads share. */
#pragma once

#include "object/component.h"

/* NULL: no thread of the tree has that id. */
static inline struct new_thread *owner_thread(const struct restore *r, object_id of)
{
	for (size_t i = 0; i < r->n_processes; i++)
		for (size_t t = 0; t < r->processes[i]->n_threads; t++)
			if (r->processes[i]->threads[t].id == of)
				return &r->processes[i]->threads[t];
	return NULL;
}

/* The pid, as the image counts it, of the process or thread that owns a record: for problems at restore. 0:
 * unknown. */
static inline pid_t owner_vpid(const struct restore *r, object_id of)
{
	for (size_t i = 0; i < r->n_processes; i++) {
		const struct new_process *p = r->processes[i];

		if (p->id == of)
			return p->vpid;
		for (size_t t = 0; t < p->n_threads; t++)
			if (p->threads[t].id == of)
				return p->threads[t].vtid;
	}
	return 0;
}

static inline bool leader_has_ended(const struct process *p)
{
	return p->zombie || p->threads[0].stop.state == STOP_GONE;
}

/* For components that only look: they have no records. */
static inline int capture_nothing(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	return CAPTURE_NOTHING;
}

/* A thread of the process that has not ended, as its leader may have: the leader's /proc then shows neither memory nor namespaces nor directories. */
static inline const struct thread *owner_alive(const struct process *p)
{
	for (size_t i = 0; i < p->n_threads; i++)
		if (p->threads[i].stat.state != 'Z' && p->threads[i].stat.state != 'X')
			return &p->threads[i];
	return &p->threads[0];
}
