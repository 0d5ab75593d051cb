/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* UDP and UDP-Lite: udp(7), udplite(7), ip(7). */

#include "inet.h"

#include <linux/errqueue.h>
#include <linux/net_tstamp.h>
#include <net/if.h>
#include <netinet/udp.h>

#define LITE 16 /* in arg: UDP-Lite */

static int server = -1, clients[3] = { -1, -1, -1 };
static union address here, there, from[3];

static int protocol_of(long arg)
{
	return arg & LITE ? IPPROTO_UDPLITE : IPPROTO_UDP;
}

/* A server, and two clients: the second is connected. */
static int sockets_make(struct maker_ctx *ctx)
{
	int over = (int)(ctx->arg & 3);

	server = bound_here(over, SOCK_DGRAM, protocol_of(ctx->arg), &here);
	CHECK(server >= 0);
	for (int i = 0; i < 2; i++) {
		socklen_t size = sizeof(from[i]);

		clients[i] = client_of(over, SOCK_DGRAM, protocol_of(ctx->arg), &here, &there);
		CHECK(clients[i] >= 0);
		if (i)
			CHECK(!connect(clients[i], &there.any, size_of(&there)));
		else
			SAME(sendto(clients[i], "", 0, 0, &there.any, size_of(&there)), 0); /* gets a port */
		CHECK(!getsockname(clients[i], &from[i].any, &size));
	}
	SAME(recv(server, &(char){ 0 }, 1, 0), 0);
	return 0;
}

static int answered(int i)
{
	char c[16] = "";
	union address who = { 0 };
	socklen_t size = sizeof(who);

	SAME(sendto(clients[i], "question", 8, 0, i ? NULL : &there.any, i ? 0 : size_of(&there)), 8);
	SAME(recvfrom(server, c, sizeof(c), MSG_DONTWAIT, &who.any, &size), 8);
	CHECK(!strcmp(c, "question"));
	SAME(who.v4.sin_port, from[i].v4.sin_port);
	SAME(sendto(server, "answer", 6, 0, &who.any, size), 6);
	return hears(clients[i], "answer");
}

static int sockets_use(struct maker_ctx *ctx)
{
	TRY(is_called(server, false, &here));
	TRY(is_called(clients[1], false, &from[1]));
	TRY(is_called(clients[1], true, &there));
	TRY(answered(0));
	TRY(answered(1));
	/* who is connected hears nobody else */
	if ((ctx->arg & 3) != OVER_MAPPED) {
		SAME(sendto(clients[0], "x", 1, 0, &from[1].any, size_of(&from[1])), 1);
		SAME(poll_now(clients[1], POLLIN), 0);
	}
	return 0;
}

/* --- unread --- */

static char large[60000];

static int unread_make(struct maker_ctx *ctx)
{
	int ttl = 9, tos = 0x20, on = 1;

	TRY(sockets_make(ctx));
	fill(large, sizeof(large), 3);
	if ((ctx->arg & 3) == OVER_V6) {
		CHECK(!setsockopt(clients[0], IPPROTO_IPV6, IPV6_UNICAST_HOPS, &ttl, sizeof(ttl)));
		CHECK(!setsockopt(server, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, &on, sizeof(on)));
		CHECK(!setsockopt(server, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on)));
	} else {
		CHECK(!setsockopt(clients[0], IPPROTO_IP, IP_TTL, &ttl, sizeof(ttl)));
		CHECK(!setsockopt(clients[0], IPPROTO_IP, IP_TOS, &tos, sizeof(tos)));
		CHECK(!setsockopt(server, IPPROTO_IP, IP_RECVTTL, &on, sizeof(on)));
		CHECK(!setsockopt(server, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on)));
	}
	SAME(sendto(clients[0], "first", 5, 0, &there.any, size_of(&there)), 5);
	TRY(says(clients[1], "second"));
	SAME(send(clients[1], "", 0, 0), 0);
	SAME(send(clients[1], large, sizeof(large), 0), sizeof(large));
	SAME(sendto(clients[0], "last", 4, 0, &there.any, size_of(&there)), 4);
	SAME(sendto(server, "back", 4, 0, &from[1].any, size_of(&from[1])),
		ctx->arg & 3 ? (ctx->arg & 3) == OVER_V6 ? 4 : -1 : 4);
	close(clients[0]);
	return 0;
}

