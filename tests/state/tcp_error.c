/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* TCP: errors that were not told yet, a byte out of band that has not come yet, the segment that a connection began with: tcp(7). */

#include "inet.h"

#include <netinet/icmp6.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>

static int fds[2] = { -1, -1 };

/* --- errors --- */

/* arg: 1: with something unread; 2: after the peer's end of data (EPIPE); 4: over IPv6. */
static int reset_make(struct maker_ctx *ctx)
{
	TRY(connected_here(ctx->arg & 4 ? OVER_V6 : OVER_V4, fds));
	if (ctx->arg & 1) {
		TRY(says(fds[1], "unread"));
		CHECK(UNTIL(readable(fds[0])));
	}
	TRY(says(fds[0], "never read"));
	CHECK(UNTIL(readable(fds[1])));
	if (ctx->arg & 2) {
		CHECK(!shutdown(fds[1], SHUT_WR));
		CHECK(UNTIL(tcp_state_of(fds[0]) == TCP_CLOSE_WAIT));
	}
	close(fds[1]); /* resets it */
	CHECK(UNTIL(poll_now(fds[0], 0) & POLLERR));
	return 0;
}

static int reset_use(struct maker_ctx *ctx)
{
	char c[16];

	if (ctx->arg & 1)
		TRY(hears(fds[0], "unread"));
	if (ctx->arg & 2) {
		SAME(level_option(fds[0], SOL_SOCKET, SO_ERROR), EPIPE);
	} else {
		SAME(recv(fds[0], c, sizeof(c), 0), -1);
		SAME(errno, ECONNRESET);
	}
	SAME(level_option(fds[0], SOL_SOCKET, SO_ERROR), 0);
	SAME(recv(fds[0], c, sizeof(c), 0), 0);
	SAME(send(fds[0], "x", 1, MSG_NOSIGNAL), -1);
	SAME(errno, EPIPE);
	return 0;
}

/* Nobody listens there; who asked has not looked yet. */
static int refused_make(struct maker_ctx *ctx)
{
	union address here;
	int deaf = bound_here(OVER_V4, SOCK_STREAM, 0, &here);

	CHECK(deaf >= 0);
	fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	SAME(connect(fds[0], &here.any, size_of(&here)), -1);
	CHECK(UNTIL(poll_now(fds[0], POLLOUT) & POLLERR));
	close(deaf);
	return 0;
}

static int refused_use(struct maker_ctx *ctx)
{
	SAME(level_option(fds[0], SOL_SOCKET, SO_ERROR), ECONNREFUSED);
	SAME(level_option(fds[0], SOL_SOCKET, SO_ERROR), 0);
	return 0;
}

/* --- out of band --- */

#define MUCH 300000

static char much[MUCH];

/* arg: what follows it: nothing, or more. */
static int urgent_make(struct maker_ctx *ctx)
{
	union address a, there;
	int listener = bound_here(OVER_V4, SOCK_STREAM, 0, &a), small = 4096, large = 1 << 20;

	CHECK(listener >= 0);
	CHECK(!setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)));
	CHECK(!listen(listener, 1));
	fds[0] = client_of(OVER_V4, SOCK_STREAM, 0, &a, &there);
	CHECK(!setsockopt(fds[0], SOL_SOCKET, SO_SNDBUFFORCE, &large, sizeof(large)));
	CHECK(!connect(fds[0], &there.any, size_of(&there)));
	fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	CHECK(fds[1] >= 0);
	close(listener);
	fill(much, MUCH, 5);
	SAME(send(fds[0], much, MUCH, MSG_DONTWAIT), MUCH);
	SAME(send(fds[0], "!", 1, MSG_OOB | MSG_DONTWAIT), 1);
	if (ctx->arg)
		TRY(says(fds[0], "after"));
	return 0;
}

static int at_mark(int fd)
{
	int is = -1;

	return ioctl(fd, SIOCATMARK, &is) < 0 ? -1 : is;
}

/* Reading ends at the mark. */
static int urgent_use(struct maker_ctx *ctx)
{
	static char got[MUCH + 16];
	size_t n = 0;
	char c = 0;

	while (n < MUCH) {
		ssize_t more = recv(fds[1], got + n, MUCH + 1 - n, 0);

		CHECK(more > 0);
		n += (size_t)more;
	}
	SAME(n, MUCH);
	TRY(check_fill(got, MUCH, 5));
	CHECK(UNTIL(poll_now(fds[1], POLLPRI) & POLLPRI));
	SAME(at_mark(fds[1]), 1);
	SAME(recv(fds[1], &c, 1, MSG_OOB), 1);
	SAME(c, '!');
	return ctx->arg ? hears_soon(fds[1], "after") : 0;
}

/* --- TCP_SAVED_SYN --- */

/* It cannot be given back, which is said. */
static int saved_make(struct maker_ctx *ctx)
{
	union address a, there;
	int listener = bound_here(OVER_V4, SOCK_STREAM, 0, &a), on = 1;

	CHECK(listener >= 0);
	CHECK(!setsockopt(listener, IPPROTO_TCP, TCP_SAVE_SYN, &on, sizeof(on)));
	CHECK(!listen(listener, 1));
	fds[0] = client_of(OVER_V4, SOCK_STREAM, 0, &a, &there);
	CHECK(!connect(fds[0], &there.any, size_of(&there)));
	fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	CHECK(fds[1] >= 0);
	return 0;
}

