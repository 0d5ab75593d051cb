/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Datagram sockets of unix(7): connected or not, with senders' names. */

#include "unix.h"

static int a = -1, b = -1, other = -1, pair[2] = { -1, -1 };
static char path[108], abstract[100], own[100];

static int names(struct maker_ctx *ctx)
{
	CHECK(snprintf(path, sizeof(path), "%s/d", ctx->dir) < (int)sizeof(path));
	abstract_name(ctx, "dgram", abstract);
	abstract_name(ctx, "dgram-own", own);
	return 0;
}

static int send_to(int from, const char *name, const char *text)
{
	struct sockaddr_un to;
	socklen_t size = named(&to, name);

	SAME(sendto(from, text, strlen(text), MSG_DONTWAIT, (struct sockaddr *)&to, size), strlen(text));
	return 0;
}

static int comes_from(int at, const char *text, const char *name)
{
	struct sockaddr_un from = { 0 }, want;
	socklen_t size = sizeof(from), wanted = named(&want, name);
	char got[64] = "";

	SAME(recvfrom(at, got, sizeof(got), MSG_DONTWAIT, (struct sockaddr *)&from, &size), strlen(text));
	CHECK(!strcmp(got, text));
	SAME(size, *name ? wanted : 0);
	CHECK(!*name || !memcmp(from.sun_path, want.sun_path, size - offsetof(struct sockaddr_un, sun_path)));
	return 0;
}

static int connect_to(int fd, const char *name)
{
	struct sockaddr_un to;
	socklen_t size = named(&to, name);

	CHECK(!connect(fd, (struct sockaddr *)&to, size));
	return 0;
}

static int nothing_more(int at)
{
	char c;

	SAME(recv(at, &c, 1, MSG_DONTWAIT), -1);
	SAME(errno, EAGAIN);
	return 0;
}

/* Alone: bound, or chosen by the kernel. arg: 0 path, 1 abstract, 2 autobound, 3 without a name. */

static struct sockaddr_un chosen;
static socklen_t chosen_size;

static int alone_make(struct maker_ctx *ctx)
{
	sa_family_t family = AF_UNIX;

	TRY(names(ctx));
	a = ctx->arg < 2 ? bound(SOCK_DGRAM, ctx->arg ? abstract : path) : socket(AF_UNIX, SOCK_DGRAM, 0);
	CHECK(a >= 0);
	if (ctx->arg == 2)
		CHECK(!bind(a, (struct sockaddr *)&family, sizeof(family)));
	chosen_size = sizeof(chosen);
	CHECK(!getsockname(a, (struct sockaddr *)&chosen, &chosen_size));
	return 0;
}

static int alone_use(struct maker_ctx *ctx)
{
	struct sockaddr_un now = { 0 };
	socklen_t size = sizeof(now);

	CHECK(!getsockname(a, (struct sockaddr *)&now, &size));
	SAME(size, chosen_size);
	CHECK(!memcmp(&now, &chosen, size));
	if (ctx->arg == 3)
		return 0;
	b = socket(AF_UNIX, SOCK_DGRAM, 0);
	SAME(sendto(b, "hello", 5, MSG_DONTWAIT, (struct sockaddr *)&now, size), 5);
	return comes_from(a, "hello", "");
}

/* A queue with senders: one with a path, one abstract, one without a name, one that was closed, itself; an empty one. */

static int queue_make(struct maker_ctx *ctx)
{
	char closed[112];
	int gone;

	TRY(names(ctx));
	snprintf(closed, sizeof(closed), "%.100s-gone", path);
	a = bound(SOCK_DGRAM, path);
	b = bound(SOCK_DGRAM, abstract);
	other = socket(AF_UNIX, SOCK_DGRAM, 0);
	gone = bound(SOCK_DGRAM, closed);
	CHECK(a >= 0 && b >= 0 && other >= 0 && gone >= 0);
	TRY(send_to(b, path, "from b"));
	TRY(send_to(other, path, "from nobody"));
	TRY(send_to(gone, path, "from the gone"));
	TRY(send_to(gone, path, "twice"));
	TRY(send_to(a, path, "from myself"));
	TRY(send_to(b, path, ""));
	TRY(send_to(b, path, "again"));
	close(gone);
	CHECK(!unlink(closed));
	return 0;
}

