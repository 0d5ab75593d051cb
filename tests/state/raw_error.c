/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Errors of raw sockets, and of those that ping, which were not told yet: raw(7), icmp(7). */

#include "inet.h"

#include <linux/errqueue.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>

#define PROTOCOL 254 /* nobody's */

static int fd = -1, other = -1;
static union address own, peer;

/* The machine tells that nobody takes this protocol there. Messages also come to others that have the same addresses: these two are this process's. */
static int connected(int *to)
{
	static uint32_t place;

	place = place ? place : 127u << 24 | 1u << 16 | (uint32_t)nobodys() << 1;
	own = peer = loopback(AF_INET);
	own.v4.sin_addr.s_addr = htonl(place);
	peer.v4.sin_addr.s_addr = htonl(place + 1);
	*to = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, PROTOCOL);
	NEED(*to >= 0);
	CHECK(!bind(*to, &own.any, size_of(&own)));
	CHECK(!connect(*to, &peer.any, size_of(&peer)));
	return 0;
}

static int tell_of_error(void)
{
	SAME(send(fd, "8 bytes.", 8, 0), 8); /* as much as a message quotes, at least */
	CHECK(UNTIL(poll_now(fd, 0) & POLLERR));
	return 0;
}

/* arg: 1: behind something unread; 2: it is connected no more. */
static int error_make(struct maker_ctx *ctx)
{
	TRY(connected(&fd));
	if (ctx->arg == 1) {
		other = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, PROTOCOL);
		CHECK(!bind(other, &peer.any, size_of(&peer)));
		SAME(sendto(other, "unread", 6, 0, &own.any, size_of(&own)), 6);
		CHECK(UNTIL(readable(fd)));
		close(other);
	}
	TRY(tell_of_error());
	if (ctx->arg == 2)
		CHECK(!connect(fd, &(struct sockaddr){ .sa_family = AF_UNSPEC }, sizeof(struct sockaddr)));
	return 0;
}

static int error_use(struct maker_ctx *ctx)
{
	char got[64];

	SAME(recv(fd, got, sizeof(got), MSG_DONTWAIT), -1);
	SAME(errno, ENOPROTOOPT);
	SAME(level_option(fd, SOL_SOCKET, SO_ERROR), 0);
	if (ctx->arg == 1) {
		SAME(recv(fd, got, sizeof(got), MSG_DONTWAIT), (int)sizeof(struct iphdr) + 6);
		CHECK(!memcmp(got + sizeof(struct iphdr), "unread", 6));
	}
	SAME(recv(fd, got, sizeof(got), MSG_DONTWAIT), -1);
	SAME(errno, EAGAIN);
	if (ctx->arg == 2) { /* the kernel finds it no more, whatever it does */
		SAME(sendto(fd, "8 bytes.", 8, 0, &own.any, size_of(&own)), 8);
		nap(50);
		return readable(fd);
	}
	TRY(tell_of_error());
	SAME(level_option(fd, SOL_SOCKET, SO_ERROR), ENOPROTOOPT);
	return 0;
}

/* Connected again, too: nothing tells of its peer. */
static int again_make(struct maker_ctx *ctx)
{
	TRY(connected(&fd));
	CHECK(!connect(fd, &(struct sockaddr){ .sa_family = AF_UNSPEC }, sizeof(struct sockaddr)));
	CHECK(!connect(fd, &peer.any, size_of(&peer)));
	return 0;
}

static int again_use(struct maker_ctx *ctx)
{
	SAME(send(fd, "8 bytes.", 8, 0), 8);
	return 0;
}

/* Of two of them one has an error. */
static int two_make(struct maker_ctx *ctx)
{
	int v = 1;

	TRY(connected(&fd));
	TRY(tell_of_error());
	TRY(connected(&other));
	return setsockopt(other, IPPROTO_IP, IP_RECVERR, &v, sizeof(v));
}

static int two_use(struct maker_ctx *ctx)
{
	SAME(poll_now(other, POLLIN), 0);
	SAME(level_option(other, SOL_SOCKET, SO_ERROR), 0);
	return error_use(ctx);
}

static int queued_make(struct maker_ctx *ctx)
{
	int on = 1;

	TRY(connected(&fd));
	CHECK(!setsockopt(fd, IPPROTO_IP, IP_RECVERR, &on, sizeof(on)));
	return tell_of_error();
}

static int queued_use(struct maker_ctx *ctx)
{
	char got[64];

	SAME(recv(fd, got, sizeof(got), MSG_ERRQUEUE | MSG_DONTWAIT), 8);
	return 0;
}

