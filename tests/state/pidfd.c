/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* pidfd: a process or thread behind a descriptor, alive, dead or gone. pidfd_open(2). */

#include "maker.h"

#include <sys/pidfd.h>

static int fd = -1, fd2 = -1;
static pid_t kid;

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

const struct maker makers_pidfd[] = {
	ROW("living", "pidfds of a child and of itself", pidfd_living),
	ROW("thread", "a pidfd of a thread", pidfd_thread),
	ROW("zombie", "a pidfd of a zombie", pidfd_zombie),
	{ "gone", "a pidfd of a child reaped", pidfd_gone_make, pidfd_gone_use, MAKER_MAY_REFUSE, 0, "pidfd" },
	{ 0 },
};