static int gets(int client, const char *text, size_t size, int ttl)
{
	static char got[sizeof(large) + 8];
	union address who = { 0 };
	char control[256];
	struct iovec iov = { got, sizeof(got) };
	struct msghdr msg = { .msg_name = &who,
		.msg_namelen = sizeof(who),
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control) };
	int told = 0;

	SAME(recvmsg(server, &msg, MSG_DONTWAIT), size);
	CHECK(!memcmp(got, text, size));
	SAME(who.v4.sin_port, from[client].v4.sin_port);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TTL) ||
			(c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_HOPLIMIT)) {
			SAME(*(int *)(void *)CMSG_DATA(c), ttl);
			told++;
		}
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo *info = (void *)CMSG_DATA(c);

			SAME(info->ipi_addr.s_addr, htonl(INADDR_LOOPBACK));
			SAME(info->ipi_ifindex, if_nametoindex("lo"));
			told++;
		}
		if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			struct in6_pktinfo *info = (void *)CMSG_DATA(c);

			CHECK(IN6_IS_ADDR_LOOPBACK(&info->ipi6_addr));
			told++;
		}
	}
	SAME(told, 2);
	return 0;
}

static int unread_use(struct maker_ctx *ctx)
{
	TRY(gets(0, "first", 5, 9));
	TRY(gets(1, "second", 6, 64));
	TRY(gets(1, "", 0, 64));
	TRY(gets(1, large, sizeof(large), 64));
	TRY(gets(0, "last", 4, 9));
	SAME(recv(server, large, sizeof(large), MSG_DONTWAIT), -1);
	if ((ctx->arg & 3) != OVER_MAPPED)
		TRY(hears(clients[1], "back"));
	return answered(1);
}

/* Datagrams that wait as one: they may come in any number of pieces, each of which tells how it is divided. */

enum { SEGMENT = 700, SEGMENTS = 5200 };

static int segments_make(struct maker_ctx *ctx)
{
	int on = 1, size = SEGMENT;
	char text[4] = "";

	TRY(sockets_make(ctx));
	fill(large, SEGMENTS, 8);
	NEED(!setsockopt(server, IPPROTO_UDP, UDP_GRO, &on, sizeof(on)));
	NEED(!setsockopt(clients[1], IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size)));
	SAME(send(clients[1], large, SEGMENTS, 0), SEGMENTS);
	TRY(says(clients[1], "end"));
	SAME(recv(server, text, 1, MSG_PEEK | MSG_TRUNC), SEGMENTS);
	return 0;
}

static int segments_use(struct maker_ctx *ctx)
{
	union {
		char bytes[64];
		struct cmsghdr align;
	} control;
	size_t n = 0;

	while (n < SEGMENTS) {
		struct iovec iov = { large + n, sizeof(large) - n };
		struct msghdr msg = {
			.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
		};
		ssize_t size = recvmsg(server, &msg, MSG_DONTWAIT), divided = size;

		CHECK(size > 0);
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c))
			if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO)
				divided = *(int *)(void *)CMSG_DATA(c);
		SAME(divided, n + (size_t)size == SEGMENTS && size < SEGMENT ? size : SEGMENT);
		n += (size_t)size;
	}
	SAME(n, SEGMENTS);
	TRY(check_fill(large, SEGMENTS, 8));
	return hears(server, "end");
}

/* Where the address and port that they were sent to are told. arg: over. */

static int original_make(struct maker_ctx *ctx)
{
	int on = 1;

	TRY(sockets_make(ctx));
	if (ctx->arg == OVER_V6)
		CHECK(!setsockopt(server, IPPROTO_IPV6, IPV6_RECVORIGDSTADDR, &on, sizeof(on)));
	else
		CHECK(!setsockopt(server, IPPROTO_IP, IP_RECVORIGDSTADDR, &on, sizeof(on)));
	TRY(says(clients[1], "first"));
	SAME(sendto(clients[0], "second", 6, 0, &there.any, size_of(&there)), 6);
	return 0;
}

