/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Netlink sockets: netlink(7); net/netlink/af_netlink.c. Of those protocols whose kernel side keeps nothing for a socket but what it has asked to hear. */
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "state/socket_base.h"

#define SOL_NETLINK_ 270
#define GROUPS_MAX   1024

#define NETLINK_OPTIONS(X)                                                                                             \
	X(pktinfo, NETLINK_PKTINFO, OPTION_INT, OPTION_LATE, "NETLINK_PKTINFO")                                        \
	X(broadcast_error, NETLINK_BROADCAST_ERROR, OPTION_INT, OPTION_LATE, "NETLINK_BROADCAST_ERROR")                \
	X(no_enobufs, NETLINK_NO_ENOBUFS, OPTION_INT, OPTION_LATE, "NETLINK_NO_ENOBUFS")                               \
	X(listen_all_nsid, NETLINK_LISTEN_ALL_NSID, OPTION_INT, OPTION_LATE, "NETLINK_LISTEN_ALL_NSID")                \
	X(cap_ack, NETLINK_CAP_ACK, OPTION_INT, OPTION_LATE, "NETLINK_CAP_ACK")                                        \
	X(ext_ack, NETLINK_EXT_ACK, OPTION_INT, OPTION_LATE, "NETLINK_EXT_ACK")                                        \
	X(get_strict_chk, NETLINK_GET_STRICT_CHK, OPTION_INT, OPTION_LATE, "NETLINK_GET_STRICT_CHK")

#define MEMBER(member, ...) int64_t member;
struct netlink_level {
	NETLINK_OPTIONS(MEMBER)
};

struct netlink_state {
	struct socket_base base;
	uint64_t port, peer_port, peer_groups;
	uint64_t *groups;
	size_t n_groups;
	struct netlink_level netlink;
};

#define LEVEL_FIELD(member, name, shape, when, doc) FIELD_INT(struct netlink_level, member, #member, doc),
static const struct field level_fields[] = { NETLINK_OPTIONS(LEVEL_FIELD) FIELD_END };
#define LEVEL_ROW(...) SOCKET_OPTION_ROW(struct netlink_level, SOL_NETLINK_, __VA_ARGS__)
static const struct socket_option list[] = { NETLINK_OPTIONS(LEVEL_ROW) };

static const struct field netlink_fields[] = {
	FIELD_STRUCT(struct netlink_state, base, "base", socket_base_fields, "what every socket has"),
	FIELD_UINT(struct netlink_state, port, "port", "nl_pid; 0: not bound"),
	FIELD_UINT(struct netlink_state, peer_port, "peer_port", "connected to this port"),
	FIELD_UINT(struct netlink_state, peer_groups, "peer_groups", "connected to these groups"),
	FIELD_UINTS(struct netlink_state, groups, n_groups, "groups", SHOW_DECIMAL, "NETLINK_LIST_MEMBERSHIPS"),
	FIELD_STRUCT(struct netlink_state, netlink, "netlink", level_fields, "of level SOL_NETLINK"),
	FIELD_END,
};

static bool netlink_matches(const struct file_look *f)
{
	return f->description && f->description->family == AF_NETLINK && !(f->flags & O_PATH);
}

static bool keeps_nothing(uint64_t protocol)
{
	static const int known[] = { NETLINK_ROUTE, NETLINK_USERSOCK, NETLINK_SOCK_DIAG, NETLINK_XFRM,
		NETLINK_FIB_LOOKUP, NETLINK_KOBJECT_UEVENT, NETLINK_GENERIC, NETLINK_CRYPTO };

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if ((uint64_t)known[i] == protocol)
			return true;
	return false;
}

static int read_groups(int fd, struct netlink_state *s)
{
	uint32_t bits[GROUPS_MAX / 32] = { 0 };
	socklen_t size = sizeof(bits);

	if (getsockopt(fd, SOL_NETLINK_, NETLINK_LIST_MEMBERSHIPS, bits, &size) < 0)
		return -errno;
	if (size > sizeof(bits))
		return -E2BIG;
	s->groups = calloc(GROUPS_MAX, sizeof(*s->groups));
	if (!s->groups)
		return -ENOMEM;
	for (uint64_t i = 0; i < 8 * MIN(size, sizeof(bits)); i++)
		if (bits[i / 32] >> i % 32 & 1)
			s->groups[s->n_groups++] = i + 1;
	return 0;
}

