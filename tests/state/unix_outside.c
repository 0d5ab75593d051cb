/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Unix sockets whose peer is a process outside of the tree. It ends when it is hung up; in a container it is init's child, and so inside after all.
 */

#include "unix.h"

static int fds[2] = { -1, -1 }, listener = -1;
static char path[108];

static struct maker_ctx *of;
static int told[2];
static pid_t inside;

/* A process that is nobody's child here. It ends with the connection. */
static int outside_start(struct maker_ctx *ctx, int (*does)(void))
{
	int status;
	pid_t pid;
	char c;

	shared(ctx);
	CHECK(!pipe(told));
	inside = getpid();
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		if (fork())
			_exit(0);
		while (getppid() != 1 && getppid() == (pid_t)ctx->shared->value[1])
			nap(1);
		ctx->shared->value[0] = getpid();
		close(told[0]);
		setsid(); /* its group is not in the way of the tree that comes back */
		_exit(does());
	}
	ctx->shared->value[1] = pid;
	SAME(waitpid(pid, &status, 0), pid);
	close(told[1]);
	SAME(read(told[0], &c, 1), 1);
	close(told[0]);
	return 0;
}

/* It shares nothing with the tree any more but the connection. */
static int ready(void)
{
	munmap(of->shared, PAGE);
	SAME(write(told[1], "", 1), 1);
	close(told[1]);
	return 0;
}

static bool outlives(struct maker_ctx *ctx)
{
	char state = 0;

	/* where the tree was restored, it is about to end, or waits for whoever reaps it */
	for (int i = 0; i < 100; i++) {
		state = task_state((pid_t)ctx->shared->value[0]);
		if (!state || state == 'Z' || state == 'X')
			return false;
		nap(5);
	}
	return true;
}

/* Connected with it; it has sent something, and has something unread. arg: type. */

static int answers(void)
{
	char text[16];

	close(fds[0]);
	TRY(says(fds[1], "from outside"));
	ready();
	while (read(fds[1], text, sizeof(text)) > 0)
		;
	return 0;
}

static int pair_make(struct maker_ctx *ctx)
{
	of = ctx;
	CHECK(!socketpair(AF_UNIX, (int)ctx->arg, 0, fds));
	TRY(outside_start(ctx, answers));
	return close(fds[1]);
}

static int pair_use(struct maker_ctx *ctx)
{
	TRY(hears(fds[0], "from outside"));
	if (outlives(ctx)) {
		CHECK(!(poll_now(fds[0], POLLIN) & POLLHUP));
		return says(fds[0], "thanks");
	}
	CHECK(poll_now(fds[0], POLLIN) & POLLHUP);
	TRY(hangs_up(fds[0]));
	SAME(send(fds[0], "x", 1, MSG_NOSIGNAL), -1);
	SAME(errno, EPIPE);
	return 0;
}

/* A client of a server outside; a datagram socket connected there. arg: type. */

static int serves(void)
{
	char text[64];
	int fd = of->arg == SOCK_DGRAM ? bound(SOCK_DGRAM, path) : listening(SOCK_STREAM, path, 5);
	struct pollfd p[] = { { .fd = fd, .events = POLLIN },
		{ .fd = (int)syscall(SYS_pidfd_open, inside, 0), .events = POLLIN } };

	ready();
	if (of->arg == SOCK_DGRAM) {
		poll(p, 2, -1);
		return 0;
	}
	fd = accept(fd, NULL, NULL);
	while (read(fd, text, sizeof(text)) > 0)
		;
	return 0;
}

static int client_make(struct maker_ctx *ctx)
{
	of = ctx;
	CHECK(snprintf(path, sizeof(path), "%s/s", ctx->dir) < (int)sizeof(path));
	TRY(outside_start(ctx, serves));
	fds[0] = dialled((int)ctx->arg, path);
	CHECK(fds[0] >= 0);
	return 0;
}

static int client_use(struct maker_ctx *ctx)
{
	TRY(is_named(fds[0], true, path));
	if (ctx->arg == SOCK_DGRAM) {
		/* gone or not: it is not found out before */
		return send(fds[0], "", 0, MSG_NOSIGNAL) < 0 && errno != ECONNREFUSED;
	}
	if (outlives(ctx))
		return says(fds[0], "hello");
	return hangs_up(fds[0]);
}

/* A server, with a client outside that is accepted and one that is not. */

static int dials_twice(void)
{
	char c;

	fds[0] = dialled(SOCK_STREAM, path);
	fds[1] = dialled(SOCK_STREAM, path);
	TRY(says(fds[0], "early"));
	ready();
	close(listener);
	while (read(fds[1], &c, 1) > 0)
		;
	return 0;
}

static int server_make(struct maker_ctx *ctx)
{
	of = ctx;
	CHECK(snprintf(path, sizeof(path), "%s/s", ctx->dir) < (int)sizeof(path));
	listener = listening(SOCK_STREAM, path, 5);
	CHECK(listener >= 0);
	TRY(outside_start(ctx, dials_twice));
	fds[0] = accept(listener, NULL, NULL);
	CHECK(fds[0] >= 0);
	return 0;
}

static int server_use(struct maker_ctx *ctx)
{
	bool waits = poll_now(listener, POLLIN);

	TRY(hears(fds[0], "early"));
	SAME(waits, outlives(ctx));
	if (!waits)
		TRY(hangs_up(fds[0]));
	fds[1] = dialled(SOCK_STREAM, path);
	CHECK(fds[1] >= 0);
	close(accept(listener, NULL, NULL));
	close(listener);
	return 0;
}

const struct maker makers_unix_outside[] = {
	{ "pair", "the peer of a pair is outside", pair_make, pair_use, MAKER_RESTLESS, SOCK_STREAM, NULL },
	{ "pair-seqpacket", "the peer of a pair of seqpacket sockets is outside", pair_make, pair_use, MAKER_RESTLESS,
		SOCK_SEQPACKET, NULL },
	{ "client", "connected to a server outside", client_make, client_use, MAKER_RESTLESS, SOCK_STREAM, NULL },
	{ "client-datagram", "connected to a datagram socket outside", client_make, client_use, MAKER_RESTLESS,
		SOCK_DGRAM, NULL },
	{ "server", "a client outside is accepted, another not yet", server_make, server_use, MAKER_RESTLESS, 0, NULL },
	{ 0 },
};
