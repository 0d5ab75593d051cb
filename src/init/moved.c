/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The first processes of a tree that moved (moved.h):
 *
 *	init		pid 1; reaps, and ends when nothing is left
 *	attendant	the parent of the root, whose status it tells the keeper
 *	leader		has the number of a session that was led from outside of the tree, its terminal with it. Where the root's
 *			parent was in that session too, the attendant is it.
 *
 * None of them is part of an image: the next restore makes its own.
 */
#include "init/moved_init.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "init/moved.h"

struct moved {
	pid_t root, attendant, session;
	unsigned int flags;
	char *seed;
	int terminal; /* -1: none */
};

/* --- the keeper --- */

static void tell(int kind, int value, const char *what)
{
	struct moved_word word = { .kind = kind, .value = value };

	strncpy(word.what, what, sizeof(word.what) - 1);
	send(MOVED_FD_SOCKET, &word, sizeof(word), MSG_NOSIGNAL); /* whether or not it still listens */
}

static _Noreturn void give_up(const char *what)
{
	tell(MOVED_FAILED, errno, what);
	_exit(1);
}

/* The byte with which it begins, and the terminal, if there is one. */
static void await_go(struct moved *m)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	char byte;
	struct iovec data = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = {
		.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	struct cmsghdr *c;

	if (recvmsg(MOVED_FD_SOCKET, &message, 0) != 1)
		_exit(1); /* the keeper has died */
	c = CMSG_FIRSTHDR(&message);
	m->terminal = -1;
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
		memcpy(&m->terminal, CMSG_DATA(c), sizeof(int));
}

/* What the root needs is not for those who stay. */
static void keep_socket_only(void)
{
	syscall(SYS_close_range, 0, MOVED_FD_SOCKET - 1, 0);
	syscall(SYS_close_range, MOVED_FD_SOCKET + 1, ~0u, 0);
}

/* --- births --- */

static pid_t born(pid_t number, uint64_t flags)
{
	struct clone_args args = {
		.flags = flags,
		.exit_signal = flags & CLONE_PARENT ? 0 : SIGCHLD,
		.set_tid = (uintptr_t)&number,
		.set_tid_size = 1,
	};

	return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

static void become_leader(const struct moved *m)
{
	if (setsid() < 0)
		give_up("setsid");
	if (m->terminal >= 0 && ioctl(m->terminal, TIOCSCTTY, 0) < 0)
		give_up("TIOCSCTTY");
}

static void bear_root(const struct moved *m, uint64_t flags)
{
	static char name[] = "spore-seed", nothing[] = "";
	char *argv[] = { name, m->seed, NULL }, *envp[] = { NULL };
	unsigned long all = ~0ul; /* the two that the C library spares as well */
	pid_t pid = born(m->root, flags);

	if (pid < 0)
		give_up("the birth of the root");
	if (pid > 0)
		return;
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, sizeof(all));
	syscall(SYS_close_range, MOVED_FD_BARE, ~0u, CLOSE_RANGE_CLOEXEC);
	syscall(SYS_execveat, MOVED_FD_SEED, nothing, argv, envp, AT_EMPTY_PATH);
	give_up("exec of the seed");
}

/*
 * Ends by SIGHUP, as a shell would when its terminal is hung up: the kernel then tells the foreground group. Else with the attendant. One
 * that only gives the session its number is the session's dead leader at once.
 */
static _Noreturn void leader_main(const struct moved *m, int told)
{
	sigset_t hangup;

	prctl(PR_SET_NAME, "spore-session");
	become_leader(m);
	bear_root(m, CLONE_PARENT);
	if (write(told, "", 1) != 1 || !(m->flags & MOVED_LEADER_LIVES))
		_exit(0);
	keep_socket_only();
	close(MOVED_FD_SOCKET);
	sigemptyset(&hangup);
	sigaddset(&hangup, SIGHUP);
	while (sigwaitinfo(&hangup, NULL) < 0)
		;
	_exit(0);
}