static int queue_use(struct maker_ctx *ctx)
{
	char closed[112];

	snprintf(closed, sizeof(closed), "%.100s-gone", path);
	TRY(comes_from(a, "from b", abstract));
	TRY(comes_from(a, "from nobody", ""));
	TRY(comes_from(a, "from the gone", closed));
	TRY(comes_from(a, "twice", closed));
	TRY(comes_from(a, "from myself", path));
	TRY(comes_from(a, "", abstract));
	TRY(comes_from(a, "again", abstract));
	TRY(nothing_more(a));
	TRY(send_to(other, path, "still here"));
	return comes_from(a, "still here", "");
}

/* Connected one way, with a queue; the receiver has no peer. */

static int one_way_make(struct maker_ctx *ctx)
{
	TRY(names(ctx));
	a = bound(SOCK_DGRAM, ctx->arg ? abstract : path);
	b = socket(AF_UNIX, SOCK_DGRAM, 0);
	TRY(connect_to(b, ctx->arg ? abstract : path));
	return says(b, "one");
}

static int one_way_use(struct maker_ctx *ctx)
{
	TRY(is_named(b, true, ctx->arg ? abstract : path));
	TRY(comes_from(a, "one", ""));
	TRY(says(b, "two"));
	TRY(comes_from(a, "two", ""));
	SAME(send(a, "x", 1, MSG_NOSIGNAL), -1);
	SAME(errno, ENOTCONN);
	return 0;
}

/* Connected both ways by connect; each with something unread, and a with something of a third, from before. */

static int both_ways_make(struct maker_ctx *ctx)
{
	TRY(names(ctx));
	a = bound(SOCK_DGRAM, path);
	b = bound(SOCK_DGRAM, abstract);
	other = bound(SOCK_DGRAM, own);
	TRY(send_to(other, path, "early"));
	TRY(connect_to(a, abstract));
	TRY(connect_to(b, path));
	TRY(says(a, "to b"));
	return says(b, "to a");
}

static int both_ways_use(struct maker_ctx *ctx)
{
	struct sockaddr_un to;
	socklen_t size = named(&to, path);

	TRY(comes_from(a, "early", own));
	TRY(comes_from(a, "to a", abstract));
	TRY(comes_from(b, "to b", path));
	SAME(sendto(other, "x", 1, MSG_DONTWAIT, (struct sockaddr *)&to, size), -1);
	SAME(errno, EPERM);
	return talk(a, b);
}

/* The peer is closed: told when something is sent, once. */

static int widow_make(struct maker_ctx *ctx)
{
	TRY(names(ctx));
	a = bound(SOCK_DGRAM, path);
	b = socket(AF_UNIX, SOCK_DGRAM, 0);
	TRY(connect_to(b, path));
	close(a);
	CHECK(!unlink(path));
	return 0;
}

static int widow_use(struct maker_ctx *ctx)
{
	TRY(is_named(b, true, path));
	SAME(send(b, "x", 1, MSG_NOSIGNAL), -1);
	SAME(errno, ECONNREFUSED);
	SAME(send(b, "x", 1, MSG_NOSIGNAL), -1);
	SAME(errno, ENOTCONN);
	return 0;
}

/* Pairs: unread both ways; one closed; one connected elsewhere since; one bound since. arg: which. */

