/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* pidfd: a process or thread behind a descriptor, alive, dead or gone. pidfd_open(2). */

#include "maker.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/vfs.h>

static int fd = -1, fd2 = -1, fds[2];
static pid_t kid, thread_tid;
static pthread_t thread;

/* Of a living child and of ourselves. */
static int pidfd_living_make(struct maker_ctx *ctx)
{
	TRY(kid_start(ctx, NULL, NULL, &kid));
	fd = pidfd_open(kid, 0);
	fd2 = pidfd_open(getpid(), PIDFD_NONBLOCK);
	NEED(fd >= 0 && fd2 >= 0);
	return 0;
}

static int pidfd_living_use(struct maker_ctx *ctx)
{
	siginfo_t si = { 0 };

	SAME(readable(fd), 0);
	CHECK(!pidfd_send_signal(fd2, 0, NULL, 0));
	SAME(fcntl(fd2, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	SAME(fcntl(fd, F_GETFD), FD_CLOEXEC);
	CHECK(!pidfd_send_signal(fd, SIGTERM, NULL, 0));
	CHECK(!waitid(P_PIDFD, (id_t)fd, &si, WEXITED));
	SAME(si.si_pid, kid);
	SAME(si.si_status, SIGTERM);
	SAME(readable(fd), 1);
	return 0;
}

/* Of one thread: it is readable when that ends, whatever the process does. */
static int pidfd_thread_make(struct maker_ctx *ctx)
{
	fd = pidfd_open(tid_self(), O_EXCL); /* PIDFD_THREAD */
	NEED(fd >= 0);
	return 0;
}

static int pidfd_thread_use(struct maker_ctx *ctx)
{
	SAME(fcntl(fd, F_GETFL) & O_EXCL, O_EXCL);
	SAME(readable(fd), 0);
	return 0;
}

static int pidfd_zombie_make(struct maker_ctx *ctx)
{
	siginfo_t si;

	kid = fork();
	CHECK(kid >= 0);
	if (!kid)
		_exit(8);
	fd = pidfd_open(kid, 0);
	CHECK(fd >= 0);
	return waitid(P_PID, (id_t)kid, &si, WEXITED | WNOWAIT);
}

static int pidfd_zombie_use(struct maker_ctx *ctx)
{
	siginfo_t si = { 0 };

	SAME(readable(fd), 1);
	CHECK(!waitid(P_PIDFD, (id_t)fd, &si, WEXITED));
	SAME(si.si_pid, kid);
	SAME(si.si_status, 8);
	return 0;
}

static int pidfd_gone_make(struct maker_ctx *ctx)
{
	TRY(pidfd_zombie_make(ctx));
	SAME(waitpid(kid, NULL, 0), kid);
	return 0;
}

static int pidfd_gone_use(struct maker_ctx *ctx)
{
	SAME(pidfd_send_signal(fd, 0, NULL, 0), -1);
	SAME(errno, ESRCH);
	SAME(readable(fd), 1);
	return 0;
}

/* Two of a process that was waited for, one of another; how they ended is told by those that were opened before. arg: a signal, or 0. */

struct pidfd_end { /* linux/pidfd.h since Linux 6.15 */
	uint64_t mask, cgroup;
	uint32_t ids[11];
	int32_t exit_code;
	uint32_t coredump_mask, coredump_signal;
};

static int ended_with(int f, int status)
{
	struct pidfd_end e = { .mask = 1 << 3 };

	if (ioctl(f, _IOWR(0xff, 11, struct pidfd_end), &e) < 0 || !(e.mask & 1 << 3))
		return 0; /* an older kernel */
	SAME(e.exit_code, status);
	return 0;
}

static int ended_kid(int signal, int *f)
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	while (!pid && signal)
		pause();
	if (!pid)
		_exit(9);
	*f = pidfd_open(pid, 0);
	fd2 = *f < 0 ? -1 : pidfd_open(pid, PIDFD_NONBLOCK);
	CHECK(*f >= 0 && fd2 >= 0);
	if (signal)
		CHECK(!kill(pid, signal));
	SAME(waitpid(pid, NULL, 0), pid);
	return 0;
}

static int pidfd_ended_make(struct maker_ctx *ctx)
{
	TRY(ended_kid(0, &fds[0]));
	CHECK(!close(fd2));
	return ended_kid((int)ctx->arg, &fd);
}

/* Before Linux 6.9 all have one inode. */
static bool on_pidfs(int pidfd)
{
	struct statfs fs;

	return fstatfs(pidfd, &fs) == 0 && fs.f_type == 0x50494446;
}

static int pidfd_ended_use(struct maker_ctx *ctx)
{
	struct stat a, b, c;

	CHECK(!fstat(fd, &a) && !fstat(fd2, &b) && !fstat(fds[0], &c));
	SAME(a.st_ino, b.st_ino);
	CHECK(a.st_ino != c.st_ino || !on_pidfs(fd));
	SAME(fcntl(fd2, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	TRY(ended_with(fds[0], 9 << 8));
	TRY(ended_with(fd, ctx->arg ? (int)ctx->arg : 9 << 8));
	TRY(ended_with(fd2, ctx->arg ? (int)ctx->arg : 9 << 8));
	SAME(readable(fd), 1);
	SAME(pidfd_send_signal(fd2, 0, NULL, 0), -1);
	SAME(errno, ESRCH);
	SAME(waitid(P_PIDFD, (id_t)fds[0], &(siginfo_t){ 0 }, WEXITED), -1);
	SAME(errno, ECHILD);
	return 0;
}

/* Of a thread that is not its process's leader, of one that has ended, and of a process by such a thread's number. */

static _Atomic int thread_may_end;

static void *lives(void *arg)
{
	thread_tid = tid_self();
	wait_for(&thread_may_end);
	return NULL;
}

static void *ends(void *arg)
{
	fd2 = pidfd_open(tid_self(), O_EXCL);
	return NULL;
}

static int pidfd_threads_make(struct maker_ctx *ctx)
{
	pthread_t other;

	TRY(thread_start(&thread, lives, NULL));
	CHECK(UNTIL(thread_tid));
	fd = pidfd_open(thread_tid, O_EXCL);
	NEED(fd >= 0);
	TRY(thread_start(&other, ends, NULL));
	SAME(pthread_join(other, NULL), 0);
	CHECK(UNTIL(readable(fd2)));
	return 0;
}

static int pidfd_threads_use(struct maker_ctx *ctx)
{
	SAME(fcntl(fd, F_GETFL) & O_EXCL, O_EXCL);
	SAME(fcntl(fd2, F_GETFL) & O_EXCL, O_EXCL);
	SAME(readable(fd), 0);
	SAME(readable(fd2), 1);
	let_go(&thread_may_end);
	SAME(pthread_join(thread, NULL), 0);
	CHECK(UNTIL(readable(fd)));
	return 0;
}

/* In an epoll: of one that was waited for, reported already, and of one that lives. */

static int ep = -1;

static int pidfd_epoll_make(struct maker_ctx *ctx)
{
	struct epoll_event e = { .events = EPOLLIN | EPOLLET, .data.u64 = 1 };

	TRY(ended_kid(0, &fds[0]));
	TRY(kid_start(ctx, NULL, NULL, &kid));
	fd = pidfd_open(kid, 0);
	ep = epoll_create1(0);
	CHECK(fd >= 0 && ep >= 0 && !epoll_ctl(ep, EPOLL_CTL_ADD, fds[0], &e));
	SAME(epoll_wait(ep, &e, 1, 0), 1);
	e = (struct epoll_event){ .events = EPOLLIN, .data.u64 = 2 };
	return epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
}

static int pidfd_epoll_use(struct maker_ctx *ctx)
{
	struct epoll_event e = { 0 };

	SAME(epoll_wait(ep, &e, 1, 0), 0);
	TRY(kids_finish(ctx));
	SAME(epoll_wait(ep, &e, 1, 1000), 1);
	SAME(e.data.u64, 2);
	return 0;
}

const struct maker makers_pidfd[] = {
	ROW("living", "pidfds of a child and of itself", pidfd_living),
	ROW("thread", "a pidfd of a thread", pidfd_thread),
	ROW("zombie", "a pidfd of a zombie", pidfd_zombie),
	ROW("gone", "a pidfd of a child reaped", pidfd_gone),
	ROW("ended", "pidfds of two children reaped", pidfd_ended),
	{ "killed", "pidfds of a child that was killed, and reaped", pidfd_ended_make, pidfd_ended_use, 0, SIGTERM },
	{ "sigkill", "by SIGKILL", pidfd_ended_make, pidfd_ended_use, 0, SIGKILL },
	ROW("threads", "pidfds of threads, one of which has ended", pidfd_threads),
	ROW("epoll", "pidfds in an epoll, one of a child reaped", pidfd_epoll),
	{ 0 },
};
