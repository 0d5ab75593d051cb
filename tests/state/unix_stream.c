/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Unix sockets that are connected: stream and seqpacket. unix(7), socketpair(2). */

#include "unix.h"

#include <grp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>

static int fds[2] = { -1, -1 }, listener = -1, fd = -1;

/* A pair. arg: its type. */

static int pair_make(struct maker_ctx *ctx)
{
	CHECK(!socketpair(AF_UNIX, (int)ctx->arg | SOCK_CLOEXEC, 0, fds));
	return 0;
}

static int pair_use(struct maker_ctx *ctx)
{
	SAME(option_of(fds[0], SO_TYPE), ctx->arg);
	TRY(is_named(fds[0], false, ""));
	TRY(is_named(fds[0], true, ""));
	TRY(talk(fds[0], fds[1]));
	TRY(talk(fds[1], fds[0]));
	close(fds[1]);
	if (ctx->arg != SOCK_DGRAM)
		return hangs_up(fds[0]);
	SAME(send(fds[0], "x", 1, MSG_NOSIGNAL), -1);
	SAME(errno, ECONNREFUSED);
	return 0;
}

static int pair_kid(struct maker_ctx *ctx)
{
	TRY(hears(fds[1], "to the child"));
	return says(fds[1], "to the parent");
}

static int pair_shared_make(struct maker_ctx *ctx)
{
	TRY(pair_make(ctx));
	return kid_start(ctx, NULL, pair_kid, NULL);
}

static int pair_shared_use(struct maker_ctx *ctx)
{
	TRY(says(fds[0], "to the child"));
	TRY(kids_finish(ctx));
	return hears(fds[0], "to the parent");
}

/* Unread data, both ways. */

static int pair_full_make(struct maker_ctx *ctx)
{
	TRY(pair_make(ctx));
	TRY(says(fds[0], "one"));
	TRY(says(fds[0], "two"));
	return says(fds[1], "back");
}

static int pair_full_use(struct maker_ctx *ctx)
{
	TRY(hears(fds[0], "back"));
	TRY(hears(fds[1], ctx->arg == SOCK_STREAM ? "onetwo" : "one"));
	if (ctx->arg != SOCK_STREAM)
		TRY(hears(fds[1], "two"));
	return pair_use(ctx);
}

/* As much as goes in; a partly read first message. */

static uint64_t filled[2 << 20];
static size_t in_it;

static int pair_stuffed_make(struct maker_ctx *ctx)
{
	char part[1000];
	ssize_t n;

	TRY(pair_make(ctx));
	fill(filled, sizeof(filled), 7);
	fcntl(fds[0], F_SETFL, O_NONBLOCK);
	while ((n = write(fds[0], (char *)filled + in_it, 30000)) > 0)
		in_it += (size_t)n;
	SAME(read(fds[1], part, sizeof(part)), sizeof(part));
	return 0;
}

static int pair_stuffed_use(struct maker_ctx *ctx)
{
	static uint64_t got[2 << 20];
	size_t n = 1000;
	ssize_t r;

	memcpy(got, filled, 1000);
	SAME(poll_now(fds[0], POLLOUT), 0);
	while ((r = recv(fds[1], (char *)got + n, sizeof(got) - n, MSG_DONTWAIT)) > 0)
		n += (size_t)r;
	SAME(n, in_it);
	TRY(check_fill(got, in_it / 8 * 8, 7));
	SAME(poll_now(fds[0], POLLOUT), POLLOUT);
	return pair_use(ctx);
}

/* Records: their bounds, and one that is empty. */

static int records_make(struct maker_ctx *ctx)
{
	TRY(pair_make(ctx));
	TRY(says(fds[0], "a"));
	TRY(says(fds[0], ""));
	TRY(says(fds[0], "bcd"));
	return says(fds[0], "");
}

static int records_use(struct maker_ctx *ctx)
{
	TRY(hears(fds[1], "a"));
	TRY(hears(fds[1], ""));
	TRY(hears(fds[1], "bcd"));
	TRY(hears(fds[1], ""));
	SAME(recv(fds[1], filled, 1, MSG_DONTWAIT), -1);
	SAME(errno, EAGAIN);
	return pair_use(ctx);
}

