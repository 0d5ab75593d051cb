/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kernel/proc_timers.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

static int parse_one(const char **text, struct proc_timer *t)
{
	char notify[8], whose[4];
	unsigned long long value;
	int used = 0;

	if (sscanf(*text, "ID: %d\nsignal: %d/%llx\nnotify: %7[a-z]/%3[a-z].%d\nClockID: %d\n%n", &t->id, &t->signal,
		    &value, notify, whose, &t->target, &t->clock, &used) != 7 ||
		!used)
		return -EINVAL;
	t->value = value;
	t->to_thread = !strcmp(whose, "tid");
	t->notify = !strcmp(notify, "none") ? SIGEV_NONE : !strcmp(notify, "thread") ? SIGEV_THREAD : SIGEV_SIGNAL;
	*text += used;
	return 0;
}

int proc_timers_parse(const char *text, struct proc_timer **timers, size_t *n)
{
	_cleanup_free_ struct proc_timer *list = NULL;
	size_t count = 0;

	while (*text) {
		struct proc_timer *grown = reallocarray(list, count + 1, sizeof(*list));
		int r;

		if (!grown)
			return -ENOMEM;
		list = grown;
		r = parse_one(&text, &list[count]);
		if (r < 0)
			return r;
		count++;
	}
	*timers = take_ptr(list);
	*n = count;
	return 0;
}
