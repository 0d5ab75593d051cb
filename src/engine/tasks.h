/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Running one step of a restore in many tasks at once: each has its batch and its slot; all are submitted, then all are waited for. */
#pragma once

#include "engine/plan.h"

struct step {
	struct plan *plan;
	const char *name; /* for errors */
	struct new_thread **tasks;
	size_t n, room;
};

/* Adds a task to the step and returns its batch, to be filled; NULL: out of memory (and a problem says so). */
struct batch *step_add(struct step *s, struct new_thread *task);
/* Runs the step. Every failure becomes a problem; 0 or the first error. The step is empty afterwards. */
int step_run(struct step *s);
struct build step_build(struct step *s, struct new_thread *task);

/* One batch in a slot that is not a task's of the tree (a stand-in). */
int run_alone(struct plan *plan, struct batch *b, struct slot *slot, const char *name);
