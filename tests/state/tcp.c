/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* TCP sockets that are connected, and how they are being closed: tcp(7). */

#include "inet.h"

#include <netinet/tcp.h>
#include <sys/ioctl.h>

static int fds[2] = { -1, -1 };
static union address names[2];

static int state_of(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t size = sizeof(info);

	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0 ? -1 : info.tcpi_state;
}

static int note_names(void)
{
	for (int i = 0; i < 2; i++) {
		socklen_t size = sizeof(names[i]);

		CHECK(!getsockname(fds[i], &names[i].any, &size));
	}
	return 0;
}

/* Waits for what the other end says. */
static int hears_soon(int at, const char *text)
{
	char got[64] = "";

	for (size_t n = 0; n < strlen(text);) {
		struct pollfd p = { .fd = at, .events = POLLIN };
		ssize_t r;

		SAME(poll(&p, 1, 5000), 1);
		r = recv(at, got + n, strlen(text) - n, MSG_DONTWAIT);
		CHECK(r > 0);
		n += (size_t)r;
	}
	CHECK(!strcmp(got, text));
	return 0;
}

static int converse(void)
{
	for (int i = 0; i < 2; i++) {
		TRY(says(fds[i], "question"));
		TRY(hears_soon(fds[!i], "question"));
		TRY(says(fds[!i], "answer"));
		TRY(hears_soon(fds[i], "answer"));
	}
	return 0;
}

/* A megabyte goes through in time: windows and segments are as they should be. */
static int stream_through(int from, int to)
{
	static char out[64 << 10], in[64 << 10];
	size_t sent = 0, got = 0, all = 4u << 20;
	int64_t begin = now_ms(CLOCK_MONOTONIC);

	while (got < all) {
		struct pollfd p[2] = { { .fd = to, .events = POLLIN },
			{ .fd = from, .events = sent < all ? POLLOUT : 0 } };
		ssize_t n;

		SAME(poll(p, 2, 5000) > 0, 1);
		n = sent < all ? send(from, out, sizeof(out) < all - sent ? sizeof(out) : all - sent, MSG_DONTWAIT) : 0;
		sent += (size_t)(n > 0 ? n : 0);
		n = recv(to, in, sizeof(in), MSG_DONTWAIT);
		got += (size_t)(n > 0 ? n : 0);
	}
	SAME(got, all);
	CHECK(now_ms(CLOCK_MONOTONIC) - begin < 20000);
	return 0;
}

static int pair_make(struct maker_ctx *ctx)
{
	TRY(connected_here((int)ctx->arg, fds));
	return note_names();
}

static int pair_use(struct maker_ctx *ctx)
{
	TRY(is_called(fds[0], false, &names[0]));
	TRY(is_called(fds[1], false, &names[1]));
	SAME(state_of(fds[0]), TCP_ESTABLISHED);
	TRY(converse());
	TRY(stream_through(fds[0], fds[1]));
	TRY(stream_through(fds[1], fds[0]));
	close(fds[1]);
	return hangs_up(fds[0]);
}

static int pair_kid(struct maker_ctx *ctx)
{
	TRY(hears_soon(fds[1], "to the child"));
	return says(fds[1], "to the parent");
}

static int shared_make(struct maker_ctx *ctx)
{
	TRY(pair_make(ctx));
	return kid_start(ctx, NULL, pair_kid, NULL);
}

static int shared_use(struct maker_ctx *ctx)
{
	TRY(says(fds[0], "to the child"));
	TRY(kids_finish(ctx));
	return hears_soon(fds[0], "to the parent");
}

/* A reader asleep in recv. */

static int reader_kid(struct maker_ctx *ctx)
{
	char c[16] = "";

	SAME(recv(fds[1], c, sizeof(c), 0), 5);
	CHECK(!strcmp(c, "hello"));
	return 0;
}

static int reader_make(struct maker_ctx *ctx)
{
	pid_t pid;

	TRY(pair_make(ctx));
	pid = fork();
	CHECK(pid >= 0);
	if (!pid)
		_exit(reader_kid(ctx));
	ctx->kids[ctx->n_kids++] = pid;
	return until_blocked_in(pid, SYS_recvfrom);
}

