/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A tree with one of nearly everything, made twice by the self-test: the two have the same past, so whatever
 * differs between them is a number drawn by the kernel that the oracle ought to have left out.
 */

#include <fcntl.h>
#include <pthread.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MUST(call)                                                                                                     \
	do {                                                                                                           \
		if ((call) < 0)                                                                                        \
			abort();                                                                                       \
	} while (0)

static const struct itimerspec far = { { 1, 5 }, { 500, 0 } };

/* Without leftovers in the registers that a call's unused arguments are. */
static void *rest(void *unused)
{
	(void)unused;
	for (;;)
		syscall(SYS_ppoll, 0, 0, 0, 0, 0, 0);
	return NULL;
}

static void pipes(void)
{
	int p[2];

	MUST(pipe(p));
	MUST(write(p[1], "abc", 3));
	MUST(pipe2(p, O_DIRECT));
	MUST(write(p[1], "abc", 3));
	MUST(write(p[1], "de", 2));
}

static void events(void)
{
	struct epoll_event e = { .events = EPOLLIN, .data.u64 = 7 };
	int event = eventfd(5, 0), timer = timerfd_create(CLOCK_MONOTONIC, 0), epoll = epoll_create1(0), closed;
	int watch = inotify_init();
	sigset_t set;

	MUST(timerfd_settime(timer, 0, &far, NULL));
	closed = dup(event);
	MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, event, &e));
	MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &e));
	MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, closed, &e));
	close(closed);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	MUST(signalfd(-1, &set, 0));
	MUST(sigqueue(getpid(), SIGUSR1, (union sigval){ .sival_int = 77 }));
	MUST(inotify_add_watch(watch, "/proc", IN_CREATE));
}

static void timers(void)
{
	struct sigevent e = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 6 };
	timer_t t;

	MUST(timer_create(CLOCK_REALTIME, &e, &t));
	MUST(timer_settime(t, 0, &far, NULL));
}

static void files(void)
{
	struct flock lock = { .l_type = F_WRLCK, .l_start = 1, .l_len = 5 };
	int fd = memfd_create("unlinked", 0), memfd = memfd_create("m", MFD_ALLOW_SEALING), pair[2], master, slave;

	MUST(write(fd, "xyz", 3));
	MUST(fcntl(fd, F_SETLK, &lock));
	MUST(fcntl(fd, F_SETOWN, getpid()));
	MUST(fcntl(fd, F_SETSIG, 41));
	MUST(ftruncate(memfd, 8192));
	mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	MUST(fcntl(memfd, F_ADD_SEALS, F_SEAL_GROW));
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	MUST(write(pair[0], "hi", 2));
	MUST(openpty(&master, &slave, NULL, NULL, NULL));
}

static void memory(void)
{
	char *p = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	p[1] = 1;
	MUST(mlock(p + 8192, 4096));
	madvise(p + 4096, 4096, MADV_DONTFORK);
}

static void family(void)
{
	pthread_t thread;
	pid_t child = fork();

	if (child == 0) {
		setpgid(0, 0);
		rest(NULL);
	}
	MUST(syscall(SYS_pidfd_open, child, 0));
	child = fork();
	if (child == 0)
		_exit(7);
	waitid(P_PID, child, NULL, WEXITED | WNOWAIT);
	if (fork() == 0) {
		raise(SIGSTOP);
		rest(NULL);
	}
	if (pthread_create(&thread, NULL, rest, NULL))
		abort();
}

int main(void)
{
	pipes();
	events();
	timers();
	files();
	memory();
	family();
	rest(NULL);
}
