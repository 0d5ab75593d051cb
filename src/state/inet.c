/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/inet.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "state/inet_diag.h"
#include "state/inet_flow.h"
#include "state/inet_multicast.h"
#include "state/sock_diag.h"
#include "state/socket_hidden.h"
#include "state/socket_base.h"

static const struct field source_fields[] = {
	FIELD_STRING(struct inet_source, ip, "ip", "of a sender"),
	FIELD_END,
};

static const struct field membership_fields[] = {
	FIELD_STRING(struct inet_membership, group, "group", "the group's address"),
	FIELD_STRING(struct inet_membership, interface, "interface", "on which interface"),
	FIELD_BOOL(struct inet_membership, exclude, "exclude", "all senders but these; else: these alone"),
	FIELD_LIST(struct inet_membership, sources, n_sources, "sources", source_fields, "senders"),
	FIELD_END,
};

const struct field inet_address_fields[] = {
	FIELD_STRING(struct inet_address, ip, "ip", "absent: none"),
	FIELD_UINT(struct inet_address, port, "port", "port, or what the protocol has in its place"),
	FIELD_UINT(struct inet_address, scope, "scope", "IPv6: index of the interface of a link-local address"),
	FIELD_UINT(struct inet_address, flow, "flow", "IPv6: flow label and traffic class"),
	FIELD_END,
};

const struct field inet_fields[] = {
	FIELD_UINT(struct inet_state, family, "family", "2 IPv4, 10 IPv6"),
	FIELD_UINT(struct inet_state, type, "type", "1 stream, 2 datagram, 3 raw"),
	FIELD_UINT(struct inet_state, protocol, "protocol", "SO_PROTOCOL"),
	FIELD_OCTAL(struct inet_state, mode, "mode", "of the socket itself (fchmod)"),
	FIELD_UINT(struct inet_state, uid, "uid", "owner of the socket itself (fchown)"),
	FIELD_UINT(struct inet_state, gid, "gid", "group of the socket itself"),
	FIELD_UINT(struct inet_state, order, "order", "sockets that share a port are bound in this order"),
	FIELD_STRUCT(struct inet_state, local, "local", inet_address_fields, "getsockname"),
	FIELD_STRUCT(struct inet_state, peer, "peer", inet_address_fields, "getpeername"),
	FIELD_STRUCT(struct inet_state, options, "options", socket_options_fields, "of level SOL_SOCKET"),
	FIELD_STRUCT(struct inet_state, ip, "ip", ip_level_fields, "of level SOL_IP"),
	FIELD_STRUCT(struct inet_state, ipv6, "ipv6", ipv6_level_fields, "of level SOL_IPV6"),
	FIELD_BLOB(struct inet_state, ip_options, "ip_options", "IP_OPTIONS"),
	FIELD_BLOB(struct inet_state, hopopts, "hopopts", "IPV6_HOPOPTS"),
	FIELD_BLOB(struct inet_state, rthdrdstopts, "rthdrdstopts", "IPV6_RTHDRDSTOPTS"),
	FIELD_BLOB(struct inet_state, rthdr, "rthdr", "IPV6_RTHDR"),
	FIELD_BLOB(struct inet_state, dstopts, "dstopts", "IPV6_DSTOPTS"),
	FIELD_LIST(struct inet_state, memberships, n_memberships, "memberships", membership_fields, "multicast groups"),
	FIELD_SINCE(2, STRUCT, struct inet_state, hidden, "hidden", inet_hidden_fields, "what no interface shows"),
	FIELD_END,
};

/* --- addresses --- */

socklen_t inet_size(const union inet_sockaddr *a)
{
	return a->any.sa_family == AF_INET6 ? sizeof(a->v6) : sizeof(a->v4);
}

int inet_from_text(uint64_t family, const struct inet_address *from, union inet_sockaddr *to)
{
	void *ip = family == AF_INET6 ? (void *)&to->v6.sin6_addr : (void *)&to->v4.sin_addr;

	*to = (union inet_sockaddr){ .any.sa_family = (sa_family_t)family };
	if ((family != AF_INET && family != AF_INET6) || !from->ip || inet_pton((int)family, from->ip, ip) != 1 ||
		from->port > UINT16_MAX)
		return -EBADMSG;
	to->v4.sin_port = htons((in_port_t)from->port);
	if (family == AF_INET6) {
		to->v6.sin6_scope_id = (uint32_t)from->scope;
		to->v6.sin6_flowinfo = htonl((uint32_t)from->flow);
	}
	return 0;
}

