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

/* A line alone: in a text of thousands of lines, sscanf and strstr would read on to its end for each. */
struct line {
	char s[1024];
};

static struct line line_of(const char *at)
{
	struct line line;
	size_t size = MIN((size_t)(strchrnul(at, '\n') - at), sizeof(line.s) - 1);

	memcpy(line.s, at, size);
	line.s[size] = '\0';
	return line;
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

const char *fdinfo_next_line(const char **at, const char *start)
{
	size_t length = strlen(start);

	while (**at) {
		const char *line = *at, *end = strchrnul(line, '\n');

		*at = *end ? end + 1 : end;
		if (!strncmp(line, start, length))
			return line + length;
	}
	return NULL;
}

int fdinfo_lock_parse(const char *value, struct fdinfo_lock *out)
{
	char end[24];
	long long start, last;
	const struct line line = line_of(value);

	*out = (struct fdinfo_lock){ 0 };
	if (sscanf(line.s, "%*d: %7s %11s %7s %d %*s %lld %23s", out->class, out->state, out->mode, &out->pid, &start,
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

bool fdinfo_has_write_lease(const char *text)
{
	const char *value;
	struct fdinfo_lock lock;

	while ((value = fdinfo_next(&text, "lock")))
		if (fdinfo_lock_parse(value, &lock) == 0 && !strcmp(lock.class, "LEASE") &&
			(!strcmp(lock.mode, "WRITE") || !strcmp(lock.state, "BREAKING")))
			return true;
	return false;
}

int fdinfo_epoll_parse(const char *value, struct fdinfo_epoll *out)
{
	const struct line line = line_of(value);

	*out = (struct fdinfo_epoll){ 0 };
	if (sscanf(line.s, "%d events: %" SCNx32 " data: %" SCNx64 " pos:%*d ino:%" SCNx64, &out->fd, &out->events,
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

/* The number behind "name:". */
static bool line_hex(const char *line, const char *name, uint64_t *out)
{
	const char *at = strstr(line, name);

	return at && sscanf(at + strlen(name), "%" SCNx64, out) == 1;
}

static int handle_parse(const char *line, struct fdinfo_mark *out)
{
	uint64_t size = 0, type = 0;
	const char *hex;

	if (!line_hex(line, " fhandle-bytes:", &size) || !line_hex(line, " fhandle-type:", &type))
		return 0;
	hex = strstr(line, " f_handle:");
	if (!hex || size > sizeof(out->handle))
		return -EBADMSG;
	hex += strlen(" f_handle:");
	for (size_t i = 0; i < size; i++)
		if (sscanf(hex + 2 * i, "%2" SCNx8, &out->handle[i]) != 1)
			return -EBADMSG;
	out->handle_size = size;
	out->handle_type = (int)type;
	return 0;
}

/* sdev is the kernel's own form of a device number: 12 bits and 20. */
int fdinfo_mark_parse(const char *value, struct fdinfo_mark *out)
{
	const struct line line = line_of(value);
	uint64_t wd = 0, mask, ignored = 0, flags, mount, sdev;

	*out = (struct fdinfo_mark){ 0 };
	if (!line_hex(line.s, "mask:", &mask))
		return -EBADMSG;
	line_hex(line.s, "wd:", &wd);
	line_hex(line.s, "ignored_mask:", &ignored);
	out->wd = (int64_t)wd;
	out->mask = (uint32_t)mask;
	out->ignored_mask = (uint32_t)ignored;
	out->mark_flags = line_hex(line.s, "mflags:", &flags) ? (uint32_t)flags : 0;
	if (line_hex(line.s, "mnt_id:", &mount)) {
		out->on = MARK_MOUNT;
		out->mount = (int)mount;
		return 0;
	}
	if (!line_hex(line.s, "sdev:", &sdev))
		return -EBADMSG;
	if (!line_hex(line.s, "ino:", &out->ino))
		out->on = MARK_FILE_SYSTEM;
	out->major = (uint32_t)(sdev >> 20);
	out->minor = (uint32_t)(sdev & 0xfffff);
	return handle_parse(line.s, out);
}

int fdinfo_fanotify_parse(const char *text, uint32_t *flags, uint32_t *event_flags)
{
	const char *line = strstr(text, "fanotify flags:");

	return line && sscanf(line, "fanotify flags:%" SCNx32 " event-flags:%" SCNx32, flags, event_flags) == 2
		       ? 0
		       : -EBADMSG;
}