static int pair_make(struct maker_ctx *ctx)
{
	struct sockaddr_un name;

	TRY(names(ctx));
	CHECK(!socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
	if (ctx->arg == 2) {
		a = bound(SOCK_DGRAM, path);
		TRY(connect_to(pair[1], path));
		return says(pair[1], "elsewhere");
	}
	if (ctx->arg == 3)
		CHECK(!bind(pair[0], (struct sockaddr *)&name, named(&name, path)));
	TRY(says(pair[0], "forth"));
	TRY(says(pair[1], "back"));
	if (ctx->arg == 1)
		close(pair[1]);
	return 0;
}

static int pair_use(struct maker_ctx *ctx)
{
	struct ucred creds = { 0 };
	socklen_t size = sizeof(creds);

	CHECK(!getsockopt(pair[0], SOL_SOCKET, SO_PEERCRED, &creds, &size));
	SAME(creds.pid, getpid());
	if (ctx->arg == 2) {
		TRY(comes_from(a, "elsewhere", ""));
		TRY(says(pair[1], "more"));
		TRY(comes_from(a, "more", ""));
		SAME(send(pair[0], "x", 1, MSG_DONTWAIT), -1);
		SAME(errno, EPERM);
		return 0;
	}
	TRY(comes_from(pair[0], "back", ""));
	if (ctx->arg == 1) {
		SAME(send(pair[0], "x", 1, MSG_NOSIGNAL), -1);
		SAME(errno, ECONNREFUSED);
		return 0;
	}
	TRY(comes_from(pair[1], "forth", ctx->arg == 3 ? path : ""));
	return talk(pair[0], pair[1]);
}

/* A queue that takes no more, and a task that waits to send. */

static pthread_t thread;
static pid_t thread_tid;
static ssize_t sent = -1;

static void *sends(void *arg)
{
	thread_tid = tid_self();
	sent = send(b, "last", 4, 0);
	return NULL;
}

static int full_make(struct maker_ctx *ctx)
{
	TRY(names(ctx));
	a = bound(SOCK_DGRAM, path);
	b = socket(AF_UNIX, SOCK_DGRAM, 0);
	TRY(connect_to(b, path));
	while (send(b, "some", 4, MSG_DONTWAIT) == 4)
		ctx->arg++;
	TRY(thread_start(&thread, sends, NULL));
	CHECK(UNTIL(thread_tid));
	return until_blocked_in(thread_tid, SYS_sendto);
}

static int full_use(struct maker_ctx *ctx)
{
	SAME(sent, -1);
	for (long i = 0; i < ctx->arg; i++)
		TRY(comes_from(a, "some", ""));
	SAME(pthread_join(thread, NULL), 0);
	SAME(sent, 4);
	return comes_from(a, "last", "");
}

/*
 * Who was connected with another both ways, and is connected no more, had something unread: that is lost, which the other is told (ECONNRESET).
 * b is told, of a. arg: flags.
 */
enum {
	OF_PAIR = 1,   /* and nothing has a name */
	GONE = 2,      /* a was closed since; else it is connected elsewhere */
	UNREAD = 4,    /* b has something unread from a, from before */
	ALONE = 8,     /* b is connected no more either */
	HAS_SENT = 16, /* what b has sent to a third one is not read yet */
	MUTUAL = 32,   /* b is connected with the third one, both ways */
	TOLD = 64,
};

static int reset_make(struct maker_ctx *ctx)
{
	const struct sockaddr nowhere = { .sa_family = AF_UNSPEC };

	TRY(names(ctx));
	other = bound(SOCK_DGRAM, own);
	if (ctx->arg & OF_PAIR) {
		CHECK(!socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
		a = pair[0];
		b = pair[1];
	} else {
		a = bound(SOCK_DGRAM, path);
		b = bound(SOCK_DGRAM, abstract);
		TRY(connect_to(a, abstract));
		TRY(connect_to(b, path));
	}
	if (ctx->arg & HAS_SENT)
		TRY(send_to(b, own, "from b"));
	if (ctx->arg & UNREAD)
		TRY(says(a, "unread"));
	TRY(says(b, "lost"));
	TRY(connect_to(a, own));
	CHECK(poll_now(b, 0) & POLLERR);
	if (ctx->arg & TOLD)
		SAME(option_of(b, SO_ERROR), ECONNRESET);
	if (ctx->arg & GONE)
		close(a);
	if (ctx->arg & ALONE)
		CHECK(!connect(b, &nowhere, sizeof(nowhere)));
	if (ctx->arg & MUTUAL) {
		TRY(connect_to(b, own));
		TRY(connect_to(other, abstract));
	}
	return 0;
}

static int reset_use(struct maker_ctx *ctx)
{
	char c;

	if (!(ctx->arg & TOLD)) {
		SAME(recv(b, &c, 1, MSG_DONTWAIT), -1);
		SAME(errno, ECONNRESET);
	}
	SAME(option_of(b, SO_ERROR), 0);
	if (ctx->arg & UNREAD)
		TRY(comes_from(b, "unread", ctx->arg & OF_PAIR ? "" : path));
	TRY(nothing_more(b));
	SAME(send(b, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL), -1);
	SAME(errno, ctx->arg & ALONE ? ENOTCONN : ctx->arg & GONE ? ECONNREFUSED : EPERM);
	if (ctx->arg & GONE)
		return 0;
	TRY(says(a, "elsewhere"));
	return comes_from(other, "elsewhere", ctx->arg & OF_PAIR ? "" : path);
}

static int resent_use(struct maker_ctx *ctx)
{
	SAME(option_of(b, SO_ERROR), ECONNRESET);
	return 0;
}

const struct maker makers_unix_dgram[] = {
	{ "path", "bound to a path", alone_make, alone_use, 0, 0, NULL },
	{ "abstract", "bound to an abstract name", alone_make, alone_use, 0, 1, NULL },
	{ "autobound", "with a name that the kernel chose", alone_make, alone_use, 0, 2, NULL },
	{ "no-name", "never bound, never connected", alone_make, alone_use, 0, 3, NULL },
	{ "queue", "unread, from senders with and without names, of which one is closed", queue_make, queue_use, 0, 0,
		NULL },
	{ "one-way", "connected one way, with a datagram unread", one_way_make, one_way_use, 0, 0, NULL },
	{ "one-way-abstract", "the same, to an abstract name", one_way_make, one_way_use, 0, 1, NULL },
	{ "both-ways", "connected to each other, with datagrams from before", both_ways_make, both_ways_use, 0, 0,
		NULL },
	{ "widow", "connected to one that was closed", widow_make, widow_use, 0, 0, NULL },
	{ "pair", "a pair with datagrams unread both ways", pair_make, pair_use, 0, 0, NULL },
	{ "pair-widow", "a pair of which one was closed", pair_make, pair_use, 0, 1, NULL },
	{ "pair-elsewhere", "a pair of which one is connected elsewhere since", pair_make, pair_use, 0, 2, NULL },
	{ "pair-bound", "a pair of which one was bound since", pair_make, pair_use, 0, 3, NULL },
	ROW_ARG("reset", "told that its peer is connected elsewhere, and lost what was unread", reset, 0),
	ROW_ARG("reset-unread", "the same, before something unread", reset, UNREAD),
	ROW_ARG("reset-gone", "the same, and its peer was closed", reset, GONE | UNREAD),
	ROW_ARG("reset-alone", "the same, and it is connected no more", reset, ALONE),
	ROW_ARG("reset-told", "what was told is told no more", reset, TOLD),
	ROW_ARG("pair-reset", "of a pair", reset, OF_PAIR),
	ROW_ARG("pair-reset-unread", "of a pair, before something unread", reset, OF_PAIR | UNREAD),
	ROW_ARG("pair-reset-gone", "of a pair of which one was closed", reset, OF_PAIR | GONE | UNREAD),
	ROW_ARG("pair-reset-alone", "of a pair, and it is connected no more", reset, OF_PAIR | ALONE),
	ROW_ARG("pair-reset-told", "of a pair, and was told; with something unread", reset, OF_PAIR | TOLD | UNREAD),
	{ "reset-sent", "what it had sent before is not read yet", reset_make, resent_use, MAKER_MUST_REFUSE, HAS_SENT,
		"an error" },
	{ "reset-mutual", "it is connected with another since", reset_make, resent_use, MAKER_MUST_REFUSE, MUTUAL,
		"an error" },
	{ "full", "a queue that is full, and a task that waits to send", full_make, full_use, 0, 0, NULL },
	{ 0 },
};
