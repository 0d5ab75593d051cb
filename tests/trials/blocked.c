/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One thread in each call that can block, to see whether a checkpoint is noticed.
 *
 *	trial-blocked DIR carried      the calls that come back after a restore
 *	trial-blocked DIR all          and those that are only checkpointed so far
 *
 * Calls without a timeout must not return before DIR/end exists. Calls with one must never fail with EINTR or end early; how late they
 * were at worst is reported. At the end DIR/report has a line for each: name, rounds, errors, worst early and worst late in microseconds, first error.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TIMEOUT_MS 500
#define NS	   INT64_C(1000000000)

enum group { CARRIED, CHECKPOINTED };

struct call {
	const char *name;
	enum group group;
	bool timed;
	/* One call. Returns 0 where it ended as it should have (a timeout, for timed ones), else an errno; -1: a return that makes no sense. */
	int (*wait)(void);

	pthread_t thread;
	_Atomic pid_t tid;
	uint64_t rounds, errors;
	int first;
	int64_t early_ns, late_ns;
};

static _Atomic bool ending;
static int pipe_fd[2], poll_fd[2], epoll_fd, lock_fd, lock_other_fd, listen_fd, recv_fd[2], sem_id, msg_id;
static pid_t child;
static uint32_t futex_word, futex_forever;
static aio_context_t aio;

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * NS + t.tv_nsec;
}

static const struct timespec timeout = { 0, TIMEOUT_MS * 1000000L };

static int failed(long r)
{
	return r < 0 ? errno : -1;
}

static int expired(long r, int error)
{
	return r == -1 && errno == error ? 0 : failed(r);
}

static int wait_read(void)
{
	char c;
	long r = read(pipe_fd[0], &c, 1);

	return r == 1 ? 0 : failed(r);
}

static int wait_futex(void)
{
	long r = syscall(SYS_futex, &futex_forever, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);

	return r == 0 && ending ? 0 : failed(r);
}

static int wait_futex_timed(void)
{
	return expired(syscall(SYS_futex, &futex_word, FUTEX_WAIT_PRIVATE, 0, &timeout, NULL, 0), ETIMEDOUT);
}

static int wait_futex_until(void)
{
	int64_t end = now_ns() + TIMEOUT_MS * 1000000L;
	struct timespec until = { end / NS, end % NS };

	return expired(
		syscall(SYS_futex, &futex_word, FUTEX_WAIT_BITSET_PRIVATE, 0, &until, NULL, FUTEX_BITSET_MATCH_ANY),
		ETIMEDOUT);
}

static int wait_nanosleep(void)
{
	return nanosleep(&timeout, NULL) ? errno : 0;
}

static int wait_clock_nanosleep(void)
{
	return clock_nanosleep(CLOCK_MONOTONIC, 0, &timeout, NULL);
}

static int wait_clock_nanosleep_until(void)
{
	int64_t end = now_ns() + TIMEOUT_MS * 1000000L;

	return clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &(struct timespec){ end / NS, end % NS }, NULL);
}

static int wait_poll(void)
{
	int r = poll(&(struct pollfd){ .fd = poll_fd[0], .events = POLLIN }, 1, TIMEOUT_MS);

	return r ? failed(r) : 0;
}

static int wait_poll_forever(void)
{
	int r = poll(&(struct pollfd){ .fd = pipe_fd[0], .events = POLLIN }, 1, -1);

	return r == 1 ? 0 : failed(r);
}

static int wait_ppoll(void)
{
	int r = ppoll(&(struct pollfd){ .fd = poll_fd[0], .events = POLLIN }, 1, &timeout, NULL);

	return r ? failed(r) : 0;
}

static int wait_select(void)
{
	fd_set set;
	int r;

	FD_ZERO(&set);
	FD_SET(poll_fd[0], &set);
	r = select(poll_fd[0] + 1, &set, NULL, NULL, &(struct timeval){ 0, TIMEOUT_MS * 1000 });
	return r ? failed(r) : 0;
}

static int wait_epoll(void)
{
	struct epoll_event e;
	int r = epoll_wait(epoll_fd, &e, 1, TIMEOUT_MS);

	return r ? failed(r) : 0;
}

