/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * UDP and UDP-Lite: udp(7), udplite(7); net/ipv4/udp.c, tools/testing/selftests/net/udp*. What waits to be read comes once more, as packets from their
 * senders, to a port that the socket has for this moment alone: so nobody else can get them, whoever shares its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"
#include "state/inet_errors.h"
#include "state/inet_packet.h"
#include "state/inet_queue.h"
#include "state/socket_base.h"
#include "state/socket_hidden.h"

#define HEADER 8
#define ROOM   (1 << 28)

struct udp_state {
	struct inet_state inet;
	bool connected;
	uint64_t shutdown; /* 1: receiving, 2: sending */
	struct inet_message *messages;
	size_t n_messages;
	struct udp_level udp;
	struct inet_errors errors;
};

static const struct field udp_fields[] = {
	FIELD_STRUCT(struct udp_state, inet, "inet", inet_fields, "what sockets of every protocol have"),
	FIELD_BOOL(struct udp_state, connected, "connected", "connected"),
	FIELD_UINT(struct udp_state, shutdown, "shutdown", "bit 0: receiving, bit 1: sending"),
	FIELD_LIST(struct udp_state, messages, n_messages, "messages", inet_message_fields, "unread, in their order"),
	FIELD_STRUCT(struct udp_state, udp, "udp", udp_level_fields, "of level SOL_UDP or SOL_UDPLITE"),
	FIELD_STRUCT(struct udp_state, errors, "errors", inet_errors_fields, "errors not told yet"),
	FIELD_END,
};

static bool udp_matches(const struct file_look *f)
{
	return f->description && (f->description->family == AF_INET || f->description->family == AF_INET6) &&
	       (f->description->protocol == IPPROTO_UDP || f->description->protocol == IPPROTO_UDPLITE) &&
	       f->description->type == SOCK_DGRAM && !(f->flags & O_PATH);
}

static const struct option_level *level_of(const struct inet_state *s)
{
	return s->protocol == IPPROTO_UDPLITE ? &udplite_level : &udp_level;
}

/* --- checkpoint --- */

static int check_unsent(struct capture *c, const struct file_look *f, int fd)
{
	int unsent = 0;

	if (ioctl(fd, SIOCOUTQ, &unsent) == 0 && unsent)
		return refused(c->ps, BLAME_FILE(f, .passing = true, .remedy = "let the program send it"),
			"a datagram that is not complete yet (UDP_CORK, MSG_MORE) cannot be read");
	return 0;
}

static bool tells_port(const struct udp_state *s)
{
	return s->inet.ip.recvorigdstaddr > 0 || s->inet.ipv6.recvorigdstaddr > 0;
}

/* Has anybody else this port, too? */
static bool is_shared(int pid, const struct inet_state *s)
{
	return inet_count_udp(pid, s->protocol == IPPROTO_UDPLITE, s->local.port, NULL, NULL) != 1;
}

static int capture_queue(struct capture *c, const struct file_look *f, int fd, struct udp_state *s)
{
	struct inet_queue q = { 0 };
	bool tells = s->inet.ip.pktinfo > 0 || s->inet.ipv6.recvpktinfo > 0 || s->inet.ipv6.pktinfo_2292 > 0;
	int err = inet_queue_read(fd, &q), hidden = 0;

	if (!err)
		hidden = inet_queue_add_empty(c, (int)s->inet.family, socket_hidden_of(c, f), &q);
	s->messages = q.list;
	s->n_messages = q.n;
	if (err)
		return failed(c->ps, BLAME_FILE(f), err, "its queue cannot be read: %s", strerror(-err));
	if (hidden)
		return refused(c->ps, BLAME_FILE(f, .passing = true, .remedy = "let the program read it"),
			"an empty datagram in its queue, which was looked at before (MSG_PEEK), cannot be read");
	if (q.segments)
		changed(c->ps, BLAME_FILE(f), "unread datagrams that wait as one (UDP_GRO) will come one by one");
	if (q.n && tells_port(s) &&
		(q.ports || q.port != s->inet.local.port || is_shared(tree_living(c->tree), &s->inet)))
		return refused(c->ps, BLAME_FILE(f, .passing = true, .remedy = "let the program read them"),
			"unread datagrams whose original port is to be told (IP_RECVORIGDSTADDR), and is not this "
			"socket's alone");
	if (q.elsewhere && tells)
		changed(c->ps, BLAME_FILE(f),
			"unread datagrams that came from elsewhere will be told to have come by the loopback interface "
			"(IP_PKTINFO)");
	return 0;
}