static int netlink_capture(struct capture *c, const struct file_look *f, void *state)
{
	struct netlink_state *s = state;
	struct sockaddr_nl a = { 0 };
	socklen_t size = sizeof(a);
	int fd = file_dup(c, f), err;

	if (fd < 0)
		return fd;
	err = socket_base_capture(c, f, fd, &s->base);
	if (err)
		return err;
	if (!keeps_nothing(s->base.protocol))
		return refused(c->ps, BLAME_FILE(f),
			"a netlink socket of protocol %u, for which the kernel may keep more than it shows",
			(unsigned int)s->base.protocol);
	if (getsockname(fd, (struct sockaddr *)&a, &size) < 0)
		return -errno;
	s->port = a.nl_pid;
	size = sizeof(a);
	if (getpeername(fd, (struct sockaddr *)&a, &size) == 0) {
		s->peer_port = a.nl_pid;
		s->peer_groups = a.nl_groups;
	}
	options_read(fd, list, ARRAY_SIZE(list), &s->netlink);
	return read_groups(fd, s);
}

struct netlink_made {
	int fd;
	const struct file_state *file;
};

static int netlink_open(struct restore *r, const struct record *rec, const struct file_state *file)
{
	const struct netlink_state *s = rec->state;
	struct made *made = restore_made(r, rec->id);
	struct netlink_made *m;

	if (!made)
		return -ENOMEM;
	if (made->data)
		return failed(
			r->ps, BLAME(.object = "netlink"), -EBADMSG, "the image has a socket with two descriptions");
	m = made->data = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	*m = (struct netlink_made){ .fd = socket_base_open(r, AF_NETLINK, &s->base), .file = file };
	return m->fd;
}

static int join(const struct netlink_made *m, const struct netlink_state *s)
{
	for (size_t i = 0; i < s->n_groups; i++) {
		int group = (int)s->groups[i];

		if (setsockopt(m->fd, SOL_NETLINK_, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
			return -errno;
	}
	return 0;
}

static int netlink_fill(struct restore *r, const struct record *rec)
{
	const struct netlink_state *s = rec->state;
	const struct netlink_made *m = restore_made(r, rec->id)->data;
	struct sockaddr_nl a = { .nl_family = AF_NETLINK, .nl_pid = (uint32_t)s->port }, peer = {
		.nl_family = AF_NETLINK, .nl_pid = (uint32_t)s->peer_port, .nl_groups = (uint32_t)s->peer_groups
	};
	const char *what;
	char name[32];
	int err;

	if (!m)
		return 0;
	snprintf(name, sizeof(name), "netlink port %u", a.nl_pid);
	if (s->port && bind(m->fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return failed(r->ps, BLAME(.object = name), -errno, "cannot be had again: %m");
	err = join(m, s);
	if (err)
		return failed(
			r->ps, BLAME(.object = name), err, "its groups cannot be joined again: %s", strerror(-err));
	if ((s->peer_port || s->peer_groups) && connect(m->fd, (struct sockaddr *)&peer, sizeof(peer)) < 0)
		return failed(r->ps, BLAME(.object = name), -errno, "cannot be connected again: %m");
	what = options_write(m->fd, list, ARRAY_SIZE(list), &s->netlink, OPTION_LATE);
	if (what)
		return failed(r->ps, BLAME(.object = name), -errno, "a socket option cannot be set (%s): %m", what);
	return socket_base_settle(r, m->fd, name, &s->base, m->file);
}

const struct component component_netlink = {
	.kind = { .name = "netlink",
		.version = 2,
		.size = sizeof(struct netlink_state),
		.fields = netlink_fields,
		.doc = "a netlink socket",
		.sources = "netlink(7); net/netlink/af_netlink.c" },
	.scope = SCOPE_BACKING,
	.matches = netlink_matches,
	.capture_file = netlink_capture,
	.open = netlink_open,
	.fill = netlink_fill,
};
