/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* TCP whose segments are signed (TCP_MD5SIG, TCP_MD5SIG_EXT): tcp(7), RFC 2385. The kernel tells nobody but an administrator which keys there are. */

#include "inet.h"

#include <netinet/tcp.h>

#define OF_INTERFACE 2 /* TCP_MD5SIG_FLAG_IFINDEX */

/* What other makers make, its segments signed at both ends. */

extern const struct maker makers_tcp[], makers_tcp_listen[], makers_tcp_option[], makers_tcp_error[],
	makers_tcp_orphan[];

enum {
	PAIR,
	PAIR_V6,
	PAIR_MAPPED,
	UNREAD,
	STUFFED,
	STUFFED_SHUT,
	CORKED,
	HALF_CLOSED,
	CLOSED,
	ENDED,
	LISTENING,
	LISTENING_V6,
	LISTENING_BOTH,
	WAITING,
	WAITING_CLOSED,
	WAITING_MAPPED,
	WAITING_SAID,
	WAITING_SAID_V6,
	WAITING_SAID_ALL,
	FULL,
	OOB,
	OOB_TAKEN,
	PARAMETERS,
	RESET,
	RESET_HALF,
	SOFT,
	ORPHAN,
	ORPHAN_V6,
	ORPHAN_MAPPED,
	ORPHAN_SHUT,
	ORPHAN_WAITING,
};

static const struct {
	const struct maker *of;
	const char *name;
} others[] = {
	[PAIR] = { makers_tcp, "pair" },
	[PAIR_V6] = { makers_tcp, "pair-v6" },
	[PAIR_MAPPED] = { makers_tcp, "pair-mapped" },
	[UNREAD] = { makers_tcp, "unread" },
	[STUFFED] = { makers_tcp, "stuffed-both" },
	[STUFFED_SHUT] = { makers_tcp, "stuffed-shut-both" },
	[CORKED] = { makers_tcp, "corked" },
	[HALF_CLOSED] = { makers_tcp, "half-closed" },
	[CLOSED] = { makers_tcp, "closed" },
	[ENDED] = { makers_tcp, "ended" },
	[LISTENING] = { makers_tcp_listen, "listening" },
	[LISTENING_V6] = { makers_tcp_listen, "listening-v6" },
	[LISTENING_BOTH] = { makers_tcp_listen, "listening-both" },
	[WAITING] = { makers_tcp_listen, "waiting" },
	[WAITING_CLOSED] = { makers_tcp_listen, "waiting-closed" },
	[WAITING_MAPPED] = { makers_tcp_listen, "waiting-mapped" },
	[WAITING_SAID] = { makers_tcp_listen, "waiting-said" },
	[WAITING_SAID_V6] = { makers_tcp_listen, "waiting-said-v6" },
	[WAITING_SAID_ALL] = { makers_tcp_listen, "waiting-said-all" },
	[FULL] = { makers_tcp_listen, "full" },
	[OOB] = { makers_tcp_option, "oob-alone" },
	[OOB_TAKEN] = { makers_tcp_option, "oob-taken" },
	[PARAMETERS] = { makers_tcp_option, "parameters" },
	[RESET] = { makers_tcp_error, "reset-unread" },
	[RESET_HALF] = { makers_tcp_error, "reset-half" },
	[SOFT] = { makers_tcp_error, "soft" },
	[ORPHAN] = { makers_tcp_orphan, "orphan" },
	[ORPHAN_V6] = { makers_tcp_orphan, "orphan-v6" },
	[ORPHAN_MAPPED] = { makers_tcp_orphan, "orphan-mapped" },
	[ORPHAN_SHUT] = { makers_tcp_orphan, "shut-after" },
	[ORPHAN_WAITING] = { makers_tcp_orphan, "waiting" },
};

static int with_signatures(struct maker_ctx *ctx, bool use)
{
	const struct maker *m = others[ctx->arg].of;
	const long own = ctx->arg;
	int r;

	while (m->name && strcmp(m->name, others[own].name))
		m++;
	CHECK(m->name);
	sign_all();
	ctx->arg = m->arg;
	r = (use ? m->use : m->make)(ctx);
	ctx->arg = own;
	return r;
}

