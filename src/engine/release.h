/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The end of a restore: every task is taken out of the stub, given its registers and held; then all are let go at once. */
#pragma once

#include "engine/plan.h"

/*
 * Before the identities: takes hold, without stopping them, of the tasks of processes that are to have a seccomp filter. Held with PTRACE_O_SUSPEND_SECCOMP they
 * may still make every call that is to come. They stay with the worker that has them until release_run.
 */
int release_seize_filtered(struct plan *plan, struct workers *w);
/* Until release_forgive, the death of the keeper kills every task that is held; after it, they go on. */
int release_hold(struct plan *plan, struct workers *w);
/* Lets the tree run: from the first task let go on, nothing can fail. */
void release_forgive(struct restore *r, struct workers *w);
void release_run(struct restore *r, struct workers *w);
