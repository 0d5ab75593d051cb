/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* /proc/PID/timers: the POSIX timers of a process. proc(5). A pure parser over the text. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct proc_timer {
	int id;
	int signal;
	uint64_t value; /* sigev_value */
	int notify;	/* SIGEV_SIGNAL, _NONE, _THREAD, without the bit of SIGEV_THREAD_ID */
	bool to_thread; /* SIGEV_THREAD_ID */
	pid_t target;	/* in the pid namespace of the reader; 0: it is gone */
	int clock;
};

/* *timers is allocated. 0, -EINVAL, -ENOMEM. */
int proc_timers_parse(const char *text, struct proc_timer **timers, size_t *n);
