/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Running one step of a restore in many tasks at once. Each has its batch and its slot; it runs as soon as its batch is complete, which is when
 * the next task is added, so that tasks work while batches for others are prepared. Then all are waited for.
 */
#pragma once

#include "engine/plan.h"

struct step {
	struct plan *plan;
	const char *name;	   /* for errors */
	struct new_thread **tasks; /* those that have nothing to do are left out */
	size_t n, room;
	struct new_thread *open; /* whose batch is being filled */
	int error;		 /* the first */
};

/* Adds a task to the step and returns its batch, to be filled before the next is added; NULL: out of memory (and a problem says so). */
struct batch *step_add(struct step *s, struct new_thread *task);
/* Lets the task added last run too. */
void step_submit(struct step *s);
/* Waits for all. Every failure becomes a problem; 0 or the first error. The step is empty afterwards; what the batches lay in is free for others only after step_end. */
int step_wait(struct step *s);
/* What runs, runs on, but is not waited for: the whole tree is about to be killed. */
void step_abandon(struct step *s);
/* Of all steps under way. */
void step_end(struct plan *plan);
/* All three. */
int step_run(struct step *s);
struct build step_build(struct step *s, struct new_thread *task);

/* One batch in a slot that is not a task's of the tree (a stand-in). */
int run_alone(struct plan *plan, struct batch *b, struct slot *slot, const char *name);
