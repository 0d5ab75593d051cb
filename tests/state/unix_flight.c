/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What travels in the queues of unix sockets: descriptors and credentials. unix(7), SCM_RIGHTS, SCM_CREDENTIALS. */

#include "unix.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

static int fds[2] = { -1, -1 }, got[4] = { -1, -1, -1, -1 }, kept = -1;

static int pair(int type)
{
	CHECK(!socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds));
	return 0;
}

/* Both ends of a pipe with something in it, held by the queue alone. arg: the type. */

static int pipe_make(struct maker_ctx *ctx)
{
	int ends[2];

	TRY(pair((int)ctx->arg));
	CHECK(!pipe(ends));
	SAME(write(ends[1], "inside", 6), 6);
	TRY(send_with(fds[0], "take", ends, 2, NULL));
	close(ends[0]);
	close(ends[1]);
	return 0;
}

static int pipe_use(struct maker_ctx *ctx)
{
	char text[8] = "";

	TRY(receive(fds[1], "take", 0, got, 2, NULL));
	SAME(write(got[1], "!", 1), 1);
	SAME(read(got[0], text, sizeof(text)), 7);
	CHECK(!strcmp(text, "inside!"));
	close(got[1]);
	SAME(read(got[0], text, 1), 0);
	return talk(fds[0], fds[1]);
}

/* A file, with its offset, that the process has too: one description. */

static int file_make(struct maker_ctx *ctx)
{
	TRY(pair(SOCK_STREAM));
	kept = open(in_dir(ctx, "file"), O_RDWR | O_CREAT, 0600);
	SAME(write(kept, "0123456789", 10), 10);
	SAME(lseek(kept, 3, SEEK_SET), 3);
	return send_with(fds[0], "x", &kept, 1, NULL);
}

static int file_use(struct maker_ctx *ctx)
{
	char c;

	TRY(receive(fds[1], "x", 0, got, 1, NULL));
	SAME(syscall(SYS_kcmp, getpid(), getpid(), 0, kept, got[0]), 0);
	SAME(read(got[0], &c, 1), 1);
	SAME(c, '3');
	SAME(lseek(kept, 0, SEEK_CUR), 4);
	return 0;
}

/* Where among other bytes a descriptor is. */

static int place_make(struct maker_ctx *ctx)
{
	int event = eventfd(5, 0), other = eventfd(6, 0);

	TRY(pair(SOCK_STREAM));
	TRY(says(fds[0], "before"));
	TRY(send_with(fds[0], "with one", &event, 1, NULL));
	TRY(says(fds[0], "be"));
	TRY(says(fds[0], "tween"));
	TRY(send_with(fds[0], "with another", &other, 1, NULL));
	TRY(send_with(fds[0], "and again", &other, 1, NULL));
	TRY(says(fds[0], "after"));
	close(event);
	close(other);
	return 0;
}

static int place_use(struct maker_ctx *ctx)
{
	uint64_t v;

	TRY(receive(fds[1], "before", 6, NULL, 0, NULL));
	TRY(receive(fds[1], "w", 1, got, 1, NULL));
	SAME(read(got[0], &v, 8), 8);
	SAME(v, 5);
	TRY(receive(fds[1], "ith one", 7, NULL, 0, NULL));
	TRY(receive(fds[1], "betweenwith another", 0, got, 1, NULL));
	TRY(receive(fds[1], "and again", 0, got + 1, 1, NULL));
	SAME(syscall(SYS_kcmp, getpid(), getpid(), 0, got[0], got[1]), 0);
	TRY(receive(fds[1], "after", 0, NULL, 0, NULL));
	return 0;
}

/* A message of which the first bytes were read, and the descriptors with them. */

static int rest_make(struct maker_ctx *ctx)
{
	int event = eventfd(5, 0);

	TRY(pair(SOCK_STREAM));
	TRY(send_with(fds[0], "taken and left", &event, 1, NULL));
	TRY(receive(fds[1], "taken", 5, got, 1, NULL));
	return 0;
}

static int rest_use(struct maker_ctx *ctx)
{
	return receive(fds[1], " and left", 0, NULL, 0, NULL);
}

/* A socket in its own queue; and a ring of two, each in the other's. */

static int own_make(struct maker_ctx *ctx)
{
	TRY(pair((int)ctx->arg));
	return send_with(fds[0], "me", &fds[1], 1, NULL);
}

