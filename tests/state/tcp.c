/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* TCP sockets that are connected, and how they are being closed: tcp(7). */

#include "inet.h"

#include <netinet/tcp.h>
#include <sys/ioctl.h>

static int fds[2] = { -1, -1 };
static union address names[2];

static int note_names(void)
{
	for (int i = 0; i < 2; i++) {
		socklen_t size = sizeof(names[i]);

		CHECK(!getsockname(fds[i], &names[i].any, &size));
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
	SAME(tcp_state_of(fds[0]), TCP_ESTABLISHED);
	TRY(converse(fds));
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

/* --- unread --- */

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
	return converse(fds);
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

/* --- closing --- */

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
	CHECK(UNTIL(tcp_state_of(fds[0]) != TCP_FIN_WAIT1 && tcp_state_of(fds[1]) != TCP_FIN_WAIT1));
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
	SAME(tcp_state_of(fds[0]), states(ctx->arg, 1));
	SAME(tcp_state_of(fds[1]), states(ctx->arg, 0));
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

const struct maker makers_tcp[] = {
	ROW_ARG("pair", "connected over IPv4", pair, OVER_V4),
	ROW_ARG("pair-v6", "connected over IPv6", pair, OVER_V6),
	ROW_ARG("pair-mapped", "a client of IPv4 with a server of IPv6", pair, OVER_MAPPED),
	ROW_ARG("shared", "shared with a child", shared, OVER_V4),
	ROW_ARG("reader", "a child asleep in recv", reader, OVER_V4),
	ROW_ARG("unread", "unread data both ways", unread, OVER_V4),
	ROW_ARG("unread-v6", "the same over IPv6", unread, OVER_V6),
	ROW_ARG("stuffed", "as much as goes in: unread, and not yet sent", stuffed, 0),
	ROW_ARG("stuffed-both", "the same both ways", stuffed, 1),
	ROW_ARG("stuffed-small", "the same in small buffers", stuffed, 3),
	ROW_ARG("stuffed-shut", "the same, then shut: FIN_WAIT1", stuffed, 4),
	ROW_ARG("stuffed-shut-both", "the same both ways, then both shut", stuffed, 9),
	{ "corked", "data held by TCP_CORK, which lets go of it by itself", corked_make, corked_use, MAKER_RESTLESS,
		OVER_V4, NULL },
	ROW_ARG("half-closed", "unread both ways, the client has shut: FIN_WAIT2 and CLOSE_WAIT", closing, 1),
	ROW_ARG("half-closed-server", "the server has", closing, 2),
	ROW_ARG("closed", "unread both ways, both have shut", closing, 3),
	ROW_ARG("peer-closed", "unread data of a peer that was closed: CLOSE_WAIT", closing, 4),
	ROW_ARG("ended", "the same, and shut: nothing is left but the data", closing, 6),
	ROW_ARG("shut-read", "shut for receiving", closing, 8),
	{ 0 },
};