static int saved_use(struct maker_ctx *ctx)
{
	char syn[256];
	socklen_t size = sizeof(syn);

	CHECK(!getsockopt(fds[1], IPPROTO_TCP, TCP_SAVED_SYN, syn, &size));
	return converse(fds);
}

static int set_number(int fd, int option, int value)
{
	return setsockopt(fd, IPPROTO_TCP, option, &value, sizeof(value));
}

/*
 * An error that SO_ERROR tells and poll does not: TCP was told that its peer cannot be reached, and goes on trying.
 * arg: over what.
 */
struct unreachable6 {
	struct icmp6_hdr icmp;
	struct ip6_hdr ip;
	uint16_t from, to;
	uint32_t seq;
};

struct unreachable4 {
	struct icmphdr icmp;
	struct iphdr ip;
	uint16_t from, to;
	uint32_t seq;
};

static int tell4(int raw, const union address *own, const union address *peer, uint32_t seq)
{
	struct unreachable4 m = { .icmp = { .type = ICMP_DEST_UNREACH, .code = ICMP_HOST_UNREACH },
		.ip = { .version = 4,
			.ihl = 5,
			.protocol = IPPROTO_TCP,
			.ttl = 64,
			.tot_len = htons(sizeof(m) - sizeof(m.icmp)),
			.saddr = own->v4.sin_addr.s_addr,
			.daddr = peer->v4.sin_addr.s_addr },
		.from = own->v4.sin_port,
		.to = peer->v4.sin_port,
		.seq = htonl(seq) };
	union address to = loopback(AF_INET);
	uint16_t words[sizeof(m) / 2];
	uint32_t sum = 0;

	memcpy(words, &m, sizeof(words));
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		sum += words[i];
	sum = (sum & 0xffff) + (sum >> 16);
	m.icmp.checksum = (uint16_t) ~(sum + (sum >> 16));
	SAME(sendto(raw, &m, sizeof(m), 0, &to.any, size_of(&to)), sizeof(m));
	return 0;
}

static int tell6(int raw, const union address *own, const union address *peer, uint32_t seq)
{
	struct unreachable6 m = { .icmp = { .icmp6_type = ICMP6_DST_UNREACH, .icmp6_code = ICMP6_DST_UNREACH_ADDR },
		.ip = { .ip6_flow = htonl(6u << 28),
			.ip6_plen = htons(8),
			.ip6_nxt = IPPROTO_TCP,
			.ip6_hlim = 64,
			.ip6_src = own->v6.sin6_addr,
			.ip6_dst = peer->v6.sin6_addr },
		.from = own->v6.sin6_port,
		.to = peer->v6.sin6_port,
		.seq = htonl(seq) };
	union address to = loopback(AF_INET6);

	SAME(sendto(raw, &m, sizeof(m), 0, &to.any, size_of(&to)), sizeof(m));
	return 0;
}

static int soft_make(struct maker_ctx *ctx)
{
	const int over = (int)ctx->arg;
	union address own = { 0 }, peer = { 0 };
	socklen_t size = sizeof(own), small = sizeof(int);
	int raw = socket(
		    over == OVER_V6 ? AF_INET6 : AF_INET, SOCK_RAW, over == OVER_V6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP),
	    seq = 0;

	NEED(raw >= 0);
	TRY(connected_here(over, fds));
	CHECK(!getsockname(fds[0], &own.any, &size));
	CHECK(!getpeername(fds[0], &peer.any, &size));
	NEED(!set_number(fds[0], TCP_REPAIR, 1));
	CHECK(!set_number(fds[0], TCP_REPAIR_QUEUE, TCP_SEND_QUEUE));
	CHECK(!getsockopt(fds[0], IPPROTO_TCP, TCP_QUEUE_SEQ, &seq, &small));
	CHECK(!set_number(fds[0], TCP_REPAIR_QUEUE, TCP_NO_QUEUE)); /* it would be seen */
	CHECK(!set_number(fds[0], TCP_REPAIR, TCP_REPAIR_OFF_NO_WP));
	TRY((over == OVER_V6 ? tell6 : tell4)(raw, &own, &peer, (uint32_t)seq));
	return close(raw);
}

static int soft_use(struct maker_ctx *ctx)
{
	CHECK(!(poll_now(fds[0], POLLIN) & POLLERR));
	SAME(level_option(fds[0], SOL_SOCKET, SO_ERROR), EHOSTUNREACH);
	SAME(level_option(fds[0], SOL_SOCKET, SO_ERROR), 0);
	return converse(fds);
}

const struct maker makers_tcp_error[] = {
	ROW_ARG("reset", "reset, and not told yet", reset, 0),
	ROW_ARG("reset-v6", "over IPv6", reset, 4),
	ROW_ARG("reset-unread", "reset, behind something unread", reset, 1),
	ROW_ARG("reset-half", "reset when its peer had closed one way", reset, 2),
	ROW_ARG("reset-half-unread", "the same, behind something unread", reset, 3),
	ROW("refused", "could not be connected, and not told yet", refused),
	ROW_ARG("urgent-unsent", "a byte out of band that has not come yet", urgent, 0),
	ROW_ARG("urgent-unsent-between", "one with more behind it", urgent, 1),
	ROW_ARG("soft", "an error that poll does not tell of", soft, OVER_V4),
	ROW_ARG("soft-v6", "the same over IPv6", soft, OVER_V6),
	ROW("saved-syn", "TCP_SAVED_SYN, not asked for yet", saved),
	{ 0 },
};
