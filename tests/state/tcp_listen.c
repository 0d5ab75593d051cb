/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* TCP sockets that are not connected, listen, or wait to be accepted: tcp(7), listen(2), connect(2). */

#include "inet.h"

#include <linux/filter.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>

static int fds[8] = { -1, -1, -1, -1, -1, -1, -1, -1 }, listener = -1;
static union address here, there, names[8];
static long said, said_last;

static int serve(int over)
{
	int client = client_of(over, SOCK_STREAM, 0, &here, &there), server;

	CHECK(client >= 0);
	CHECK(!connect(client, &there.any, size_of(&there)));
	server = accept(listener, NULL, NULL);
	CHECK(server >= 0);
	TRY(talk(client, server));
	close(server);
	close(client);
	return 0;
}

/* --- not connected --- */

static int unbound_make(struct maker_ctx *ctx)
{
	int ttl = 9, mss = 700;

	fds[0] = socket((int)ctx->arg, SOCK_STREAM | SOCK_NONBLOCK, 0);
	CHECK(fds[0] >= 0);
	CHECK(!setsockopt(fds[0], IPPROTO_IP, IP_TTL, &ttl, sizeof(ttl)));
	CHECK(!setsockopt(fds[0], IPPROTO_TCP, TCP_MAXSEG, &mss, sizeof(mss)));
	return 0;
}

static int unbound_use(struct maker_ctx *ctx)
{
	char c;

	SAME(level_option(fds[0], IPPROTO_IP, IP_TTL), 9);
	SAME(level_option(fds[0], IPPROTO_TCP, TCP_MAXSEG), 700);
	SAME(recv(fds[0], &c, 1, 0), -1);
	SAME(errno, ENOTCONN);
	listener = listening_here(ctx->arg == AF_INET ? OVER_V4 : OVER_V6, 2, &here);
	SAME(connect(fds[0], &here.any, size_of(&here)), -1);
	SAME(errno, EINPROGRESS);
	SAME(poll_now(fds[0], POLLOUT), POLLOUT);
	return talk(fds[0], accept(listener, NULL, NULL));
}

static int bound_make(struct maker_ctx *ctx)
{
	fds[0] = bound_here((int)ctx->arg, SOCK_STREAM, 0, &here);
	CHECK(fds[0] >= 0);
	return 0;
}

static int bound_use(struct maker_ctx *ctx)
{
	TRY(is_called(fds[0], false, &here));
	listener = fds[0];
	CHECK(!listen(listener, 3));
	return serve((int)ctx->arg);
}

/* An address without a port (IP_BIND_ADDRESS_NO_PORT). */

static int no_port_make(struct maker_ctx *ctx)
{
	int on = 1;

	here = loopback(AF_INET);
	fds[0] = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(!setsockopt(fds[0], IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on)));
	CHECK(!bind(fds[0], &here.any, size_of(&here)));
	return 0;
}

static int no_port_use(struct maker_ctx *ctx)
{
	return is_called(fds[0], false, &here);
}

/* Could not be connected, and knows. */

static int failed_make(struct maker_ctx *ctx)
{
	listener = bound_here(OVER_V4, SOCK_STREAM, 0, &here);
	fds[0] = client_of(OVER_V4, SOCK_STREAM | SOCK_NONBLOCK, 0, &here, &there);
	SAME(connect(fds[0], &here.any, size_of(&here)), -1);
	SAME(errno, EINPROGRESS);
	CHECK(UNTIL(poll_now(fds[0], POLLOUT) & POLLERR));
	SAME(level_option(fds[0], SOL_SOCKET, SO_ERROR), ECONNREFUSED);
	return 0;
}

static int failed_use(struct maker_ctx *ctx)
{
	CHECK(poll_now(fds[0], POLLRDHUP) & POLLHUP);
	SAME(connect(fds[0], &here.any, size_of(&here)), -1);
	SAME(errno, ECONNABORTED);
	CHECK(!listen(listener, 3));
	SAME(connect(fds[0], &here.any, size_of(&here)), -1);
	SAME(poll_now(fds[0], POLLOUT), POLLOUT);
	return talk(fds[0], accept(listener, NULL, NULL));
}

/* --- listening --- */

static int listening_make(struct maker_ctx *ctx)
{
	listener = listening_here((int)ctx->arg, 3, &here);
	CHECK(listener >= 0);
	return 0;
}

static int listening_use(struct maker_ctx *ctx)
{
	SAME(option_of(listener, SO_ACCEPTCONN), 1);
	TRY(is_called(listener, false, &here));
	TRY(serve((int)ctx->arg));
	return serve((int)ctx->arg);
}

/* A child asleep in accept. */