/* The peer is gone; what it sent is there. */

static int orphan_make(struct maker_ctx *ctx)
{
	TRY(pair_make(ctx));
	TRY(says(fds[1], "last words"));
	close(fds[1]);
	return 0;
}

static int orphan_use(struct maker_ctx *ctx)
{
	CHECK(poll_now(fds[0], POLLIN) & POLLHUP);
	CHECK(!(poll_now(fds[0], POLLIN) & POLLERR));
	TRY(is_named(fds[0], true, ""));
	TRY(hears(fds[0], "last words"));
	TRY(hangs_up(fds[0]));
	SAME(send(fds[0], "x", 1, MSG_NOSIGNAL), -1);
	SAME(errno, EPIPE);
	return 0;
}

/* It had something unread: that is an error, told once. */

static int reset_make(struct maker_ctx *ctx)
{
	TRY(pair_make(ctx));
	TRY(says(fds[0], "never read"));
	close(fds[1]);
	return 0;
}

/* Records that are to be read behind that error; one is empty, one has a descriptor. */
static int reset_records_make(struct maker_ctx *ctx)
{
	ctx->arg = SOCK_SEQPACKET;
	TRY(pair_make(ctx));
	TRY(says(fds[0], "never read"));
	TRY(says(fds[1], ""));
	TRY(says(fds[1], "one"));
	TRY(send_with(fds[1], "two", (int[]){ fds[0] }, 1, NULL));
	close(fds[1]);
	return 0;
}

static int reset_records_use(struct maker_ctx *ctx)
{
	char c;
	int got;

	SAME(recv(fds[0], &c, 1, MSG_DONTWAIT), -1);
	SAME(errno, ECONNRESET);
	TRY(hears(fds[0], ""));
	TRY(hears(fds[0], "one"));
	TRY(receive(fds[0], "two", 3, &got, 1, NULL));
	SAME(option_of(got, SO_TYPE), SOCK_SEQPACKET);
	close(got);
	return hangs_up(fds[0]);
}

static int reset_use(struct maker_ctx *ctx)
{
	char c;

	SAME(recv(fds[0], &c, 1, MSG_DONTWAIT), -1);
	SAME(errno, ECONNRESET);
	return hangs_up(fds[0]);
}

/* Half shut. arg: how. */

static int shut_make(struct maker_ctx *ctx)
{
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
	TRY(says(fds[0], "before"));
	CHECK(!shutdown(fds[0], (int)ctx->arg));
	return 0;
}

static int shut_use(struct maker_ctx *ctx)
{
	TRY(hears(fds[1], "before"));
	if (ctx->arg != SHUT_RD)
		TRY(hangs_up(fds[1]));
	SAME(send(fds[0], "x", 1, MSG_NOSIGNAL), ctx->arg == SHUT_RD ? 1 : -1);
	SAME(send(fds[1], "x", 1, MSG_NOSIGNAL), ctx->arg == SHUT_WR ? 1 : -1);
	if (ctx->arg != SHUT_WR)
		TRY(hangs_up(fds[0]));
	return 0;
}

static int shut_alone_make(struct maker_ctx *ctx)
{
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(!shutdown(fd, SHUT_RD));
	return 0;
}

static int shut_alone_use(struct maker_ctx *ctx)
{
	CHECK(poll_now(fd, POLLIN | POLLRDHUP) & POLLRDHUP);
	return 0;
}

/* Out of band. arg: 0 alone, 1 between other bytes, 2 as 1 and taken, 3 first, 4 inline, 5 at the mark. */

static int oob_make(struct maker_ctx *ctx)
{
	int on = 1;
	char c;

	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
	if (ctx->arg && ctx->arg != 3)
		TRY(says(fds[0], "ab"));
	NEED(send(fds[0], "!", 1, MSG_OOB) == 1);
	if (ctx->arg)
		TRY(says(fds[0], "cd"));
	if (ctx->arg == 2)
		SAME(recv(fds[1], &c, 1, MSG_OOB), 1);
	if (ctx->arg == 4)
		CHECK(!setsockopt(fds[1], SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on)));
	if (ctx->arg == 5)
		TRY(hears(fds[1], "ab"));
	return 0;
}

