/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Raw sockets, and those that ping: raw(7), icmp(7); net/ipv4/raw.c, net/ipv4/ping.c. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "kernel/peek.h"
#include "state/raw_error.h"
#include "state/raw_queue.h"
#include "state/socket_base.h"
#include "state/socket_hidden.h"

#define SOL_RAW	      255
#define SOL_ICMPV6    58
#define FILTER_OPTION 1 /* ICMP_FILTER, ICMPV6_FILTER */
#define CONNECTED     1 /* TCP_ESTABLISHED, of any protocol */

struct raw_state {
	struct inet_state inet;
	uint64_t shutdown; /* 1: receiving, 2: sending */
	struct blob icmp_filter, icmpv6_filter;
	struct raw_queue unread;
	uint64_t error; /* SO_ERROR, not told yet; 0: none */
};

static const struct field raw_fields[] = {
	FIELD_STRUCT(struct raw_state, inet, "inet", inet_fields, "what sockets of every protocol have"),
	FIELD_SINCE(2, UINT, struct raw_state, shutdown, "shutdown", "bit 0: receiving, bit 1: sending"),
	FIELD_BLOB(struct raw_state, icmp_filter, "icmp_filter", "ICMP_FILTER"),
	FIELD_BLOB(struct raw_state, icmpv6_filter, "icmpv6_filter", "ICMPV6_FILTER"),
	FIELD_STRUCT(struct raw_state, unread, "unread", raw_queue_fields, "packets that were not read"),
	FIELD_SINCE(5, UINT, struct raw_state, error, "error", "errno that SO_ERROR is to tell; 0: none"),
	FIELD_END,
};

static int type_of(int fd)
{
	int type = 0;
	socklen_t size = sizeof(type);

	getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size);
	return type;
}

/* What TCP and UDP have not taken; a raw socket may be of any protocol. */
static bool raw_matches(const struct file_look *f)
{
	const struct description *d = f->description;

	return d && (d->family == AF_INET || d->family == AF_INET6) && !(f->flags & O_PATH) &&
	       (d->type == SOCK_RAW ||
		       (d->type == SOCK_DGRAM && (d->protocol == IPPROTO_ICMP || d->protocol == IPPROTO_ICMPV6)));
}

/* --- checkpoint --- */

static int read_filter(int fd, int level, struct blob *to)
{
	uint8_t value[32];
	socklen_t size = sizeof(value);

	if (getsockopt(fd, level, FILTER_OPTION, value, &size) < 0)
		return 0;
	to->data = malloc(size);
	if (!to->data)
		return -ENOMEM;
	memcpy(to->data, value, size);
	to->size = size;
	return 0;
}

/* "  1: 0100007F:0001 0100007F:0000 01 ..." getpeername() does not tell of a peer without a port. */
static int read_peer(
	struct capture *c, const struct file_look *f, const struct inet_state *s, struct inet_address *peer)
{
	char path[48], line[512], ip[33];
	_cleanup_file_ FILE *list = NULL;
	bool six = s->family == AF_INET6;
	unsigned long ino;

	snprintf(path, sizeof(path), "/proc/%d/net/%s%s", tree_living(c->tree), s->type == SOCK_RAW ? "raw" : "icmp",
		six ? "6" : "");
	list = fopen(path, "re");
	while (list && fgets(line, sizeof(line), list)) {
		union inet_sockaddr a = { .any.sa_family = (sa_family_t)s->family };
		uint32_t *words = six ? a.v6.sin6_addr.s6_addr32 : &a.v4.sin_addr.s_addr;

		if (sscanf(line, "%*u: %*[^ ] %32[0-9A-F]:%*x %*x %*s %*s %*s %*u %*u %lu", ip, &ino) != 2 ||
			ino != f->ino || strspn(ip, "0") == strlen(ip))
			continue;
		for (size_t i = 0; i < (six ? 4u : 1u); i++)
			if (sscanf(ip + 8 * i, "%8x", &words[i]) != 1)
				return -EBADMSG;
		return inet_to_text(&a, peer);
	}
	return 0;
}

/* One that is disconnected the kernel finds no more; it has lost its number with that: net/ipv4/datagram.c, __udp_disconnect(). */
static bool is_deaf(const struct inet_state *s)
{
	return s->type == SOCK_RAW && !s->local.port;
}

/* The list of raw sockets, which tells of peers, does not have it either. */
static int check_deaf(struct capture *c, const struct file_look *f)
{
	const struct socket_hidden *h = socket_hidden_of(c, f);
	uint64_t state = 0;

	if (h->known && kernel_peek_member(c->kernel, h->sock, "sock_common", "skc_state", &state) == 0 &&
		state == CONNECTED)
		return refused(c->ps, BLAME_FILE(f, .remedy = "let the program close it"),
			"a raw socket that was disconnected, and is connected again, whose peer nobody can be asked "
			"for");
	return 0;
}

