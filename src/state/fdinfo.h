/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Parsers of /proc/PID/fdinfo/N, proc_pid_fdinfo(5): pure functions over its text. */
#pragma once

#include "object/component.h"

/* What every descriptor has: pos, flags (of the description, and close-on-exec), mnt_id, ino. -EBADMSG. */
int fdinfo_parse(const char *text, struct file_look *f);

/* The next line that starts with "key:" at or after *at; *at moves behind it. The value, blanks skipped;
 * NULL: no more. */
const char *fdinfo_next(const char **at, const char *key);

struct fdinfo_lock {	       /* lock:	1: POSIX  ADVISORY  WRITE 4711 00:1f:123 0 EOF */
	char class[8];	       /* FLOCK, POSIX, OFDLCK, LEASE, DELEG */
	char state[12];	       /* ADVISORY, ACTIVE, BREAKING */
	char mode[8];	       /* READ, WRITE, UNLCK */
	int pid;	       /* who set it, as the reader of fdinfo counts; -1: nobody in particular */
	int64_t start, length; /* length 0: to the end */
};
int fdinfo_lock_parse(const char *value, struct fdinfo_lock *out);

struct fdinfo_epoll { /* tfd:        5 events:       19 data:                5  pos:0 ino:61 sdev:10 */
	int fd;
	uint32_t events;
	uint64_t data;
	uint64_t ino;
};
int fdinfo_epoll_parse(const char *value, struct fdinfo_epoll *out);

struct fdinfo_timer { /* "it_value: (0, 499932113)" and so on */
	int clock;
	uint64_t ticks;
	uint32_t settime_flags;
	uint64_t value_ns, interval_ns;
};
int fdinfo_timer_parse(const char *text, struct fdinfo_timer *out);
