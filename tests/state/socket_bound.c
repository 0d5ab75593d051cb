/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What of a socket's name was bound by the program, and what the kernel had chosen, or was taken over: bind(2), connect(2), accept(2). */

#include "inet.h"

#include <netinet/tcp.h>
#include <sched.h>

static int fd = -1, fds[2] = { -1, -1 };

/* --- what of its name the program had bound --- */

/* arg: bits 0 and 1: the address, the port; 4: TCP, which is connected to a listener; 8: closed both ways since; 16: not connected; 32: IPv6. */
enum { BIND_ADDRESS = 1, BIND_PORT = 2, OF_TCP = 4, ENDED = 8, ALONE = 16, OF_SIX = 32 };

static int bound_make(struct maker_ctx *ctx)
{
	int six = ctx->arg & OF_SIX, type = ctx->arg & OF_TCP ? SOCK_STREAM : SOCK_DGRAM, listener;
	union address own = loopback(six ? AF_INET6 : AF_INET), there;
	socklen_t size = sizeof(own);

	listener = bound_here(six ? OVER_V6 : OVER_V4, type, 0, &there);
	CHECK(listener >= 0);
	if (type == SOCK_STREAM)
		CHECK(!listen(listener, 5));
	fd = socket(six ? AF_INET6 : AF_INET, type, 0);
	if (!(ctx->arg & BIND_ADDRESS))
		own = (union address){ .any.sa_family = own.any.sa_family };
	if (ctx->arg & BIND_PORT) {
		int other = bound_here(six ? OVER_V6 : OVER_V4, type, 0, &there); /* a port that is free */
		union address free_port;

		CHECK(!getsockname(other, &free_port.any, &size));
		own.v4.sin_port = free_port.v4.sin_port;
		close(other);
	}
	if (ctx->arg & (BIND_ADDRESS | BIND_PORT))
		CHECK(!bind(fd, &own.any, size_of(&own)));
	size = sizeof(there);
	CHECK(!getsockname(listener, &there.any, &size));
	if (!(ctx->arg & ALONE))
		CHECK(!connect(fd, &there.any, size_of(&there)));
	if (type == SOCK_STREAM && !(ctx->arg & ALONE)) {
		fds[0] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		CHECK(fds[0] >= 0);
	}
	if (ctx->arg & ENDED) {
		close(fds[0]);
		CHECK(!shutdown(fd, SHUT_RDWR));
		CHECK(UNTIL(tcp_state_of(fd) == TCP_CLOSE));
	}
	fds[1] = listener;
	return 0;
}

/* A connection that ends keeps what was bound, and nothing else. */
static int bound_use(struct maker_ctx *ctx)
{
	const struct sockaddr nobody = { .sa_family = AF_UNSPEC };
	union address before = { 0 }, after = { 0 }, any = { 0 };
	socklen_t size = sizeof(before);
	int six = ctx->arg & OF_SIX, other;

	CHECK(!getsockname(fd, &before.any, &size));
	if (!(ctx->arg & ENDED))
		CHECK(!connect(fd, &nobody, sizeof(nobody)));
	size = sizeof(after);
	CHECK(!getsockname(fd, &after.any, &size));
	any.any.sa_family = before.any.sa_family;
	if (ctx->arg & ENDED)
		SAME(after.v4.sin_port, before.v4.sin_port);
	else if (six)
		SAME(!memcmp(&after.v6.sin6_addr, &any.v6.sin6_addr, 16), !(ctx->arg & BIND_ADDRESS));
	else
		SAME(after.v4.sin_addr.s_addr == 0, !(ctx->arg & BIND_ADDRESS));
	/* of TCP the port shows still: is it free? */
	if (!(ctx->arg & OF_TCP)) {
		SAME(after.v4.sin_port, ctx->arg & BIND_PORT ? before.v4.sin_port : 0);
		return 0;
	}
	before.v4.sin_addr.s_addr = six ? before.v4.sin_addr.s_addr : htonl(INADDR_LOOPBACK);
	other = socket(before.any.sa_family, SOCK_STREAM, 0);
	SAME(bind(other, &before.any, size_of(&before)), ctx->arg & BIND_PORT ? -1 : 0);
	close(other);
	return 0;
}

