/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/inet_errors.h"

#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "state/inet_packet.h"
#include "state/socket_view.h"
#include "state/sockets.h"

#define ICMP_HEADER   8
#define PACKET_MAX    4096
#define UDP_HEADER    8
#define QUOTED	      (sizeof(struct ip6_hdr) + UDP_HEADER)
#define WAIT_MS	      1000
#define SMALLEST_TEXT (sizeof(struct iphdr) + ICMP_HEADER)

static const struct field packet_fields[] = {
	FIELD_BLOB(struct inet_error_packet, packet, "packet", "an ICMP message, with the header of IP"),
	FIELD_END,
};

const struct field inet_errors_fields[] = {
	FIELD_UINT(struct inet_errors, error, "error", "errno that SO_ERROR is to tell; 0: none"),
	FIELD_LIST(struct inet_errors, queue, n_queue, "queue", packet_fields, "the error queue, in its order"),
	FIELD_END,
};

/* net/ipv4/icmp.c, icmp_err_convert[], and net/ipv6/icmp.c, icmpv6_err_convert(). */
static const struct {
	int error;
	uint8_t type4, code4, type6, code6; /* a type of 0: no message */
	bool softly;			    /* of datagrams only who has asked for more is told */
} messages[] = {
	{ ENETUNREACH, ICMP_DEST_UNREACH, ICMP_NET_UNREACH, ICMP6_DST_UNREACH, ICMP6_DST_UNREACH_NOROUTE, true },
	{ EHOSTUNREACH, ICMP_DEST_UNREACH, ICMP_HOST_UNREACH, ICMP6_DST_UNREACH, ICMP6_DST_UNREACH_ADDR, true },
	{ EOPNOTSUPP, ICMP_DEST_UNREACH, ICMP_SR_FAILED, 0, 0, true },
	{ ECONNREFUSED, ICMP_DEST_UNREACH, ICMP_PORT_UNREACH, ICMP6_DST_UNREACH, ICMP6_DST_UNREACH_NOPORT },
	{ ENOPROTOOPT, ICMP_DEST_UNREACH, ICMP_PROT_UNREACH, 0, 0 },
	{ ENETUNREACH, ICMP_DEST_UNREACH, ICMP_NET_UNKNOWN, 0, 0 },
	{ EHOSTDOWN, ICMP_DEST_UNREACH, ICMP_HOST_UNKNOWN, 0, 0 },
	{ ENONET, ICMP_DEST_UNREACH, ICMP_HOST_ISOLATED, 0, 0 },
	{ EHOSTUNREACH, ICMP_DEST_UNREACH, ICMP_HOST_ANO, 0, 0 },
	{ EACCES, 0, 0, ICMP6_DST_UNREACH, ICMP6_DST_UNREACH_ADMIN },
	{ EPROTO, ICMP_PARAMETERPROB, 0, ICMP6_PARAM_PROB, 0 },
};

bool inet_errors_message(uint64_t error, bool six, bool softly, uint8_t *type, uint8_t *code)
{
	for (size_t i = 0; i < ARRAY_SIZE(messages); i++)
		if ((uint64_t)messages[i].error == error && (softly || !messages[i].softly)) {
			*type = six ? messages[i].type6 : messages[i].type4;
			*code = six ? messages[i].code6 : messages[i].code4;
			return *type;
		}
	return false;
}

static bool message_of(uint64_t error, bool six, uint8_t *type, uint8_t *code)
{
	return inet_errors_message(error, six, false, type, code);
}

static bool is_six(const struct inet_address *a)
{
	union inet_sockaddr at;

	if (!a->ip || inet_from_text(strchr(a->ip, ':') ? AF_INET6 : AF_INET, a, &at) < 0)
		return false;
	return inet_unmapped(&at).any.sa_family == AF_INET6;
}

/* --- checkpoint --- */

static int refuse(struct capture *c, const struct file_look *f, const char *why)
{
	return refused(c->ps, BLAME_FILE(f, .passing = true, .remedy = "let the program see it"),
		"an error (SO_ERROR, or in its error queue) that was not told yet%s", why);
}

