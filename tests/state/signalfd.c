/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* signalfd: a mask, and signals to be read. signalfd(2). */

#include "maker.h"

#include <sys/signalfd.h>

static int fd = -1, fd2 = -1;
static pthread_t thread;
static pid_t thread_tid;
static uint64_t thread_got;

/* With something to read. */
static int signalfd_make(struct maker_ctx *ctx)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGRTMIN + 3);
	CHECK(!sigprocmask(SIG_BLOCK, &set, NULL));
	fd = signalfd(-1, &set, SFD_NONBLOCK);
	sigdelset(&set, SIGUSR1);
	fd2 = signalfd(-1, &set, SFD_CLOEXEC);
	CHECK(fd >= 0 && fd2 >= 0);
	CHECK(!kill(getpid(), SIGUSR1));
	CHECK(!sigqueue(getpid(), SIGRTMIN + 3, (union sigval){ .sival_int = 66 }));
	return 0;
}

static int signalfd_use(struct maker_ctx *ctx)
{
	struct signalfd_siginfo si;

	SAME(read(fd2, &si, sizeof(si)), sizeof(si));
	SAME(si.ssi_signo, SIGRTMIN + 3);
	SAME(si.ssi_int, 66);
	SAME(read(fd, &si, sizeof(si)), sizeof(si));
	SAME(si.ssi_signo, SIGUSR1);
	SAME(si.ssi_pid, getpid());
	SAME(read(fd, &si, sizeof(si)), -1);
	SAME(errno, EAGAIN);
	CHECK(!kill(getpid(), SIGUSR1));
	SAME(readable(fd), 1);
	SAME(readable(fd2), 0);
	return 0;
}

static void *reads_signal(void *arg)
{
	struct signalfd_siginfo si;

	thread_tid = tid_self();
	if (read(fd, &si, sizeof(si)) == sizeof(si))
		thread_got = si.ssi_signo;
	return NULL;
}

static int signalfd_reading_make(struct maker_ctx *ctx)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	CHECK(!sigprocmask(SIG_BLOCK, &set, NULL));
	fd = signalfd(-1, &set, 0);
	TRY(thread_start(&thread, reads_signal, NULL));
	CHECK(UNTIL(thread_tid));
	return until_blocked_in(thread_tid, SYS_read);
}

static int signalfd_reading_use(struct maker_ctx *ctx)
{
	CHECK(!kill(getpid(), SIGUSR2));
	SAME(pthread_join(thread, NULL), 0);
	SAME(thread_got, SIGUSR2);
	return 0;
}

const struct maker makers_signalfd[] = {
	ROW("pending", "two signalfds with signals pending", signalfd),
	ROW("reading", "a thread asleep in its read", signalfd_reading),
	{ 0 },
};