static int wait_epoll_forever(void)
{
	struct epoll_event e = { .events = EPOLLIN };
	int fd = epoll_create1(EPOLL_CLOEXEC), r;

	epoll_ctl(fd, EPOLL_CTL_ADD, pipe_fd[0], &e);
	r = epoll_wait(fd, &e, 1, -1);
	close(fd);
	return r == 1 ? 0 : failed(r);
}

static void nothing(int sig)
{
}

/* Ended by a real signal, and only at the end. */
static int wait_sigsuspend(void)
{
	sigset_t mask;

	sigfillset(&mask);
	sigdelset(&mask, SIGUSR1);
	sigsuspend(&mask);
	return ending && errno == EINTR ? 0 : errno;
}

static int wait_sigtimedwait(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	return expired(sigtimedwait(&set, NULL, &timeout), EAGAIN);
}

static int wait_wait4(void)
{
	pid_t r = wait4(child, NULL, 0, NULL);

	return r == child && ending ? 0 : failed(r);
}

static int wait_flock(void)
{
	int r = flock(lock_fd, LOCK_EX);

	return r == 0 && ending ? 0 : failed(r);
}

static int wait_semop(void)
{
	int r = semop(sem_id, &(struct sembuf){ 0, -1, 0 }, 1);

	return r == 0 && ending ? 0 : failed(r);
}

static int wait_semtimedop(void)
{
	return expired(semtimedop(sem_id, &(struct sembuf){ 1, -1, 0 }, 1, &timeout), EAGAIN);
}

static int wait_msgrcv(void)
{
	struct {
		long type;
		char text[8];
	} m;
	long r = msgrcv(msg_id, &m, sizeof(m.text), 0, 0);

	return r >= 0 && ending ? 0 : failed(r);
}

static int wait_accept(void)
{
	int r = accept(listen_fd, NULL, NULL);

	return r >= 0 && ending ? 0 : failed(r);
}

static int wait_recv(void)
{
	char c;

	return expired(recv(recv_fd[0], &c, 1, 0), EAGAIN);
}

static int wait_io_getevents(void)
{
	struct io_event e;
	long r = syscall(SYS_io_getevents, aio, 1, 1, &e, &timeout);

	return r ? failed(r) : 0;
}

static struct call calls[] = {
	{ "read", CARRIED, false, wait_read },
	{ "futex", CARRIED, false, wait_futex },
	{ "futex-timed", CARRIED, true, wait_futex_timed },
	{ "futex-until", CARRIED, true, wait_futex_until },
	{ "nanosleep", CARRIED, true, wait_nanosleep },
	{ "clock_nanosleep", CARRIED, true, wait_clock_nanosleep },
	{ "clock_nanosleep-until", CARRIED, true, wait_clock_nanosleep_until },
	{ "poll", CARRIED, true, wait_poll },
	{ "poll-forever", CARRIED, false, wait_poll_forever },
	{ "ppoll", CARRIED, true, wait_ppoll },
	{ "select", CARRIED, true, wait_select },
	{ "epoll_wait", CARRIED, true, wait_epoll },
	{ "epoll_wait-forever", CARRIED, false, wait_epoll_forever },
	{ "sigsuspend", CARRIED, false, wait_sigsuspend },
	{ "sigtimedwait", CARRIED, true, wait_sigtimedwait },
	{ "wait4", CARRIED, false, wait_wait4 },
	{ "flock", CARRIED, false, wait_flock },
	{ "semop", CHECKPOINTED, false, wait_semop },
	{ "semtimedop", CHECKPOINTED, true, wait_semtimedop },
	{ "msgrcv", CHECKPOINTED, false, wait_msgrcv },
	{ "accept", CHECKPOINTED, false, wait_accept },
	{ "recv-timeout", CHECKPOINTED, true, wait_recv },
	{ "io_getevents", CHECKPOINTED, true, wait_io_getevents },
};
#define CALLS (sizeof(calls) / sizeof(calls[0]))

static void *watch(void *argument)
{
	struct call *c = argument;

	c->tid = gettid();
	while (!ending) {
		int64_t begin = now_ns(), over;
		int error = c->wait();

		over = now_ns() - begin - TIMEOUT_MS * INT64_C(1000000);
		c->rounds++;
		if (!c->timed && !ending && !error)
			error = -1;
		if (error && !c->errors++)
			c->first = error;
		if (c->timed && !error && -over > c->early_ns)
			c->early_ns = -over;
		if (c->timed && !error && over > c->late_ns)
			c->late_ns = over;
		if (error)
			nanosleep(&(struct timespec){ 0, 10000000 }, NULL);
	}
	return NULL;
}

