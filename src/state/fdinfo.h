/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Parsers of /proc/PID/fdinfo/N, proc_pid_fdinfo(5): pure functions over its text. */
#pragma once

#include "object/component.h"

/* What every descriptor has: pos, flags (of the description, and close-on-exec), mnt_id, ino. -EBADMSG. */
int fdinfo_parse(const char *text, struct file_look *f);

/* The next line that starts with "key:" at or after *at; *at moves behind it. The value, blanks skipped;
 * NULL: no more. */
const char *fdinfo_next(const char **at, const char *key);

/* The same for lines that begin with these words, whatever follows. */
const char *fdinfo_next_line(const char **at, const char *start);

struct fdinfo_lock {	       /* lock:	1: POSIX  ADVISORY  WRITE 4711 00:1f:123 0 EOF */
	char class[8];	       /* FLOCK, POSIX, OFDLCK, LEASE, DELEG */
	char state[12];	       /* ADVISORY, ACTIVE, BREAKING */
	char mode[8];	       /* READ, WRITE, UNLCK */
	int pid;	       /* who set it, as the reader of fdinfo counts; -1: nobody in particular */
	int64_t start, length; /* length 0: to the end */
};
int fdinfo_lock_parse(const char *value, struct fdinfo_lock *out);

/* One that is being broken may have been one. */
bool fdinfo_has_write_lease(const char *text);

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

struct fdinfo_mark { /* inotify wd:2 ino:a72285 sdev:fe00000 mask:fff ignored_mask:0 fhandle-bytes:8 fhandle-type:1 f_handle:8522a700175bbb1a */
	int64_t wd;
	uint32_t mask, ignored_mask;
	uint32_t mark_flags; /* fanotify: "mflags" */
	enum mark_on { MARK_INODE, MARK_MOUNT, MARK_FILE_SYSTEM } on;
	int mount; /* its id */
	uint64_t ino;
	uint32_t major, minor; /* of the file system */
	size_t handle_size;    /* 0: the file system has no handles */
	int handle_type;
	uint8_t handle[128];
};
/* What stands behind "inotify " or "fanotify ". */
int fdinfo_mark_parse(const char *value, struct fdinfo_mark *out);

/* Of a fanotify group: "fanotify flags:0 event-flags:8000". */
int fdinfo_fanotify_parse(const char *text, uint32_t *flags, uint32_t *event_flags);
