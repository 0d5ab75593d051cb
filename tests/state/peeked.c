/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What later looks at a queue do not show: empty messages that were looked at (MSG_PEEK, SO_PEEK_OFF), the mark of a byte out of band behind all else. */

#include "inet.h"

#include <sys/ioctl.h>

static int fds[2] = { -1, -1 }, server = -1, clients[2] = { -1, -1 };
static union address here, there, from[2];

static int set(int at, int level, int option, int value)
{
	return setsockopt(at, level, option, &value, sizeof(value));
}

/* Everything is looked at: the empty ones hide. */
static int look_at_all(int at, int n)
{
	char c[64];

	CHECK(!set(at, SOL_SOCKET, SO_PEEK_OFF, 0));
	for (int i = 0; i < n; i++)
		CHECK(recv(at, c, sizeof(c), MSG_PEEK | MSG_DONTWAIT) >= 0);
	SAME(recv(at, c, sizeof(c), MSG_PEEK | MSG_DONTWAIT), -1);
	CHECK(!set(at, SOL_SOCKET, SO_PEEK_OFF, -1));
	return 0;
}

/* arg: the type. */
static int pair_make(struct maker_ctx *ctx)
{
	CHECK(!socketpair(AF_UNIX, (int)ctx->arg, 0, fds));
	CHECK(!set(fds[1], SOL_SOCKET, SO_PASSCRED, 1));
	TRY(says(fds[0], ""));
	TRY(says(fds[0], "bcd"));
	TRY(says(fds[0], ""));
	TRY(says(fds[0], ""));
	return look_at_all(fds[1], 4);
}

static int pair_use(struct maker_ctx *ctx)
{
	struct ucred who = { 0 };

	TRY(receive(fds[1], "", 16, NULL, 0, &who));
	SAME(who.pid, getpid());
	TRY(receive(fds[1], "bcd", 16, NULL, 0, &who));
	TRY(receive(fds[1], "", 16, NULL, 0, &who));
	SAME(who.pid, getpid());
	TRY(receive(fds[1], "", 16, NULL, 0, NULL));
	SAME(poll_now(fds[1], POLLIN) & POLLIN, 0);
	return 0;
}

/* A name is told, and a descriptor comes with it. */
static int named_make(struct maker_ctx *ctx)
{
	char name[100];
	struct sockaddr_un a;
	socklen_t size;

	abstract_name(ctx, "to", name);
	server = bound(SOCK_DGRAM, name);
	size = named(&a, name);
	abstract_name(ctx, "from", name);
	clients[0] = bound(SOCK_DGRAM, name);
	CHECK(server >= 0 && clients[0] >= 0);
	CHECK(!connect(clients[0], (void *)&a, size));
	fds[0] = new_file(ctx, "sent", "text", 4, O_RDONLY | O_CLOEXEC);
	CHECK(fds[0] >= 0);
	TRY(send_with(clients[0], "", fds, 1, NULL));
	SAME(send(clients[0], "more", 4, 0), 4);
	return look_at_all(server, 2);
}

static int named_use(struct maker_ctx *ctx)
{
	char name[100];
	struct sockaddr_un a, want;
	socklen_t size = sizeof(a);

	abstract_name(ctx, "from", name);
	TRY(receive(server, "", 16, &fds[1], 1, NULL));
	SAME(lseek(fds[1], 0, SEEK_END), 4);
	SAME(recvfrom(server, &(char){ 0 }, 1, MSG_DONTWAIT, (void *)&a, &size), 1);
	SAME(size, named(&want, name));
	CHECK(!memcmp(&a, &want, size));
	return 0;
}