static int reader_use(struct maker_ctx *ctx)
{
	TRY(says(fds[0], "hello"));
	return reap_ok(ctx->kids[0]);
}

/* --- unread ------------------------------------------------------------------------------------------------------------------ */

static int unread_make(struct maker_ctx *ctx)
{
	TRY(pair_make(ctx));
	TRY(says(fds[0], "one"));
	TRY(says(fds[0], "two"));
	return says(fds[1], "back");
}

static int unread_use(struct maker_ctx *ctx)
{
	int n = 0;

	CHECK(!ioctl(fds[1], FIONREAD, &n));
	SAME(n, 6);
	TRY(hears(fds[0], "back"));
	TRY(hears(fds[1], "onetwo"));
	return pair_use(ctx);
}

/* As much as goes in: both queues full, one way or both. arg: bit 0: both ways; bit 1: small buffers; bit 2: then shut; bit 3: both shut. */

static uint64_t filled[8 << 17];
static size_t in_it[2];

static int stuff(int i)
{
	ssize_t n;
	int idle = 0;

	fcntl(fds[i], F_SETFL, O_NONBLOCK);
	while (idle < 100) { /* until the sender has probed the window too */
		n = write(fds[i], (char *)filled + in_it[i], 30000);
		if (n > 0)
			in_it[i] += (size_t)n;
		else
			nap(5);
		idle = n > 0 ? 0 : idle + 1;
	}
	CHECK(in_it[i] + 30000 < sizeof(filled));
	return 0;
}

static int stuffed_make(struct maker_ctx *ctx)
{
	int small = 8000;

	TRY(connected_here(OVER_V4, fds));
	TRY(note_names());
	fill(filled, sizeof(filled), 7);
	for (int i = 0; i < 2 && ctx->arg & 2; i++) {
		CHECK(!setsockopt(fds[i], SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)));
		CHECK(!setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)));
	}
	TRY(stuff(0));
	if (ctx->arg & 1)
		TRY(stuff(1));
	if (ctx->arg & 12)
		CHECK(!shutdown(fds[0], SHUT_WR));
	if (ctx->arg & 8)
		CHECK(!shutdown(fds[1], SHUT_WR));
	return 0;
}

static int drain(int i)
{
	static uint64_t got[sizeof(filled) / 8];
	size_t n = 0;
	int64_t begin = now_ms(CLOCK_MONOTONIC);

	while (n < in_it[!i]) {
		struct pollfd p = { .fd = fds[i], .events = POLLIN };
		ssize_t r;

		SAME(poll(&p, 1, 9000), 1);
		r = recv(fds[i], (char *)got + n, sizeof(got) - n, MSG_DONTWAIT);
		CHECK(r > 0);
		n += (size_t)r;
	}
	SAME(n, in_it[!i]);
	CHECK(!memcmp(got, filled, n));
	CHECK(now_ms(CLOCK_MONOTONIC) - begin < 15000);
	return 0;
}

static int stuffed_use(struct maker_ctx *ctx)
{
	if (!(ctx->arg & 12))
		CHECK(!(poll_now(fds[0], POLLOUT) & POLLOUT));
	TRY(drain(1));
	if (ctx->arg & 1)
		TRY(drain(0));
	if (ctx->arg & 12) {
		CHECK(UNTIL(poll_now(fds[1], POLLRDHUP) & POLLRDHUP));
		TRY(hangs_up(fds[1]));
	}
	if (ctx->arg & 8) {
		CHECK(UNTIL(poll_now(fds[0], POLLRDHUP) & POLLRDHUP));
		return hangs_up(fds[0]);
	}
	if (ctx->arg & 4) {
		TRY(says(fds[1], "still"));
		return hears_soon(fds[0], "still");
	}
	return converse();
}

/* Held back by TCP_CORK. */

static int corked_make(struct maker_ctx *ctx)
{
	int on = 1;

	TRY(pair_make(ctx));
	CHECK(!setsockopt(fds[0], IPPROTO_TCP, TCP_CORK, &on, sizeof(on)));
	return says(fds[0], "held");
}