/* Over IPv6 there are no two addresses of this machine: the message is written by hand. */
static int error6_make(struct maker_ctx *ctx)
{
	struct {
		struct icmp6_hdr icmp;
		struct ip6_hdr ip;
		uint8_t data[8];
	} m = { .icmp = { .icmp6_type = ICMP6_DST_UNREACH, .icmp6_code = ICMP6_DST_UNREACH_ADMIN },
		.ip = { .ip6_flow = htonl(6u << 28),
			.ip6_plen = htons(8),
			.ip6_nxt = PROTOCOL,
			.ip6_hlim = 64,
			.ip6_src = in6addr_loopback,
			.ip6_dst = in6addr_loopback } };
	int sender;

	peer = loopback(AF_INET6);
	fd = socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, PROTOCOL);
	sender = socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMPV6);
	NEED(fd >= 0 && sender >= 0);
	CHECK(!connect(fd, &peer.any, size_of(&peer)));
	SAME(sendto(sender, &m, sizeof(m), 0, &peer.any, size_of(&peer)), sizeof(m));
	CHECK(UNTIL(poll_now(fd, 0) & POLLERR));
	return close(sender);
}

static int error6_use(struct maker_ctx *ctx)
{
	char got[16];

	SAME(level_option(fd, SOL_SOCKET, SO_ERROR), EACCES);
	SAME(send(fd, "hello", 5, 0), 5);
	SAME(recv(fd, got, sizeof(got), 0), 5);
	return 0;
}

/* A ping to which is answered that nobody is there; without a privilege. */
static int ping_make(struct maker_ctx *ctx)
{
	struct {
		struct icmphdr icmp;
		struct iphdr ip;
		struct icmphdr question;
	} m = { .icmp = { .type = ICMP_DEST_UNREACH, .code = ICMP_PORT_UNREACH },
		.ip = { .version = 4,
			.ihl = 5,
			.protocol = IPPROTO_ICMP,
			.ttl = 64,
			.tot_len = htons(sizeof(m.ip) + sizeof(m.question)),
			.saddr = htonl(INADDR_LOOPBACK),
			.daddr = htonl(INADDR_LOOPBACK) },
		.question = { .type = ICMP_ECHO } };
	uint16_t words[sizeof(m) / 2];
	socklen_t size = sizeof(own);
	uint32_t sum = 0;
	int sender = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);

	peer = loopback(AF_INET);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_ICMP);
	NEED(fd >= 0 && sender >= 0); /* net.ipv4.ping_group_range */
	CHECK(!connect(fd, &peer.any, size_of(&peer)));
	CHECK(!getsockname(fd, &own.any, &size));
	m.question.un.echo.id = own.v4.sin_port;
	memcpy(words, &m, sizeof(words));
	for (size_t i = 0; i < sizeof(m) / 2; i++)
		sum += words[i];
	sum = (sum >> 16) + (sum & 0xffff);
	m.icmp.checksum = (uint16_t) ~(sum + (sum >> 16));
	SAME(sendto(sender, &m, sizeof(m), 0, &peer.any, size_of(&peer)), sizeof(m));
	CHECK(UNTIL(poll_now(fd, 0) & POLLERR));
	return close(sender);
}

static int ping_use(struct maker_ctx *ctx)
{
	struct icmphdr h = { .type = ICMP_ECHO }, got;

	SAME(level_option(fd, SOL_SOCKET, SO_ERROR), ECONNREFUSED);
	SAME(send(fd, &h, sizeof(h), 0), sizeof(h));
	SAME(recv(fd, &got, sizeof(got), 0), sizeof(got));
	SAME(got.type, ICMP_ECHOREPLY);
	SAME(got.un.echo.id, own.v4.sin_port);
	return 0;
}

const struct maker makers_raw_error[] = {
	ROW_ARG("raw", "an error not told yet", error, 0),
	ROW_ARG("raw-unread", "before something unread", error, 1),
	ROW_ARG("raw-alone", "of one that is connected no more", error, 2),
	ROW("raw-two", "one of two that have the same addresses", two),
	ROW("raw-v6", "over IPv6", error6),
	ROW("ping", "of one that pings", ping),
	REFUSED("raw-again", "one that was disconnected, and is connected again", again_make, again_use, 0,
		"disconnected"),
	REFUSED("raw-queue", "an entry of the error queue", queued_make, queued_use, 0, "an error"),
	{ 0 },
};