static int raw_capture(struct capture *c, const struct file_look *f, void *state)
{
	struct raw_state *s = state;
	int fd = file_dup(c, f), err;
	struct pollfd p = { .fd = fd, .events = POLLIN };

	if (fd < 0)
		return fd;
	err = inet_capture(c, f, fd, &s->inet);
	if (!err)
		err = raw_error_capture(c, f, fd, &s->inet, &s->error);
	if (!err && poll(&p, 1, 0) == 1 && p.revents & POLLIN)
		err = raw_queue_capture(c, f, fd, &s->inet, &s->unread);
	s->shutdown = socket_hidden_of(c, f)->shutdown;
	if (!err && is_deaf(&s->inet))
		err = check_deaf(c, f);
	if (!err && type_of(fd) == SOCK_RAW)
		err = read_filter(fd, SOL_RAW, &s->icmp_filter);
	if (!err && s->inet.protocol == IPPROTO_ICMPV6)
		err = read_filter(fd, SOL_ICMPV6, &s->icmpv6_filter);
	return err || s->inet.peer.ip ? err : read_peer(c, f, &s->inet, &s->inet.peer);
}

/* --- restore --- */

static int raw_validate(struct restore *r, const struct record *rec)
{
	const struct raw_state *s = rec->state;

	if (s->inet.type == SOCK_STREAM || s->shutdown > 3 || s->icmp_filter.size > 32 || s->icmpv6_filter.size > 32 ||
		!raw_error_is_possible(&s->inet, s->error))
		return failed(r->ps, BLAME(.object = "raw"), -EBADMSG, "the image has an impossible raw socket");
	return MIN(raw_queue_validate(r, &s->inet, &s->unread), inet_validate(r, &s->inet));
}

static int raw_open(struct restore *r, const struct record *rec, const struct file_state *file)
{
	const struct raw_state *s = rec->state;
	int fd = inet_made_open(r, rec, &s->inet, file), err = fd < 0 ? fd : socket_close_ears(fd);

	return err ? err : fd;
}

static int raw_fill(struct restore *r, const struct record *rec)
{
	const struct raw_state *s = rec->state;
	struct inet_made *m = inet_made(r, rec->id);
	struct inet_text name = inet_name(&s->inet);
	const struct sockaddr nowhere = { .sa_family = AF_UNSPEC };
	union inet_sockaddr peer;
	int err;

	if (!m)
		return 0;
	if (is_deaf(&s->inet) && connect(m->fd, &nowhere, sizeof(nowhere)) < 0)
		return failed(r->ps, BLAME(.object = name.s), -errno, "cannot be disconnected again: %m");
	err = s->unread.n && s->inet.type == SOCK_DGRAM ? 0 : inet_bind(r, m->fd, &s->inet);
	if (err)
		return err;
	if (s->inet.peer.ip && (inet_from_text(s->inet.family, &s->inet.peer, &peer) < 0 ||
				       connect(m->fd, &peer.any, inet_size(&peer)) < 0))
		return failed(r->ps, BLAME(.object = name.s), -errno, "cannot be connected again: %m");
	err = s->error && s->inet.type == SOCK_DGRAM ? raw_error_make(r, m->fd, &s->inet, s->error) : 0;
	if (err)
		return err;
	if ((s->icmp_filter.size && setsockopt(m->fd, SOL_RAW, FILTER_OPTION, s->icmp_filter.data,
					    (socklen_t)s->icmp_filter.size) < 0) ||
		(s->icmpv6_filter.size && setsockopt(m->fd, SOL_ICMPV6, FILTER_OPTION, s->icmpv6_filter.data,
						  (socklen_t)s->icmpv6_filter.size) < 0))
		return failed(r->ps, BLAME(.object = name.s), -errno, "its filter cannot be set: %m");
	err = inet_shut(r, m->fd, &s->inet, s->shutdown);
	if (err)
		return err;
	socket_before_options(m->fd, &s->inet.options);
	err = inet_settle(r, m->fd, &s->inet, m->file);
	return err ? err : socket_after_options(m->fd, &s->inet.options);
}

static int raw_watch(struct restore *r, const struct record *rec)
{
	const struct raw_state *s = rec->state;
	const struct inet_made *m = inet_made(r, rec->id);

	return m ? socket_hear_again(m->fd, &s->inet.options) : 0;
}

extern const struct component component_raw;

/* While none of them hears: a packet comes to all raw sockets of its protocol. One that pings has to have its number. */
static int raw_round(struct restore *r, struct callers *callers, unsigned int n)
{
	_cleanup_free_ struct inet_made **list = NULL;
	size_t all;
	int err;

	if (n == ROUND_ABANDON)
		return 0;
	err = inet_made_list(r, &component_raw.kind, &list, &all);
	for (size_t i = 0; i < all && !err; i++) {
		const struct raw_state *s = list[i]->rec->state;

		if (s->unread.n && s->inet.type == SOCK_DGRAM)
			err = inet_bind(r, list[i]->fd, &s->inet);
		if (!err)
			err = raw_queue_fill(r, list[i]->fd, &s->inet, &s->unread);
		if (!err && s->error && s->inet.type == SOCK_RAW)
			err = raw_error_make(r, list[i]->fd, &s->inet, s->error);
	}
	return err;
}

const struct component component_raw = {
	.kind = { .name = "raw",
		.version = 5,
		.size = sizeof(struct raw_state),
		.fields = raw_fields,
		.doc = "a raw socket, or one that pings",
		.sources = "raw(7), icmp(7); net/ipv4/raw.c, net/ipv6/raw.c, net/ipv4/ping.c" },
	.scope = SCOPE_BACKING,
	.matches = raw_matches,
	.capture_file = raw_capture,
	.validate = raw_validate,
	.open = raw_open,
	.round = raw_round,
	.fill = raw_fill,
	.watch = raw_watch,
};
