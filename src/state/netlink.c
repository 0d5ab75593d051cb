/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Netlink sockets: netlink(7); net/netlink/af_netlink.c. Of those protocols whose kernel side keeps nothing for a socket but what it has asked to hear, or, of netfilter, shows
 * what it keeps.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "state/netfilter_holds.h"
#include "state/netlink_lost.h"
#include "state/netlink_queue.h"
#include "state/socket_base.h"

#define SOL_NETLINK_ 270
#define GROUPS_MAX   1024
#define ROOM	     (1 << 28)

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
	struct netlink_queue unread;
	bool lost; /* it is to be told that it has missed messages */
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
	FIELD_STRUCT(struct netlink_state, unread, "unread", netlink_queue_fields, "messages that were not read"),
	FIELD_SINCE(3, BOOL, struct netlink_state, lost, "lost", "ENOBUFS is to be told: messages were missed"),
	FIELD_END,
};

static bool netlink_matches(const struct file_look *f)
{
	return f->description && f->description->family == AF_NETLINK && !(f->flags & O_PATH);
}

static bool keeps_nothing(uint64_t protocol)
{
	static const int known[] = { NETLINK_ROUTE, NETLINK_USERSOCK, NETLINK_SOCK_DIAG, NETLINK_XFRM,
		NETLINK_FIB_LOOKUP, NETLINK_KOBJECT_UEVENT, NETLINK_GENERIC, NETLINK_CRYPTO, NETLINK_NETFILTER };

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

/* Those who miss messages of the kernel ask and look again. They are missed only if they are not read in time. */
static int give_up(struct capture *c, const struct file_look *f, size_t lost)
{
	if (c->tree->patient || c->tree->strict)
		return refused(c->ps, BLAME_FILE(f, .passing = true, .remedy = "let the program read them"),
			"messages of the kernel that have not been read, which nobody else can send");
	return changed(c->ps, BLAME_FILE(f),
		"%zu messages of the kernel (notifications or answers) that it has not read are lost: it will be told "
		"so (ENOBUFS)",
		lost);
}

static int capture_queue(struct capture *c, const struct file_look *f, int fd, struct netlink_state *s)
{
	struct netlink_reading r = { .all_nsid = s->netlink.listen_all_nsid > 0,
		.may_lose = s->port && netlink_can_lose(s->base.protocol) && s->netlink.no_enobufs <= 0 };
	int err = netlink_lost_capture(c, f, fd, &s->lost);

	if (!err && s->lost && !r.may_lose)
		return refused(c->ps, BLAME_FILE(f, .passing = true, .remedy = "let the program read"),
			"that it has missed messages (ENOBUFS), and was not told yet");
	if (!err && socket_has_unread(fd))
		err = netlink_queue_capture(c, f, fd, &r, &s->unread);
	if (err || !r.lost)
		return err;
	s->lost = true;
	return give_up(c, f, r.lost);
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
	if (s->base.protocol == NETLINK_NETFILTER && s->port)
		err = netfilter_holds_refuse(c, f, (uint32_t)s->port);
	if (err)
		return err;
	size = sizeof(a);
	if (getpeername(fd, (struct sockaddr *)&a, &size) == 0) {
		s->peer_port = a.nl_pid;
		s->peer_groups = a.nl_groups;
	}
	options_read(fd, list, ARRAY_SIZE(list), &s->netlink);
	err = read_groups(fd, s);
	return err ? err : capture_queue(c, f, fd, s);
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

static int netlink_validate(struct restore *r, const struct record *rec)
{
	const struct netlink_state *s = rec->state;

	return !netlink_queue_valid(&s->unread, s->port) ||
			       (s->lost && (!s->port || !netlink_can_lose(s->base.protocol)))
		       ? failed(r->ps, BLAME(.object = "netlink"), -EBADMSG, "the image has an impossible message")
		       : 0;
}

/* --- what is in their queues --- */

struct name {
	char s[32];
};

static struct name name_of(const struct netlink_state *s)
{
	struct name n;

	snprintf(n.s, sizeof(n.s), "netlink port %u", (unsigned int)s->port);
	return n;
}

static int bind_again(struct restore *r, const struct netlink_made *m, const struct netlink_state *s)
{
	const struct sockaddr_nl a = { .nl_family = AF_NETLINK, .nl_pid = (uint32_t)s->port };

	if (!s->port || bind(m->fd, (const struct sockaddr *)&a, sizeof(a)) == 0)
		return 0;
	return failed(r->ps, BLAME(.object = name_of(s).s), -errno, "cannot be had again: %m");
}

/* The tree's own socket with that port; -1: there is none. */
static int find_sender(struct restore *r, const struct record *recs, size_t n, uint64_t protocol, uint64_t port)
{
	for (size_t i = 0; i < n; i++) {
		const struct netlink_state *s = recs[i].state;
		const struct netlink_made *m = restore_made(r, recs[i].id)->data;

		if (m && s->port == port && s->base.protocol == protocol)
			return m->fd;
	}
	return -1;
}

static int fill_queue(struct netlink_filling *f, const struct record *recs, size_t n, const struct record *rec)
{
	const struct netlink_state *s = rec->state;
	const struct netlink_made *m = restore_made(f->r, rec->id)->data;
	const struct netlink_receiver to = { m->fd, (int)s->base.protocol, (uint32_t)s->port };
	int room = ROOM, err = 0;

	if (s->unread.n && setsockopt(m->fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) < 0)
		err = -errno;
	for (size_t i = 0; i < s->unread.n && !err; i++) {
		const struct netlink_message *message = &s->unread.list[i];

		err = netlink_queue_put(f, &to, find_sender(f->r, recs, n, s->base.protocol, message->port), message);
	}
	return err ? failed(f->r->ps, BLAME(.object = name_of(s).s), err, "its unread messages cannot be put back: %s",
			     strerror(-err))
		   : 0;
}

extern const struct component component_netlink;

static int netlink_round(struct restore *r, struct callers *callers, unsigned int n)
{
	struct netlink_filling f = { .r = r, .apart = -1 };
	const struct record *recs;
	size_t all;
	int err = 0;

	if (n == ROUND_ABANDON)
		return 0;
	recs = image_records(r->image, &component_netlink.kind, &all);
	for (size_t i = 0; i < all && !err; i++) {
		const struct netlink_made *m = restore_made(r, recs[i].id)->data;

		err = m ? bind_again(r, m, recs[i].state) : -EBADMSG;
	}
	for (size_t i = 0; i < all && !err; i++)
		err = fill_queue(&f, recs, all, &recs[i]);
	netlink_filling_end(&f);
	return err;
}

/* --- all else --- */

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
	const struct sockaddr_nl peer = {
		.nl_family = AF_NETLINK, .nl_pid = (uint32_t)s->peer_port, .nl_groups = (uint32_t)s->peer_groups
	};
	const struct name name = name_of(s);
	const char *what;
	int err;

	if (!m)
		return 0;
	err = s->lost ? netlink_lose(m->fd) : 0;
	if (err)
		changed(r->ps, BLAME(.object = name.s), "it cannot be told that it has missed messages (ENOBUFS): %s",
			strerror(-err));
	err = join(m, s);
	if (err)
		return failed(
			r->ps, BLAME(.object = name.s), err, "its groups cannot be joined again: %s", strerror(-err));
	if ((s->peer_port || s->peer_groups) && connect(m->fd, (struct sockaddr *)&peer, sizeof(peer)) < 0)
		return failed(r->ps, BLAME(.object = name.s), -errno, "cannot be connected again: %m");
	what = options_write(m->fd, list, ARRAY_SIZE(list), &s->netlink, OPTION_LATE);
	if (what)
		return failed(r->ps, BLAME(.object = name.s), -errno, "a socket option cannot be set (%s): %m", what);
	return socket_base_settle(r, m->fd, name.s, &s->base, m->file);
}

static int netlink_watch(struct restore *r, const struct record *rec)
{
	const struct netlink_state *s = rec->state;
	const struct netlink_made *m = restore_made(r, rec->id)->data;

	return m ? socket_hear_again(m->fd, &s->base.options) : 0;
}

const struct component component_netlink = {
	.kind = { .name = "netlink",
		.version = 3,
		.size = sizeof(struct netlink_state),
		.fields = netlink_fields,
		.doc = "a netlink socket",
		.sources = "netlink(7); net/netlink/af_netlink.c" },
	.scope = SCOPE_BACKING,
	.matches = netlink_matches,
	.capture_file = netlink_capture,
	.validate = netlink_validate,
	.open = netlink_open,
	.round = netlink_round,
	.fill = netlink_fill,
	.watch = netlink_watch,
};
