/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Raw sockets, those that ping, and netlink: raw(7), icmp(7), netlink(7). */

#include "inet.h"

#include <linux/icmp.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>

static int fd = -1, other = -1, id;

/* Of a protocol of nobody's; bound, and connected. */

static int raw_make(struct maker_ctx *ctx)
{
	union address a = loopback((int)ctx->arg);
	int on = 1;

	fd = socket((int)ctx->arg, SOCK_RAW | SOCK_CLOEXEC, 253);
	NEED(fd >= 0);
	CHECK(!bind(fd, &a.any, size_of(&a)));
	other = socket((int)ctx->arg, SOCK_RAW | SOCK_CLOEXEC, 253);
	CHECK(!connect(other, &a.any, size_of(&a)));
	if (ctx->arg == AF_INET6)
		CHECK(!setsockopt(other, IPPROTO_IPV6, IPV6_CHECKSUM, &(int){ 2 }, sizeof(int)));
	else
		CHECK(!setsockopt(fd, IPPROTO_IP, IP_RECVTTL, &on, sizeof(on)));
	return 0;
}

static int raw_use(struct maker_ctx *ctx)
{
	char got[128];
	size_t header = ctx->arg == AF_INET ? sizeof(struct iphdr) : 0;

	SAME(poll_now(fd, POLLIN), 0);
	SAME(send(other, "abcdef", 6, 0), 6);
	SAME(recv(fd, got, sizeof(got), 0), 6 + header);
	CHECK(!memcmp(got + header, "ab", 2));
	if (ctx->arg == AF_INET6)
		CHECK(got[2] != 'c' || got[3] != 'd');
	return 0;
}

/* A ping goes to itself and comes back; the filter keeps the question out. */

static int icmp_make(struct maker_ctx *ctx)
{
	struct icmp_filter filter = { ~(1u << ICMP_ECHOREPLY) };

	fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
	NEED(fd >= 0);
	CHECK(!setsockopt(fd, SOL_RAW, ICMP_FILTER, &filter, sizeof(filter)));
	id = nobodys();
	return take_only(fd, sizeof(struct iphdr) + 4, sizeof(struct iphdr) + 4, id);
}

static uint16_t checksum(const void *data, size_t size)
{
	const uint16_t *p = data;
	uint32_t sum = 0;

	for (; size > 1; size -= 2)
		sum += *p++;
	sum = (sum >> 16) + (sum & 0xffff);
	return (uint16_t) ~(sum + (sum >> 16));
}

static int icmp_use(struct maker_ctx *ctx)
{
	struct icmphdr h = { .type = ICMP_ECHO, .un.echo.id = htons((uint16_t)id) };
	union address a = loopback(AF_INET);
	char got[128];

	h.checksum = checksum(&h, sizeof(h));
	SAME(sendto(fd, &h, sizeof(h), 0, &a.any, size_of(&a)), sizeof(h));
	SAME(recv(fd, got, sizeof(got), 0), sizeof(struct iphdr) + sizeof(h));
	SAME(got[sizeof(struct iphdr)], ICMP_ECHOREPLY);
	SAME(recv(fd, got, sizeof(got), MSG_DONTWAIT), -1);
	return 0;
}

static int icmp6_make(struct maker_ctx *ctx)
{
	struct icmp6_filter filter;

	ICMP6_FILTER_SETBLOCKALL(&filter);
	ICMP6_FILTER_SETPASS(ICMP6_ECHO_REPLY, &filter);
	fd = socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMPV6);
	NEED(fd >= 0);
	CHECK(!setsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, &filter, sizeof(filter)));
	id = nobodys();
	return take_only(fd, 4, 4, id);
}

static int icmp6_use(struct maker_ctx *ctx)
{
	struct icmp6_hdr h = { .icmp6_type = ICMP6_ECHO_REQUEST, .icmp6_id = htons((uint16_t)id) }, got;
	union address a = loopback(AF_INET6);

	SAME(sendto(fd, &h, sizeof(h), 0, &a.any, size_of(&a)), sizeof(h));
	SAME(recv(fd, &got, sizeof(got), 0), sizeof(h));
	SAME(got.icmp6_type, ICMP6_ECHO_REPLY);
	SAME(recv(fd, &got, sizeof(got), MSG_DONTWAIT), -1);
	return 0;
}

/* Without a privilege: the kernel chooses the number. */

static union address name;

static int ping_make(struct maker_ctx *ctx)
{
	socklen_t size = sizeof(name);

	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_ICMP);
	NEED(fd >= 0); /* net.ipv4.ping_group_range */
	name = loopback(AF_INET);
	CHECK(!bind(fd, &name.any, size_of(&name)));
	CHECK(!getsockname(fd, &name.any, &size));
	return 0;
}