static int udp_capture(struct capture *c, const struct file_look *f, void *state)
{
	const struct socket_hidden *h = socket_hidden_of(c, f);
	struct udp_state *s = state;
	int fd = file_dup(c, f), err;
	struct pollfd p = { .fd = fd, .events = POLLRDHUP }, in = { .fd = fd, .events = POLLIN };

	if (fd < 0)
		return fd;
	err = inet_capture(c, f, fd, &s->inet);
	if (!err)
		err = check_unsent(c, f, fd);
	if (err)
		return err;
	options_read(fd, level_of(&s->inet)->list, level_of(&s->inet)->n, &s->udp);
	s->connected = s->inet.peer.ip;
	if (h->known)
		s->shutdown = h->shutdown;
	else if (poll(&p, 1, 0) == 1)
		s->shutdown = p.revents & POLLHUP ? 3 : p.revents & POLLRDHUP ? 1 : 0;
	err = inet_errors_capture(c, f, fd, &s->inet, &s->errors);
	if (err > 0 && s->errors.error && poll(&in, 1, 0) == 1 && in.revents & POLLIN)
		return refused(c->ps, BLAME_FILE(f, .passing = true, .remedy = "let the program see it"),
			"an error (SO_ERROR) that is to be told before what is in its queue");
	return err >= 0 && c->writer && !image_is_trial(c->writer) ? capture_queue(c, f, fd, s) : MIN(err, 0);
}

/* --- restore --- */

static int udp_validate(struct restore *r, const struct record *rec)
{
	const struct udp_state *s = rec->state;

	if (s->inet.type != SOCK_DGRAM || (s->inet.protocol != IPPROTO_UDP && s->inet.protocol != IPPROTO_UDPLITE) ||
		(s->connected && !s->inet.peer.ip) || s->shutdown > 3)
		return failed(r->ps, BLAME(.object = "udp"), -EBADMSG, "the image has an impossible UDP socket");
	return MIN(inet_errors_validate(r, &s->inet, &s->errors), inet_validate(r, &s->inet));
}

static int udp_open(struct restore *r, const struct record *rec, const struct file_state *file)
{
	const struct udp_state *s = rec->state;

	return inet_made_open(r, rec, &s->inet, file);
}

static bool is_multicast(const union inet_sockaddr *a)
{
	struct in6_addr ip = inet_ip(a);

	return IN6_IS_ADDR_V4MAPPED(&ip) ? ip.s6_addr[12] >= 224 : IN6_IS_ADDR_MULTICAST(&ip);
}

/* To a group it would go by another way; nobody is told, but by IP_PKTINFO (see capture_queue). */
static union inet_sockaddr instead_of_group(const union inet_sockaddr *a)
{
	union inet_sockaddr own = { .any.sa_family = a->any.sa_family };

	if (a->any.sa_family == AF_INET6)
		own.v6.sin6_addr = in6addr_loopback;
	else
		own.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return own;
}

static int inject(struct restore *r, int fd, const struct udp_state *s, in_port_t port, const struct inet_message *m)
{
	struct inet_packet p = { .protocol = (uint8_t)s->inet.protocol,
		.ttl = (uint8_t)m->ttl,
		.tos = (uint8_t)m->tos,
		.size = m->data.size + HEADER,
		.checksum = 6 };
	_cleanup_free_ uint8_t *data = p.data = malloc(p.size);
	const struct inet_address to = { .ip = m->to };
	_cleanup_fd_ int raw = -1;
	const unsigned int before = socket_queued(fd);
	int err;

	if (!data)
		return -ENOMEM;
	if (inet_from_text(s->inet.family, &m->from, &p.from) < 0 ||
		inet_from_text(m->to && strchr(m->to, ':') ? AF_INET6 : AF_INET, &to, &p.to) < 0 || p.size > UINT16_MAX)
		return -EBADMSG;
	p.to = inet_unmapped(&p.to);
	if (is_multicast(&p.to))
		p.to = instead_of_group(&p.to);
	raw = inet_packet_socket(r->root_pid, &p.to);
	if (raw < 0)
		return raw;
	data[0] = (uint8_t)(m->from.port >> 8);
	data[1] = (uint8_t)m->from.port;
	data[2] = (uint8_t)(port >> 8);
	data[3] = (uint8_t)port;
	data[4] = s->inet.protocol == IPPROTO_UDPLITE ? 0 : (uint8_t)(p.size >> 8);
	data[5] = s->inet.protocol == IPPROTO_UDPLITE ? 0 : (uint8_t)p.size;
	if (m->data.size)
		memcpy(data + HEADER, m->data.data, m->data.size);
	err = inet_packet_send(raw, &p);
	return err ? err : socket_await(fd, before);
}