/* *last: the error that its last entry told of when it came. */
static int read_queue(struct capture *c, const struct file_look *f, struct socket_view *v, uint64_t sock,
	struct inet_errors *e, uint64_t *last)
{
	struct socket_buffers b = { 0 };
	int err = socket_view_queue(v, sock, QUEUE_ERRORS, true, &b);

	e->queue = err ? NULL : calloc(b.n + 1, sizeof(*e->queue));
	for (size_t i = 0; i < b.n && !err && e->queue; i++) {
		struct sock_extended_err ee = socket_view_error_of(v, &b.list[i]);

		if ((ee.ee_origin != SO_EE_ORIGIN_ICMP && ee.ee_origin != SO_EE_ORIGIN_ICMP6) ||
			b.list[i].size > PACKET_MAX || b.list[i].size < SMALLEST_TEXT)
			err = -ENOTSUP;
		e->queue[e->n_queue++].packet = (struct blob){ .data = b.list[i].data, .size = b.list[i].size };
		b.list[i].data = NULL;
		*last = ee.ee_errno;
	}
	socket_buffers_free(&b);
	return !err && !e->queue ? -ENOMEM : err;
}

static int judge(struct capture *c, const struct file_look *f, const struct inet_state *s, const struct inet_errors *e,
	uint64_t last)
{
	uint8_t type, code;

	if (e->n_queue)
		return e->error && e->error != last ? refuse(c, f, ", and is not that of its error queue") : 1;
	if (!e->error)
		return 0;
	if (!s->peer.ip || !message_of(e->error, is_six(&s->peer), &type, &code))
		return refuse(c, f, ", and which no message from the net makes");
	return 1;
}

int inet_errors_capture(
	struct capture *c, const struct file_look *f, int fd, const struct inet_state *s, struct inet_errors *e)
{
	struct pollfd p = { .fd = fd };
	struct socket_view *v = NULL;
	struct socket_errors now = { 0 };
	uint64_t sock = 0, last = 0;
	int err;

	if (poll(&p, 1, 0) != 1 || !(p.revents & POLLERR))
		return 0;
	err = sockets_view(c, &v);
	if (!err)
		err = socket_view_find(v, fd, &sock);
	if (!err)
		err = socket_view_errors(v, sock, &now);
	if (!err && now.queued)
		err = read_queue(c, f, v, sock, e, &last);
	if (err == -ENOTSUP && v)
		return refuse(c, f, ", and is none of ICMP");
	if (err)
		return refuse(c, f,
			", and that this kernel does not let be read (CAP_BPF, CAP_PERFMON, CONFIG_DEBUG_INFO_BTF)");
	e->error = now.now;
	return judge(c, f, s, e, last);
}

/* --- restore --- */

int inet_errors_validate(struct restore *r, const struct inet_state *s, const struct inet_errors *e)
{
	uint8_t type, code;
	bool ok = e->n_queue || !e->error || message_of(e->error, is_six(&s->peer), &type, &code);

	for (size_t i = 0; i < e->n_queue; i++)
		ok &= e->queue[i].packet.size <= PACKET_MAX && e->queue[i].packet.size >= SMALLEST_TEXT;
	return ok ? 0
		  : failed(r->ps, BLAME(.object = "socket"), -EBADMSG, "the image has an impossible error of a socket");
}

static int send_and_wait(struct restore *r, int fd, const struct inet_packet *p)
{
	_cleanup_fd_ int raw = inet_packet_socket(r->root_pid, &p->to);
	struct pollfd ready = { .fd = fd };
	int err = raw < 0 ? raw : inet_packet_send(raw, p);

	if (err)
		return err;
	for (int ms = 0; ms < WAIT_MS && !(ready.revents & POLLERR); ms++)
		poll(&ready, 1, ms ? 1 : 0);
	return ready.revents & POLLERR ? 0 : -ETIMEDOUT;
}

