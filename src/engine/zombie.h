/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "engine/plan.h"

/* Queues, while the task is still privileged, what its end needs. A descriptor to be closed when it has ended, or negative: it needs none. */
int zombie_prepare(struct build *b);
/* Ends a task that is to be a zombie as the saved one ended: with its status, or by its signal, with a core dump if it made one. */
int zombie_end(struct plan *plan, struct new_process *p);
