/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/fdinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int fdinfo_parse(const char *text, struct file_look *f)
{
	const char *pos = proc_value(text, "pos");
	uint64_t flags, mnt_id = 0;

	if (!pos || proc_value_u64(text, "flags", 8, &flags) < 0)
		return -EBADMSG;
	/* Linux 5.14 brought the inode; without it kcmp alone tells descriptions apart. */
	if (proc_value_u64(text, "ino", 10, &f->ino) < 0)
		f->ino = 0;
	proc_value_u64(text, "mnt_id", 10, &mnt_id);
	f->pos = strtoll(pos, NULL, 10);
	f->mnt_id = (int64_t)mnt_id;
	f->cloexec = flags & O_CLOEXEC;
	f->flags = flags & ~(uint64_t)O_CLOEXEC;
	return 0;
}

const char *fdinfo_next(const char **at, const char *key)
{
	const char *value = proc_value(*at, key);
	const char *end;

	if (!value)
		return NULL;
	end = strchr(value, '\n');
	*at = end ? end + 1 : value + strlen(value);
	return value;
}

int fdinfo_lock_parse(const char *value, struct fdinfo_lock *out)
{
	char end[24];
	long long start, last;

	*out = (struct fdinfo_lock){ 0 };
	if (sscanf(value, "%*d: %7s %11s %7s %d %*s %lld %23s", out->class, out->state, out->mode, &out->pid, &start,
		    end) != 6)
		return -EBADMSG;
	out->start = start;
	if (!strcmp(end, "EOF"))
		return 0;
	if (sscanf(end, "%lld", &last) != 1 || last < start)
		return -EBADMSG;
	out->length = last - start + 1;
	return 0;
}

int fdinfo_epoll_parse(const char *value, struct fdinfo_epoll *out)
{
	*out = (struct fdinfo_epoll){ 0 };
	if (sscanf(value, "%d events: %" SCNx32 " data: %" SCNx64 " pos:%*d ino:%" SCNx64, &out->fd, &out->events,
		    &out->data, &out->ino) < 3)
		return -EBADMSG;
	return 0;
}

static int time_parse(const char *text, const char *key, uint64_t *ns)
{
	const char *value = proc_value(text, key);
	uint64_t s, n;

	if (!value || sscanf(value, "(%" SCNu64 ", %" SCNu64 ")", &s, &n) != 2 || n >= 1000000000 ||
		s > INT64_MAX / 1000000000)
		return -EBADMSG;
	*ns = s * 1000000000 + n;
	return 0;
}

int fdinfo_timer_parse(const char *text, struct fdinfo_timer *out)
{
	uint64_t clock, flags;

	*out = (struct fdinfo_timer){ 0 };
	if (proc_value_u64(text, "clockid", 10, &clock) < 0 || proc_value_u64(text, "ticks", 10, &out->ticks) < 0 ||
		proc_value_u64(text, "settime flags", 8, &flags) < 0)
		return -EBADMSG;
	out->clock = (int)clock;
	out->settime_flags = (uint32_t)flags;
	return time_parse(text, "it_value", &out->value_ns) || time_parse(text, "it_interval", &out->interval_ns)
		       ? -EBADMSG
		       : 0;
}
