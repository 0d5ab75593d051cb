/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/inet_packet.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "state/sock_diag.h"

union inet_sockaddr inet_unmapped(const union inet_sockaddr *a)
{
	union inet_sockaddr four = { .v4.sin_family = AF_INET };

	if (a->any.sa_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&a->v6.sin6_addr))
		return *a;
	four.v4.sin_port = a->v6.sin6_port;
	memcpy(&four.v4.sin_addr, &a->v6.sin6_addr.s6_addr[12], sizeof(four.v4.sin_addr));
	return four;
}

int inet_packet_socket(int pid, const union inet_sockaddr *to)
{
	union inet_sockaddr a = inet_unmapped(to);

	return socket_in(pid, a.any.sa_family, SOCK_RAW, IPPROTO_RAW); /* headers are given */
}

static uint32_t sum(uint32_t so_far, const void *data, size_t size)
{
	const uint8_t *p = data;

	for (size_t i = 0; i + 1 < size; i += 2)
		so_far += (uint32_t)(p[i] << 8 | p[i + 1]);
	if (size & 1)
		so_far += (uint32_t)p[size - 1] << 8;
	while (so_far >> 16)
		so_far = (so_far & 0xffff) + (so_far >> 16);
	return so_far;
}

/* RFC 1071, over the pseudo header of RFC 768 or RFC 8200. */
static void set_checksum(const struct inet_packet *p, const void *from, const void *to, size_t ip_size)
{
	uint8_t length[8] = { (uint8_t)(p->size >> 24), (uint8_t)(p->size >> 16), (uint8_t)(p->size >> 8),
		(uint8_t)p->size, [7] = p->protocol };
	uint32_t s;

	if (p->checksum == SIZE_MAX)
		return;
	p->data[p->checksum] = p->data[p->checksum + 1] = 0;
	s = sum(0, from, ip_size);
	s = sum(s, to, ip_size);
	if (p->protocol != IPPROTO_ICMP)
		s = sum(s, length, sizeof(length));
	else
		s = 0;
	s = ~sum(s, p->data, p->size) & 0xffff;
	if (!s)
		s = 0xffff;
	p->data[p->checksum] = (uint8_t)(s >> 8);
	p->data[p->checksum + 1] = (uint8_t)s;
}

int inet_packet_send(int fd, const struct inet_packet *p)
{
	union inet_sockaddr from = inet_unmapped(&p->from), to = inet_unmapped(&p->to);
	bool six = to.any.sa_family == AF_INET6;
	struct ip6_hdr h6 = { .ip6_flow = htonl(6u << 28 | (uint32_t)p->tos << 20),
		.ip6_plen = htons((uint16_t)p->size),
		.ip6_nxt = p->protocol,
		.ip6_hlim = p->ttl,
		.ip6_src = from.v6.sin6_addr,
		.ip6_dst = to.v6.sin6_addr };
	struct iphdr h4 = { .version = 4,
		.ihl = 5,
		.tos = p->tos,
		.tot_len = htons((uint16_t)(sizeof(h4) + p->size)),
		.ttl = p->ttl,
		.protocol = p->protocol,
		.saddr = from.v4.sin_addr.s_addr,
		.daddr = to.v4.sin_addr.s_addr };
	struct iovec iov[2] = { { six ? (void *)&h6 : &h4, six ? sizeof(h6) : sizeof(h4) }, { p->data, p->size } };
	struct msghdr msg = { .msg_name = &to, .msg_namelen = inet_size(&to), .msg_iov = iov, .msg_iovlen = 2 };

	if (from.any.sa_family != to.any.sa_family)
		return -EAFNOSUPPORT;
	if (six)
		set_checksum(p, &h6.ip6_src, &h6.ip6_dst, sizeof(h6.ip6_src));
	else
		set_checksum(p, &h4.saddr, &h4.daddr, sizeof(h4.saddr));
	to.v4.sin_port = 0;
	return sendmsg(fd, &msg, MSG_DONTWAIT) < 0 ? -errno : 0;
}
