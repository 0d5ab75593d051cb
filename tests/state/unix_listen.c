/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Unix sockets that listen, their names and files, and connections that nobody has accepted yet. */

#include "unix.h"

#include <sys/xattr.h>

static int listener = -1, clients[8], server = -1, second = -1;
static char path[108], name[108];

/* arg: the type. */

static int listening_make(struct maker_ctx *ctx)
{
	CHECK(snprintf(path, sizeof(path), "%s/s", ctx->dir) < (int)sizeof(path));
	listener = listening((int)ctx->arg, path, 5);
	CHECK(listener >= 0);
	return 0;
}

static int reach(int type, const char *at)
{
	clients[0] = dialled(type, at);
	CHECK(clients[0] >= 0);
	server = accept(listener, NULL, NULL);
	CHECK(server >= 0);
	TRY(talk(clients[0], server));
	close(clients[0]);
	close(server);
	return 0;
}

/* Not more than it was said to. */
static int takes(int type, int backlog)
{
	struct sockaddr_un a;
	socklen_t size = named(&a, path);
	int waiting[8];

	for (int i = 0; i <= backlog + 1; i++) {
		waiting[i] = socket(AF_UNIX, type | SOCK_NONBLOCK, 0);
		SAME(connect(waiting[i], (struct sockaddr *)&a, size), i > backlog ? -1 : 0);
	}
	SAME(errno, EAGAIN);
	for (int i = 0; i <= backlog + 1; i++) {
		close(waiting[i]);
		if (i <= backlog)
			close(accept(listener, NULL, NULL));
	}
	return 0;
}

static int listening_use(struct maker_ctx *ctx)
{
	TRY(is_named(listener, false, path));
	TRY(takes((int)ctx->arg, 5));
	TRY(reach((int)ctx->arg, path));
	SAME(bound((int)ctx->arg, path), -1);
	SAME(errno, EADDRINUSE);
	return 0;
}

/* Its file: owner, permissions, an attribute, an access list by them. */

static bool attributed;

static int owned_make(struct maker_ctx *ctx)
{
	ctx->arg = SOCK_STREAM;
	TRY(listening_make(ctx));
	CHECK(!chown(path, 12, 34));
	CHECK(!chmod(path, 0620));
	attributed = !setxattr(path, "trusted.spore", "x", 1, 0);
	CHECK(attributed || errno == EOPNOTSUPP || errno == EPERM);
	return 0;
}

static int owned_use(struct maker_ctx *ctx)
{
	struct stat st;

	CHECK(!lstat(path, &st));
	CHECK(S_ISSOCK(st.st_mode));
	SAME(st.st_mode & 07777, 0620);
	SAME(st.st_uid, 12);
	SAME(st.st_gid, 34);
	if (attributed) {
		char value[4] = "";

		SAME(getxattr(path, "trusted.spore", value, sizeof(value)), 1);
		SAME(value[0], 'x');
	}
	return listening_use(ctx);
}

/* By a relative name, from a directory that is another by now. arg: how deep. */

static int relative_make(struct maker_ctx *ctx)
{
	char sub[600];

	snprintf(sub, sizeof(sub), "%s/sub", ctx->dir);
	CHECK(!mkdir(sub, 0755));
	CHECK(!chdir(ctx->arg == 1 ? sub : ctx->dir));
	strcpy(name, ctx->arg == 0 ? "s" : ctx->arg == 1 ? "../s" : "./sub/../s");
	listener = listening(SOCK_STREAM, name, 5);
	CHECK(listener >= 0);
	CHECK(!chdir("/"));
	return snprintf(path, sizeof(path), "%s/s", ctx->dir) >= (int)sizeof(path);
}

static int relative_use(struct maker_ctx *ctx)
{
	TRY(is_named(listener, false, name));
	TRY(reach(SOCK_STREAM, path));
	CHECK(!chdir(ctx->dir));
	SAME(access("sub", F_OK), 0);
	SAME(access("d", F_OK), -1);
	return 0;
}

/* The file was removed; renamed; replaced by another listener's. arg: which. */

static int gone_make(struct maker_ctx *ctx)
{
	long which = ctx->arg;

	ctx->arg = SOCK_STREAM;
	TRY(listening_make(ctx));
	ctx->arg = which;
	clients[1] = dialled(SOCK_STREAM, path);
	CHECK(clients[1] >= 0);
	CHECK(snprintf(name, sizeof(name), "%s/t", ctx->dir) < (int)sizeof(name));
	if (which == 1) {
		CHECK(!rename(path, name));
		return 0;
	}
	CHECK(!unlink(path));
	if (which == 2)
		CHECK((second = listening(SOCK_STREAM, path, 5)) >= 0);
	return 0;
}