static int signed_make(struct maker_ctx *ctx)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	NEED(!sign(fd, "127.0.0.1", 32, 0, "key"));
	close(fd);
	return with_signatures(ctx, false);
}

static int signed_use(struct maker_ctx *ctx)
{
	return with_signatures(ctx, true);
}

/* --- keys of every kind, on a socket that is not connected --- */

static int fds[3] = { -1, -1, -1 };
static union address here, there;

static const struct {
	const char *ip;
	int family, prefix;
} keys[] = {
	{ "127.0.0.1", AF_INET, 32 },
	{ "192.0.2.0", AF_INET, 24 },
	{ "192.0.2.1", AF_INET, 24 }, /* another one: the address counts as it is */
	{ "198.51.100.7", AF_INET, 31 },
	{ "0.0.0.0", AF_INET, 0 },
	{ "::1", AF_INET6, 128 },
	{ "2001:db8::", AF_INET6, 33 },
};
enum { N_KEYS = sizeof(keys) / sizeof(*keys) };

static const char *key_text(int i)
{
	static char text[81];

	memset(text, 0, sizeof(text));
	fill(text, (size_t)(i == 1 ? 80 : 7), (uint64_t)i);
	for (size_t k = 0; k < (size_t)(i == 1 ? 80 : 7); k++)
		text[k] = (char)('a' + (text[k] & 15));
	return text;
}

/* arg: its family; of IPv6 it takes all. */
static int unbound_make(struct maker_ctx *ctx)
{
	fds[0] = socket((int)ctx->arg, SOCK_STREAM | SOCK_NONBLOCK, 0);
	NEED(!sign(fds[0], "127.0.0.1", 32, 0, "another"));
	for (int i = 0; i < N_KEYS; i++)
		if (ctx->arg == AF_INET6 || keys[i].family == AF_INET)
			CHECK(!sign(fds[0], keys[i].ip, keys[i].prefix, 0, key_text(i)));
	return 0;
}

/* Keys can be taken away if they are there; what they are, only who signs by them finds out. */
static int unbound_use(struct maker_ctx *ctx)
{
	const bool six = ctx->arg == AF_INET6;
	const int last = six ? 5 : 0;

	for (int i = 1; i < N_KEYS; i++)
		if (i != last && (six || keys[i].family == AF_INET)) {
			CHECK(!sign(fds[0], keys[i].ip, keys[i].prefix, 0, NULL));
			SAME(sign(fds[0], keys[i].ip, keys[i].prefix, 0, NULL), -ENOENT);
		}
	fds[1] = listening_here(six ? OVER_V6 : OVER_V4, 2, &here);
	CHECK(!sign(fds[1], keys[last].ip, keys[last].prefix, 0, key_text(last)));
	SAME(connect(fds[0], &here.any, size_of(&here)), -1);
	SAME(errno, EINPROGRESS);
	SAME(poll_now(fds[0], POLLOUT), POLLOUT);
	return talk(fds[0], accept(fds[1], NULL, NULL));
}

/* Of two that are both for a peer, and of one length, the one that was set last counts; a longer one before that. */
static int choice_make(struct maker_ctx *ctx)
{
	fds[0] = bound_here(OVER_V4, SOCK_STREAM, 0, &here);
	NEED(!sign(fds[0], "127.0.0.2", 8, 0, "first"));
	CHECK(!sign(fds[0], "127.0.0.3", 8, 0, "second"));
	if (ctx->arg > 0)
		CHECK(!sign(fds[0], "127.0.0.0", 16, 0, "longer"));
	if (ctx->arg > 1)
		CHECK(!sign(fds[0], "0.0.0.0", 0, OF_INTERFACE, "interface"));
	return 0;
}

static int dial(const char *key, int wanted)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	if (key)
		CHECK(!sign(fd, "127.0.0.1", 32, 0, key));
	SAME(connect(fd, &here.any, size_of(&here)), -1);
	SAME(errno, EINPROGRESS);
	nap(20);
	SAME(tcp_state_of(fd), wanted);
	close(fd);
	return 0;
}

