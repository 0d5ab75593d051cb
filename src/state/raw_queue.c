/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/raw_queue.h"

#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "kernel/peek.h"
#include "state/inet_packet.h"
#include "state/raw_udp.h"
#include "state/sock_diag.h"
#include "state/socket_base.h"
#include "state/socket_view.h"
#include "state/sockets.h"

#define ROOM		 (1 << 28)
#define LARGEST		 UINT16_MAX
#define LOOPBACK	 1  /* index of the first interface of every network namespace */
#define PROBE_REQUEST	 42 /* RFC 8335: ICMP_EXT_ECHO, */
#define PROBE_REPLY	 43
#define PROBE_REQUEST_V6 160

static const struct field packet_fields[] = {
	FIELD_BLOB(struct raw_packet, data, "data", "the packet, from the header of IP on"),
	FIELD_UINT(struct raw_packet, interface, "interface", "index of the interface that is told; 0: none is"),
	FIELD_END,
};

const struct field raw_queue_fields[] = {
	FIELD_LIST(struct raw_queue, list, n, "list", packet_fields, "in their order"),
	FIELD_END,
};

/* --- which packets would be the same once more --- */

static uint16_t sum(const uint8_t *p, size_t size)
{
	uint32_t s = 0;

	for (size_t i = 0; i + 1 < size; i += 2)
		s += (uint32_t)(p[i] << 8 | p[i + 1]);
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return (uint16_t)s;
}

/* The kernel changes the header that it is given where it finds nothing in it (raw_send_hdrinc), and acts on options. */
static const char *check_header4(const struct blob *b, const uint8_t **payload)
{
	const struct iphdr *h = (const void *)b->data;
	size_t header = b->size < sizeof(*h) ? SIZE_MAX : h->ihl * 4ul;

	if (header > b->size || header < sizeof(*h) || h->version != 4)
		return "that are cut";
	*payload = b->data + header;
	if (header > sizeof(*h) && b->data[sizeof(*h)] != IPOPT_RA)
		return "with options of IP";
	if (ntohs(h->tot_len) != b->size || !h->saddr || sum(b->data, header) != 0xffff ||
		(!h->id && !(h->frag_off & htons(IP_DF))))
		return "with a header that the kernel would change";
	return NULL;
}

static const char *check_header6(const struct inet_state *s, const struct raw_packet *p, const uint8_t **payload)
{
	const struct ip6_hdr *h = (const void *)p->data.data;

	if (p->data.size < sizeof(*h) || h->ip6_vfc >> 4 != 6 || ntohs(h->ip6_plen) != p->data.size - sizeof(*h))
		return "that are cut";
	*payload = p->data.data + sizeof(*h);
	if (h->ip6_nxt != s->protocol)
		return "with headers of extension";
	return IN6_IS_ADDR_LINKLOCAL(&h->ip6_src) && p->interface != LOOPBACK
		       ? "from an address that is told with the interface by which they came"
		       : NULL;
}

/*
 * What the kernel would do about it is what it did when the packet came. By way of a group (see route4) it only gives datagrams of UDP to those
 * who wait for them.
 */
static const char *check_reaction4(const struct inet_state *s, uint8_t type)
{
	bool again = (s->protocol == IPPROTO_ICMP && (type == PROBE_REQUEST || type == PROBE_REPLY)) ||
		     (s->type == SOCK_DGRAM && type != ICMP_ECHOREPLY);

	return again ? "on which the kernel would act again" : NULL;
}

static bool is_kernels_own6(uint64_t protocol)
{
	static const uint8_t own[] = { IPPROTO_TCP, IPPROTO_DCCP, IPPROTO_SCTP, IPPROTO_IPIP, IPPROTO_IPV6, IPPROTO_GRE,
		IPPROTO_ESP, IPPROTO_AH, IPPROTO_COMP, IPPROTO_PIM, IPPROTO_MH, 115 /* L2TP */ };

	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		if (own[i] == protocol)
			return true;
	return false;
}

