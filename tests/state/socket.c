/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sockets, all of which are out of scope yet. tcp(7), udp(7), unix(7), netlink(7), packet(7). */

#include "maker.h"

#include <linux/netlink.h>
#include <netinet/in.h>
#include <sys/un.h>

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

static int listening_make(struct maker_ctx *ctx)
{
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0);
	TRY(loopback(fd, &address));
	return listen(fd, 3);
}

static int connect_here(void)
{
	fds[0] = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(!connect(fds[0], (struct sockaddr *)&address, sizeof(address)));
	fds[1] = accept(fd, NULL, NULL);
	CHECK(fds[1] >= 0);
	return 0;
}

static int talk(void)
{
	char c[8];

	SAME(write(fds[0], "hello", 5), 5);
	SAME(read(fds[1], c, sizeof(c)), 5);
	CHECK(!memcmp(c, "hello", 5));
	return 0;
}

static int listening_use(struct maker_ctx *ctx)
{
	TRY(connect_here());
	return talk();
}

static int established_make(struct maker_ctx *ctx)
{
	TRY(listening_make(ctx));
	TRY(connect_here());
	return close(fd);
}

static int talk_use(struct maker_ctx *ctx)
{
	return talk();
}

static int unix_pair_make(struct maker_ctx *ctx)
{
	CHECK(!socketpair(AF_UNIX, (int)ctx->arg, 0, fds));
	return 0;
}

static int unix_listening_make(struct maker_ctx *ctx)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	CHECK(!chdir(ctx->dir));
	strcpy(a.sun_path, "socket");
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(!bind(fd, (struct sockaddr *)&a, sizeof(a)));
	return listen(fd, 3);
}

static int unix_listening_use(struct maker_ctx *ctx)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	strcpy(a.sun_path, "socket");
	fds[0] = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(!connect(fds[0], (struct sockaddr *)&a, sizeof(a)));
	fds[1] = accept(fd, NULL, NULL);
	return talk();
}

static int udp_make(struct maker_ctx *ctx)
{
	fds[1] = socket(AF_INET, SOCK_DGRAM, 0);
	TRY(loopback(fds[1], &address));
	fds[0] = socket(AF_INET, SOCK_DGRAM, 0);
	return connect(fds[0], (struct sockaddr *)&address, sizeof(address));
}

static int unbound_make(struct maker_ctx *ctx)
{
	fd = socket((int)ctx->arg, SOCK_STREAM, 0);
	NEED(fd >= 0);
	return 0;
}

static int unbound_use(struct maker_ctx *ctx)
{
	int on = 1;

	return setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
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

/* A socket inside a pipe's neighbour: passed by SCM_RIGHTS, held by a queue alone. */
static int in_flight_make(struct maker_ctx *ctx)
{
	union {
		struct cmsghdr h;
		char space[CMSG_SPACE(sizeof(int))];
	} c = { .h = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
	struct iovec v = { (char[]){ "x" }, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof(c) };
	int null = open("/dev/null", O_RDONLY);

	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
	memcpy(CMSG_DATA(&c.h), &null, sizeof(int));
	SAME(sendmsg(fds[0], &m, 0), 1);
	return close(null);
}

static int in_flight_use(struct maker_ctx *ctx)
{
	char byte, control[64];
	struct iovec v = { &byte, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };

	SAME(recvmsg(fds[1], &m, 0), 1);
	CHECK(m.msg_controllen > 0);
	return 0;
}

const struct maker makers_socket[] = {
	REFUSED("tcp-established", "an established TCP connection", established_make, talk_use, 0, "tcp"),
	REFUSED("tcp-listening", "a listening TCP socket", listening_make, listening_use, 0, "tcp"),
	REFUSED("tcp-unbound", "a TCP socket never bound", unbound_make, unbound_use, AF_INET, "tcp"),
	REFUSED("tcp6-unbound", "a TCP socket of IPv6", unbound_make, unbound_use, AF_INET6, "tcp"),
	REFUSED("udp", "UDP sockets", udp_make, talk_use, 0, "udp"),
	REFUSED("unix-stream", "a pair of unix stream sockets", unix_pair_make, talk_use, SOCK_STREAM, "unix"),
	REFUSED("unix-datagram", "a pair of unix datagram sockets", unix_pair_make, talk_use, SOCK_DGRAM, "unix"),
	REFUSED("unix-listening", "a listening unix socket", unix_listening_make, unix_listening_use, 0, "unix"),
	REFUSED("unix-in-flight", "a descriptor in flight", in_flight_make, in_flight_use, 0, "unix"),
	REFUSED("netlink", "a netlink socket", netlink_make, alive_use, 0, "netlink"),
	REFUSED("packet", "a packet socket", packet_make, alive_use, 0, "packet"),
	{ 0 },
};
