/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/socket_options.h"

#include <errno.h>
#include <linux/filter.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "base/cleanup.h"

#define FIELD_OF_OPTION(member, name, shape, when, doc) FIELD_INT(struct socket_options, member, #member, doc),
const struct field socket_options_fields[] = {
	SOCKET_OPTIONS(FIELD_OF_OPTION) FIELD_UINT(
		struct socket_options, busy_poll_budget, "busy_poll_budget", "SO_BUSY_POLL_BUDGET; 0: not set"),
	FIELD_STRING(struct socket_options, device, "device", "SO_BINDTODEVICE: name of the interface"),
	FIELD_BLOB(struct socket_options, filter, "filter", "SO_ATTACH_FILTER: instructions of classic BPF"),
	FIELD_END,
};

#define ROW(...) SOCKET_OPTION_ROW(struct socket_options, SOL_SOCKET, __VA_ARGS__)
static const struct socket_option list[] = { SOCKET_OPTIONS(ROW) };

union option_value {
	int number;
	int64_t wide;
	struct linger linger;
	int64_t time[2];
	uint32_t pair[2];
};

static socklen_t size_of(enum option_shape shape)
{
	const union option_value *v = NULL;

	switch (shape) {
	case OPTION_LONG:
		return sizeof(v->wide);
	case OPTION_LINGER:
		return sizeof(v->linger);
	case OPTION_TIME:
		return sizeof(v->time);
	case OPTION_PAIR:
		return sizeof(v->pair);
	default:
		return sizeof(v->number);
	}
}

static int64_t unpack(enum option_shape shape, const union option_value *v)
{
	switch (shape) {
	case OPTION_LONG:
		return v->wide;
	case OPTION_LINGER:
		return (v->linger.l_linger & INT32_MAX) | (int64_t) !!v->linger.l_onoff << 32;
	case OPTION_TIME:
		return v->time[0] * 1000000 + v->time[1];
	case OPTION_PAIR:
		return (int64_t)(v->pair[0] | (uint64_t)v->pair[1] << 32);
	default:
		return v->number;
	}
}

static union option_value pack(enum option_shape shape, int64_t value)
{
	union option_value v = { 0 };

	switch (shape) {
	case OPTION_LONG:
		v.wide = value;
		break;
	case OPTION_LINGER:
		v.linger = (struct linger){ .l_onoff = value >> 32 & 1, .l_linger = (int)(value & INT32_MAX) };
		break;
	case OPTION_TIME:
		v.time[0] = value / 1000000;
		v.time[1] = value % 1000000;
		break;
	case OPTION_PAIR:
		v.pair[0] = (uint32_t)value;
		v.pair[1] = (uint32_t)((uint64_t)value >> 32);
		break;
	case OPTION_SNDBUF:
	case OPTION_RCVBUF:
		v.number = (int)((value + 1) / 2);
		break;
	default:
		v.number = (int)value;
	}
	return v;
}

static int64_t read_one(int fd, const struct socket_option *o)
{
	union option_value v = { 0 };
	socklen_t size = size_of(o->shape);

	return getsockopt(fd, o->level, o->name, &v, &size) < 0 ? OPTION_ABSENT : unpack(o->shape, &v);
}

static int set(int fd, const struct socket_option *o, int name, int64_t value)
{
	union option_value v = pack(o->shape, value);

	return setsockopt(fd, o->level, name, &v, size_of(o->shape));
}

/* A time of lingering that is off is kept too, and shown. */
static int write_one(int fd, const struct socket_option *o, int64_t value)
{
	switch (o->shape) {
	case OPTION_SNDBUF:
		return set(fd, o, SO_SNDBUFFORCE, value);
	case OPTION_RCVBUF:
		return set(fd, o, SO_RCVBUFFORCE, value);
	case OPTION_LINGER:
		return set(fd, o, o->name, value | 1ll << 32) < 0 ? -1 : set(fd, o, o->name, value);
	default:
		return set(fd, o, o->name, value);
	}
}

void options_read(int fd, const struct socket_option *rows, size_t n, void *values)
{
	for (size_t i = 0; i < n; i++)
		*(int64_t *)(void *)((char *)values + rows[i].offset) = read_one(fd, &rows[i]);
}

const char *options_write(int fd, const struct socket_option *rows, size_t n, const void *values, enum option_when when)
{
	for (size_t i = 0; i < n; i++) {
		int64_t wanted = *(const int64_t *)(const void *)((const char *)values + rows[i].offset), now;

		if (rows[i].when != when || wanted == OPTION_ABSENT)
			continue;
		now = read_one(fd, &rows[i]);
		if (now == wanted || (now == OPTION_ABSENT && !wanted))
			continue;
		if (write_one(fd, &rows[i], wanted) < 0 &&
			now != OPTION_ABSENT) /* some a kernel can set, but not tell */
			return rows[i].doc;
	}
	return NULL;
}

static int read_filter(int fd, struct blob *filter, const char **what)
{
	socklen_t n = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, NULL, &n) < 0) {
		*what = "a filter in eBPF (SO_ATTACH_BPF), which cannot be read";
		return errno == EACCES ? -ENOTSUP : 0;
	}
	if (!n)
		return 0;
	filter->size = n * sizeof(struct sock_filter);
	filter->data = calloc(1, filter->size);
	if (!filter->data)
		return -ENOMEM;
	return getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, filter->data, &n) < 0 ? -errno : 0;
}

static int read_device(int fd, char **device)
{
	char name[IFNAMSIZ] = "";
	socklen_t size = sizeof(name);

	if (getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &size) < 0 || !size || !name[0])
		return 0;
	*device = strndup(name, sizeof(name));
	return *device ? 0 : -ENOMEM;
}

int socket_options_read(int fd, struct socket_options *o, const char **what)
{
	int err;

	options_read(fd, list, ARRAY_SIZE(list), o);
	if (o->timestamping_new > 0) /* shown by both */
		o->timestamping = 0;
	err = read_device(fd, &o->device);
	return err ? err : read_filter(fd, &o->filter, what);
}

int socket_filter_write(int fd, const struct blob *filter)
{
	struct sock_fprog program = { .len = (unsigned short)(filter->size / sizeof(struct sock_filter)),
		.filter = (struct sock_filter *)(void *)filter->data };

	return filter->size ? setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) : 0;
}

/* The filter may be locked by an option that is set late: it goes before. */
int socket_options_write(
	struct problems *ps, const struct blame *who, int fd, const struct socket_options *o, enum option_when when)
{
	const char *what = NULL;
	int budget = (int)o->busy_poll_budget;

	if (when == OPTION_LATE && budget &&
		setsockopt(fd, SOL_SOCKET, SO_BUSY_POLL_BUDGET, &budget, sizeof(budget)) < 0)
		what = "SO_BUSY_POLL_BUDGET";
	if (when == OPTION_EARLY && o->device &&
		setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, o->device, (socklen_t)strlen(o->device) + 1) < 0)
		what = "SO_BINDTODEVICE";
	if (when == OPTION_LATE && socket_filter_write(fd, &o->filter) < 0)
		what = "SO_ATTACH_FILTER";
	if (!what)
		what = options_write(fd, list, ARRAY_SIZE(list), o, when);
	return what ? failed(ps, who, -errno, "a socket option cannot be set (%s): %m", what) : 0;
}