static int ping_use(struct maker_ctx *ctx)
{
	struct icmphdr h = { .type = ICMP_ECHO }, got;
	union address a = loopback(AF_INET);

	TRY(is_called(fd, false, &name));
	SAME(sendto(fd, &h, sizeof(h), 0, &a.any, size_of(&a)), sizeof(h));
	SAME(recv(fd, &got, sizeof(got), 0), sizeof(got));
	SAME(got.type, ICMP_ECHOREPLY);
	SAME(got.un.echo.id, name.v4.sin_port);
	return 0;
}

/* --- netlink --- */

static struct sockaddr_nl port;

/* arg: bound to groups */
static int netlink_make(struct maker_ctx *ctx)
{
	socklen_t size = sizeof(port);
	int on = 1, group = RTNLGRP_IPV6_RULE;

	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	CHECK(fd >= 0);
	CHECK(!setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on)));
	if (ctx->arg) {
		port = (struct sockaddr_nl){ .nl_family = AF_NETLINK, .nl_groups = RTMGRP_IPV4_ROUTE };
		CHECK(!bind(fd, (struct sockaddr *)&port, sizeof(port)));
		CHECK(!setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)));
	}
	CHECK(!getsockname(fd, (struct sockaddr *)&port, &size));
	return 0;
}

static int netlink_use(struct maker_ctx *ctx)
{
	struct {
		struct nlmsghdr h;
		struct ifinfomsg i;
	} ask = { { sizeof(ask), RTM_GETLINK, NLM_F_REQUEST, 5, 0 }, { .ifi_index = 1 /* the loopback interface */ } };
	static char answer[16384];
	struct sockaddr_nl now;
	socklen_t size = sizeof(now);
	uint32_t groups[8] = { 0 };

	CHECK(!getsockname(fd, (struct sockaddr *)&now, &size));
	SAME(now.nl_pid, port.nl_pid);
	SAME(now.nl_groups, port.nl_groups);
	SAME(level_option(fd, SOL_NETLINK, NETLINK_EXT_ACK), 1);
	size = sizeof(groups);
	CHECK(!getsockopt(fd, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, groups, &size));
	SAME(groups[0], ctx->arg ? 1u << (RTNLGRP_IPV4_ROUTE - 1) | 1u << (RTNLGRP_IPV6_RULE - 1) : 0);
	SAME(send(fd, &ask, sizeof(ask), 0), sizeof(ask));
	CHECK(recv(fd, answer, sizeof(answer), 0) > (ssize_t)sizeof(ask));
	SAME(((struct nlmsghdr *)(void *)answer)->nlmsg_type, RTM_NEWLINK);
	return 0;
}

static int asked_make(struct maker_ctx *ctx)
{
	struct {
		struct nlmsghdr h;
		struct ifinfomsg i;
	} ask = { { sizeof(ask), RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 5, 0 }, { 0 } };

	TRY(netlink_make(ctx));
	/* not its pid, which others beside it have too, each in a container */
	port = (struct sockaddr_nl){ .nl_family = AF_NETLINK,
		.nl_pid = 1u << 30 | (uint32_t)(now_ns(CLOCK_MONOTONIC) >> 8) % (1u << 30) };
	CHECK(!bind(fd, (struct sockaddr *)&port, sizeof(port)));
	SAME(send(fd, &ask, sizeof(ask), 0), sizeof(ask));
	return 0;
}

static int asked_use(struct maker_ctx *ctx)
{
	static char answer[16384];
	ssize_t n;

	CHECK(poll_now(fd, POLLIN));
	n = recv(fd, answer, sizeof(answer), MSG_DONTWAIT);
	if (n < 0)
		SAME(errno, ENOBUFS);
	while (n > 0)
		n = recv(fd, answer, sizeof(answer), MSG_DONTWAIT);
	SAME(recv(fd, answer, sizeof(answer), MSG_DONTWAIT), -1);
	SAME(errno, EAGAIN);
	return netlink_use(ctx);
}

const struct maker makers_raw[] = {
	ROW_ARG("raw", "raw, bound, and one connected", raw, AF_INET),
	ROW_ARG("raw-v6", "the same of IPv6, with a checksum", raw, AF_INET6),
	ROW_ARG("icmp", "a raw socket of ICMP with a filter", icmp, 0),
	ROW_ARG("icmp6", "the same of IPv6", icmp6, 0),
	ROW_ARG("ping", "a datagram socket of ICMP", ping, 0),
	ROW_ARG("netlink", "netlink, not bound", netlink, 0),
	ROW_ARG("netlink-groups", "netlink, bound to groups", netlink, 1),
	ROW_ARG("netlink-asked", "netlink with an answer unread, of which more is to come", asked, 0),
	{ 0 },
};