static int original(const char *text, int client)
{
	union {
		char bytes[128];
		struct cmsghdr align;
	} control;
	union address who = { 0 };
	char got[16] = "";
	struct iovec iov = { got, sizeof(got) };
	struct msghdr msg = { .msg_name = &who,
		.msg_namelen = sizeof(who),
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control) };
	struct cmsghdr *c;

	SAME(recvmsg(server, &msg, MSG_DONTWAIT), strlen(text));
	CHECK(!strcmp(got, text));
	SAME(who.v4.sin_port, from[client].v4.sin_port);
	c = CMSG_FIRSTHDR(&msg);
	CHECK(c && (c->cmsg_type == IP_ORIGDSTADDR || c->cmsg_type == IPV6_ORIGDSTADDR));
	CHECK(!memcmp(CMSG_DATA(c), &there, size_of(&there)));
	return 0;
}

static int original_use(struct maker_ctx *ctx)
{
	TRY(original("first", 1));
	TRY(original("second", 0));
	return sockets_use(ctx);
}

/* --- groups --- */

/* Two of one port, each with something unread; the second is connected. */
static int shared_make(struct maker_ctx *ctx)
{
	int on = 1;

	here = loopback(AF_INET);
	for (int i = 0; i < 2; i++) {
		socklen_t size = sizeof(here);

		clients[i] = socket(AF_INET, SOCK_DGRAM, 0);
		CHECK(!setsockopt(clients[i], SOL_SOCKET, (int)ctx->arg, &on, sizeof(on)));
		CHECK(!bind(clients[i], &here.any, size_of(&here)));
		CHECK(!getsockname(clients[i], &here.any, &size));
	}
	server = bound_here(OVER_V4, SOCK_DGRAM, 0, &there);
	CHECK(!connect(clients[1], &there.any, size_of(&there)));
	SAME(sendto(server, "to the connected", 16, 0, &here.any, size_of(&here)), 16);
	clients[2] = bound_here(OVER_V4, SOCK_DGRAM, 0, &from[2]);
	SAME(sendto(clients[2], "to the other", 12, 0, &here.any, size_of(&here)), 12);
	return 0;
}

static int shared_use(struct maker_ctx *ctx)
{
	TRY(hears(clients[0], "to the other"));
	TRY(hears(clients[1], "to the connected"));
	SAME(sendto(server, "again", 5, 0, &here.any, size_of(&here)), 5);
	return hears(clients[1], "again");
}

/* Multicast: a group, with a filter of senders. */

static int member_make(struct maker_ctx *ctx)
{
	struct group_req group = { .gr_interface = if_nametoindex("lo") };
	struct group_source_req source = { .gsr_interface = if_nametoindex("lo") };
	struct sockaddr_in *g = (void *)&group.gr_group, *s = (void *)&source.gsr_source;
	struct ipv6_mreq six = { .ipv6mr_interface = if_nametoindex("lo") };
	struct ip_mreqn out = { .imr_address.s_addr = htonl(INADDR_LOOPBACK) };
	int ttl = 3;

	clients[0] = socket(AF_INET6, SOCK_DGRAM, 0);
	*g = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = inet_addr("239.1.2.3") };
	CHECK(!setsockopt(clients[0], IPPROTO_IP, MCAST_JOIN_GROUP, &group, sizeof(group)));
	inet_pton(AF_INET6, "ff15::77", &six.ipv6mr_multiaddr);
	CHECK(!setsockopt(clients[0], IPPROTO_IPV6, IPV6_JOIN_GROUP, &six, sizeof(six)));
	server = socket(AF_INET, SOCK_DGRAM, 0);
	CHECK(!setsockopt(server, IPPROTO_IP, MCAST_JOIN_GROUP, &group, sizeof(group)));
	memcpy(&source.gsr_group, g, sizeof(*g));
	*s = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = inet_addr("10.9.8.7") };
	CHECK(!setsockopt(server, IPPROTO_IP, MCAST_BLOCK_SOURCE, &source, sizeof(source)));
	((struct sockaddr_in *)(void *)&source.gsr_group)->sin_addr.s_addr = inet_addr("232.1.1.1");
	CHECK(!setsockopt(server, IPPROTO_IP, MCAST_JOIN_SOURCE_GROUP, &source, sizeof(source)));
	CHECK(!setsockopt(server, IPPROTO_IP, IP_MULTICAST_TTL, &ttl, sizeof(ttl)));
	CHECK(!setsockopt(server, IPPROTO_IP, IP_MULTICAST_IF, &out, sizeof(out)));
	return 0;
}

