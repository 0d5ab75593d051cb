/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who is told when something comes to a descriptor. fcntl(2): F_SETOWN_EX, F_SETSIG, O_ASYNC. */

#include "maker.h"

#include <sys/inotify.h>
#include <sys/prctl.h>

enum { F_SETSIG_ = 10, F_GETSIG_ = 11 };

/* Who is told when something comes. A pipe, so that something can come. */

static int ends[2];
static volatile sig_atomic_t told, told_fd;

static void tell(int sig, siginfo_t *si, void *uc)
{
	told++;
	told_fd = si->si_fd;
}

static int owner_make(struct maker_ctx *ctx)
{
	struct sigaction sa = { .sa_sigaction = tell, .sa_flags = SA_SIGINFO };

	CHECK(!sigaction(SIGRTMIN + 7, &sa, NULL));
	CHECK(!pipe(ends));
	CHECK(!fcntl(ends[0], F_SETOWN, getpid()));
	CHECK(!fcntl(ends[0], F_SETSIG_, SIGRTMIN + 7));
	CHECK(!fcntl(ends[0], F_SETFL, O_ASYNC | O_NONBLOCK));
	return 0;
}

static int owner_use(struct maker_ctx *ctx)
{
	SAME(fcntl(ends[0], F_GETOWN), getpid());
	SAME(fcntl(ends[0], F_GETSIG_), SIGRTMIN + 7);
	SAME(fcntl(ends[0], F_GETFL) & (O_ASYNC | O_NONBLOCK), O_ASYNC | O_NONBLOCK);
	SAME(told, 0);
	SAME(write(ends[1], "x", 1), 1);
	CHECK(UNTIL(told == 1));
	SAME(told_fd, ends[0]);
	return 0;
}

/* A signal and no O_ASYNC; O_ASYNC and no owner; both and the usual signal; to a child; on a fifo, a terminal and an inotify instance. */

static pid_t heir;
static int master, slave, watching;
static volatile sig_atomic_t signals[65];

static void count(int sig, siginfo_t *si, void *uc)
{
	signals[sig]++;
	told_fd = si->si_fd;
}

static int counts(struct maker_ctx *ctx)
{
	struct sigaction sa = { .sa_sigaction = count, .sa_flags = SA_SIGINFO };

	return sigaction(SIGRTMIN + 5, &sa, NULL);
}

static int was_told(struct maker_ctx *ctx)
{
	CHECK(UNTIL(signals[SIGRTMIN + 5] == 1));
	return 0;
}

static int owner_various_make(struct maker_ctx *ctx)
{
	struct sigaction sa = { .sa_sigaction = count, .sa_flags = SA_SIGINFO };

	CHECK(!sigaction(SIGIO, &sa, NULL) && !sigaction(SIGRTMIN + 2, &sa, NULL) && !pipe(ends));
	TRY(kid_start(ctx, counts, was_told, &heir));
	CHECK(!fcntl(ends[0], F_SETSIG_, SIGRTMIN + 2) && !fcntl(ends[1], F_SETFL, O_ASYNC));
	master = posix_openpt(O_RDWR | O_NOCTTY);
	CHECK(master >= 0 && !grantpt(master) && !unlockpt(master));
	slave = open(ptsname(master), O_RDWR | O_NOCTTY);
	CHECK(slave >= 0 && !fcntl(master, F_SETOWN, getpid()) && !fcntl(master, F_SETFL, O_ASYNC));
	watching = inotify_init1(IN_NONBLOCK);
	CHECK(!mkdir(in_dir(ctx, "owned"), 0755) && inotify_add_watch(watching, ctx->path, IN_CREATE) == 1);
	CHECK(!fcntl(watching, F_SETOWN, heir) && !fcntl(watching, F_SETSIG_, SIGRTMIN + 5));
	return fcntl(watching, F_SETFL, O_ASYNC | O_NONBLOCK);
}

static int owner_various_use(struct maker_ctx *ctx)
{
	SAME(fcntl(ends[0], F_GETSIG_), SIGRTMIN + 2);
	SAME(fcntl(ends[0], F_GETOWN), 0);
	SAME(fcntl(ends[0], F_GETFL) & O_ASYNC, 0);
	SAME(fcntl(ends[1], F_GETOWN), 0);
	SAME(fcntl(ends[1], F_GETFL) & O_ASYNC, O_ASYNC);
	SAME(signals[SIGIO], 0);
	SAME(write(slave, "x", 1), 1);
	CHECK(UNTIL(signals[SIGIO] == 1));
	SAME(fcntl(watching, F_GETOWN), heir);
	CHECK(!mkdir(in_dir(ctx, "owned/new"), 0755));
	TRY(kids_finish(ctx));
	CHECK(!fcntl(ends[0], F_SETOWN, getpid()) && !fcntl(ends[0], F_SETFL, O_ASYNC));
	SAME(write(ends[1], "x", 1), 1);
	CHECK(UNTIL(signals[SIGRTMIN + 2] == 1));
	SAME(told_fd, ends[0]);
	return 0;
}

static int owner_group_make(struct maker_ctx *ctx)
{
	struct f_owner_ex o = { F_OWNER_TID, tid_self() };

	TRY(owner_make(ctx));
	CHECK(!fcntl(ends[0], F_SETOWN_EX, &o));
	CHECK(!fcntl(ends[1], F_SETOWN, -getpgrp()));
	return 0;
}

static int owner_group_use(struct maker_ctx *ctx)
{
	struct f_owner_ex o;

	CHECK(!fcntl(ends[0], F_GETOWN_EX, &o));
	SAME(o.type, F_OWNER_TID);
	SAME(o.pid, tid_self());
	CHECK(!fcntl(ends[1], F_GETOWN_EX, &o));
	SAME(o.type, F_OWNER_PGRP);
	SAME(o.pid, getpgrp());
	return 0;
}

/* The identity with which the owner was set decides whom the signal reaches. */

#ifndef F_GETOWNER_UIDS
#define F_GETOWNER_UIDS 17
#endif

static int owner_uid_make(struct maker_ctx *ctx)
{
	uid_t uids[2];

	CHECK(!pipe(ends));
	CHECK(!syscall(SYS_setresuid, 1005, 1006, -1));
	CHECK(!fcntl(ends[0], F_SETOWN, getpid()));
	CHECK(!syscall(SYS_setresuid, 0, 0, -1));
	CHECK(!prctl(PR_SET_DUMPABLE, 1));
	NEED(!fcntl(ends[0], F_GETOWNER_UIDS, uids));
	return 0;
}

static int owner_uid_use(struct maker_ctx *ctx)
{
	uid_t uids[2];

	CHECK(!fcntl(ends[0], F_GETOWNER_UIDS, uids));
	SAME(uids[0], 1005);
	SAME(uids[1], 1006);
	return 0;
}

const struct maker makers_file_owner[] = {
	ROW("uid", "an owner set by another user", owner_uid),
	ROW("async", "O_ASYNC with an owner and a signal", owner),
	ROW("kinds", "a thread and a group as owners", owner_group),
	ROW("various", "a signal without O_ASYNC, O_ASYNC without an owner, a child as owner", owner_various),
	{ 0 },
};