static int own_use(struct maker_ctx *ctx)
{
	TRY(receive(fds[1], "me", 0, got, 1, NULL));
	SAME(syscall(SYS_kcmp, getpid(), getpid(), 0, fds[1], got[0]), 0);
	return talk(fds[0], got[0]);
}

static int ring_make(struct maker_ctx *ctx)
{
	TRY(pair(SOCK_STREAM));
	TRY(send_with(fds[0], "a", fds, 2, NULL));
	return send_with(fds[1], "b", fds, 2, NULL);
}

static int ring_use(struct maker_ctx *ctx)
{
	TRY(receive(fds[1], "a", 0, got, 2, NULL));
	TRY(receive(fds[0], "b", 0, got + 2, 2, NULL));
	close(fds[0]);
	close(fds[1]);
	TRY(talk(got[0], got[3]));
	close(got[0]);
	close(got[2]);
	return hangs_up(got[1]);
}

/* A socket in flight in a socket in flight; at the end of them an eventfd. */

enum { DEEP = 5 };

static int nested_make(struct maker_ctx *ctx)
{
	int inner = eventfd(42, 0), p[2];

	for (int i = 0; i < DEEP; i++) {
		CHECK(!socketpair(AF_UNIX, i % 2 ? SOCK_DGRAM : SOCK_STREAM, 0, p));
		TRY(send_with(p[0], "deeper", &inner, 1, NULL));
		close(inner);
		if (i + 1 < DEEP)
			close(p[0]);
		else
			kept = p[0];
		inner = p[1];
	}
	fds[1] = inner;
	return 0;
}

static int nested_use(struct maker_ctx *ctx)
{
	int at = fds[1];
	uint64_t v;

	for (int i = 0; i < DEEP; i++) {
		TRY(receive(at, "deeper", 0, got, 1, NULL));
		at = got[0];
	}
	SAME(read(at, &v, 8), 8);
	SAME(v, 42);
	return 0;
}

/* An epoll that only a queue holds, and what it watches; and the socket watched by an epoll in its own queue. */

static int epoll_make(struct maker_ctx *ctx)
{
	int ep = epoll_create1(0), event = eventfd(1, 0);
	struct epoll_event e = { .events = EPOLLIN, .data.u64 = 77 };

	TRY(pair(SOCK_STREAM));
	CHECK(!epoll_ctl(ep, EPOLL_CTL_ADD, event, &e));
	e.data.u64 = 78;
	CHECK(!epoll_ctl(ep, EPOLL_CTL_ADD, fds[1], &e));
	TRY(send_with(fds[0], "epoll", (int[]){ ep, event }, 2, NULL));
	close(ep);
	close(event);
	return 0;
}

static int epoll_use(struct maker_ctx *ctx)
{
	struct epoll_event e[4];
	uint64_t v;

	TRY(receive(fds[1], "epoll", 0, got, 2, NULL));
	SAME(epoll_wait(got[0], e, 4, 0), 1);
	SAME(e[0].data.u64, 77);
	SAME(read(got[1], &v, 8), 8);
	SAME(epoll_wait(got[0], e, 4, 0), 0);
	TRY(says(fds[0], "x"));
	SAME(epoll_wait(got[0], e, 4, 0), 1);
	SAME(e[0].data.u64, 78);
	return 0;
}

/* As many as go in one message, from a child that has ended. */

enum { MANY = 200 };
static int many[MANY];

static int many_kid(struct maker_ctx *ctx)
{
	for (int i = 0; i < 100; i++)
		many[i] = eventfd((unsigned)i, 0);
	return send_with(fds[0], "all", many, 100, NULL);
}

static int many_make(struct maker_ctx *ctx)
{
	pid_t pid;

	TRY(pair(SOCK_SEQPACKET));
	pid = fork();
	if (!pid)
		_exit(many_kid(ctx));
	return reap_ok(pid);
}

static int many_use(struct maker_ctx *ctx)
{
	uint64_t v;

	TRY(receive(fds[1], "all", 0, many, 100, NULL));
	for (int i = 1; i < 100; i++) {
		SAME(read(many[i], &v, 8), 8);
		SAME(v, i);
	}
	return 0;
}

/* Credentials: of the sender that is told, of one that is made up, of one that has ended, of none. arg: the type. */

static pid_t ended;

static int pass(int fd)
{
	int on = 1;

	CHECK(!setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)));
	return 0;
}

static int says_as_other(void)
{
	if (setresgid(55, 55, 55) || setresuid(66, 66, 66))
		return 1;
	return says(fds[0], "ended");
}