static int corked_use(struct maker_ctx *ctx)
{
	int off = 0;

	SAME(level_option(fds[0], IPPROTO_TCP, TCP_CORK), 1);
	CHECK(!setsockopt(fds[0], IPPROTO_TCP, TCP_CORK, &off, sizeof(off)));
	TRY(hears_soon(fds[1], "held"));
	return pair_use(ctx);
}

/* --- closing ------------------------------------------------------------------------------------------------------------------ */

/* With unread data both ways. arg: who has shut for sending: bit 0 the client, bit 1 the server; bit 2: the client is closed, bit 3: for receiving. */

static int closing_make(struct maker_ctx *ctx)
{
	TRY(connected_here(OVER_V4, fds));
	TRY(note_names());
	TRY(says(fds[0], "forth"));
	if (!(ctx->arg & 4))
		TRY(says(fds[1], "back"));
	if (ctx->arg & 8)
		CHECK(!shutdown(fds[0], SHUT_RD));
	if (ctx->arg & 1)
		CHECK(!shutdown(fds[0], SHUT_WR));
	if (ctx->arg & 2)
		CHECK(!shutdown(fds[1], SHUT_WR));
	CHECK(UNTIL(state_of(fds[0]) != TCP_FIN_WAIT1 && state_of(fds[1]) != TCP_FIN_WAIT1));
	if (ctx->arg & 4) {
		close(fds[0]);
		fds[0] = -1;
	}
	return 0;
}

static int states(long arg, int client)
{
	switch (arg & 3) {
	case 1:
		return client ? TCP_FIN_WAIT2 : TCP_CLOSE_WAIT;
	case 2:
		return client ? TCP_CLOSE_WAIT : TCP_FIN_WAIT2;
	case 3:
		return TCP_CLOSE;
	default:
		return TCP_ESTABLISHED;
	}
}

static int closing_use(struct maker_ctx *ctx)
{
	TRY(is_called(fds[1], false, &names[1]));
	if (ctx->arg & 4) {
		TRY(hears(fds[1], "forth"));
		TRY(hangs_up(fds[1]));
		if (ctx->arg & 2)
			return 0;
		TRY(is_called(fds[1], true, &names[0]));
		TRY(says(fds[1], "too late"));
		CHECK(UNTIL(poll_now(fds[1], POLLIN) & POLLHUP));
		SAME(send(fds[1], "x", 1, MSG_NOSIGNAL), -1);
		SAME(errno, EPIPE);
		return 0;
	}
	SAME(state_of(fds[0]), states(ctx->arg, 1));
	SAME(state_of(fds[1]), states(ctx->arg, 0));
	TRY(hears(fds[0], "back"));
	TRY(hears(fds[1], "forth"));
	if (ctx->arg & 2 || ctx->arg & 8)
		TRY(hangs_up(fds[0]));
	if (ctx->arg & 1)
		TRY(hangs_up(fds[1]));
	for (int i = 0; i < 2; i++) {
		if (ctx->arg & 1 << i) {
			SAME(send(fds[i], "x", 1, MSG_NOSIGNAL), -1);
			SAME(errno, EPIPE);
		} else if (!(ctx->arg & 8)) {
			TRY(says(fds[i], "more"));
			TRY(hears_soon(fds[!i], "more"));
		}
	}
	return 0;
}

/* --- out of band ------------------------------------------------------------------------------------------------------------- */

/* arg: 0 alone, 1 between others, 2 taken and its mark left, 3 inline, 4 read up to the mark */
static int oob_make(struct maker_ctx *ctx)
{
	char c;
	int on = 1;

	TRY(pair_make(ctx));
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
		return converse();
	}
	if (ctx->arg != 2) {
		SAME(recv(fds[1], &c, 1, MSG_OOB), 1);
		SAME(c, '!');
	}
	SAME(recv(fds[1], &c, 1, MSG_OOB), -1);
	if (ctx->arg)
		TRY(hears(fds[1], "after"));
	return converse();
}

/* --- parameters --------------------------------------------------------------------------------------------------------------- */

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
	return note_names();
}