/* Leaving tells whether it was joined. */
static int member_use(struct maker_ctx *ctx)
{
	struct group_req group = { .gr_interface = if_nametoindex("lo") };
	struct group_source_req source = { .gsr_interface = if_nametoindex("lo") };
	struct sockaddr_in *g = (void *)&group.gr_group, *s = (void *)&source.gsr_source;
	struct ipv6_mreq six = { .ipv6mr_interface = if_nametoindex("lo") };

	*g = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = inet_addr("239.1.2.3") };
	*s = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = inet_addr("10.9.8.7") };
	memcpy(&source.gsr_group, g, sizeof(*g));
	inet_pton(AF_INET6, "ff15::77", &six.ipv6mr_multiaddr);
	CHECK(!setsockopt(clients[0], IPPROTO_IP, MCAST_LEAVE_GROUP, &group, sizeof(group)));
	CHECK(!setsockopt(clients[0], IPPROTO_IPV6, IPV6_LEAVE_GROUP, &six, sizeof(six)));
	CHECK(!setsockopt(server, IPPROTO_IP, MCAST_UNBLOCK_SOURCE, &source, sizeof(source)));
	CHECK(!setsockopt(server, IPPROTO_IP, MCAST_LEAVE_GROUP, &group, sizeof(group)));
	((struct sockaddr_in *)(void *)&source.gsr_group)->sin_addr.s_addr = inet_addr("232.1.1.1");
	CHECK(!setsockopt(server, IPPROTO_IP, MCAST_LEAVE_SOURCE_GROUP, &source, sizeof(source)));
	SAME(level_option(server, IPPROTO_IP, IP_MULTICAST_TTL), 3);
	SAME(level_option(server, IPPROTO_IP, IP_MULTICAST_IF), htonl(INADDR_LOOPBACK));
	return 0;
}

/* --- the rest --- */

static const struct {
	int level, name, value;
} settings[] = {
	{ SOL_SOCKET, SO_BROADCAST, 1 },
	{ SOL_SOCKET, SO_RXQ_OVFL, 1 },
	{ SOL_SOCKET, SO_TIMESTAMP, 1 },
	{ SOL_SOCKET, SO_NO_CHECK, 1 },
	{ SOL_SOCKET, SO_PEEK_OFF, 5 },
	{ IPPROTO_UDP, UDP_SEGMENT, 700 },
	{ IPPROTO_UDP, UDP_GRO, 1 },
	{ IPPROTO_UDP, 102 /* UDP_NO_CHECK6_RX */, 1 },
	{ IPPROTO_IP, IP_TOS, 0x10 },
	{ IPPROTO_IP, IP_RECVTOS, 1 },
	{ IPPROTO_IP, IP_MULTICAST_LOOP, 0 },
	{ IPPROTO_IP, IP_MULTICAST_ALL, 0 },
	{ IPPROTO_IPV6, IPV6_RECVTCLASS, 1 },
	{ IPPROTO_IPV6, IPV6_TCLASS, 0x20 },
	{ IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 7 },
	{ IPPROTO_IPV6, IPV6_DONTFRAG, 1 },
	{ IPPROTO_IPV6, IPV6_AUTOFLOWLABEL, 0 },
	{ IPPROTO_IPV6, IPV6_RECVERR, 1 },
	{ IPPROTO_IPV6, IPV6_V6ONLY, 0 },
};

static int options_make(struct maker_ctx *ctx)
{
	TRY(sockets_make(ctx));
	for (size_t i = 0; i + 1 < sizeof(settings) / sizeof(*settings); i++)
		CHECK(!setsockopt(server, settings[i].level, settings[i].name, &settings[i].value, sizeof(int)));
	return 0;
}

static int options_use(struct maker_ctx *ctx)
{
	for (size_t i = 0; i < sizeof(settings) / sizeof(*settings); i++)
		SAME(level_option(server, settings[i].level, settings[i].name), settings[i].value);
	return 0;
}