static int gone_use(struct maker_ctx *ctx)
{
	TRY(is_named(listener, false, path));
	server = accept(listener, NULL, NULL);
	CHECK(server >= 0);
	TRY(talk(clients[1], server));
	if (ctx->arg == 1)
		return reach(SOCK_STREAM, name);
	clients[0] = dialled(SOCK_STREAM, path);
	SAME(clients[0] >= 0, ctx->arg == 2);
	if (ctx->arg == 0)
		return 0;
	server = accept(second, NULL, NULL);
	return talk(clients[0], server);
}

/* Not yet accepted: several, in their order, of which one is closed again. arg: the type. */

static int backlog_make(struct maker_ctx *ctx)
{
	TRY(listening_make(ctx));
	for (int i = 0; i < 4; i++) {
		clients[i] = dialled((int)ctx->arg, path);
		CHECK(clients[i] >= 0);
	}
	close(clients[1]);
	CHECK(!shutdown(clients[3], SHUT_WR));
	return 0;
}

static int backlog_use(struct maker_ctx *ctx)
{
	for (int i = 0; i < 4; i++) {
		server = accept(listener, NULL, NULL);
		CHECK(server >= 0);
		TRY(is_named(server, false, path));
		if (i == 1) {
			TRY(hangs_up(server));
			continue;
		}
		if (i == 3) {
			TRY(says(server, "half"));
			TRY(hears(clients[3], "half"));
			TRY(hangs_up(server));
			continue;
		}
		TRY(talk(clients[i], server));
	}
	SAME(poll_now(listener, POLLIN), 0);
	return 0;
}

/* A backlog that is full, and one who waits to be let in. */

static pthread_t thread;
static pid_t thread_tid;
static int dial_answer = -2;

static void *dials(void *arg)
{
	thread_tid = tid_self();
	dial_answer = dialled(SOCK_STREAM, path);
	return NULL;
}

static int full_make(struct maker_ctx *ctx)
{
	CHECK(snprintf(path, sizeof(path), "%s/s", ctx->dir) < (int)sizeof(path));
	listener = listening(SOCK_STREAM, path, 1);
	clients[0] = dialled(SOCK_STREAM, path);
	clients[1] = dialled(SOCK_STREAM, path);
	CHECK(listener >= 0 && clients[0] >= 0 && clients[1] >= 0);
	TRY(thread_start(&thread, dials, NULL));
	CHECK(UNTIL(thread_tid));
	return until_blocked_in(thread_tid, SYS_connect);
}

static int full_use(struct maker_ctx *ctx)
{
	SAME(dial_answer, -2);
	for (int i = 0; i < 2; i++) {
		server = accept(listener, NULL, NULL);
		TRY(talk(clients[i], server));
	}
	SAME(pthread_join(thread, NULL), 0);
	CHECK(dial_answer >= 0);
	server = accept(listener, NULL, NULL);
	return talk(dial_answer, server);
}

/* By a child that has other ids: SO_PEERCRED of who dialled, and of who listens. */

static int kid_make(struct maker_ctx *ctx)
{
	CHECK(!setresgid(-1, 77, -1) && !setresuid(-1, 88, -1));
	clients[0] = dialled(SOCK_STREAM, name);
	CHECK(clients[0] >= 0);
	return 0;
}

static int kid_use(struct maker_ctx *ctx)
{
	struct ucred creds = { 0 };
	socklen_t size = sizeof(creds);

	CHECK(!getsockopt(clients[0], SOL_SOCKET, SO_PEERCRED, &creds, &size));
	SAME(creds.pid, getppid());
	SAME(creds.uid, 0);
	return hears(clients[0], "hello");
}

static int kid_dials_make(struct maker_ctx *ctx)
{
	abstract_name(ctx, "listen", name);
	listener = listening(SOCK_STREAM, name, 5);
	CHECK(listener >= 0);
	return kid_start(ctx, kid_make, kid_use, NULL);
}

static int kid_dials_use(struct maker_ctx *ctx)
{
	struct ucred creds = { 0 };
	socklen_t size = sizeof(creds);

	server = accept(listener, NULL, NULL);
	CHECK(server >= 0);
	CHECK(!getsockopt(server, SOL_SOCKET, SO_PEERCRED, &creds, &size));
	SAME(creds.pid, ctx->kids[0]);
	SAME(creds.uid, 88);
	SAME(creds.gid, 77);
	TRY(says(server, "hello"));
	return kids_finish(ctx);
}