int inet_to_text(const union inet_sockaddr *from, struct inet_address *to)
{
	char text[INET6_ADDRSTRLEN] = "";
	bool six = from->any.sa_family == AF_INET6;

	if (!inet_ntop(from->any.sa_family, six ? (const void *)&from->v6.sin6_addr : &from->v4.sin_addr, text,
		    sizeof(text)))
		return -EAFNOSUPPORT;
	to->ip = strdup(text);
	to->port = ntohs(from->v4.sin_port);
	to->scope = six ? from->v6.sin6_scope_id : 0;
	to->flow = six ? ntohl(from->v6.sin6_flowinfo) : 0;
	return to->ip ? 0 : -ENOMEM;
}

struct in6_addr inet_ip(const union inet_sockaddr *a)
{
	struct in6_addr ip = { .s6_addr = { [10] = 0xff, [11] = 0xff } };

	if (a->any.sa_family == AF_INET6)
		return a->v6.sin6_addr;
	memcpy(&ip.s6_addr[12], &a->v4.sin_addr, 4);
	return ip;
}

in_port_t inet_port(const union inet_sockaddr *a)
{
	return ntohs(a->v4.sin_port);
}

bool inet_same(const union inet_sockaddr *a, const union inet_sockaddr *b)
{
	struct in6_addr x = inet_ip(a), y = inet_ip(b);

	return a->v4.sin_port == b->v4.sin_port && !memcmp(&x, &y, sizeof(x));
}

struct inet_text inet_text(const union inet_sockaddr *a)
{
	struct inet_address text = { 0 };
	struct inet_text t = { "" };

	if (!inet_to_text(a, &text))
		snprintf(t.s, sizeof(t.s), a->any.sa_family == AF_INET6 ? "[%s]:%u" : "%s:%u", text.ip,
			(unsigned int)text.port);
	free(text.ip);
	return t;
}

struct inet_text inet_name(const struct inet_state *s)
{
	union inet_sockaddr a;

	return inet_from_text(s->family, &s->local, &a) < 0 ? (struct inet_text){ "socket" } : inet_text(&a);
}

/* A datagram socket that is connected to an address of its own machine gets that very address as its own. */
bool inet_is_local(int pid, const union inet_sockaddr *a)
{
	_cleanup_fd_ int fd = socket_in(pid, a->any.sa_family, SOCK_DGRAM, 0);
	union inet_sockaddr own = { 0 };
	socklen_t size = sizeof(own);
	struct in6_addr x, y = inet_ip(a);

	if (fd < 0 || connect(fd, &a->any, inet_size(a)) < 0 || getsockname(fd, &own.any, &size) < 0)
		return false;
	x = inet_ip(&own);
	return !memcmp(&x, &y, sizeof(x)) || (y.s6_addr[10] == 0xff && y.s6_addr[12] == 127);
}

/* --- checkpoint --- */

static const struct {
	int level, name;
	size_t offset;
	const char *doc;
} blobs[] = {
	{ IPPROTO_IP, IP_OPTIONS, offsetof(struct inet_state, ip_options), "IP_OPTIONS" },
	{ IPPROTO_IPV6, IPV6_HOPOPTS, offsetof(struct inet_state, hopopts), "IPV6_HOPOPTS" },
	{ IPPROTO_IPV6, IPV6_RTHDRDSTOPTS, offsetof(struct inet_state, rthdrdstopts), "IPV6_RTHDRDSTOPTS" },
	{ IPPROTO_IPV6, IPV6_RTHDR, offsetof(struct inet_state, rthdr), "IPV6_RTHDR" },
	{ IPPROTO_IPV6, IPV6_DSTOPTS, offsetof(struct inet_state, dstopts), "IPV6_DSTOPTS" },
};