/* 0: the attendant is the leader, or there is none to be made. */
static pid_t bear_leader(const struct moved *m)
{
	int told[2];
	pid_t leader;
	char byte;

	if (pipe2(told, O_CLOEXEC) < 0)
		give_up("pipe");
	leader = born(m->session, 0);
	if (leader < 0)
		give_up("the birth of a stand-in for the session's leader");
	if (leader == 0)
		leader_main(m, told[1]);
	close(told[1]);
	if (read(told[0], &byte, 1) != 1)
		_exit(1); /* it has said why */
	close(told[0]);
	if (!(m->flags & MOVED_LEADER_LIVES))
		waitpid(leader, NULL, 0);
	return leader;
}

/* --- the attendant --- */

static int status_of(const siginfo_t *info)
{
	if (info->si_code == CLD_EXITED)
		return (info->si_status & 0xff) << 8;
	return info->si_status | (info->si_code == CLD_DUMPED ? 0x80 : 0);
}

/* A session's leader hears of the terminal's end, and ends: init is the root's parent then. */
static int await_root(const struct moved *m, const sigset_t *all)
{
	siginfo_t info = { 0 };

	while (waitid(P_PID, (id_t)m->root, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && !info.si_pid)
		if (sigwaitinfo(all, NULL) == SIGHUP && m->attendant == m->session)
			_exit(0);
	return status_of(&info);
}

static _Noreturn void attendant_main(const struct moved *m, const sigset_t *all)
{
	bool leads = m->attendant == m->session;
	pid_t leader = 0;
	char byte;

	prctl(PR_SET_NAME, leads ? "spore-session" : "spore-attend");
	if (leads)
		become_leader(m);
	if (!m->session || leads || m->session == 1)
		bear_root(m, 0);
	else
		leader = bear_leader(m);
	keep_socket_only();
	tell(MOVED_ENDED, await_root(m, all), "");
	while (recv(MOVED_FD_SOCKET, &byte, 1, 0) < 0 && errno == EINTR)
		;
	if (leader)
		kill(leader, SIGKILL);
	_exit(0); /* and init reaps the root */
}

/* --- init --- */

/* Pids that are given out from here on are no lower than those that the tree's processes had: nothing is to meet a number again. */
static void set_last_pid(const char *last)
{
	int fd = open("/proc/sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, last, strlen(last)) < 0) {
		/* Numbers begin at 2 then. */
	}
	close(fd);
}

/* Whether anything is left. A root that comes to it had an attendant that ended with its terminal: the keeper is to hear of it here. */
static bool reap(struct moved *m)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		if (pid == m->root) {
			tell(MOVED_ENDED, status, "");
			m->root = 0;
		}
	return pid == 0 || errno != ECHILD;
}

/* As in a container, what comes from outside is the root's. */
static void pass_on(const struct moved *m, int sig)
{
	if (sig > 0 && sig != SIGCHLD && m->root)
		kill(m->root, sig);
}

int moved_main(char **argv, const sigset_t *all)
{
	struct moved m = {
		.root = (pid_t)atoi(argv[0]),
		.attendant = (pid_t)atoi(argv[1]),
		.session = (pid_t)atoi(argv[2]),
		.flags = (unsigned int)strtoul(argv[4], NULL, 10),
		.seed = argv[5],
	};
	pid_t attendant;

	prctl(PR_SET_NAME, "spore-init");
	set_last_pid(argv[3]);
	tell(MOVED_UP, 0, "");
	await_go(&m);
	if (m.session == 1)
		become_leader(&m);
	attendant = born(m.attendant, 0);
	if (attendant < 0)
		give_up("the birth of the root's parent");
	if (attendant == 0)
		attendant_main(&m, all);
	keep_socket_only();
	while (reap(&m))
		pass_on(&m, sigwaitinfo(all, NULL));
	return 0;
}