static int choice_use(struct maker_ctx *ctx)
{
	static const char *const texts[] = { "second", "longer", "interface", "first", NULL };
	const int best = ctx->arg ? 1 : 0;

	CHECK(!listen(fds[0], 5));
	for (int i = 0; i < 5; i++)
		TRY(dial(texts[i], i == best ? TCP_ESTABLISHED : TCP_SYN_SENT));
	CHECK(!sign(fds[0], "127.0.0.2", 8, 0, NULL));
	CHECK(!sign(fds[0], "127.0.0.3", 8, 0, NULL));
	if (ctx->arg > 1) {
		SAME(sign(fds[0], "0.0.0.0", 0, 0, NULL), -ENOENT);
		CHECK(!sign(fds[0], "0.0.0.0", 0, OF_INTERFACE, NULL));
	}
	return 0;
}

/* --- ends that nobody signs with any more --- */

enum { SHUT = 4 /* the one that is left has shut, too: TCP_CLOSE */ };

static int peer_closed_make(struct maker_ctx *ctx)
{
	sign_all();
	TRY(connected_here((int)ctx->arg & ~SHUT, fds));
	NEED(is_signed(fds[0]) && is_signed(fds[1]));
	TRY(says(fds[0], "forth"));
	CHECK(!close(fds[0]));
	if (ctx->arg & SHUT) {
		CHECK(!shutdown(fds[1], SHUT_WR));
		CHECK(UNTIL(tcp_state_of(fds[1]) == TCP_CLOSE));
	}
	return 0;
}

static int peer_closed_use(struct maker_ctx *ctx)
{
	SAME(tcp_state_of(fds[1]), ctx->arg & SHUT ? TCP_CLOSE : TCP_CLOSE_WAIT);
	TRY(hears(fds[1], "forth"));
	TRY(hangs_up(fds[1]));
	if (!(ctx->arg & SHUT))
		CHECK(!shutdown(fds[1], SHUT_WR));
	CHECK(UNTIL(tcp_state_of(fds[1]) == TCP_CLOSE));
	CHECK(is_signed(fds[1]));
	return 0;
}

/* Nobody signs that there is nobody: who has a key before does not believe it. */
static int failed_make(struct maker_ctx *ctx)
{
	fds[1] = bound_here(OVER_V4, SOCK_STREAM, 0, &here);
	fds[0] = client_of(OVER_V4, SOCK_STREAM | SOCK_NONBLOCK, 0, &here, &there);
	SAME(connect(fds[0], &there.any, size_of(&there)), -1);
	SAME(errno, EINPROGRESS);
	CHECK(UNTIL(poll_now(fds[0], POLLOUT) & POLLERR));
	SAME(level_option(fds[0], SOL_SOCKET, SO_ERROR), ECONNREFUSED);
	NEED(!sign(fds[0], "127.0.0.1", 32, 0, "key"));
	return 0;
}

static int failed_use(struct maker_ctx *ctx)
{
	CHECK(!sign(fds[1], "127.0.0.1", 32, 0, "key"));
	CHECK(!listen(fds[1], 3));
	SAME(connect(fds[0], &there.any, size_of(&there)), -1);
	SAME(errno, ECONNABORTED);
	SAME(connect(fds[0], &there.any, size_of(&there)), -1);
	SAME(poll_now(fds[0], POLLOUT), POLLOUT);
	return talk(fds[0], accept(fds[1], NULL, NULL));
}

/* --- keys of which the two ends have different ones --- */

static bool comes(int fd)
{
	nap(250);
	return readable(fd);
}

/* Set since, at one end, while nothing is under way. arg: that end has shut before. */
static int later_make(struct maker_ctx *ctx)
{
	TRY(connected_here(OVER_V4, fds));
	TRY(says(fds[1], "unread"));
	if (ctx->arg)
		CHECK(!shutdown(fds[0], SHUT_WR));
	CHECK(UNTIL(readable(fds[0]) && tcp_state_of(fds[0]) == (ctx->arg ? TCP_FIN_WAIT2 : TCP_ESTABLISHED)));
	nap(60); /* acknowledged */
	NEED(!sign(fds[0], "127.0.0.1", 32, 0, "key"));
	return 0;
}

