/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "object/component.h"

extern const struct component component_posix_timers;

struct posix_timer {
	uint32_t id;
	int32_t clock;
	uint8_t signal;
	uint8_t notify;
	uint64_t value;
	int32_t thread;	 /* SIGEV_THREAD_ID */
	int32_t counted; /* whose CPU time; 0: the first thread's */
	uint64_t left, interval;
	bool wall_clock;
};

struct posix_timers_state {
	object_id of;
	int64_t at;
	struct posix_timer *timers;
	size_t n_timers;
};

/* Has the process a timer of that id which will fire again? Its pending signal then comes from the timer
 * itself, which counts overruns in it. */
bool posix_timer_repeats(const struct restore *r, object_id process, int timer_id);

/* posix_timers_restore.c; the component's */
int posix_timers_validate(struct restore *r, const struct record *rec);
int posix_timers_round(struct restore *r, struct callers *callers, unsigned int n);
int posix_timers_arm(struct build *build, const void *state);