/* There is no such way for IPv6. An answer to this very machine is heard by nobody. */
static const char *check_reaction6(const struct inet_state *s, const struct ip6_hdr *h, uint8_t type)
{
	bool again = is_kernels_own6(s->protocol);

	if (s->type == SOCK_DGRAM)
		again = type != ICMP6_ECHO_REPLY;
	else if (type == ICMP6_ECHO_REQUEST && s->protocol == IPPROTO_ICMPV6)
		again = !IN6_IS_ADDR_LOOPBACK(&h->ip6_src);
	else if (s->protocol == IPPROTO_ICMPV6)
		again = type < ICMP6_ECHO_REQUEST || type == PROBE_REQUEST_V6 ||
			(type > ICMP6_ECHO_REPLY && type <= 153 /* of neighbours, routers, groups */);
	return again ? "on which the kernel would act again" : NULL;
}

static bool is_udp(const struct inet_state *s)
{
	return s->protocol == IPPROTO_UDP || s->protocol == IPPROTO_UDPLITE;
}

/* NULL: sent once more it is the same, and nothing else comes of it. *payload: what is behind the header of IP. */
static const char *check(const struct inet_state *s, const struct raw_packet *p, const uint8_t **payload)
{
	const char *why;

	if (p->data.size > LARGEST)
		return "that are too large";
	why = s->family == AF_INET6 ? check_header6(s, p, payload) : check_header4(&p->data, payload);
	if (why)
		return why;
	if (is_udp(s))
		return raw_udp_check(*payload, (size_t)(p->data.data + p->data.size - *payload));
	if (*payload == p->data.data + p->data.size)
		return s->protocol == IPPROTO_ICMP || s->protocol == IPPROTO_ICMPV6 ? "that are cut" : NULL;
	return s->family == AF_INET6 ? check_reaction6(s, (const void *)p->data.data, **payload)
				     : check_reaction4(s, **payload);
}

/* --- checkpoint --- */

static int refuse(struct capture *c, const struct file_look *f, const char *which)
{
	return refused(c->ps, BLAME_FILE(f, .passing = true, .remedy = "let the program read them"),
		"packets that have come and were not read, %s", which);
}

/* IPv4: where IP_PKTINFO was asked for when it came. */
static int read_interface(struct capture *c, const struct inet_state *s, const struct socket_buffer *b, uint64_t *index)
{
	uint64_t offset = 0;
	uint32_t told = 0;
	int err = s->family == AF_INET6 ? kernel_peek_address(c->kernel, 0, "inet6_skb_parm", "iif", &offset) : 0;

	if (!err)
		memcpy(&told, b->cb + offset, sizeof(told));
	*index = told;
	return err;
}

static int read_all(struct capture *c, int fd, const struct inet_state *s, struct raw_queue *q)
{
	struct socket_buffers b = { 0 };
	int err = sockets_view_received(c, fd, true, &b);

	q->list = err ? NULL : calloc(b.n + 1, sizeof(*q->list));
	for (size_t i = 0; i < b.n && !err && q->list; i++) {
		struct raw_packet *p = &q->list[q->n++];

		p->data = (struct blob){ .data = b.list[i].data, .size = b.list[i].size };
		b.list[i].data = NULL;
		err = read_interface(c, s, &b.list[i], &p->interface);
	}
	socket_buffers_free(&b);
	return !err && !q->list ? -ENOMEM : err;
}

int raw_queue_capture(
	struct capture *c, const struct file_look *f, int fd, const struct inet_state *s, struct raw_queue *q)
{
	bool elsewhere = false, tells = s->ip.pktinfo > 0 || s->ipv6.recvpktinfo > 0 || s->ipv6.pktinfo_2292 > 0;
	const uint8_t *payload = NULL;
	const char *why = NULL;
	int err = read_all(c, fd, s, q);

	if (err == -ENOMEM)
		return err;
	if (err)
		return refuse(c, f,
			"and that this kernel does not let be read (CAP_BPF, CAP_PERFMON, CONFIG_DEBUG_INFO_BTF)");
	if (q->n && (s->options.rcvmark > 0 || s->options.rcvpriority > 0))
		why = "whose mark or priority is to be told (SO_RCVMARK, SO_RCVPRIORITY)";
	for (size_t i = 0; i < q->n && !why; i++) {
		why = check(s, &q->list[i], &payload);
		if (!why && is_udp(s) && raw_udp_has_outsider(c, s, payload))
			why = "of UDP, to a port that somebody outside of the tree has, who would get them again";
		elsewhere |= q->list[i].interface && q->list[i].interface != LOOPBACK;
	}
	if (why)
		return refuse(c, f, why);
	if (elsewhere && tells)
		changed(c->ps, BLAME_FILE(f),
			"unread packets that came from elsewhere will be told to have come by the loopback interface "
			"(IP_PKTINFO)");
	return 0;
}

