/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An error that SO_ERROR tells and poll() does not (sk_err_soft): a connection was told from the net that its peer cannot be reached, and goes on trying. It is
 * told again, by a message of ICMP: net/ipv4/tcp_ipv4.c, tcp_v4_err(), and net/ipv6/tcp_ipv6.c, tcp_v6_err().
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"
#include "state/inet_errors.h"
#include "state/inet_packet.h"
#include "state/tcp_join.h"

#define WAIT_MS 1000

bool tcp_soft_error_is_carried(const struct tcp_state *s)
{
	union inet_sockaddr peer;
	uint8_t type, code;

	if (s->relation != RELATION_CONNECTED && s->relation != RELATION_WAITS && s->relation != RELATION_PEER_GONE)
		return false;
	return s->inet.peer.ip && inet_from_text(s->inet.family, &s->inet.peer, &peer) == 0 &&
	       inet_errors_message(s->soft_error, inet_unmapped(&peer).any.sa_family == AF_INET6, true, &type, &code);
}

/* --- restore --- */

/* Of the first byte that is not acknowledged: a message about another is not believed. */
static int read_number(int fd, uint32_t *number)
{
	int on = TCP_REPAIR_ON, off = TCP_REPAIR_OFF_NO_WP, queue = TCP_SEND_QUEUE, none = TCP_NO_QUEUE, unacked = 0,
	    err = 0;
	socklen_t size = sizeof(*number);

	if (setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on)) < 0)
		return -errno;
	if (setsockopt(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, &queue, sizeof(queue)) < 0 ||
		getsockopt(fd, IPPROTO_TCP, TCP_QUEUE_SEQ, number, &size) < 0 || ioctl(fd, SIOCOUTQ, &unacked) < 0)
		err = -errno;
	*number -= (uint32_t)unacked;
	setsockopt(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, &none, sizeof(none));
	return setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &off, sizeof(off)) < 0 && !err ? -errno : err;
}

/* The head of the segment that could not be delivered, as the message quotes it. */
static size_t quote(const union inet_sockaddr *from, const union inet_sockaddr *to, uint32_t number, uint8_t *at)
{
	const bool six = to->any.sa_family == AF_INET6;
	const struct ip6_hdr h6 = { .ip6_flow = htonl(6u << 28),
		.ip6_plen = htons(sizeof(struct tcphdr)),
		.ip6_nxt = IPPROTO_TCP,
		.ip6_hlim = 64,
		.ip6_src = from->v6.sin6_addr,
		.ip6_dst = to->v6.sin6_addr };
	const struct iphdr h4 = { .version = 4,
		.ihl = 5,
		.tot_len = htons(sizeof(h4) + sizeof(struct tcphdr)),
		.ttl = 64,
		.protocol = IPPROTO_TCP,
		.saddr = from->v4.sin_addr.s_addr,
		.daddr = to->v4.sin_addr.s_addr };
	const struct tcphdr head = {
		.source = from->v4.sin_port, .dest = to->v4.sin_port, .seq = htonl(number), .doff = 5, .ack = 1
	};
	const size_t size = six ? sizeof(h6) : sizeof(h4);

	memcpy(at, six ? (const void *)&h6 : &h4, size);
	memcpy(at + size, &head, sizeof(head));
	return size + sizeof(head);
}

/* Nothing shows that it has come but SO_ERROR, which takes it: so it is sent twice. */
static int send_and_see(int raw, int fd, const struct inet_packet *p, uint64_t error)
{
	int told = 0, err = inet_packet_send(raw, p);
	socklen_t size = sizeof(told);

	for (int ms = 0; !err && !told && ms < WAIT_MS; ms++) {
		if (ms)
			poll(NULL, 0, 1);
		if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &told, &size) < 0)
			err = -errno;
	}
	if (!err && (uint64_t)told != error)
		err = told ? -told : -ETIMEDOUT;
	return err ? err : inet_packet_send(raw, p);
}

/* Before IP_RECVERR is set, which makes another error of it. */
int tcp_soft_error_make(struct restore *r, const struct tcp_end *e)
{
	uint8_t data[sizeof(struct icmp6_hdr) + sizeof(struct ip6_hdr) + sizeof(struct tcphdr)] = { 0 };
	struct inet_packet p = {
		.data = data, .ttl = 64, .checksum = 2, .from = inet_unmapped(&e->peer), .to = inet_unmapped(&e->local)
	};
	_cleanup_fd_ int raw = inet_packet_socket(r->root_pid, &p.to);
	uint32_t number = 0;
	int err = raw < 0 ? raw : read_number(e->fd, &number);

	p.protocol = p.to.any.sa_family == AF_INET6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
	if (!err && !inet_errors_message(e->s->soft_error, p.protocol == IPPROTO_ICMPV6, true, &data[0], &data[1]))
		err = -EBADMSG;
	p.size = sizeof(struct icmp6_hdr) + quote(&p.to, &p.from, number, data + sizeof(struct icmp6_hdr));
	if (!err)
		err = send_and_see(raw, e->fd, &p, e->s->soft_error);
	return err ? tcp_end_failed(r, e, err, "cannot be told of its error again") : 0;
}