static int shut_make(struct maker_ctx *ctx)
{
	TRY(sockets_make(ctx));
	CHECK(!shutdown(clients[1], (int)(ctx->arg >> 8)));
	return 0;
}

static int shut_use(struct maker_ctx *ctx)
{
	SAME(!!(poll_now(clients[1], POLLRDHUP) & POLLRDHUP), ctx->arg >> 8 != SHUT_WR);
	if (ctx->arg >> 8 != SHUT_WR)
		SAME(recv(clients[1], &(char){ 0 }, 1, 0), 0);
	SAME(send(clients[1], "x", 1, MSG_NOSIGNAL), ctx->arg >> 8 == SHUT_RD ? 1 : -1);
	return 0;
}

static int corked_make(struct maker_ctx *ctx)
{
	TRY(sockets_make(ctx));
	SAME(send(clients[1], "begun", 5, MSG_MORE), 5);
	return 0;
}

static int corked_use(struct maker_ctx *ctx)
{
	SAME(send(clients[1], ", ended", 7, 0), 7);
	return hears(server, "begun, ended");
}

static int unreachable_make(struct maker_ctx *ctx)
{
	TRY(sockets_make(ctx));
	close(server);
	SAME(send(clients[1], "x", 1, 0), 1);
	CHECK(UNTIL(poll_now(clients[1], 0) & POLLERR));
	return 0;
}

static int unreachable_use(struct maker_ctx *ctx)
{
	SAME(level_option(clients[1], SOL_SOCKET, SO_ERROR), ECONNREFUSED);
	SAME(level_option(clients[1], SOL_SOCKET, SO_ERROR), 0);
	SAME(send(clients[1], "x", 1, 0), 1);
	SAME(recv(clients[1], ctx->path, 1, 0), -1);
	SAME(errno, ECONNREFUSED);
	return 0;
}

/* The error queue: two entries, of which SO_ERROR has told, or not. arg: TOLD. */
enum { TOLD = 64 };

/* Memory of all that waits to be read, errors included. */
static uint32_t taken(int fd)
{
	uint32_t meminfo[9] = { 0 }; /* SK_MEMINFO_VARS; the first is SK_MEMINFO_RMEM_ALLOC */
	socklen_t size = sizeof(meminfo);

	getsockopt(fd, SOL_SOCKET, SO_MEMINFO, meminfo, &size);
	return meminfo[0];
}

static int queued_error_make(struct maker_ctx *ctx)
{
	int six = (ctx->arg & 3) == OVER_V6;
	uint32_t by_one;

	TRY(sockets_make(ctx));
	close(server);
	SAME(setsockopt(clients[1], six ? SOL_IPV6 : SOL_IP, six ? IPV6_RECVERR : IP_RECVERR, &(int){ 1 }, sizeof(int)),
		0);
	SAME(send(clients[1], "first", 5, 0), 5);
	CHECK(UNTIL(poll_now(clients[1], 0) & POLLERR));
	SAME(level_option(clients[1], SOL_SOCKET, SO_ERROR), ECONNREFUSED);
	by_one = taken(clients[1]);
	CHECK(by_one > 0);
	SAME(send(clients[1], "second", 6, 0), 6);
	if (ctx->arg & TOLD)
		CHECK(UNTIL(level_option(clients[1], SOL_SOCKET, SO_ERROR) == ECONNREFUSED));
	CHECK(UNTIL(taken(clients[1]) > by_one));
	return 0;
}

static int next_error(int fd, const char *text, int six)
{
	union {
		char bytes[512];
		struct cmsghdr align;
	} control;
	char data[64];
	struct iovec iov = { data, sizeof(data) };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	const struct sock_extended_err *e;

	SAME(recvmsg(fd, &msg, MSG_ERRQUEUE | MSG_DONTWAIT), strlen(text));
	CHECK(!memcmp(data, text, strlen(text)));
	CHECK(CMSG_FIRSTHDR(&msg));
	e = (const void *)CMSG_DATA(CMSG_FIRSTHDR(&msg));
	SAME(e->ee_errno, ECONNREFUSED);
	SAME(e->ee_origin, six ? SO_EE_ORIGIN_ICMP6 : SO_EE_ORIGIN_ICMP);
	SAME(e->ee_type, six ? 1 : 3);
	SAME(e->ee_code, six ? 4 : 3);
	SAME(SO_EE_OFFENDER(e)->sa_family, six ? AF_INET6 : AF_INET);
	return 0;
}