/* Behind a descriptor. */
static int oob_behind_make(struct maker_ctx *ctx)
{
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
	TRY(says(fds[0], "ab"));
	TRY(send_with(fds[0], "with", (int[]){ fds[0] }, 1, NULL));
	NEED(send(fds[0], "!", 1, MSG_OOB) == 1);
	return says(fds[0], "cd");
}

static int oob_behind_use(struct maker_ctx *ctx)
{
	char c = 0, text[8] = "";
	int got;

	SAME(poll_now(fds[1], POLLPRI), POLLPRI);
	SAME(recv(fds[1], &c, 1, MSG_OOB | MSG_DONTWAIT), 1);
	SAME(c, '!');
	SAME(recv(fds[1], text, 2, 0), 2);
	CHECK(!strcmp(text, "ab"));
	TRY(receive(fds[1], "with", 4, &got, 1, NULL));
	close(got);
	return hears(fds[1], "cd");
}

static int oob_use(struct maker_ctx *ctx)
{
	int at_mark = -1;
	char c = 0;

	CHECK(!ioctl(fds[1], SIOCATMARK, &at_mark));
	SAME(at_mark, ctx->arg == 0 || ctx->arg == 3 || ctx->arg == 5);
	SAME(poll_now(fds[1], POLLPRI) & POLLPRI, ctx->arg == 2 ? 0 : POLLPRI);
	if (ctx->arg == 4) {
		TRY(hears(fds[1], "ab"));
		return hears(fds[1], "!cd");
	}
	if (ctx->arg != 2) {
		SAME(recv(fds[1], &c, 1, MSG_OOB | MSG_DONTWAIT), 1);
		SAME(c, '!');
	}
	if (ctx->arg == 1 || ctx->arg == 2)
		TRY(hears(fds[1], "ab"));
	return ctx->arg ? hears(fds[1], "cd") : 0;
}

/* By a listener. arg: the type. */

static char path[108];

static const char *in(struct maker_ctx *ctx, const char *name)
{
	int n = snprintf(path, sizeof(path), "%s/%s", ctx->dir, name);

	return n < (int)sizeof(path) ? path : "";
}

static int accepted_make(struct maker_ctx *ctx)
{
	listener = listening((int)ctx->arg, in(ctx, "s"), 5);
	CHECK(listener >= 0);
	fds[0] = dialled((int)ctx->arg, path);
	fds[1] = accept(listener, NULL, NULL);
	CHECK(fds[0] >= 0 && fds[1] >= 0);
	TRY(says(fds[0], "hello"));
	return says(fds[1], "server");
}

static int accepted_use(struct maker_ctx *ctx)
{
	TRY(is_named(fds[0], true, path));
	TRY(is_named(fds[0], false, ""));
	TRY(is_named(fds[1], false, path));
	TRY(is_named(fds[1], true, ""));
	TRY(hears(fds[0], "server"));
	TRY(hears(fds[1], "hello"));
	TRY(talk(fds[0], fds[1]));
	close(fds[0]);
	close(fds[1]);
	fds[0] = dialled((int)ctx->arg, path);
	fds[1] = accept(listener, NULL, NULL);
	CHECK(fds[0] >= 0 && fds[1] >= 0);
	return talk(fds[0], fds[1]);
}

/* The listener is closed, and its file removed. */
static int deserted_make(struct maker_ctx *ctx)
{
	TRY(accepted_make(ctx));
	close(listener);
	CHECK(!unlink(path));
	return 0;
}

static int deserted_use(struct maker_ctx *ctx)
{
	TRY(is_named(fds[1], false, path));
	TRY(is_named(fds[0], true, path));
	TRY(hears(fds[0], "server"));
	TRY(hears(fds[1], "hello"));
	TRY(talk(fds[0], fds[1]));
	listener = listening((int)ctx->arg, path, 5);
	CHECK(listener >= 0);
	return 0;
}

/* Several clients, of several processes, at one abstract name; one that has a name; arg: whether the listener is closed. */

