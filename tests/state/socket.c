/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sockets that are out of scope yet. tcp(7), udp(7), netlink(7), packet(7). */

#include "maker.h"

#include <linux/netlink.h>
#include <netinet/in.h>

static int fd = -1, fds[2] = { -1, -1 };

static int loopback(int f, struct sockaddr_in *a)
{
	socklen_t len = sizeof(*a);

	*a = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	CHECK(!bind(f, (struct sockaddr *)a, len));
	CHECK(!getsockname(f, (struct sockaddr *)a, &len));
	return 0;
}

static struct sockaddr_in address;

static int talk(void)
{
	char c[8];

	SAME(write(fds[0], "hello", 5), 5);
	SAME(read(fds[1], c, sizeof(c)), 5);
	CHECK(!memcmp(c, "hello", 5));
	return 0;
}

static int talk_use(struct maker_ctx *ctx)
{
	return talk();
}

static int udp_make(struct maker_ctx *ctx)
{
	fds[1] = socket(AF_INET, SOCK_DGRAM, 0);
	TRY(loopback(fds[1], &address));
	fds[0] = socket(AF_INET, SOCK_DGRAM, 0);
	return connect(fds[0], (struct sockaddr *)&address, sizeof(address));
}

static int netlink_make(struct maker_ctx *ctx)
{
	struct sockaddr_nl a = { .nl_family = AF_NETLINK };

	fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	NEED(fd >= 0);
	return bind(fd, (struct sockaddr *)&a, sizeof(a));
}

static int alive_use(struct maker_ctx *ctx)
{
	CHECK(fcntl(fd, F_GETFD) >= 0);
	return 0;
}

static int packet_make(struct maker_ctx *ctx)
{
	fd = socket(AF_PACKET, SOCK_DGRAM, htons(0x88b5));
	NEED(fd >= 0);
	return 0;
}

const struct maker makers_socket[] = {
	REFUSED("udp", "UDP sockets", udp_make, talk_use, 0, "udp"),
	REFUSED("netlink", "a netlink socket", netlink_make, alive_use, 0, "netlink"),
	REFUSED("packet", "a packet socket", packet_make, alive_use, 0, "packet"),
	{ 0 },
};
