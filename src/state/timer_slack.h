/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A task's default timer slack is the slack that its creator had when it gave birth to it. */
#pragma once

#include "object/component.h"

#define TIMER_SLACK_USUAL 50000 /* init's, and so almost everybody's */

extern const struct component component_timer_slack;

/* The default that a thread is to be born with. */
uint64_t timer_slack_default(const struct restore *r, object_id thread);

/*
 * Queues, for the creator of tasks, what the next clone3 of its batch needs. worn: what it has, at first its own default; in the end TIMER_SLACK_USUAL or
 * anything else but 0, for which a creator has to be under a real-time policy. What slack and policy it is to keep is set in a later stage.
 */
void timer_slack_wear(struct batch *b, uint64_t *worn, uint64_t ns);

/* The same for the calling thread, which is about to give birth to the first task; and back. */
struct timer_slack_own {
	int policy, priority;
	uint64_t ns;
};
int timer_slack_wear_here(uint64_t ns, struct timer_slack_own *before);
void timer_slack_take_off_here(const struct timer_slack_own *before);