static int accepting_kid(struct maker_ctx *ctx)
{
	int fd = accept(listener, NULL, NULL);

	CHECK(fd >= 0);
	TRY(hears(fd, "question"));
	return says(fd, "answer");
}

static int accepting_make(struct maker_ctx *ctx)
{
	pid_t pid;

	TRY(listening_make(ctx));
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		nap(1);
		_exit(accepting_kid(ctx));
	}
	ctx->kids[ctx->n_kids++] = pid;
	return until_blocked_in(pid, SYS_accept);
}

static int accepting_use(struct maker_ctx *ctx)
{
	fds[0] = socket(AF_INET, SOCK_STREAM, 0);
	send(fds[0], "", 0, MSG_NOSIGNAL);
	SAME(sendto(fds[0], "question", 8, MSG_FASTOPEN, &here.any, size_of(&here)), 8);
	TRY(reap_ok(ctx->kids[0]));
	return hears(fds[0], "answer");
}

static const struct {
	int level, name, value;
} settings[] = {
	{ SOL_SOCKET, SO_REUSEADDR, 1 },
	{ SOL_SOCKET, SO_KEEPALIVE, 1 },
	{ SOL_SOCKET, SO_RCVBUF, 50000 },
	{ SOL_SOCKET, SO_INCOMING_CPU, 1 },
	{ IPPROTO_TCP, TCP_NODELAY, 1 },
	{ IPPROTO_TCP, TCP_DEFER_ACCEPT, 3 },
	{ IPPROTO_TCP, TCP_FASTOPEN, 12 },
	{ IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, 1 },
	{ IPPROTO_TCP, TCP_SAVE_SYN, 1 },
	{ IPPROTO_TCP, TCP_MAXSEG, 900 },
	{ IPPROTO_IP, IP_TRANSPARENT, 1 },
	{ IPPROTO_IP, IP_FREEBIND, 1 },
};

static int options_make(struct maker_ctx *ctx)
{
	struct linger linger = { 1, 7 };

	TRY(listening_make(ctx));
	for (size_t i = 0; i < sizeof(settings) / sizeof(*settings); i++)
		CHECK(!setsockopt(listener, settings[i].level, settings[i].name, &settings[i].value, sizeof(int)));
	CHECK(!setsockopt(listener, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)));
	CHECK(!setsockopt(listener, SOL_SOCKET, SO_BINDTODEVICE, "lo", 2));
	CHECK(!setsockopt(listener, IPPROTO_TCP, TCP_CONGESTION, "reno", 4));
	CHECK(!setsockopt(listener, IPPROTO_TCP, TCP_FASTOPEN_KEY, "0123456789abcdef", 16));
	return 0;
}

static int options_use(struct maker_ctx *ctx)
{
	char value[32] = "";
	socklen_t size = sizeof(value);

	for (size_t i = 0; i < sizeof(settings) / sizeof(*settings); i++)
		SAME(level_option(listener, settings[i].level, settings[i].name),
			settings[i].name == SO_RCVBUF && settings[i].level == SOL_SOCKET ? 100000 : settings[i].value);
	CHECK(!getsockopt(listener, IPPROTO_TCP, TCP_FASTOPEN_KEY, value, &size));
	SAME(size, 16);
	CHECK(!memcmp(value, "0123456789abcdef", 16));
	return 0;
}

/* Two of one port (SO_REUSEPORT). */

static int group_make(struct maker_ctx *ctx)
{
	int on = 1;

	fds[0] = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(!setsockopt(fds[0], SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)));
	here = loopback(AF_INET);
	CHECK(!bind(fds[0], &here.any, size_of(&here)));
	CHECK(!getsockname(fds[0], &here.any, &(socklen_t){ sizeof(here) }));
	fds[1] = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(!setsockopt(fds[1], SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)));
	CHECK(!bind(fds[1], &here.any, size_of(&here)));
	CHECK(!listen(fds[0], 50));
	return listen(fds[1], 50);
}

static int group_use(struct maker_ctx *ctx)
{
	int got[2] = { 0 };

	for (int i = 0; i < 40; i++) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);

		CHECK(!connect(fd, &here.any, size_of(&here)));
		for (int k = 0; k < 2; k++)
			if (poll_now(fds[k], POLLIN)) {
				close(accept(fds[k], NULL, NULL));
				got[k]++;
			}
		close(fd);
	}
	SAME(got[0] + got[1], 40);
	CHECK(got[0] && got[1]);
	return 0;
}

/* --- not accepted yet --- */

enum { CLIENTS = 4 };

