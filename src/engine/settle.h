/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a stop takes away from a sleeping task: looked at just before the stop, and given back before anything else runs in the task. */
#pragma once

#include "object/tree.h"
#include "state/sleep.h"

/*
 * When a sleep began can be seen only while it lasts. One that begins between the look and the stop is late by what lies
 * between them, so the look is repeated where the processor was taken away meanwhile.
 */
struct sleep_watch {
	struct sleep_clock clock;
	uint64_t since, allowed; /* in microseconds */
};
bool sleep_watch_is_stale(const struct sleep_watch *w);
void look_at_sleeps(struct process *p, struct sleep_watch *w);
/* Of one thread alone. */
void look_at_sleep(struct thread *th);

/*
 * Before anything else runs in the tasks, and before they are let go: what only the stop interrupted is wound back, and
 * what is left of each sleep is noted.
 */
void settle_process(struct process *p);