enum { MANY = 5 };
static int clients[MANY], servers[MANY];
static char abstract[100];

static int many_kid(struct maker_ctx *ctx)
{
	char text[16];

	snprintf(text, sizeof(text), "client %d", (int)ctx->arg);
	TRY(hears(fd, "welcome"));
	return says(fd, text);
}

static int many_kid_make(struct maker_ctx *ctx)
{
	struct sockaddr_un a;
	socklen_t size = named(&a, abstract);

	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (ctx->arg == 3) {
		struct sockaddr_un own;
		char name[108];

		snprintf(name, sizeof(name), "%s-own", abstract);
		CHECK(!bind(fd, (struct sockaddr *)&own, named(&own, name)));
	}
	CHECK(!connect(fd, (struct sockaddr *)&a, size));
	close(listener);
	return 0;
}

static int many_make(struct maker_ctx *ctx)
{
	long closed = ctx->arg;

	abstract_name(ctx, "many", abstract);
	listener = listening(SOCK_STREAM, abstract, 5);
	CHECK(listener >= 0);
	for (int i = 0; i < MANY; i++) {
		ctx->arg = i;
		TRY(kid_start(ctx, many_kid_make, many_kid, &ctx->kids[i]));
		servers[i] = accept(listener, NULL, NULL);
		CHECK(servers[i] >= 0);
		TRY(says(servers[i], "welcome"));
	}
	ctx->arg = closed;
	if (closed)
		close(listener);
	return 0;
}

static int many_use(struct maker_ctx *ctx)
{
	char text[108];

	for (int i = 0; i < MANY; i++) {
		struct ucred creds = { 0 };
		socklen_t size = sizeof(creds);

		CHECK(!getsockopt(servers[i], SOL_SOCKET, SO_PEERCRED, &creds, &size));
		SAME(creds.pid, ctx->kids[i]);
		TRY(is_named(servers[i], false, abstract));
	}
	snprintf(text, sizeof(text), "%s-own", abstract);
	TRY(is_named(servers[3], true, text));
	SAME(bound(SOCK_STREAM, text), -1);
	clients[0] = dialled(SOCK_STREAM, abstract);
	SAME(clients[0] >= 0, !ctx->arg);
	TRY(kids_finish(ctx));
	for (int i = 0; i < MANY; i++) {
		snprintf(text, sizeof(text), "client %d", i);
		TRY(hears(servers[i], text));
		TRY(hangs_up(servers[i]));
	}
	return 0;
}

/* Whom the peer's credentials name: one that has ended, with other ids. arg: 1 dialled, 0 a pair. */

static pid_t ended;

static int gone_kid(struct maker_ctx *ctx)
{
	static const gid_t groups[] = { 5, 7, 4711 };
	int pair[2] = { -1, -1 };

	CHECK(!setgroups(3, groups));
	CHECK(!setresgid(-1, 1234, -1) && !setresuid(-1, 4321, -1));
	if (ctx->arg) {
		pair[0] = dialled(SOCK_STREAM, abstract);
		CHECK(pair[0] >= 0);
	} else {
		CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	}
	return send_with(fds[0], "these", pair, ctx->arg ? 1 : 2, NULL);
}

static int gone_make(struct maker_ctx *ctx)
{
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
	abstract_name(ctx, "gone", abstract);
	if (ctx->arg)
		CHECK((listener = listening(SOCK_STREAM, abstract, 5)) >= 0);
	ended = fork();
	CHECK(ended >= 0);
	if (!ended)
		_exit(gone_kid(ctx));
	TRY(reap_ok(ended));
	TRY(receive(fds[1], "these", 0, clients, ctx->arg ? 1 : 2, NULL));
	servers[0] = ctx->arg ? accept(listener, NULL, NULL) : clients[1];
	CHECK(servers[0] >= 0);
	return 0;
}

