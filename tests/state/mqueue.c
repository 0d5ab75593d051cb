/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* POSIX message queues: mq_overview(7), mq_notify(3). */

#include "maker.h"

#include <mqueue.h>
#include <poll.h>
#include <sys/socket.h>

static mqd_t q = -1, other = -1;
static char name[64];
static struct mq_attr before;
static struct stat inode;
static char text[256], page[2 * PAGE];

static int make(const char *suffix, int flags, long most, long size)
{
	struct mq_attr a = { .mq_maxmsg = most, .mq_msgsize = size };

	snprintf(name, sizeof(name), "/maker-%d-%s", getpid(), suffix);
	mq_unlink(name);
	q = mq_open(name, O_CREAT | O_EXCL | flags, 0640, &a);
	NEED(q >= 0);
	return 0;
}

static int send_one(size_t size, unsigned priority, uint64_t seed)
{
	fill(text, size, seed);
	SAME(mq_send(q, text, size, priority), 0);
	return 0;
}

static int receive(mqd_t from, size_t size, unsigned priority, uint64_t seed)
{
	unsigned p;

	SAME(mq_receive(from, text, sizeof(text), &p), size);
	SAME(p, priority);
	return check_fill(text, size, seed);
}

static int look(void)
{
	SAME(mq_getattr(q, &before), 0);
	SAME(fstat(q, &inode), 0);
	return 0;
}

static int same(void)
{
	struct mq_attr now;
	struct stat st;

	SAME(mq_getattr(q, &now), 0);
	SAME(now.mq_flags, before.mq_flags);
	SAME(now.mq_maxmsg, before.mq_maxmsg);
	SAME(now.mq_msgsize, before.mq_msgsize);
	SAME(now.mq_curmsgs, before.mq_curmsgs);
	SAME(fstat(q, &st), 0);
	SAME(st.st_mode, inode.st_mode);
	SAME(st.st_uid, inode.st_uid);
	SAME(st.st_gid, inode.st_gid);
	SAME(st.st_nlink, inode.st_nlink);
	SAME(st.st_atim.tv_sec, inode.st_atim.tv_sec);
	SAME(st.st_atim.tv_nsec, inode.st_atim.tv_nsec);
	SAME(st.st_mtim.tv_nsec, inode.st_mtim.tv_nsec);
	return 0;
}

static int leave(void)
{
	SAME(mq_close(q), 0);
	SAME(mq_unlink(name), 0);
	return 0;
}

/* --- messages of several priorities; arg 1: not to be waited for; 2: unlinked; 3: and another has its name --- */

static int send_some(void)
{
	TRY(send_one(10, 3, 1));
	TRY(send_one(0, 0, 2));
	TRY(send_one(200, 32767, 3));
	TRY(send_one(11, 3, 4));
	return send_one(12, 0, 5);
}

static int receive_some(mqd_t from)
{
	TRY(receive(from, 200, 32767, 3));
	TRY(receive(from, 10, 3, 1));
	TRY(receive(from, 11, 3, 4));
	TRY(receive(from, 0, 0, 2));
	return receive(from, 12, 0, 5);
}

static int open_make(struct maker_ctx *ctx)
{
	TRY(make("open", O_RDWR | (ctx->arg == 1 ? O_NONBLOCK : 0), 8, 200));
	TRY(send_some());
	if (ctx->arg >= 2)
		SAME(mq_unlink(name), 0);
	if (ctx->arg == 3) {
		other = q;
		TRY(make("open", O_RDWR, 5, 100));
		TRY(send_one(7, 7, 7));
	}
	return look();
}

static int open_use(struct maker_ctx *ctx)
{
	TRY(same());
	if (ctx->arg < 2) {
		other = mq_open(name, O_RDONLY);
		CHECK(other >= 0);
	}
	TRY(receive_some(ctx->arg == 2 ? q : other));
	if (ctx->arg == 3)
		TRY(receive(q, 7, 7, 7));
	if (ctx->arg == 1)
		CHECK(mq_receive(q, text, sizeof(text), NULL) < 0 && errno == EAGAIN);
	if (ctx->arg == 2)
		return mq_close(q);
	return leave();
}

/* --- kept over an exec, and beside it one whose flags have O_CLOEXEC, as this call alone leaves it --- */

static int flags_make(struct maker_ctx *ctx)
{
	TRY(make("flags", O_RDWR, 5, 100));
	other = mq_open(name, O_RDONLY | O_CLOEXEC);
	CHECK(other >= 0);
	SAME(fcntl(q, F_SETFD, 0), 0);
	return fcntl(other, F_SETFD, 0);
}