/* What is sent before it is accepted: bytes, large ones, with credentials, with descriptors. arg: type. */

static char large[100000];
static int sent_pipes[2];

static int sent_make(struct maker_ctx *ctx)
{
	const struct ucred creds = { getpid(), 4321, 8765 };
	int pipes[2];

	TRY(listening_make(ctx));
	clients[0] = dialled((int)ctx->arg, path);
	CHECK(clients[0] >= 0);
	CHECK(!pipe(pipes));
	SAME(write(pipes[1], "through", 7), 7);
	TRY(says(clients[0], "early"));
	TRY(send_with(clients[0], "by another", NULL, 0, &creds));
	TRY(send_with(clients[0], "with a pipe", (int[]){ pipes[0], clients[0] }, 2, NULL));
	fill(large, sizeof(large), 5);
	SAME(send(clients[0], large, sizeof(large), 0), sizeof(large));
	sent_pipes[0] = pipes[0];
	sent_pipes[1] = pipes[1];
	return 0;
}

static int sent_use(struct maker_ctx *ctx)
{
	struct ucred creds = { 0 };
	int on = 1, got[2];
	char text[8] = "";

	server = accept(listener, NULL, NULL);
	CHECK(server >= 0);
	CHECK(!setsockopt(server, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)));
	SAME(recv(server, text, 5, 0), 5);
	CHECK(!strcmp(text, "early"));
	TRY(receive(server, "by another", 10, NULL, 0, &creds));
	SAME(creds.uid, 4321);
	SAME(creds.gid, 8765);
	SAME(creds.pid, getpid());
	TRY(receive(server, "with a pipe", 11, got, 2, NULL));
	memset(text, 0, sizeof(text));
	SAME(read(got[0], text, 7), 7);
	CHECK(!strcmp(text, "through"));
	TRY(is_named(got[1], true, path));
	memset(large, 0, sizeof(large));
	for (size_t n = 0; n < sizeof(large);) {
		ssize_t r = recv(server, large + n, sizeof(large) - n, MSG_DONTWAIT);

		CHECK(r > 0);
		n += (size_t)r;
	}
	TRY(check_fill(large, sizeof(large), 5));
	return ctx->arg == SOCK_STREAM ? talk(clients[0], server) : 0;
}

/* A byte out of band before it is accepted; one that came before it is an ordinary one by then. */

static int sent_urgent_make(struct maker_ctx *ctx)
{
	ctx->arg = SOCK_STREAM;
	TRY(listening_make(ctx));
	clients[0] = dialled(SOCK_STREAM, path);
	CHECK(clients[0] >= 0);
	TRY(says(clients[0], "early"));
	SAME(send(clients[0], "?", 1, MSG_OOB), 1);
	TRY(says(clients[0], "later"));
	SAME(send(clients[0], "!", 1, MSG_OOB), 1);
	return says(clients[0], "last");
}

static int sent_urgent_use(struct maker_ctx *ctx)
{
	char text[32] = "";

	server = accept(listener, NULL, NULL);
	CHECK(server >= 0);
	SAME(poll_now(server, POLLPRI), POLLPRI);
	SAME(recv(server, text, 1, MSG_OOB), 1);
	SAME(text[0], '!');
	SAME(recv(server, text, sizeof(text), 0), 11);
	CHECK(!strcmp(text, "early?later"));
	TRY(hears(server, "last"));
	return talk(clients[0], server);
}

/* The client has closed since; it had sent both ends of a pipe. */

static int sent_closed_make(struct maker_ctx *ctx)
{
	int pipes[2];

	ctx->arg = SOCK_STREAM;
	TRY(listening_make(ctx));
	clients[0] = dialled(SOCK_STREAM, path);
	CHECK(clients[0] >= 0 && !pipe(pipes));
	TRY(says(clients[0], "early"));
	TRY(send_with(clients[0], "with a pipe", (int[]){ pipes[0], pipes[1] }, 2, NULL));
	close(clients[0]);
	clients[1] = dialled(SOCK_STREAM, path);
	TRY(send_with(clients[1], "another", (int[]){ pipes[1] }, 1, NULL));
	sent_pipes[0] = pipes[0];
	sent_pipes[1] = pipes[1];
	return close(clients[1]);
}