static int later_use(struct maker_ctx *ctx)
{
	TRY(hears(fds[0], "unread"));
	TRY(says(fds[1], "into the void"));
	CHECK(!comes(fds[0]));
	CHECK(!sign(fds[1], "127.0.0.1", 32, 0, "key"));
	TRY(hears_soon(fds[0], "into the void"));
	return ctx->arg ? hangs_up(fds[1]) : converse(fds);
}

/* A connection keeps them, whatever its listener has since. */
static int server_make(struct maker_ctx *ctx)
{
	sign_all();
	fds[2] = listening_here(OVER_V4, 5, &here);
	fds[0] = client_of(OVER_V4, SOCK_STREAM, 0, &here, &there);
	NEED(is_signed(fds[2]) && is_signed(fds[0]));
	CHECK(!connect(fds[0], &there.any, size_of(&there)));
	if (!ctx->arg)
		CHECK((fds[1] = accept(fds[2], NULL, NULL)) >= 0);
	return sign(fds[2], "127.0.0.1", 32, 0, ctx->arg ? "another" : NULL);
}

static int server_use(struct maker_ctx *ctx)
{
	CHECK(is_signed(fds[0]) && is_signed(fds[1]) && !is_signed(fds[2]));
	TRY(converse(fds));
	CHECK(!sign(fds[1], "127.0.0.1", 32, 0, NULL));
	TRY(says(fds[0], "into the void"));
	CHECK(!comes(fds[1]));
	CHECK(!sign(fds[0], "127.0.0.1", 32, 0, NULL));
	return hears_soon(fds[1], "into the void");
}

static int changed_use(struct maker_ctx *ctx)
{
	return talk(fds[0], accept(fds[2], NULL, NULL));
}

static int under_way_make(struct maker_ctx *ctx)
{
	TRY(connected_here(OVER_V4, fds));
	NEED(!sign(fds[0], "127.0.0.1", 32, 0, "key"));
	return says(fds[0], "into the void");
}

static int under_way_use(struct maker_ctx *ctx)
{
	CHECK(!comes(fds[1]));
	CHECK(!sign(fds[1], "127.0.0.1", 32, 0, "key"));
	return hears_soon(fds[1], "into the void");
}

/* The one that was closed has much to send, and no key. */
static int orphan_make(struct maker_ctx *ctx)
{
	static char much[1 << 20];
	ssize_t sent = 0, n;

	TRY(connected_here(OVER_V4, fds));
	CHECK(!fcntl(fds[0], F_SETFL, O_NONBLOCK));
	while ((n = send(fds[0], much, sizeof(much), 0)) > 0)
		sent += n;
	CHECK(sent > 0);
	nap(50);
	NEED(!sign(fds[1], "127.0.0.1", 32, 0, "key"));
	return close(fds[0]);
}

static int orphan_use(struct maker_ctx *ctx)
{
	char c;

	return recv(fds[1], &c, 1, 0) == 1 ? 0 : 1;
}

/* --- TCP-AO --- */

struct ao_add {
	struct sockaddr_storage address;
	char algorithm[64];
	int interface;
	uint32_t flags;
	uint16_t reserved;
	uint8_t prefix, send_id, receive_id, mac_size, key_flags, key_size;
	uint8_t key[80];
} __attribute__((aligned(8)));

static int ao_make(struct maker_ctx *ctx)
{
	struct ao_add add = {
		.algorithm = "cmac(aes128)", .prefix = 32, .send_id = 1, .receive_id = 1, .key_size = 16
	};
	union address peer = loopback(AF_INET);

	memcpy(&add.address, &peer, sizeof(peer.v4));
	memcpy(add.key, "0123456789abcdef", 16);
	fds[0] = socket(AF_INET, SOCK_STREAM, 0);
	NEED(!setsockopt(fds[0], IPPROTO_TCP, 38 /* TCP_AO_ADD_KEY */, &add, sizeof(add)));
	return 0;
}

static int ao_use(struct maker_ctx *ctx)
{
	return 0;
}