/* --- restore --- */

int raw_queue_validate(struct restore *r, const struct inet_state *s, const struct raw_queue *q)
{
	const uint8_t *payload;

	for (size_t i = 0; i < q->n; i++)
		if (check(s, &q->list[i], &payload))
			return failed(r->ps, BLAME(.object = "raw"), -EBADMSG, "the image has an impossible packet");
	return 0;
}

/*
 * Where it goes is not what its header says. A packet to a group is for the raw sockets alone: TCP and ICMP do not answer it, nor act on it
 * (net/ipv4/tcp_ipv4.c, tcp_v4_rcv(); net/ipv4/icmp.c, icmp_rcv()). What answers a ping does not come so.
 */
static int route4(const struct inet_state *s, int fd, union inet_sockaddr *to)
{
	const struct ip_mreqn by = { .imr_ifindex = LOOPBACK };

	to->v4 = (struct sockaddr_in){ .sin_family = AF_INET };
	to->v4.sin_addr.s_addr = htonl(s->type == SOCK_DGRAM ? INADDR_LOOPBACK : INADDR_ALLHOSTS_GROUP);
	return setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &by, sizeof(by)) < 0 ? -errno : 0;
}

static int open_sender(struct restore *r, const struct inet_state *s, union inet_sockaddr *to)
{
	const uint32_t mark = socket_mark();
	int err = 0, fd;

	*to = (union inet_sockaddr){ .any.sa_family = (sa_family_t)s->family };
	to->v6.sin6_addr = in6addr_loopback;
	fd = inet_packet_socket(r->root_pid, to);
	if (fd < 0)
		return fd;
	if (setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) < 0)
		err = -errno;
	if (!err && s->family == AF_INET)
		err = route4(s, fd, to);
	if (err)
		close(fd);
	return err ? err : fd;
}

/* Whether the interface is to be told is noted when it comes. */
static int send_one(int fd, int sender, const union inet_sockaddr *to, const struct raw_packet *p)
{
	const unsigned int before = socket_queued(fd);
	const int told = !!p->interface;

	if (to->any.sa_family == AF_INET && setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &told, sizeof(told)) < 0)
		return -errno;
	if (sendto(sender, p->data.data, p->data.size, MSG_DONTWAIT, &to->any, inet_size(to)) < 0)
		return -errno;
	return socket_await(fd, before);
}

static int send_into_sink(struct restore *r, const struct inet_state *s, int fd, int sender,
	const union inet_sockaddr *to, const struct raw_packet *p)
{
	const uint8_t *payload = NULL;
	_cleanup_fd_ int sink = -1;

	if (is_udp(s) && !check(s, p, &payload)) {
		sink = raw_udp_sink(r, s, payload);
		if (sink < 0)
			return sink;
	}
	return send_one(fd, sender, to, p);
}

int raw_queue_fill(struct restore *r, int fd, const struct inet_state *s, const struct raw_queue *q)
{
	struct inet_text name = inet_name(s);
	_cleanup_fd_ int sender = -1;
	union inet_sockaddr to;
	int room = ROOM, err = 0;

	if (!q->n)
		return 0;
	sender = open_sender(r, s, &to);
	if (sender < 0)
		err = sender;
	else if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "", 0) < 0 ||
		 setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) < 0)
		err = -errno;
	if (!err)
		err = socket_hear_marked(fd);
	for (size_t i = 0; i < q->n && !err; i++)
		err = send_into_sink(r, s, fd, sender, &to, &q->list[i]);
	if (!err)
		err = socket_close_ears(fd);
	if (err == -EADDRINUSE)
		return failed(r->ps, BLAME(.object = name.s, .remedy = "end the program that has it"), err,
			"a datagram of UDP that is to be put back would come to somebody who has its port, too");
	return err ? failed(r->ps, BLAME(.object = name.s), err, "its unread packets cannot be put back: %s",
			     strerror(-err))
		   : 0;
}