static int flags_use(struct maker_ctx *ctx)
{
	SAME(fcntl(q, F_GETFD), 0);
	SAME(fcntl(q, F_GETFL) & (O_CLOEXEC | O_ACCMODE), O_RDWR);
	SAME(fcntl(other, F_GETFD), 0);
	SAME(fcntl(other, F_GETFL) & (O_CLOEXEC | O_ACCMODE), O_CLOEXEC | O_RDONLY);
	SAME(mq_close(other), 0);
	return leave();
}

/* --- in flight, in the queue of a socket --- */

static int pair[2];

static struct msghdr *message(struct iovec *data, char room[static CMSG_SPACE(sizeof(int))])
{
	static struct msghdr m;

	m = (struct msghdr){
		.msg_iov = data, .msg_iovlen = 1, .msg_control = room, .msg_controllen = CMSG_SPACE(sizeof(int))
	};
	return &m;
}

static int flight_make(struct maker_ctx *ctx)
{
	char byte = 'm', room[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec data = { &byte, 1 };
	struct msghdr *m = message(&data, room);

	TRY(make("flight", O_RDWR, 8, 200));
	TRY(send_some());
	SAME(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	*CMSG_FIRSTHDR(m) = (struct cmsghdr){
		.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))
	};
	memcpy(CMSG_DATA(CMSG_FIRSTHDR(m)), &q, sizeof(q));
	SAME(sendmsg(pair[0], m, 0), 1);
	return mq_close(q);
}

static int flight_use(struct maker_ctx *ctx)
{
	char byte = 0, room[CMSG_SPACE(sizeof(int))];
	struct iovec data = { &byte, 1 };
	struct msghdr *m = message(&data, room);

	SAME(recvmsg(pair[1], m, 0), 1);
	CHECK(CMSG_FIRSTHDR(m));
	memcpy(&q, CMSG_DATA(CMSG_FIRSTHDR(m)), sizeof(q));
	TRY(receive_some(q));
	return leave();
}

/* --- open by nobody: of a container's own namespace, or the host's, where it stays --- */

static int closed_make(struct maker_ctx *ctx)
{
	TRY(make("closed", O_RDWR, 8, 200));
	TRY(ctx->arg ? 0 : send_some());
	SAME(fchmod(q, 0604), 0);
	SAME(fchown(q, 1000, 1001), 0);
	TRY(look());
	return mq_close(q);
}

static int closed_use(struct maker_ctx *ctx)
{
	q = mq_open(name, O_RDWR);
	CHECK(q >= 0);
	TRY(same());
	TRY(ctx->arg ? 0 : receive_some(q));
	return leave();
}

/* --- full; a thread asleep in it: arg 0 to receive, 1 to send --- */

static pthread_t thread;
static pid_t asleep;

static void *waits(void *arg)
{
	static char own[64];

	asleep = tid_self();
	if (arg)
		return (void *)(long)mq_send(q, "late", 4, 9);
	return (void *)(long)(mq_receive(q, own, sizeof(own), NULL) == 5 ? 0 : 1);
}

static int asleep_make(struct maker_ctx *ctx)
{
	TRY(make("asleep", O_RDWR, 2, 64));
	for (int i = 0; i < 2 && ctx->arg; i++)
		TRY(send_one(20, 1, 6));
	TRY(thread_start(&thread, waits, (void *)ctx->arg));
	CHECK(UNTIL(asleep));
	TRY(until_blocked_in(asleep, ctx->arg ? SYS_mq_timedsend : SYS_mq_timedreceive));
	return look();
}

static int asleep_use(struct maker_ctx *ctx)
{
	void *failed;

	TRY(same());
	TRY(ctx->arg ? receive(q, 20, 1, 6) : send_one(5, 1, 1));
	SAME(pthread_join(thread, &failed), 0);
	CHECK(!failed);
	if (ctx->arg)
		SAME(mq_receive(q, text, sizeof(text), NULL), 4);
	return leave();
}

/* --- shared with a child, which opens it for itself --- */

static int kid_make(struct maker_ctx *ctx)
{
	other = mq_open(name, O_RDONLY);
	CHECK(other >= 0);
	return 0;
}

static int kid_use(struct maker_ctx *ctx)
{
	TRY(receive(other, 4, 1, 1));
	SAME(mq_send(other, "x", 1, 0), -1);
	SAME(mq_send(q, "back", 4, 2), 0);
	return 0;
}

