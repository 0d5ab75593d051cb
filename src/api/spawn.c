/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * clone(2), vfork(2). The caller may have threads and a gigabyte of memory: its child shares the memory while
 * the thread that calls waits, and makes only system calls. The first child has no exit signal, so that
 * neither SIGCHLD nor a plain waitpid(-1) tells of it; the keeper itself is an orphan at birth.
 */
#include "api/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/process.h"

#define SPAWN_STACK 65536

struct spawn {
	const char *path;
	int sock;
	const char *purpose;
	char *stack; /* two of them */
	int error;
};

/* Frames of a borrowed stack are nothing that the address sanitizer knows of. */
#define ON_BORROWED_STACK __attribute__((no_sanitize("address", "undefined")))

/* The caller's ignored signals would be the keeper's, and those of the trees that it builds. */
ON_BORROWED_STACK static void reset_signals(void)
{
	struct sigaction standard = { .sa_handler = SIG_DFL };
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		sigaction(sig, &standard, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

ON_BORROWED_STACK static int run_keeper(void *arg)
{
	struct spawn *s = arg;
	char number[12] = { 0 }, *digit = number + sizeof(number) - 1;
	char *argv[] = { (char *)"spore-keeper", NULL, (char *)s->purpose, NULL };

	for (int n = s->sock; n || !*digit; n /= 10)
		*--digit = (char)('0' + n % 10);
	argv[1] = digit;
	syscall(SYS_setsid);
	reset_signals();
	if (fcntl(s->sock, F_SETFD, 0) == 0)
		execve(s->path, argv, environ);
	s->error = -errno;
	_exit(127);
}

ON_BORROWED_STACK static int run_between(void *arg)
{
	struct spawn *s = arg;

	if (clone(run_keeper, s->stack + 2 * SPAWN_STACK, CLONE_VM | CLONE_VFORK | SIGCHLD, s) < 0)
		s->error = -errno;
	_exit(0);
}

static int start(struct spawn *s)
{
	sigset_t all, before;
	int pid, error, state;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before); /* no handler of the caller's may run in the child */
	pid = clone(run_between, s->stack + SPAWN_STACK, CLONE_VM | CLONE_VFORK, s);
	error = errno;
	if (pid > 0)
		while (waitpid(pid, NULL, __WCLONE) < 0 && errno == EINTR)
			;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_setcancelstate(state, NULL);
	return pid < 0 ? -error : s->error;
}

int keeper_spawn(const char *purpose)
{
	_cleanup_fd_ int near = -1;
	_cleanup_fd_ int far = -1;
	struct spawn s = { 0 };
	char path[PATH_MAX];
	int pair[2], r;

	r = program_find("SPORE_KEEPER", "spore-keeper", path, sizeof(path));
	if (r < 0)
		return r;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	near = pair[0];
	far = pair[1];
	s.path = path;
	s.sock = far;
	s.purpose = purpose;
	s.stack = mmap(NULL, 2 * SPAWN_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (s.stack == MAP_FAILED)
		return -errno;
	r = start(&s);
	munmap(s.stack, 2 * SPAWN_STACK);
	return r < 0 ? r : take_fd(&near);
}