static int sent_closed_use(struct maker_ctx *ctx)
{
	char text[8] = "";
	int got[2];

	server = accept(listener, NULL, NULL);
	SAME(recv(server, text, 5, 0), 5);
	CHECK(!strcmp(text, "early"));
	TRY(receive(server, "with a pipe", 11, got, 2, NULL));
	TRY(hangs_up(server));
	CHECK(fcntl(got[1], F_GETFL) & O_WRONLY);
	server = accept(listener, NULL, NULL);
	TRY(receive(server, "another", 7, got + 1, 1, NULL));
	close(sent_pipes[0]);
	close(sent_pipes[1]);
	SAME(write(got[1], "x", 1), 1);
	SAME(read(got[0], text, 1), 1);
	return hangs_up(server);
}

/* What cannot be carried: a descriptor that nobody else has, also of a client that has closed since. arg: which. */

enum { SENT_ALONE, SENT_CLOSED, SENT_CLOSED_ALONE };

static int sent_badly_make(struct maker_ctx *ctx)
{
	int which = (int)ctx->arg, fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	ctx->arg = SOCK_STREAM;
	TRY(listening_make(ctx));
	clients[0] = dialled(SOCK_STREAM, path);
	CHECK(clients[0] >= 0);
	TRY(says(clients[0], "early"));
	if (which == SENT_ALONE || which == SENT_CLOSED_ALONE)
		TRY(send_with(clients[0], "alone", &fd, 1, NULL));
	if (which == SENT_CLOSED || which == SENT_CLOSED_ALONE)
		close(clients[0]);
	return close(fd);
}

static int sent_badly_use(struct maker_ctx *ctx)
{
	char text[8] = "";

	server = accept(listener, NULL, NULL);
	SAME(recv(server, text, 5, 0), 5);
	CHECK(!strcmp(text, "early"));
	return 0;
}

const struct maker makers_unix_listen[] = {
	{ "stream", "listening, with a path", listening_make, listening_use, 0, SOCK_STREAM, NULL },
	{ "seqpacket", "the same of seqpacket", listening_make, listening_use, 0, SOCK_SEQPACKET, NULL },
	{ "owned", "its file belongs to another, with permissions and an attribute", owned_make, owned_use, 0, 0,
		NULL },
	{ "relative", "bound to a relative name", relative_make, relative_use, 0, 0, NULL },
	{ "relative-up", "bound to a name that leads upwards", relative_make, relative_use, 0, 1, NULL },
	{ "relative-winding", "bound to a name with detours", relative_make, relative_use, 0, 2, NULL },
	{ "unlinked", "its file was removed, a connection waits", gone_make, gone_use, 0, 0, NULL },
	{ "renamed", "its file has another name, a connection waits", gone_make, gone_use, 0, 1, NULL },
	{ "replaced", "another listener has the path now, a connection waits", gone_make, gone_use, 0, 2, NULL },
	{ "backlog", "connections not yet accepted, one closed, one half shut", backlog_make, backlog_use, 0,
		SOCK_STREAM, NULL },
	{ "backlog-seqpacket", "the same of seqpacket", backlog_make, backlog_use, 0, SOCK_SEQPACKET, NULL },
	{ "full", "the backlog is full, and a task waits to connect", full_make, full_use, 0, 0, NULL },
	{ "kid-dials", "not accepted yet, of a child with other ids", kid_dials_make, kid_dials_use, 0, 0, NULL },
	{ "sent-early", "something was sent before it is accepted", sent_make, sent_use, 0, SOCK_STREAM, NULL },
	{ "sent-early-seqpacket", "the same of seqpacket", sent_make, sent_use, 0, SOCK_SEQPACKET, NULL },
	{ "sent-early-urgent", "a byte out of band was", sent_urgent_make, sent_urgent_use, 0, 0, NULL },
	{ "sent-early-closed", "its client has closed since", sent_badly_make, sent_badly_use, 0, SENT_CLOSED, NULL },
	{ "sent-early-both", "the same with descriptors", sent_closed_make, sent_closed_use, 0, 0, NULL },
	{ "sent-early-alone", "a descriptor that nobody else has was", sent_badly_make, sent_badly_use,
		MAKER_MUST_REFUSE, SENT_ALONE, "not accepted yet" },
	{ "sent-early-closed-alone", "the same, and its client has closed since", sent_badly_make, sent_badly_use,
		MAKER_MUST_REFUSE, SENT_CLOSED_ALONE, "not accepted yet" },
	{ 0 },
};
