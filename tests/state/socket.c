/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sockets that are out of scope yet. tcp(7), udp(7), netlink(7), packet(7). */

#include "maker.h"

#include <netinet/in.h>

static int fd = -1;

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
	REFUSED("packet", "a packet socket", packet_make, alive_use, 0, "packet"),
	{ 0 },
};