/* arg: how they are connected */
static int udp_make(struct maker_ctx *ctx)
{
	int over = (int)ctx->arg;
	static const char *const text[] = { "", "first", "", "", "last", "" };

	server = bound_here(over, SOCK_DGRAM, 0, &here);
	CHECK(server >= 0);
	for (int i = 0; i < 2; i++) {
		socklen_t size = sizeof(from[i]);

		clients[i] = client_of(over, SOCK_DGRAM, 0, &here, &there);
		CHECK(clients[i] >= 0);
		CHECK(!connect(clients[i], &there.any, size_of(&there)));
		CHECK(!getsockname(clients[i], &from[i].any, &size));
	}
	for (int i = 0; i < 6; i++)
		SAME(send(clients[i % 2], text[i], strlen(text[i]), 0), (ssize_t)strlen(text[i]));
	TRY(look_at_all(server, 6));
	/* one is read: the rest is put aside for it */
	SAME(recv(server, &(char){ 0 }, 1, 0), 0);
	SAME(send(clients[0], "", 0, 0), 0);
	close(clients[1]);
	return 0;
}

static int udp_use(struct maker_ctx *ctx)
{
	static const char *const text[] = { "first", "", "", "last", "", "" };
	char got[16];

	for (int i = 0; i < 6; i++) {
		union address who = { 0 };
		socklen_t size = sizeof(who);
		ssize_t n = recvfrom(server, got, sizeof(got), MSG_DONTWAIT, &who.any, &size);

		SAME(n, (ssize_t)strlen(text[i]));
		CHECK(!memcmp(got, text[i], (size_t)n));
		SAME(who.v4.sin_port, from[i == 5 ? 0 : (i + 1) % 2].v4.sin_port);
		SAME(who.any.sa_family, ctx->arg == OVER_V4 ? AF_INET : AF_INET6);
	}
	SAME(recv(server, got, sizeof(got), MSG_DONTWAIT), -1);
	return 0;
}

/* --- marks --- */

static int at_mark(int fd)
{
	int is = -1;

	return ioctl(fd, SIOCATMARK, &is) < 0 ? -1 : is;
}

/* A byte out of band was the last, and is taken. arg: 1: what was before it is not read yet; 2: TCP. */
static int mark_make(struct maker_ctx *ctx)
{
	char c;

	if (ctx->arg & 2)
		TRY(connected_here(OVER_V4, fds));
	else
		CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
	TRY(says(fds[0], "ab"));
	SAME(send(fds[0], "!", 1, MSG_OOB), 1);
	CHECK(UNTIL(poll_now(fds[1], POLLPRI) & POLLPRI));
	SAME(recv(fds[1], &c, 1, MSG_OOB), 1);
	return ctx->arg & 1 ? 0 : hears(fds[1], "ab");
}

static int mark_use(struct maker_ctx *ctx)
{
	char got[8];

	if (ctx->arg & 1) {
		SAME(at_mark(fds[1]), 0);
		SAME(recv(fds[1], got, sizeof(got), MSG_DONTWAIT), 2);
		CHECK(!memcmp(got, "ab", 2));
	}
	SAME(at_mark(fds[1]), 1);
	TRY(says(fds[0], "cd"));
	return hears_soon(fds[1], "cd");
}

const struct maker makers_peeked[] = {
	ROW_ARG("seqpacket", "empty records that were looked at", pair, SOCK_SEQPACKET),
	ROW_ARG("datagram", "empty datagrams of a unix socket", pair, SOCK_DGRAM),
	ROW("datagram-named", "one with a descriptor, by a sender with a name", named),
	ROW_ARG("udp", "empty datagrams of UDP, with what was put aside", udp, OVER_V4),
	ROW_ARG("udp-v6", "over IPv6", udp, OVER_V6),
	ROW_ARG("udp-mapped", "of IPv4 in IPv6", udp, OVER_MAPPED),
	ROW_ARG("mark", "the mark of a byte that was taken, behind all else", mark, 1),
	ROW_ARG("mark-alone", "the same, with nothing before it", mark, 0),
	ROW_ARG("mark-tcp", "the mark of a byte of TCP that was taken, behind all else", mark, 3),
	ROW_ARG("mark-alone-tcp", "the same, with nothing before it", mark, 2),
	{ 0 },
};