/* arg: bit 0: the first has shut; bit 1: the second is closed; bit 2: the listener has accepted one before */
static int waiting_make(struct maker_ctx *ctx)
{
	TRY(listening_make(&(struct maker_ctx){ .arg = ctx->arg & 8 ? OVER_MAPPED : OVER_V4 }));
	for (int i = 0; i < CLIENTS; i++) {
		socklen_t size = sizeof(names[i]);

		fds[i] = client_of(ctx->arg & 8 ? OVER_MAPPED : OVER_V4, SOCK_STREAM, 0, &here, &there);
		CHECK(!connect(fds[i], &there.any, size_of(&there)));
		CHECK(!getsockname(fds[i], &names[i].any, &size));
		nap(30); /* the kernel tells their order by the time */
	}
	if (ctx->arg & 1)
		CHECK(!shutdown(fds[0], SHUT_WR));
	if (ctx->arg & 2) {
		close(fds[1]);
		fds[1] = -1;
	}
	if (ctx->arg & 4)
		CHECK((fds[4] = accept(listener, NULL, NULL)) >= 0);
	return 0;
}

static int waiting_use(struct maker_ctx *ctx)
{
	for (int i = ctx->arg & 4 ? 1 : 0; i < CLIENTS; i++) {
		union address from = { 0 };
		socklen_t size = sizeof(from);
		int server;

		CHECK(poll_now(listener, POLLIN));
		server = accept(listener, &from.any, &size);
		CHECK(server >= 0);
		SAME(from.v4.sin_port, names[i].v4.sin_port);
		if (fds[i] < 0 || (ctx->arg & 1 && !i)) {
			TRY(hangs_up(server));
			continue;
		}
		TRY(is_called(fds[i], false, &names[i]));
		TRY(talk(fds[i], server));
	}
	if (ctx->arg & 4)
		TRY(talk(fds[0], fds[4]));
	return serve(ctx->arg & 8 ? OVER_MAPPED : OVER_V4);
}

/* One too many for the backlog: it waits for an answer. */

static int full_make(struct maker_ctx *ctx)
{
	listener = listening_here(OVER_V4, 0, &here);
	CHECK(listener >= 0);
	for (int i = 0; i < 2; i++) {
		fds[i] = client_of(OVER_V4, SOCK_STREAM | SOCK_NONBLOCK, 0, &here, &there);
		connect(fds[i], &here.any, size_of(&here));
		CHECK(UNTIL(tcp_state_of(fds[i]) == (i ? TCP_SYN_SENT : TCP_ESTABLISHED)));
	}
	SAME(tcp_state_of(fds[0]), TCP_ESTABLISHED);
	SAME(tcp_state_of(fds[1]), TCP_SYN_SENT);
	return 0;
}

static int full_use(struct maker_ctx *ctx)
{
	struct pollfd p = { .fd = fds[1], .events = POLLOUT };

	SAME(poll_now(fds[1], POLLOUT), 0);
	TRY(talk(fds[0], accept(listener, NULL, NULL)));
	SAME(poll(&p, 1, 9000), 1);
	SAME(p.revents, POLLOUT);
	SAME(level_option(fds[1], SOL_SOCKET, SO_ERROR), 0);
	return talk(fds[1], accept(listener, NULL, NULL));
}

/* What was sent already lies where nobody can look. */

static int dial_early(int i, int over)
{
	nap(3); /* in that order */
	fds[i] = client_of(over, SOCK_STREAM, 0, &here, &there);
	CHECK(fds[i] >= 0);
	CHECK(!connect(fds[i], &there.any, size_of(&there)));
	return 0;
}

/* Said before it is accepted: a word; a word by one that has shut; by one that was closed; by one that says more later. */
static int said_make(struct maker_ctx *ctx)
{
	int over = (int)ctx->arg;

	TRY(listening_make(ctx));
	for (int i = 0; i < 4; i++)
		TRY(dial_early(i, over));
	TRY(says(fds[0], "early"));
	TRY(says(fds[1], "shut"));
	CHECK(!shutdown(fds[1], SHUT_WR));
	TRY(says(fds[2], "closed"));
	close(fds[2]);
	TRY(says(fds[3], "one "));
	TRY(says(fds[3], "two"));
	CHECK(UNTIL(tcp_state_of(fds[1]) == TCP_FIN_WAIT2));
	return 0;
}

static int said_use(struct maker_ctx *ctx)
{
	static const char *const texts[] = { "early", "shut", "closed", "one two" };

	for (int i = 0; i < 4; i++) {
		int fd = accept(listener, NULL, NULL);

		CHECK(fd >= 0);
		TRY(hears_soon(fd, texts[i]));
		if (i == 1 || i == 2)
			TRY(hangs_up(fd));
		else
			TRY(talk(fd, fds[i]));
		close(fd);
	}
	return 0;
}