static int capture_blobs(int fd, struct inet_state *s)
{
	for (size_t i = 0; i < ARRAY_SIZE(blobs); i++) {
		struct blob *b = (void *)((char *)s + blobs[i].offset);
		uint8_t value[2048];
		socklen_t size = sizeof(value);

		if (getsockopt(fd, blobs[i].level, blobs[i].name, value, &size) < 0 || !size)
			continue;
		b->data = malloc(size);
		if (!b->data)
			return -ENOMEM;
		memcpy(b->data, value, size);
		b->size = size;
	}
	return 0;
}

static int capture_address(
	int fd, int (*get)(int, struct sockaddr *restrict, socklen_t *restrict), struct inet_address *to)
{
	union inet_sockaddr a = { 0 };
	socklen_t size = sizeof(a);

	if (get(fd, &a.any, &size) < 0)
		return 0;
	return inet_to_text(&a, to);
}

int inet_capture(struct capture *c, const struct file_look *f, int fd, struct inet_state *s)
{
	const char *what = NULL;
	int type = 0, protocol = 0, err;
	socklen_t size = sizeof(int);
	struct stat st;

	if (fstat(fd, &st) < 0 || getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 ||
		getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) < 0)
		return -errno;
	err = socket_check_netns(c, f, fd);
	if (err)
		return err;
	s->family = (uint64_t)f->description->family;
	s->type = (uint64_t)type;
	s->protocol = (uint64_t)protocol;
	s->mode = st.st_mode;
	s->uid = st.st_uid;
	s->gid = st.st_gid;
	s->order = f->ino;
	err = socket_options_read(fd, &s->options, &what);
	if (err == -ENOTSUP)
		return refused(c->ps, BLAME_FILE(f), "%s", what);
	if (!err)
		err = socket_hidden_capture(c, f, &s->options);
	if (err)
		return err;
	options_read(fd, ip_level.list, ip_level.n, &s->ip);
	options_read(fd, ipv6_level.list, ipv6_level.n, &s->ipv6);
	if (type == SOCK_STREAM) /* those of the segment by which it was connected, without a meaning or a setter */
		s->ip.multicast_ttl = s->ipv6.multicast_hops = s->ipv6.multicast_if = OPTION_ABSENT;
	if (!err)
		err = capture_blobs(fd, s);
	if (!err)
		err = capture_address(fd, getsockname, &s->local);
	if (!err)
		err = capture_address(fd, getpeername, &s->peer);
	if (!err)
		err = inet_hidden_capture(c, f, fd, s);
	return err ? err : inet_memberships_read(tree_living(c->tree), fd, s);
}

/* --- restore --- */

int inet_validate(struct restore *r, const struct inet_state *s)
{
	union inet_sockaddr a;

	if ((s->family != AF_INET && s->family != AF_INET6) || s->type < SOCK_STREAM || s->type > SOCK_RAW ||
		s->protocol > INT32_MAX || (s->local.ip && inet_from_text(s->family, &s->local, &a) < 0) ||
		(s->peer.ip && inet_from_text(s->family, &s->peer, &a) < 0) || s->hidden.group > UINT16_MAX ||
		s->hidden.chooser.size % sizeof(struct sock_filter) ||
		s->hidden.chooser.size / sizeof(struct sock_filter) > BPF_MAXINSNS)
		return failed(r->ps, BLAME(.object = "socket"), -EBADMSG, "the image has an impossible socket");
	return 0;
}

static int cannot(struct restore *r, const struct inet_state *s, const char *what)
{
	struct inet_text name = inet_name(s);

	return failed(r->ps, BLAME(.object = name.s), -errno, "a socket option cannot be set (%s): %m", what);
}

int inet_set_early(struct restore *r, int fd, const struct inet_state *s)
{
	struct inet_text name = inet_name(s);
	const char *what;
	int err = socket_options_write(r->ps, BLAME(.object = name.s), fd, &s->options, OPTION_EARLY);

	if (err)
		return err;
	what = options_write(fd, ip_level.list, ip_level.n, &s->ip, OPTION_EARLY);
	if (!what)
		what = options_write(fd, ipv6_level.list, ipv6_level.n, &s->ipv6, OPTION_EARLY);
	return what ? cannot(r, s, what) : 0;
}

