/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* TCP sockets that are connected: bytes out of band, parameters, options, and what is refused: tcp(7). */

#include "inet.h"

#include <netinet/tcp.h>
#include <sys/ioctl.h>

static int fds[2] = { -1, -1 };

/* arg: 0 alone, 1 between others, 2 taken and its mark left, 3 inline, 4 read up to the mark */
static int oob_make(struct maker_ctx *ctx)
{
	char c;
	int on = 1;

	TRY(connected_here(OVER_V4, fds));
	if (ctx->arg == 3)
		CHECK(!setsockopt(fds[1], SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on)));
	if (ctx->arg)
		TRY(says(fds[0], "before"));
	SAME(send(fds[0], "!", 1, MSG_OOB), 1);
	if (ctx->arg)
		TRY(says(fds[0], "after"));
	if (ctx->arg == 2)
		SAME(recv(fds[1], &c, 1, MSG_OOB), 1);
	if (ctx->arg == 4)
		TRY(hears(fds[1], "before"));
	return 0;
}

static int at_mark(int fd)
{
	int is = -1;

	return ioctl(fd, SIOCATMARK, &is) < 0 ? -1 : is;
}

static int oob_use(struct maker_ctx *ctx)
{
	char c = 0;

	SAME(!!(poll_now(fds[1], POLLPRI) & POLLPRI), ctx->arg != 2);
	if (ctx->arg && ctx->arg != 4) {
		SAME(at_mark(fds[1]), 0);
		TRY(hears(fds[1], "before"));
	}
	SAME(at_mark(fds[1]), 1);
	if (ctx->arg == 3) {
		TRY(hears(fds[1], "!after"));
		return converse(fds);
	}
	if (ctx->arg != 2) {
		SAME(recv(fds[1], &c, 1, MSG_OOB), 1);
		SAME(c, '!');
	}
	SAME(recv(fds[1], &c, 1, MSG_OOB), -1);
	if (ctx->arg)
		TRY(hears(fds[1], "after"));
	return converse(fds);
}

/* --- parameters --- */

static int parameters_make(struct maker_ctx *ctx)
{
	union address a, there;
	int listener = bound_here(OVER_V4, SOCK_STREAM, 0, &a), small = 4096, mss = 500;

	CHECK(listener >= 0);
	CHECK(!setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)));
	CHECK(!setsockopt(listener, IPPROTO_TCP, TCP_MAXSEG, &mss, sizeof(mss)));
	CHECK(!listen(listener, 1));
	fds[0] = client_of(OVER_V4, SOCK_STREAM, 0, &a, &there);
	CHECK(!setsockopt(fds[0], IPPROTO_TCP, TCP_CONGESTION, "reno", 4));
	CHECK(!connect(fds[0], &there.any, size_of(&there)));
	fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	CHECK(fds[1] >= 0);
	close(listener);
	return 0;
}

static int parameters_use(struct maker_ctx *ctx)
{
	char name[16] = "";
	socklen_t size = sizeof(name);

	CHECK(!getsockopt(fds[0], IPPROTO_TCP, TCP_CONGESTION, name, &size));
	CHECK(!strcmp(name, "reno"));
	CHECK(level_option(fds[0], IPPROTO_TCP, TCP_MAXSEG) <= 500);
	SAME(option_of(fds[1], SO_RCVBUF), 8192);
	return converse(fds);
}

static const struct {
	int level, name, value;
} settings[] = {
	{ SOL_SOCKET, SO_KEEPALIVE, 1 },
	{ SOL_SOCKET, SO_REUSEADDR, 1 },
	{ SOL_SOCKET, SO_MARK, 17 },
	{ SOL_SOCKET, SO_RCVLOWAT, 3 },
	{ SOL_SOCKET, SO_BUSY_POLL, 40 },
	{ SOL_SOCKET, SO_ZEROCOPY, 1 },
	{ IPPROTO_TCP, TCP_NODELAY, 1 },
	{ IPPROTO_TCP, TCP_KEEPIDLE, 71 },
	{ IPPROTO_TCP, TCP_KEEPINTVL, 17 },
	{ IPPROTO_TCP, TCP_KEEPCNT, 4 },
	{ IPPROTO_TCP, TCP_SYNCNT, 3 },
	{ IPPROTO_TCP, TCP_LINGER2, 33 },
	{ IPPROTO_TCP, TCP_USER_TIMEOUT, 44000 },
	{ IPPROTO_TCP, TCP_NOTSENT_LOWAT, 16384 },
	{ IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, 1 },
	{ IPPROTO_TCP, TCP_INQ, 1 },
	{ IPPROTO_IP, IP_TOS, 0x10 },
	{ SOL_SOCKET, SO_PRIORITY, 5 }, /* changed by the one before */
	{ IPPROTO_IP, IP_TTL, 77 },
	{ IPPROTO_IP, IP_MINTTL, 3 },
	{ IPPROTO_IP, IP_RECVERR, 1 },
	{ IPPROTO_IP, IP_RECVTTL, 1 },
	{ IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO },
};

static int options_make(struct maker_ctx *ctx)
{
	TRY(connected_here(OVER_V4, fds));
	for (size_t i = 0; i < sizeof(settings) / sizeof(*settings); i++)
		CHECK(!setsockopt(fds[0], settings[i].level, settings[i].name, &settings[i].value, sizeof(int)));
	return 0;
}

static int options_use(struct maker_ctx *ctx)
{
	for (size_t i = 0; i < sizeof(settings) / sizeof(*settings); i++)
		SAME(level_option(fds[0], settings[i].level, settings[i].name), settings[i].value);
	return converse(fds);
}

static int mptcp_make(struct maker_ctx *ctx)
{
	fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 262 /* IPPROTO_MPTCP */);
	NEED(fds[0] >= 0);
	return 0;
}

static int mptcp_use(struct maker_ctx *ctx)
{
	SAME(option_of(fds[0], SO_PROTOCOL), 262);
	return 0;
}

const struct maker makers_tcp_option[] = {
	ROW_ARG("oob-alone", "a byte out of band", oob, 0),
	ROW_ARG("oob-between", "one between others", oob, 1),
	ROW_ARG("oob-taken", "one was taken, its mark is still there", oob, 2),
	ROW_ARG("oob-inline", "one inline", oob, 3),
	ROW_ARG("oob-at-mark", "read up to the mark", oob, 4),
	ROW_ARG("parameters", "a small window and segment, another congestion control", parameters, 0),
	ROW_ARG("options", "options of every level", options, OVER_V4),
	{ "mptcp", "multipath TCP", mptcp_make, mptcp_use, MAKER_MUST_REFUSE, 0, "mptcp|protocol 262|multipath" },
	{ 0 },
};