/* The head of the datagram that could not be delivered, as the message quotes it. */
static size_t quote(
	const struct inet_state *s, const union inet_sockaddr *from, const union inet_sockaddr *to, uint8_t *at)
{
	bool six = to->any.sa_family == AF_INET6;
	struct ip6_hdr h6 = { .ip6_flow = htonl(6u << 28),
		.ip6_plen = htons(UDP_HEADER),
		.ip6_nxt = (uint8_t)s->protocol,
		.ip6_hlim = 64,
		.ip6_src = from->v6.sin6_addr,
		.ip6_dst = to->v6.sin6_addr };
	struct iphdr h4 = { .version = 4,
		.ihl = 5,
		.tot_len = htons(sizeof(h4) + UDP_HEADER),
		.ttl = 64,
		.protocol = (uint8_t)s->protocol,
		.saddr = from->v4.sin_addr.s_addr,
		.daddr = to->v4.sin_addr.s_addr };
	const uint16_t ports[] = { from->v4.sin_port, to->v4.sin_port, htons(UDP_HEADER), 0 };
	size_t size = six ? sizeof(h6) : sizeof(h4);

	memcpy(at, six ? (void *)&h6 : &h4, size);
	memcpy(at + size, ports, sizeof(ports));
	return size + sizeof(ports);
}

int inet_errors_make(struct restore *r, int fd, const struct inet_state *s, const struct inet_errors *e)
{
	uint8_t data[ICMP_HEADER + QUOTED] = { 0 };
	struct inet_packet p = { .data = data, .ttl = 64, .checksum = 2 };
	union inet_sockaddr local, peer;
	struct inet_text name = inet_name(s);
	socklen_t size = sizeof(local);
	int err = 0;

	if (!e->error || e->n_queue)
		return 0;
	if (getsockname(fd, &local.any, &size) < 0 || inet_from_text(s->family, &s->peer, &peer) < 0)
		return -EBADMSG;
	p.to = inet_unmapped(&local);
	p.from = inet_unmapped(&peer);
	p.protocol = p.to.any.sa_family == AF_INET6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
	if (!message_of(e->error, p.protocol == IPPROTO_ICMPV6, &data[0], &data[1]))
		err = -EBADMSG;
	p.size = ICMP_HEADER + quote(s, &p.to, &p.from, data + ICMP_HEADER);
	if (!err)
		err = send_and_wait(r, fd, &p);
	return err ? failed(r->ps, BLAME(.object = name.s), err, "its error cannot be made again: %s", strerror(-err))
		   : 0;
}

/* The message as it came; IP options are not the socket's business. */
static int replay(struct restore *r, int fd, const struct blob *b)
{
	const struct iphdr *h4 = (const void *)b->data;
	const struct ip6_hdr *h6 = (const void *)b->data;
	uint8_t data[PACKET_MAX];
	struct inet_packet p = { .data = data, .checksum = 2 };
	size_t header = h4->version == 6 ? sizeof(*h6) : h4->ihl * 4ul;

	if (b->size < header + ICMP_HEADER || (h4->version != 6 && h4->version != 4))
		return -EBADMSG;
	if (h4->version == 6) {
		p.from.v6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_addr = h6->ip6_src };
		p.to.v6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_addr = h6->ip6_dst };
		p.ttl = h6->ip6_hlim;
		p.tos = (uint8_t)(ntohl(h6->ip6_flow) >> 20);
		p.protocol = h6->ip6_nxt;
	} else {
		p.from.v4 = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = h4->saddr };
		p.to.v4 = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = h4->daddr };
		p.ttl = h4->ttl;
		p.tos = h4->tos;
		p.protocol = h4->protocol;
	}
	p.size = b->size - header;
	memcpy(data, b->data + header, p.size);
	return send_and_wait(r, fd, &p);
}

int inet_errors_queue(struct restore *r, int fd, const struct inet_errors *e)
{
	int told = 0, err = 0;
	socklen_t size = sizeof(told);

	for (size_t i = 0; i < e->n_queue && !err; i++)
		err = replay(r, fd, &e->queue[i].packet);
	if (!err && e->n_queue && !e->error)
		getsockopt(fd, SOL_SOCKET, SO_ERROR, &told, &size); /* it has been told */
	return err ? failed(r->ps, BLAME(.object = "socket"), err, "its error queue cannot be made again: %s",
			     strerror(-err))
		   : 0;
}