static int queued_error_use(struct maker_ctx *ctx)
{
	int six = (ctx->arg & 3) == OVER_V6;

	SAME(level_option(clients[1], SOL_SOCKET, SO_ERROR), ctx->arg & TOLD ? 0 : ECONNREFUSED);
	TRY(next_error(clients[1], "first", six));
	TRY(next_error(clients[1], "second", six));
	SAME(recv(clients[1], ctx->path, 1, MSG_ERRQUEUE | MSG_DONTWAIT), -1);
	SAME(errno, EAGAIN);
	return 0;
}

/* An entry that no message makes: when a datagram was sent. */
static int local_error_make(struct maker_ctx *ctx)
{
	int how = SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE;

	TRY(sockets_make(ctx));
	SAME(setsockopt(clients[1], SOL_SOCKET, SO_TIMESTAMPING, &how, sizeof(how)), 0);
	TRY(says(clients[1], "x"));
	CHECK(UNTIL(poll_now(clients[1], 0) & POLLERR));
	return 0;
}

static int local_error_use(struct maker_ctx *ctx)
{
	CHECK(poll_now(clients[1], 0) & POLLERR);
	return 0;
}

const struct maker makers_udp[] = {
	ROW_ARG("sockets", "bound, with a port, connected", sockets, OVER_V4),
	ROW_ARG("sockets-v6", "the same of IPv6", sockets, OVER_V6),
	ROW_ARG("sockets-mapped", "clients of IPv4, a server of IPv6", sockets, OVER_MAPPED),
	ROW_ARG("sockets-lite", "UDP-Lite", sockets, OVER_V4 | LITE),
	ROW_ARG("unread", "unread datagrams: empty, large, of a sender that is gone", unread, OVER_V4),
	ROW_ARG("unread-v6", "the same of IPv6", unread, OVER_V6),
	ROW_ARG("unread-lite", "the same of UDP-Lite", unread, OVER_V4 | LITE),
	ROW_ARG("unread-segments", "some that wait as one", segments, OVER_V4),
	ROW_ARG("unread-original", "some whose original port is told", original, OVER_V4),
	ROW_ARG("unread-original-v6", "the same of IPv6", original, OVER_V6),
	ROW_ARG("shared-port", "two of one port, with something unread each", shared, SO_REUSEADDR),
	ROW_ARG("shared-group", "the same of SO_REUSEPORT", shared, SO_REUSEPORT),
	ROW_ARG("member", "members of multicast groups, with filters", member, 0),
	ROW_ARG("options", "options of every level", options, OVER_MAPPED),
	ROW_ARG("shut-read", "shut for receiving", shut, OVER_V4 | SHUT_RD << 8),
	ROW_ARG("shut-send", "shut for sending", shut, OVER_V4 | SHUT_WR << 8),
	ROW_ARG("shut-both", "shut both ways", shut, OVER_V4 | SHUT_RDWR << 8),
	{ "corked", "a datagram that is not complete", corked_make, corked_use, MAKER_MUST_REFUSE, OVER_V4,
		"not complete" },
	ROW_ARG("unreachable", "an error not told yet", unreachable, OVER_V4),
	ROW_ARG("unreachable-v6", "the same of IPv6", unreachable, OVER_V6),
	ROW_ARG("unreachable-mapped", "of IPv4 in IPv6", unreachable, OVER_MAPPED),
	ROW_ARG("unreachable-lite", "of UDP-Lite", unreachable, OVER_V4 | LITE),
	ROW_ARG("error-queue", "two entries of the error queue", queued_error, OVER_V4),
	ROW_ARG("error-queue-v6", "the same of IPv6", queued_error, OVER_V6),
	ROW_ARG("error-queue-told", "what SO_ERROR has told is still in the queue", queued_error, OVER_V4 | TOLD),
	{ "error-local", "one of our own kernel", local_error_make, local_error_use, MAKER_MUST_REFUSE, OVER_V4,
		"an error" },
	{ 0 },
};