int inet_open(struct restore *r, const struct inet_state *s)
{
	int fd = socket_in(r->root_pid, (int)s->family, (int)s->type, (int)s->protocol), err;

	if (fd < 0)
		return failed(r->ps, BLAME(.object = "socket"), fd, "a socket of that kind cannot be made: %s",
			strerror(-fd));
	err = inet_set_early(r, fd, s);
	if (!err)
		err = inet_flow_lease(r, fd, s);
	if (err)
		close(fd);
	return err ? err : fd;
}

int inet_shut(struct restore *r, int fd, const struct inet_state *s, uint64_t how)
{
	static const int ways[] = { [1] = SHUT_RD, [2] = SHUT_WR, [3] = SHUT_RDWR };
	struct inet_text name = inet_name(s);

	if (!how || shutdown(fd, ways[how & 3]) == 0 || errno == ENOTCONN)
		return 0;
	return failed(r->ps, BLAME(.object = name.s), -errno, "cannot be shut again: %m");
}

static int set_blobs(struct restore *r, int fd, const struct inet_state *s)
{
	for (size_t i = 0; i < ARRAY_SIZE(blobs); i++) {
		const struct blob *b = (const void *)((const char *)s + blobs[i].offset);

		if (b->size && setsockopt(fd, blobs[i].level, blobs[i].name, b->data, (socklen_t)b->size) < 0)
			return cannot(r, s, blobs[i].doc);
	}
	return 0;
}

int inet_settle(struct restore *r, int fd, const struct inet_state *s, const struct file_state *file)
{
	struct inet_text name = inet_name(s);
	const char *what;
	int err = inet_set_early(r, fd, s);

	if (!err)
		err = inet_memberships_write(r->ps, fd, s);
	if (!err)
		err = inet_hidden_write(r->ps, fd, s);
	if (!err)
		err = socket_options_write(r->ps, BLAME(.object = name.s), fd, &s->options, OPTION_LATE);
	if (err)
		return err;
	what = options_write(fd, ip_level.list, ip_level.n, &s->ip, OPTION_LATE);
	if (!what)
		what = options_write(fd, ipv6_level.list, ipv6_level.n, &s->ipv6, OPTION_LATE);
	if (what)
		return cannot(r, s, what);
	err = set_blobs(r, fd, s);
	if (!err)
		err = socket_set_owner(fd, s->mode, s->uid, s->gid);
	return err ? err : MIN(file_settle(fd, file), 0);
}

/* --- the keeper's descriptors --- */

struct inet_made *inet_made(struct restore *r, object_id id)
{
	struct made *made = id ? restore_made(r, id) : NULL;

	return made ? made->data : NULL;
}

int inet_made_open(
	struct restore *r, const struct record *rec, const struct inet_state *s, const struct file_state *file)
{
	struct made *made = restore_made(r, rec->id);
	struct inet_made *m;

	if (!made)
		return -ENOMEM;
	if (made->data)
		return failed(
			r->ps, BLAME(.object = "socket"), -EBADMSG, "the image has a socket with two descriptions");
	m = made->data = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->fd = inet_open(r, s);
	m->rec = rec;
	m->state = s;
	m->file = file;
	return m->fd;
}

/* Those of a group by their place in it. */
static int by_order(const void *a, const void *b)
{
	const struct inet_made *const *x = a, *const *y = b;
	uint64_t s = (*x)->state->hidden.group, t = (*y)->state->hidden.group;

	if (s == t) {
		s = (*x)->state->order;
		t = (*y)->state->order;
	}
	return s < t ? -1 : s > t;
}

int inet_made_list(struct restore *r, const struct record_kind *kind, struct inet_made ***list, size_t *n)
{
	const struct record *recs = image_records(r->image, kind, n);
	_cleanup_free_ struct inet_made **all = calloc(*n + 1, sizeof(struct inet_made *));

	if (!all)
		return -ENOMEM;
	for (size_t i = 0; i < *n; i++) {
		all[i] = inet_made(r, recs[i].id);
		if (!all[i] || all[i]->fd < 0)
			return failed(r->ps, BLAME(.object = kind->name), -EBADMSG,
				"the image has a socket that is not open");
	}
	qsort(all, *n, sizeof(*all), by_order);
	*list = take_ptr(all);
	return 0;
}