/* As much as goes into it: some of that has not come. */
static int said_all_make(struct maker_ctx *ctx)
{
	static char chunk[4096];

	TRY(listening_make(ctx));
	TRY(dial_early(0, (int)ctx->arg));
	CHECK(!fcntl(fds[0], F_SETFL, O_NONBLOCK));
	for (said = 0;; said += PAGE) {
		ssize_t n;

		fill(chunk, sizeof(chunk), (uint64_t)said);
		n = send(fds[0], chunk, sizeof(chunk), 0);
		if (n != sizeof(chunk)) {
			said_last = n < 0 ? 0 : n;
			break;
		}
	}
	CHECK(said > 64 << 10);
	nap(50);
	return 0;
}

static int said_all_use(struct maker_ctx *ctx)
{
	static char want[4096], got[4096];
	int fd = accept(listener, NULL, NULL);

	CHECK(fd >= 0);
	for (long at = 0; at <= said; at += PAGE) {
		ssize_t n = at == said ? said_last : PAGE;

		fill(want, sizeof(want), (uint64_t)at);
		SAME(n ? recv(fd, got, (size_t)n, MSG_WAITALL) : 0, n);
		CHECK(!memcmp(want, got, (size_t)n));
	}
	CHECK(!fcntl(fds[0], F_SETFL, 0));
	return talk(fd, fds[0]);
}

/* A byte out of band. */
/* arg: its client has closed since. */
static int said_urgent_make(struct maker_ctx *ctx)
{
	const long closed = ctx->arg;

	ctx->arg = OVER_V4;
	TRY(listening_make(ctx));
	TRY(dial_early(0, OVER_V4));
	TRY(says(fds[0], "early"));
	SAME(send(fds[0], "!", 1, MSG_OOB), 1);
	TRY(says(fds[0], "late"));
	ctx->arg = closed;
	return closed ? close(fds[0]) : 0;
}

static int said_urgent_use(struct maker_ctx *ctx)
{
	char c, text[16] = "";
	int fd = accept(listener, NULL, NULL);

	CHECK(UNTIL(poll_now(fd, POLLPRI)));
	SAME(recv(fd, text, 5, 0), 5);
	CHECK(!strcmp(text, "early"));
	SAME(recv(fd, &c, 1, MSG_OOB), 1);
	SAME(c, '!');
	TRY(hears_soon(fd, "late"));
	if (ctx->arg)
		return hangs_up(fd);
	TRY(says(fd, "answer"));
	return hears_soon(fds[0], "answer");
}

const struct maker makers_tcp_listen[] = {
	ROW_ARG("unbound", "never bound", unbound, AF_INET),
	ROW_ARG("unbound-v6", "the same of IPv6", unbound, AF_INET6),
	ROW_ARG("bound", "bound", bound, OVER_V4),
	ROW_ARG("bound-v6", "bound to an address of IPv6", bound, OVER_V6),
	ROW_ARG("bound-any-v6", "bound to any address of both", bound, OVER_MAPPED),
	ROW_ARG("bound-no-port", "bound to an address without a port", no_port, 0),
	ROW_ARG("failed", "could not be connected", failed, 0),
	ROW_ARG("listening", "listening", listening, OVER_V4),
	ROW_ARG("listening-v6", "listening at an address of IPv6", listening, OVER_V6),
	ROW_ARG("listening-both", "listening for IPv4 and IPv6", listening, OVER_MAPPED),
	ROW_ARG("accepting", "a child asleep in accept", accepting, OVER_V4),
	ROW_ARG("options", "a listener's options", options, OVER_V4),
	ROW_ARG("group", "two listeners of one port", group, 0),
	ROW_ARG("waiting", "connections not accepted yet", waiting, 0),
	ROW_ARG("waiting-shut", "one of them has shut", waiting, 1),
	ROW_ARG("waiting-closed", "one of them was closed", waiting, 2),
	ROW_ARG("waiting-after", "one was accepted", waiting, 4),
	ROW_ARG("waiting-mapped", "from IPv4 to IPv6", waiting, 8),
	ROW_ARG("full", "one too many for the backlog: SYN_SENT", full, 0),
	ROW_ARG("waiting-said", "something was sent on them", said, OVER_V4),
	ROW_ARG("waiting-said-v6", "the same of IPv6", said, OVER_V6),
	ROW_ARG("waiting-said-mapped", "from IPv4 to IPv6", said, OVER_MAPPED),
	ROW_ARG("waiting-said-all", "as much was sent as goes into it", said_all, OVER_V4),
	ROW_ARG("waiting-said-urgent", "a byte out of band was sent", said_urgent, false),
	ROW_ARG("waiting-said-urgent-closed", "the same, and its client has closed since", said_urgent, true),
	{ 0 },
};
