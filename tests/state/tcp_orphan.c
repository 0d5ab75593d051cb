/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A connection whose one end was closed before all that it had written went out: the kernel sends the rest, for nobody. tcp(7). */

#include "inet.h"

#include <netinet/tcp.h>
#include <sys/ioctl.h>

#define MOST	  3
#define ROOM	  (8u << 20)
#define SMALL_BUF 8000

/* Of the end that is left, and of the one that is closed. */
enum {
	OVER = 3,
	SMALL = 4,	    /* buffers */
	SHUT_BEFORE = 8,    /* it had shut for sending: LAST_ACK */
	SHUT_AFTER = 16,    /* it shut when the other was closed already: CLOSING */
	SEVERAL = 32,	    /* connections, of three lengths */
	READ_A_LITTLE = 64, /* since */
	WAITS = 128,	    /* it is not accepted yet */
	URGENT = 256,	    /* a byte out of band is behind the others */
};

static struct {
	int fd, listener;
	size_t sent, got;
} left[MOST];
static uint64_t content[ROOM / sizeof(uint64_t)];

static int most(long arg)
{
	return arg & SEVERAL ? MOST : 1;
}

#define IDLE 100 /* times 5 ms: until the window has been probed, too */

/* As much as goes in. */
static int stuff(int fd, size_t at_most, size_t *sent)
{
	int idle = 0;

	fcntl(fd, F_SETFL, O_NONBLOCK);
	while (idle < IDLE && *sent < at_most) {
		ssize_t n = write(fd, (char *)content + *sent, at_most - *sent < 30000 ? at_most - *sent : 30000);

		if (n > 0)
			*sent += (size_t)n;
		else
			nap(5);
		idle = n > 0 ? 0 : idle + 1;
	}
	return 0;
}

/* No more comes until some is read. */
static int settles(int fd)
{
	int before = -1, n = 0;

	for (int idle = 0; idle < IDLE; idle++) {
		CHECK(!ioctl(fd, FIONREAD, &n));
		if (n != before)
			idle = 0;
		before = n;
		nap(5);
	}
	return 0;
}

static int reads(int i, size_t size)
{
	static char in[64 << 10];

	while (size) {
		struct pollfd p = { .fd = left[i].fd, .events = POLLIN };
		ssize_t n;

		SAME(poll(&p, 1, 9000), 1);
		n = recv(left[i].fd, in, size < sizeof(in) ? size : sizeof(in), MSG_DONTWAIT);
		CHECK(n > 0);
		CHECK(!memcmp(in, (char *)content + left[i].got, (size_t)n));
		left[i].got += (size_t)n;
		size -= (size_t)n;
	}
	return 0;
}

/* Whose server waits in the listener's backlog. */
static int dials(int over, int i, int fds[2])
{
	union address a, there;

	left[i].listener = listening_here(over, 5, &a);
	fds[0] = client_of(over, SOCK_STREAM, 0, &a, &there);
	CHECK(left[i].listener >= 0 && fds[0] >= 0);
	fds[1] = -1;
	CHECK(!connect(fds[0], &there.any, size_of(&there)));
	return 0;
}

static int make_one(long arg, int i)
{
	int fds[2] = { -1, -1 }, small = SMALL_BUF;

	TRY(arg & WAITS ? dials((int)arg & OVER, i, fds) : connected_here((int)arg & OVER, fds));
	for (int k = 0; k < 2 && arg & SMALL; k++) {
		CHECK(!setsockopt(fds[k], SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)));
		CHECK(!setsockopt(fds[k], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)));
	}
	left[i].fd = fds[1];
	if (arg & SHUT_BEFORE)
		CHECK(!shutdown(fds[1], SHUT_WR));
	TRY(stuff(fds[0], arg & (SEVERAL | URGENT) ? (size_t)(i + 1) << 20 : ROOM, &left[i].sent));
	if (arg & URGENT)
		SAME(send(fds[0], "!", 1, MSG_OOB), 1);
	CHECK(!close(fds[0]));
	if (arg & SHUT_AFTER)
		CHECK(!shutdown(fds[1], SHUT_WR));
	if (!(arg & WAITS))
		TRY(settles(fds[1]));
	return arg & READ_A_LITTLE ? reads(i, 1000) : 0;
}

static int orphan_make(struct maker_ctx *ctx)
{
	fill(content, sizeof(content), 11);
	for (int i = 0; i < most(ctx->arg); i++)
		TRY(make_one(ctx->arg, i));
	return 0;
}

static int orphan_use(struct maker_ctx *ctx)
{
	int64_t begin = now_ms(CLOCK_MONOTONIC);
	char c = 0;

	for (int i = 0; i < most(ctx->arg); i++) {
		if (ctx->arg & WAITS)
			CHECK((left[i].fd = accept4(left[i].listener, NULL, NULL, SOCK_CLOEXEC)) >= 0);
		TRY(reads(i, left[i].sent - left[i].got));
		if (ctx->arg & URGENT) {
			CHECK(UNTIL(poll_now(left[i].fd, POLLPRI)));
			SAME(recv(left[i].fd, &c, 1, MSG_OOB), 1);
			SAME(c, '!');
		}
		CHECK(UNTIL(poll_now(left[i].fd, POLLRDHUP) & POLLRDHUP));
		TRY(hangs_up(left[i].fd));
	}
	CHECK(now_ms(CLOCK_MONOTONIC) - begin < 15000);
	return 0;
}

const struct maker makers_tcp_orphan[] = {
	ROW_ARG("orphan", "closed with much unsent: FIN_WAIT1 without a descriptor", orphan, OVER_V4),
	ROW_ARG("orphan-v6", "the same over IPv6", orphan, OVER_V6),
	ROW_ARG("orphan-mapped", "the same over IPv4 in IPv6", orphan, OVER_MAPPED),
	ROW_ARG("small", "the same in small buffers", orphan, OVER_V4 | SMALL),
	ROW_ARG("small-v6", "the same over IPv6", orphan, OVER_V6 | SMALL),
	ROW_ARG("read", "a little was read since", orphan, OVER_V4 | READ_A_LITTLE),
	ROW_ARG("shut-before", "the end that is left had shut for sending: LAST_ACK", orphan, OVER_V4 | SHUT_BEFORE),
	ROW_ARG("shut-after", "it has shut since: CLOSING", orphan, OVER_V4 | SHUT_AFTER),
	ROW_ARG("several", "several of these", orphan, OVER_V6 | SEVERAL),
	ROW_ARG("urgent", "with a byte out of band that has not come", orphan, OVER_V4 | URGENT),
	ROW_ARG("waiting", "the end that is left is not accepted yet", orphan, OVER_V4 | WAITS),
	ROW_ARG("waiting-v6", "the same over IPv6", orphan, OVER_V6 | WAITS),
	ROW_ARG("waiting-several", "several of these", orphan, OVER_MAPPED | WAITS | SEVERAL),
	ROW_ARG("waiting-urgent", "with a byte out of band that has not come", orphan, OVER_V4 | WAITS | URGENT),
	{ 0 },
};