/* --- which was accepted --- */

static int on_processor(int n)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(n, &one);
	return sched_setaffinity(0, sizeof(one), &one);
}

static uint64_t inode_of(int at)
{
	struct stat st;

	return fstat(at, &st) < 0 ? 0 : st.st_ino;
}

/* Both ends have names in the file system, one of which is gone, and the inode of the accepted one is the lower: each processor has some of its own. */
static int accepted_make(struct maker_ctx *ctx)
{
	struct sockaddr_un to;
	socklen_t size = named(&to, "listener");
	cpu_set_t all;
	int listener;

	CHECK(!sched_getaffinity(0, sizeof(all), &all));
	NEED(CPU_ISSET(0, &all) && CPU_ISSET(1, &all));
	CHECK(!chdir(ctx->dir));
	listener = listening(SOCK_STREAM, "listener", 5);
	CHECK(listener >= 0);
	for (int first = 0; first < 2; first++) {
		CHECK(!on_processor(first));
		fds[0] = bound(SOCK_STREAM, "client");
		CHECK(fds[0] >= 0);
		CHECK(!connect(fds[0], (void *)&to, size));
		CHECK(!on_processor(!first));
		fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		CHECK(fds[1] >= 0);
		if (inode_of(fds[1]) < inode_of(fds[0]))
			break;
		CHECK(!unlink("client"));
		close(fds[0]);
		close(fds[1]);
		fds[0] = -1;
	}
	CHECK(!sched_setaffinity(0, sizeof(all), &all));
	NEED(fds[0] >= 0);
	close(listener);
	CHECK(!unlink("listener"));
	return 0;
}

/* To whom nobody is bound, nobody can be connected; who is bound there is of another type. */
static int accepted_use(struct maker_ctx *ctx)
{
	struct sockaddr_un a;
	socklen_t size = named(&a, "client");
	int other = socket(AF_UNIX, SOCK_DGRAM, 0);

	TRY(is_named(fds[0], false, "client"));
	TRY(is_named(fds[1], false, "listener"));
	SAME(connect(other, (void *)&a, size), -1);
	SAME(errno, EPROTOTYPE);
	close(other);
	return talk(fds[0], fds[1]);
}

const struct maker makers_socket_bound[] = {
	ROW_ARG("nothing", "UDP, connected, its name all the kernel's choice", bound, 0),
	ROW_ARG("address", "of which the address was bound", bound, BIND_ADDRESS),
	ROW_ARG("port", "of which the port was bound", bound, BIND_PORT),
	ROW_ARG("both", "of which both were bound", bound, BIND_ADDRESS | BIND_PORT),
	ROW_ARG("nothing-v6", "UDP over IPv6", bound, OF_SIX),
	ROW_ARG("address-v6", "its address was bound", bound, OF_SIX | BIND_ADDRESS),
	ROW_ARG("nothing-tcp", "TCP, connected, its name all the kernel's choice", bound, OF_TCP),
	ROW_ARG("address-tcp", "of which the address was bound", bound, OF_TCP | BIND_ADDRESS),
	ROW_ARG("port-tcp", "of which the port was bound", bound, OF_TCP | BIND_PORT),
	ROW_ARG("both-tcp", "of which both were bound", bound, OF_TCP | BIND_ADDRESS | BIND_PORT),
	ROW_ARG("nothing-tcp-v6", "TCP over IPv6", bound, OF_TCP | OF_SIX),
	ROW_ARG("nothing-ended", "TCP, closed both ways: its port is free", bound, OF_TCP | ENDED),
	ROW_ARG("port-ended", "of which the port was bound: it is not", bound, OF_TCP | ENDED | BIND_PORT),
	ROW_ARG("alone", "UDP, not connected, bound to an address and any port", bound, ALONE | BIND_ADDRESS),
	ROW("accepted", "which of two unix sockets was accepted, whose listener is gone", accepted),
	{ 0 },
};