static void make_sysv_and_sockets(void)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX, .sun_path = "listener" };
	FILE *ids = fopen("ipc", "w");

	sem_id = semget(IPC_PRIVATE, 2, 0600);
	msg_id = msgget(IPC_PRIVATE, 0600);
	fprintf(ids, "-s %d -q %d\n", sem_id, msg_id);
	fclose(ids);
	listen_fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (bind(listen_fd, (struct sockaddr *)&name, sizeof(name)) || listen(listen_fd, 1))
		abort();
	socketpair(AF_UNIX, SOCK_STREAM, 0, recv_fd);
	setsockopt(
		recv_fd[0], SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){ 0, TIMEOUT_MS * 1000 }, sizeof(struct timeval));
	if (syscall(SYS_io_setup, 4, &aio))
		abort();
}

/* Everything that waits without a timeout gets what it waits for. */
static void end_waits(bool all)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX, .sun_path = "listener" };

	ending = true;
	if (write(pipe_fd[1], "ab", 2) != 2)
		abort();
	futex_forever = 1;
	syscall(SYS_futex, &futex_forever, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0);
	for (size_t i = 0; i < CALLS; i++)
		if (calls[i].wait == wait_sigsuspend)
			pthread_kill(calls[i].thread, SIGUSR1);
	kill(child, SIGKILL);
	flock(lock_other_fd, LOCK_UN);
	if (!all)
		return;
	semop(sem_id, &(struct sembuf){ 0, 1, 0 }, 1);
	msgsnd(msg_id, &(struct {
		long type;
		char c;
	}){ 1, 'x' },
		1, 0);
	connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&name, sizeof(name));
}

static void report(enum group last)
{
	FILE *f = fopen("report.new", "w");

	for (size_t i = 0; i < CALLS; i++) {
		const struct call *c = &calls[i];

		if (c->group <= last)
			fprintf(f, "%s %llu %llu %lld %lld %s\n", c->name, (unsigned long long)c->rounds,
				(unsigned long long)c->errors, (long long)c->early_ns / 1000,
				(long long)(c->late_ns + 999) / 1000,
				!c->errors     ? "-"
				: c->first < 0 ? "returned"
					       : strerrorname_np(c->first));
	}
	fclose(f);
	rename("report.new", "report");
}

int main(int argc, char **argv)
{
	enum group last;
	sigset_t set;
	FILE *ready;

	if (argc < 3 || chdir(argv[1]))
		return 2;
	last = strcmp(argv[2], "all") ? CARRIED : CHECKPOINTED;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	sigaction(SIGUSR1, &(struct sigaction){ .sa_handler = nothing }, NULL);
	child = fork();
	if (!child)
		for (;;)
			pause();
	lock_fd = open("lock", O_RDWR | O_CREAT, 0600);
	lock_other_fd = open("lock", O_RDWR);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (pipe(pipe_fd) || pipe(poll_fd) || flock(lock_other_fd, LOCK_EX))
		return 2;
	epoll_ctl(epoll_fd, EPOLL_CTL_ADD, poll_fd[0], &(struct epoll_event){ .events = EPOLLIN });
	if (last == CHECKPOINTED)
		make_sysv_and_sockets();
	for (size_t i = 0; i < CALLS; i++)
		if (calls[i].group <= last)
			pthread_create(&calls[i].thread, NULL, watch, &calls[i]);
	ready = fopen("ready", "w");
	fclose(ready);
	while (access("end", F_OK))
		nanosleep(&(struct timespec){ 0, 50000000 }, NULL);
	end_waits(last == CHECKPOINTED);
	for (size_t i = 0; i < CALLS; i++)
		if (calls[i].group <= last)
			pthread_join(calls[i].thread, NULL);
	if (last == CHECKPOINTED) {
		semctl(sem_id, 0, IPC_RMID);
		msgctl(msg_id, IPC_RMID, NULL);
	}
	report(last);
	return 0;
}
