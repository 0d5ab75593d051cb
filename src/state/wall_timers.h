/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* POSIX timers that were set to a time of day. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* When each of the machine is due, in nanoseconds of CLOCK_REALTIME. */
struct wall_timers {
	bool known; /* this kernel tells, and tells spore */
	int64_t *due;
	size_t n;
};

void wall_timers_free(struct wall_timers *w);
/* The text of /proc/timer_list. -ENOMEM */
int wall_timers_parse(const char *text, struct wall_timers *out);
int wall_timers_read(struct wall_timers *out);
/* The one that is due in between, both included; 0: none. */
int64_t wall_timers_find(const struct wall_timers *w, int64_t first, int64_t last);