/* A port that the kernel gives is given up by a disconnect. Where the port is to be told, it has its own. */
static int fill_queue(struct restore *r, int fd, const struct udp_state *s)
{
	const bool own = tells_port(s);
	union inet_sockaddr a = { .any.sa_family = (sa_family_t)s->inet.family };
	const struct sockaddr nobody = { .sa_family = AF_UNSPEC };
	socklen_t size = inet_size(&a);
	int room = ROOM, err = 0;

	if (!s->n_messages)
		return 0;
	if (own && is_shared(r->root_pid, &s->inet))
		return -EADDRINUSE;
	if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "", 0) < 0 ||
		setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) < 0 ||
		(!own && bind(fd, &a.any, size) < 0) || getsockname(fd, &a.any, &size) < 0)
		return -errno;
	for (size_t i = 0; i < s->n_messages && !err; i++)
		err = inject(r, fd, s, inet_port(&a), &s->messages[i]);
	return err || own ? err : connect(fd, &nobody, sizeof(nobody)) < 0 ? -errno : 0;
}

static int fill(struct restore *r, int fd, const struct udp_state *s)
{
	struct inet_text name = inet_name(&s->inet);
	int err = fill_queue(r, fd, s);

	return err ? failed(r->ps, BLAME(.object = name.s), err, "its unread datagrams cannot be put back: %s",
			     strerror(-err))
		   : 0;
}

static int connect_again(struct restore *r, int fd, const struct udp_state *s)
{
	struct inet_text name = inet_name(&s->inet);
	union inet_sockaddr peer;

	if (s->connected && (inet_from_text(s->inet.family, &s->inet.peer, &peer) < 0 ||
				    connect(fd, &peer.any, inet_size(&peer)) < 0))
		return failed(r->ps, BLAME(.object = name.s), -errno, "cannot be connected again: %m");
	return inet_shut(r, fd, &s->inet, s->shutdown);
}

static int make(struct restore *r, struct inet_made *m)
{
	const struct udp_state *s = m->rec->state;
	struct inet_text name = inet_name(&s->inet);
	const char *what;
	int err = tells_port(s) ? 0 : fill(r, m->fd, s);

	if (!err)
		err = inet_set_early(r, m->fd, &s->inet);
	if (!err)
		err = inet_bind(r, m->fd, &s->inet);
	if (!err && tells_port(s))
		err = fill(r, m->fd, s);
	if (!err)
		err = connect_again(r, m->fd, s);
	if (err)
		return err;
	what = options_write(m->fd, level_of(&s->inet)->list, level_of(&s->inet)->n, &s->udp, OPTION_LATE);
	if (what)
		return failed(r->ps, BLAME(.object = name.s), -errno, "a socket option cannot be set (%s): %m", what);
	err = inet_errors_make(r, m->fd, &s->inet, &s->errors);
	if (!err)
		err = inet_settle(r, m->fd, &s->inet, m->file);
	return err ? err : inet_errors_queue(r, m->fd, &s->errors);
}

extern const struct component component_udp;

static int udp_round(struct restore *r, struct callers *callers, unsigned int n)
{
	_cleanup_free_ struct inet_made **list = NULL;
	size_t all;
	int err;

	if (n == ROUND_ABANDON)
		return 0;
	err = inet_made_list(r, &component_udp.kind, &list, &all);
	for (size_t i = 0; i < all && !err; i++)
		err = make(r, list[i]);
	return err;
}

const struct component component_udp = {
	.kind = { .name = "udp",
		.version = 4,
		.size = sizeof(struct udp_state),
		.fields = udp_fields,
		.doc = "a socket of UDP or UDP-Lite, with what is in its queue",
		.sources = "udp(7), udplite(7), ip(7), ipv6(7); net/ipv4/udp.c, net/ipv6/udp.c; "
			   "tools/testing/selftests/net" },
	.scope = SCOPE_BACKING,
	.matches = udp_matches,
	.capture_file = udp_capture,
	.validate = udp_validate,
	.open = udp_open,
	.round = udp_round,
};