static int creds_make(struct maker_ctx *ctx)
{
	TRY(pair((int)ctx->arg));
	TRY(says(fds[0], "none"));
	TRY(pass(fds[1]));
	TRY(says(fds[0], "own"));
	TRY(send_with(fds[0], "init", NULL, 0, &(struct ucred){ getpid(), 11, 22 }));
	ended = fork();
	if (!ended)
		_exit(says_as_other());
	TRY(reap_ok(ended));
	return says(fds[0], "own again");
}

static int expect(const char *text, pid_t pid, uid_t uid, gid_t gid)
{
	struct ucred creds = { 0 };

	TRY(receive(fds[1], text, 0, NULL, 0, &creds));
	SAME(creds.pid, pid);
	SAME(creds.uid, uid);
	SAME(creds.gid, gid);
	return 0;
}

static int creds_use(struct maker_ctx *ctx)
{
	TRY(expect("none", 0, 65534, 65534));
	TRY(expect("own", getpid(), 0, 0));
	TRY(expect("init", getpid(), 11, 22));
	TRY(expect("ended", ended, 66, 55));
	return expect("own again", getpid(), 0, 0);
}

/* The offset of looks, in the middle of the first message and in that of the second; what is looked at next. */

static int peek_make(struct maker_ctx *ctx)
{
	int offset = 4;

	TRY(pair((int)ctx->arg));
	TRY(says(fds[0], "first"));
	TRY(says(fds[0], "second"));
	CHECK(!setsockopt(fds[1], SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof(offset)));
	return 0;
}

static int peek_use(struct maker_ctx *ctx)
{
	char text[32] = "";

	SAME(option_of(fds[1], SO_PEEK_OFF), 4);
	SAME(recv(fds[1], text, 3, MSG_PEEK | MSG_DONTWAIT), ctx->arg == SOCK_STREAM ? 3 : 1);
	CHECK(!strcmp(text, ctx->arg == SOCK_STREAM ? "tse" : "t"));
	memset(text, 0, sizeof(text));
	SAME(recv(fds[1], text, 4, MSG_PEEK | MSG_DONTWAIT), 4);
	CHECK(!strcmp(text, ctx->arg == SOCK_STREAM ? "cond" : "seco"));
	return hears(fds[1], ctx->arg == SOCK_STREAM ? "firstsecond" : "first");
}

const struct maker makers_unix_flight[] = {
	{ "pipe", "both ends of a pipe, held by a stream's queue alone", pipe_make, pipe_use, 0, SOCK_STREAM, NULL },
	{ "pipe-datagram", "both ends of a pipe in a datagram", pipe_make, pipe_use, 0, SOCK_DGRAM, NULL },
	{ "pipe-seqpacket", "both ends of a pipe in a record", pipe_make, pipe_use, 0, SOCK_SEQPACKET, NULL },
	{ "file", "a file that the process has open too", file_make, file_use, 0, 0, NULL },
	{ "place", "descriptors among the bytes of a stream", place_make, place_use, 0, 0, NULL },
	{ "rest", "what is left of a message whose descriptors were taken", rest_make, rest_use, 0, 0, NULL },
	{ "own", "a socket in its own queue", own_make, own_use, 0, SOCK_STREAM, NULL },
	{ "own-datagram", "a datagram socket in its own queue", own_make, own_use, 0, SOCK_DGRAM, NULL },
	{ "ring", "each of a pair in the other's queue and in its own", ring_make, ring_use, 0, 0, NULL },
	{ "nested", "sockets in flight in sockets in flight", nested_make, nested_use, 0, 0, NULL },
	{ "epoll", "an epoll in flight, and what it watches", epoll_make, epoll_use, 0, 0, NULL },
	{ "many", "100 descriptors in one record", many_make, many_use, 0, 0, NULL },
	{ "credentials", "credentials of several senders in a stream", creds_make, creds_use, 0, SOCK_STREAM, NULL },
	{ "credentials-datagram", "credentials in datagrams", creds_make, creds_use, 0, SOCK_DGRAM, NULL },
	{ "credentials-seqpacket", "credentials in records", creds_make, creds_use, 0, SOCK_SEQPACKET, NULL },
	{ "peek", "an offset for looks into a stream", peek_make, peek_use, 0, SOCK_STREAM, NULL },
	{ "peek-datagram", "an offset for looks at datagrams", peek_make, peek_use, 0, SOCK_DGRAM, NULL },
	{ 0 },
};