static int shared_make(struct maker_ctx *ctx)
{
	TRY(make("shared", O_RDWR, 4, 64));
	TRY(kid_start(ctx, kid_make, kid_use, NULL));
	TRY(send_one(4, 1, 1));
	return look();
}

static int shared_use(struct maker_ctx *ctx)
{
	TRY(same());
	TRY(kids_finish(ctx));
	SAME(mq_receive(q, text, sizeof(text), NULL), 4);
	SAME(memcmp(text, "back", 4), 0);
	return leave();
}

/* --- asked to be told; arg: SIGEV_*, and 16 for a message that is there --- */

static _Atomic int told;

static void handle(int sig, siginfo_t *info, void *context)
{
	told = info->si_code == SI_MESGQ ? info->si_value.sival_int : -1;
}

static void run(union sigval value)
{
	told = value.sival_int;
}

static int notify_make(struct maker_ctx *ctx)
{
	struct sigaction action = { .sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_RESTART };
	struct sigevent e = { .sigev_notify = (int)(ctx->arg & 15),
		.sigev_signo = SIGUSR1,
		.sigev_value.sival_int = 4711,
		.sigev_notify_function = run };

	TRY(make("notify", O_RDWR, 8, 64));
	SAME(sigaction(SIGUSR1, &action, NULL), 0);
	for (int i = 0; i < 6 && ctx->arg & 16; i++)
		TRY(send_one((size_t)i, (unsigned)(i / 2 + 3), (uint64_t)i));
	SAME(mq_notify(q, &e), 0);
	return look();
}

/* arg: SIGEV_*, and 16: the queue holds but one message, 32: more than a page of text, 64: that signal is pending already. */
static int notify_hard_make(struct maker_ctx *ctx)
{
	struct sigaction action = { .sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_RESTART };
	struct sigevent e = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 4711 };
	sigset_t blocked;

	TRY(make("hard", O_RDWR, ctx->arg & 16 ? 1 : 8, sizeof(page)));
	CHECK(!sigaction(SIGUSR1, &action, NULL));
	fill(page, sizeof(page), 5);
	SAME(mq_send(q, page, ctx->arg & 32 ? sizeof(page) : 0, 7), 0);
	if (ctx->arg & 64) {
		sigemptyset(&blocked);
		sigaddset(&blocked, SIGUSR1);
		CHECK(!sigprocmask(SIG_BLOCK, &blocked, NULL) && !raise(SIGUSR1));
	}
	SAME(mq_notify(q, &e), 0);
	return look();
}

static int notify_hard_use(struct maker_ctx *ctx)
{
	const ssize_t size = ctx->arg & 32 ? sizeof(page) : 0;
	struct timespec none = { 0 };
	unsigned priority;
	sigset_t set;

	TRY(same());
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	if (ctx->arg & 64)
		SAME(sigtimedwait(&set, NULL, &none), SIGUSR1);
	memset(page, 0, sizeof(page));
	SAME(mq_receive(q, page, sizeof(page), &priority), size);
	SAME(priority, 7);
	TRY(check_fill(page, (size_t)size, 5));
	SAME(told, 0);
	SAME(sigprocmask(SIG_UNBLOCK, &set, NULL), 0);
	TRY(send_one(1, 1, 1));
	CHECK(UNTIL(told == 4711));
	return leave();
}

/* Another may not be told meanwhile. */
static int is_taken(void)
{
	struct sigevent e = { .sigev_notify = SIGEV_NONE };
	pid_t p = fork();

	if (p == 0)
		_exit(mq_notify(q, &e) == 0 || errno != EBUSY);
	return reap_ok(p);
}

static int notify_use(struct maker_ctx *ctx)
{
	static const int order[] = { 4, 5, 2, 3, 0, 1 };

	TRY(same());
	SAME(told, 0);
	TRY(is_taken());
	for (int i = 0; i < 6 && ctx->arg & 16; i++)
		TRY(receive(q, (size_t)order[i], (unsigned)(order[i] / 2 + 3), (uint64_t)order[i]));
	SAME(told, 0);
	TRY(send_one(1, 1, 1));
	CHECK((ctx->arg & 15) == SIGEV_NONE || UNTIL(told));
	SAME(told, (ctx->arg & 15) == SIGEV_NONE ? 0 : 4711);
	TRY(receive(q, 1, 1, 1));
	SAME(mq_notify(q, &(struct sigevent){ .sigev_notify = SIGEV_NONE }), 0); /* that was once */
	return leave();
}