#define SIGNED(name, what, which) ROW_ARG(name, what, signed, which)
#define OTHER_KEY		  "TCP_MD5SIG"
const struct maker makers_tcp_md5[] = {
	SIGNED("pair", "connected over IPv4", PAIR),
	SIGNED("pair-v6", "connected over IPv6", PAIR_V6),
	SIGNED("pair-mapped", "a client of IPv4 with a server of IPv6", PAIR_MAPPED),
	SIGNED("unread", "unread data both ways", UNREAD),
	SIGNED("stuffed", "as much as goes in, both ways", STUFFED),
	SIGNED("stuffed-shut", "the same, then both shut", STUFFED_SHUT),
	{ "corked", "data held by TCP_CORK", signed_make, signed_use, MAKER_RESTLESS, CORKED, NULL },
	SIGNED("half-closed", "FIN_WAIT2 and CLOSE_WAIT", HALF_CLOSED),
	SIGNED("closed", "unread both ways, both have shut", CLOSED),
	ROW_ARG("peer-closed", "unread data of a peer that was closed", peer_closed, OVER_V4),
	ROW_ARG("peer-closed-mapped", "the same over IPv4 in IPv6", peer_closed, OVER_MAPPED),
	SIGNED("ended", "the same, and shut", ENDED),
	ROW_ARG("peer-closed-ended", "the same, and shut: its keys are there still", peer_closed, OVER_V4 | SHUT),
	ROW("failed", "could not be connected, and got one since", failed),
	SIGNED("listening", "listening", LISTENING),
	SIGNED("listening-v6", "over IPv6", LISTENING_V6),
	SIGNED("listening-both", "for both", LISTENING_BOTH),
	SIGNED("waiting", "connections not accepted yet", WAITING),
	SIGNED("waiting-closed", "one of them was closed", WAITING_CLOSED),
	SIGNED("waiting-mapped", "from IPv4 to IPv6", WAITING_MAPPED),
	SIGNED("waiting-said", "something was sent on them", WAITING_SAID),
	SIGNED("waiting-said-v6", "over IPv6", WAITING_SAID_V6),
	SIGNED("waiting-said-all", "as much as goes into it", WAITING_SAID_ALL),
	SIGNED("full", "one too many for the backlog", FULL),
	SIGNED("oob", "a byte out of band", OOB),
	SIGNED("oob-taken", "one was taken", OOB_TAKEN),
	SIGNED("parameters", "a small window and segment", PARAMETERS),
	SIGNED("reset", "reset, and not told yet", RESET),
	SIGNED("reset-half", "the same when its peer had closed one way", RESET_HALF),
	SIGNED("soft", "an error that poll does not tell of", SOFT),
	SIGNED("orphan", "its peer was closed with much unsent", ORPHAN),
	SIGNED("orphan-v6", "over IPv6", ORPHAN_V6),
	SIGNED("orphan-mapped", "over IPv4 in IPv6", ORPHAN_MAPPED),
	SIGNED("orphan-shut", "the end that is left has shut since", ORPHAN_SHUT),
	SIGNED("orphan-waiting", "it is not accepted yet", ORPHAN_WAITING),
	ROW_ARG("unbound", "keys of a socket that was never bound", unbound, AF_INET),
	ROW_ARG("unbound-v6", "of one of IPv6, for both", unbound, AF_INET6),
	ROW_ARG("choice", "several for one peer", choice, 0),
	ROW_ARG("choice-longer", "of different lengths", choice, 1),
	ROW_ARG("choice-interface", "one for peers that are not behind a VRF", choice, 2),
	ROW_ARG("later", "set at one end of a connection", later, 0),
	ROW_ARG("later-shut", "which has shut before", later, 1),
	ROW_ARG("server", "the listener that accepted it has none any more", server, 0),
	REFUSED("listener-changed", "the listener has another key than what waits there", server_make, changed_use, 1,
		OTHER_KEY),
	REFUSED("under-way", "set at one end, to which something is under way", under_way_make, under_way_use, 0,
		OTHER_KEY),
	REFUSED("orphan-without", "set at one end; the other was closed with much unsent", orphan_make, orphan_use, 0,
		OTHER_KEY),
	REFUSED("ao", "segments signed by TCP-AO", ao_make, ao_use, 0, "TCP-AO"),
	{ 0 },
};
