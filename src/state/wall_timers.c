/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether a timer of CLOCK_REALTIME was set to a time of day (TIMER_ABSTIME) or to an interval shows in neither /proc/PID/timers nor timer_gettime(2). But the
 * kernel keeps the first kind by the clock of that name and the other by CLOCK_MONOTONIC, and /proc/timer_list shows which timer is due when by which
 * clock. kernel/time/posix-timers.c (common_hrtimer_arm), kernel/time/timer_list.c.
 */
#include "state/wall_timers.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "kernel/procfs.h"

#define REALTIME_BASE 1 /* HRTIMER_BASE_REALTIME */

void wall_timers_free(struct wall_timers *w)
{
	free(w->due);
	*w = (struct wall_timers){ 0 };
}

static int add(struct wall_timers *w, int64_t due)
{
	int64_t *grown;

	if (!(w->n & (w->n - 1))) {
		grown = reallocarray(w->due, w->n ? 2 * w->n : 1, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		w->due = grown;
	}
	w->due[w->n++] = due;
	return 0;
}

/* " clock 1:", and below it of each timer " #0: <address>, posix_timer_fn, S:01" and " # expires at 17...-17... nsecs [in 5 to 5 nsecs]". */
int wall_timers_parse(const char *text, struct wall_timers *out)
{
	bool posix = false;
	int base = -1, r = 0;

	for (const char *line = text; r == 0 && *line; line = strchrnul(line, '\n'), line += *line == '\n') {
		int64_t due;

		if (sscanf(line, " clock %d:", &base) == 1)
			continue;
		if (sscanf(line, " # expires at %" SCNd64 "-", &due) == 1) {
			if (posix && base == REALTIME_BASE)
				r = add(out, due);
			posix = false;
		} else if (line[0] == ' ' && line[1] == '#') {
			const char *name = strstr(line, ", posix_timer_fn,");

			posix = name && name < strchrnul(line, '\n');
		}
	}
	out->known = r == 0;
	return r;
}

int wall_timers_read(struct wall_timers *out)
{
	_cleanup_free_ char *text = NULL;

	*out = (struct wall_timers){ 0 };
	return procfs_read(AT_FDCWD, "/proc/timer_list", &text, NULL) < 0 ? 0 : wall_timers_parse(text, out);
}

int64_t wall_timers_find(const struct wall_timers *w, int64_t first, int64_t last)
{
	for (size_t i = 0; i < w->n; i++)
		if (w->due[i] >= first && w->due[i] <= last)
			return w->due[i];
	return 0;
}