/* --- told, and not read yet; arg 1: and asked to be told once more --- */

static int nl = -1;

enum { COOKIE = 32 };

static int ask(int seed)
{
	char cookie[COOKIE];
	struct sigevent e = { .sigev_notify = SIGEV_THREAD, .sigev_signo = nl, .sigev_value.sival_ptr = cookie };

	fill(cookie, COOKIE, (uint64_t)seed);
	return (int)syscall(SYS_mq_notify, q, &e);
}

static int hears(int seed, int why)
{
	char cookie[COOKIE], got[2 * COOKIE];

	fill(cookie, COOKIE, (uint64_t)seed);
	cookie[COOKIE - 1] = (char)why;
	CHECK(UNTIL(readable(nl)));
	SAME(recv(nl, got, sizeof(got), MSG_DONTWAIT), COOKIE);
	CHECK(!memcmp(got, cookie, COOKIE));
	return 0;
}

static int told_make(struct maker_ctx *ctx)
{
	TRY(make("told", O_RDWR, 8, 64));
	nl = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0);
	CHECK(nl >= 0);
	SAME(ask(1), 0);
	TRY(send_one(1, 1, 1));
	TRY(receive(q, 1, 1, 1));
	SAME(ask(2), 0);
	SAME(syscall(SYS_mq_notify, q, NULL), 0);
	return ctx->arg ? ask(3) : 0;
}

static int told_use(struct maker_ctx *ctx)
{
	TRY(hears(1, 1));
	TRY(hears(2, 2));
	SAME(readable(nl), 0);
	SAME(ask(4), ctx->arg ? -1 : 0);
	TRY(send_one(1, 1, 1));
	TRY(hears(ctx->arg ? 3 : 4, 1));
	TRY(receive(q, 1, 1, 1));
	return leave();
}

const struct maker makers_mqueue[] = {
	{ "open", "messages of several priorities", open_make, open_use, 0, 0, NULL },
	{ "nonblock", "a descriptor that does not wait", open_make, open_use, 0, 1, NULL },
	{ "unlinked", "a queue without a name", open_make, open_use, 0, 2, NULL },
	{ "replaced", "one whose name another has", open_make, open_use, MAKER_CONTAINER, 3, NULL },
	{ "flags", "with and without O_CLOEXEC among the flags", flags_make, flags_use, 0, 0, NULL },
	{ "in-flight", "in the queue of a socket, and nowhere else", flight_make, flight_use, 0, 0, NULL },
	{ "closed", "one that nobody has open", closed_make, closed_use, 0, 0, NULL },
	{ "closed-empty", "and nothing in it", closed_make, closed_use, 0, 1, NULL },
	{ "asleep", "a thread asleep in mq_receive", asleep_make, asleep_use, MAKER_NO_STOP, 0, NULL },
	{ "asleep-full", "a thread asleep in mq_send", asleep_make, asleep_use, MAKER_NO_STOP, 1, NULL },
	{ "shared", "one that a child has open twice", shared_make, shared_use, 0, 0, NULL },
	{ "notify-none", "mq_notify with SIGEV_NONE", notify_make, notify_use, 0, SIGEV_NONE, NULL },
	{ "notify-none-queued", "with messages in the queue", notify_make, notify_use, 0, SIGEV_NONE | 16, NULL },
	{ "notify-signal", "mq_notify with SIGEV_SIGNAL", notify_make, notify_use, 0, SIGEV_SIGNAL, NULL },
	{ "notify-signal-queued", "with messages in the queue", notify_make, notify_use, 0, SIGEV_SIGNAL | 16, NULL },
	{ "notify-thread", "mq_notify with SIGEV_THREAD", notify_make, notify_use, 0, SIGEV_THREAD, NULL },
	{ "notify-thread-queued", "with messages in the queue", notify_make, notify_use, 0, SIGEV_THREAD | 16, NULL },
	{ "notify-single", "with a signal, of a queue that holds but one message, and has one", notify_hard_make,
		notify_hard_use, 0, 16, NULL },
	{ "notify-pages", "with a message of several pages, and that signal pending", notify_hard_make, notify_hard_use,
		0, 32 | 64, NULL },
	{ "told", "a socket that was told and has not been read", told_make, told_use, 0, 0, NULL },
	{ "told-asked", "and is to be told once more", told_make, told_use, 0, 1, NULL },
	{ 0 },
};