static int parameters_use(struct maker_ctx *ctx)
{
	char name[16] = "";
	socklen_t size = sizeof(name);

	CHECK(!getsockopt(fds[0], IPPROTO_TCP, TCP_CONGESTION, name, &size));
	CHECK(!strcmp(name, "reno"));
	CHECK(level_option(fds[0], IPPROTO_TCP, TCP_MAXSEG) <= 500);
	SAME(option_of(fds[1], SO_RCVBUF), 8192);
	return pair_use(ctx);
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
	TRY(pair_make(ctx));
	for (size_t i = 0; i < sizeof(settings) / sizeof(*settings); i++)
		CHECK(!setsockopt(fds[0], settings[i].level, settings[i].name, &settings[i].value, sizeof(int)));
	return 0;
}

static int options_use(struct maker_ctx *ctx)
{
	for (size_t i = 0; i < sizeof(settings) / sizeof(*settings); i++)
		SAME(level_option(fds[0], settings[i].level, settings[i].name), settings[i].value);
	return converse();
}

/* Refused: what was not told, and what signs segments. */

static int reset_make(struct maker_ctx *ctx)
{
	TRY(pair_make(ctx));
	TRY(says(fds[0], "unread"));
	close(fds[1]); /* resets it */
	CHECK(UNTIL(poll_now(fds[0], 0) & POLLERR));
	return 0;
}

static int reset_use(struct maker_ctx *ctx)
{
	SAME(level_option(fds[0], SOL_SOCKET, SO_ERROR), ECONNRESET);
	return 0;
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

#define PAIR(name, what, m, over)                                                                                      \
	{                                                                                                              \
		name, what, m##_make, m##_use, 0, over, NULL                                                           \
	}

const struct maker makers_tcp[] = {
	PAIR("pair", "connected over IPv4", pair, OVER_V4),
	PAIR("pair-v6", "connected over IPv6", pair, OVER_V6),
	PAIR("pair-mapped", "a client of IPv4 with a server of IPv6", pair, OVER_MAPPED),
	PAIR("shared", "shared with a child", shared, OVER_V4),
	PAIR("reader", "a child asleep in recv", reader, OVER_V4),
	PAIR("unread", "unread data both ways", unread, OVER_V4),
	PAIR("unread-v6", "the same over IPv6", unread, OVER_V6),
	PAIR("stuffed", "as much as goes in: unread, and not yet sent", stuffed, 0),
	PAIR("stuffed-both", "the same both ways", stuffed, 1),
	PAIR("stuffed-small", "the same in small buffers", stuffed, 3),
	PAIR("stuffed-shut", "the same, then shut: FIN_WAIT1", stuffed, 4),
	PAIR("stuffed-shut-both", "the same both ways, then both shut", stuffed, 9),
	PAIR("corked", "data held by TCP_CORK", corked, OVER_V4),
	PAIR("half-closed", "unread both ways, the client has shut: FIN_WAIT2 and CLOSE_WAIT", closing, 1),
	PAIR("half-closed-server", "the server has", closing, 2),
	PAIR("closed", "unread both ways, both have shut", closing, 3),
	PAIR("peer-closed", "unread data of a peer that was closed: CLOSE_WAIT", closing, 4),
	PAIR("ended", "the same, and shut: nothing is left but the data", closing, 6),
	PAIR("shut-read", "shut for receiving", closing, 8),
	PAIR("oob-alone", "a byte out of band", oob, 0),
	PAIR("oob-between", "one between others", oob, 1),
	PAIR("oob-taken", "one was taken, its mark is still there", oob, 2),
	PAIR("oob-inline", "one inline", oob, 3),
	PAIR("oob-at-mark", "read up to the mark", oob, 4),
	PAIR("parameters", "a small window and segment, another congestion control", parameters, 0),
	PAIR("options", "options of every level", options, OVER_V4),
	{ "reset", "reset, and not told yet", reset_make, reset_use, MAKER_MUST_REFUSE, OVER_V4, "an error" },
	{ "mptcp", "multipath TCP", mptcp_make, mptcp_use, MAKER_MUST_REFUSE, 0, "mptcp|protocol 262|multipath" },
	{ 0 },
};