static int gone_use(struct maker_ctx *ctx)
{
	struct ucred creds = { 0 };
	socklen_t size = sizeof(creds);
	gid_t groups[8];

	CHECK(!getsockopt(servers[0], SOL_SOCKET, SO_PEERCRED, &creds, &size));
	SAME(creds.pid, ended);
	SAME(creds.uid, 4321);
	SAME(creds.gid, 1234);
	size = sizeof(groups);
	CHECK(!getsockopt(servers[0], SOL_SOCKET, SO_PEERGROUPS, groups, &size));
	SAME(size, 3 * sizeof(gid_t));
	SAME(groups[2], 4711);
	size = sizeof(creds);
	CHECK(!getsockopt(clients[0], SOL_SOCKET, SO_PEERCRED, &creds, &size));
	SAME(creds.pid, ctx->arg ? getpid() : ended);
	return talk(clients[0], servers[0]);
}

const struct maker makers_unix_stream[] = {
	{ "pair", "a pair", pair_make, pair_use, 0, SOCK_STREAM, NULL },
	{ "pair-seqpacket", "a pair of seqpacket sockets", pair_make, pair_use, 0, SOCK_SEQPACKET, NULL },
	{ "pair-shared", "a pair shared with a child", pair_shared_make, pair_shared_use, 0, SOCK_STREAM, NULL },
	{ "pair-full", "a pair with unread data both ways", pair_full_make, pair_full_use, 0, SOCK_STREAM, NULL },
	{ "pair-full-seqpacket", "records unread both ways", pair_full_make, pair_full_use, 0, SOCK_SEQPACKET, NULL },
	{ "pair-stuffed", "as much unread as goes in, the first message partly read", pair_stuffed_make,
		pair_stuffed_use, 0, SOCK_STREAM, NULL },
	{ "records", "records, empty ones among them", records_make, records_use, 0, SOCK_SEQPACKET, NULL },
	{ "orphan", "the peer was closed, after it had sent something", orphan_make, orphan_use, 0, SOCK_STREAM, NULL },
	{ "orphan-seqpacket", "the same of seqpacket", orphan_make, orphan_use, 0, SOCK_SEQPACKET, NULL },
	ROW("reset-records", "the same with records to be read", reset_records),
	{ "reset", "the peer was closed with something unread", reset_make, reset_use, 0, SOCK_STREAM, NULL },
	{ "shut-read", "shut for receiving", shut_make, shut_use, 0, SHUT_RD, NULL },
	{ "shut-write", "shut for sending, with data before", shut_make, shut_use, 0, SHUT_WR, NULL },
	{ "shut-both", "shut both ways", shut_make, shut_use, 0, SHUT_RDWR, NULL },
	{ "shut-alone", "shut for receiving and never connected", shut_alone_make, shut_alone_use, 0, 0, NULL },
	{ "oob-alone", "a byte out of band", oob_make, oob_use, 0, 0, NULL },
	{ "oob-between", "a byte out of band between others", oob_make, oob_use, 0, 1, NULL },
	{ "oob-taken", "a byte out of band was taken, its mark is still there", oob_make, oob_use, 0, 2, NULL },
	{ "oob-first", "a byte out of band before others", oob_make, oob_use, 0, 3, NULL },
	{ "oob-inline", "a byte out of band, inline", oob_make, oob_use, 0, 4, NULL },
	ROW("oob-behind-descriptor", "a byte out of band behind a descriptor", oob_behind),
	{ "oob-at-mark", "read up to the mark", oob_make, oob_use, 0, 5, NULL },
	{ "accepted", "accepted from a listener with a path", accepted_make, accepted_use, 0, SOCK_STREAM, NULL },
	{ "accepted-seqpacket", "the same of seqpacket", accepted_make, accepted_use, 0, SOCK_SEQPACKET, NULL },
	{ "deserted", "accepted from a listener that is closed, its file removed", deserted_make, deserted_use, 0,
		SOCK_STREAM, NULL },
	{ "many", "connections of several processes to one abstract name", many_make, many_use, 0, 0, NULL },
	{ "many-deserted", "the same, and the listener is closed", many_make, many_use, 0, 1, NULL },
	{ "gone-pair", "a pair made by a process that has ended, with other ids", gone_make, gone_use, 0, 0, NULL },
	{ "gone-dialled", "dialled by a process that has ended, with other ids", gone_make, gone_use, 0, 1, NULL },
	{ 0 },
};
