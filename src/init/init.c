/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * spore-init: pid 1 of a container. Starts the command in a session of its own, passes signals on to it,
 *reaps whatever else dies, and exits as the command does (128 + N when signal N ended it; the kernel then
 *ends the rest of the container).
 *
 *	spore-init FD COMMAND [ARGUMENT]...	FD: where a failure to start is told (start_failure.h)
 *	spore-init --adopt PID			the command is there already
 *	spore-init --moved ...			of a restored tree that moved (moved.h); no part of images
 *
 * It is part of every image of such a container, so it is kept simple to carry: static, one thread, no memory
 *but its stack, one system call to wait in.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "init/moved_init.h"
#include "init/start_failure.h"

static void tell(int fd, const char *what)
{
	struct start_failure failure = { .error = errno };

	strncpy(failure.what, what, sizeof(failure.what) - 1);
	if (write(fd, &failure, sizeof(failure)) < 0)
		_exit(127);
	_exit(failure.error == ENOENT ? 127 : 126);
}

static void run_command(int fd, char **command, const sigset_t *mask)
{
	setsid();
	if (isatty(0))
		ioctl(0, TIOCSCTTY, 0); /* refused, rightly, if it is another session's */
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	sigprocmask(SIG_SETMASK, mask, NULL);
	execvp(command[0], command);
	tell(fd, "exec");
}

/* The command's wait status, or -1 while it lives. */
static int reap(pid_t command)
{
	int status, found = -1;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		if (pid == command)
			found = status;
	if (pid < 0 && errno == ECHILD && found < 0)
		found = 0; /* adopted by another, or never there */
	return found;
}

static int attend(pid_t command, const sigset_t *all)
{
	int status = reap(command);

	while (status < 0) {
		int sig = sigwaitinfo(all, NULL);

		if (sig == SIGCHLD)
			status = reap(command);
		else if (sig > 0)
			kill(command, sig);
	}
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
	sigset_t all, before;
	pid_t command;
	int fd;

	if (argc < 3) {
		fprintf(stderr, "spore-init is started by spore run\n");
		return 2;
	}
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	if (strcmp(argv[1], "--adopt") == 0)
		return attend((pid_t)atoi(argv[2]), &all);
	if (strcmp(argv[1], "--moved") == 0 && argc == 2 + MOVED_ARGUMENTS)
		return moved_main(argv + 2, &all);
	fd = atoi(argv[1]);
	command = fork();
	if (command < 0)
		tell(fd, "fork");
	if (command == 0)
		run_command(fd, argv + 2, &before);
	close(fd);
	return attend(command, &all);
}
