/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tasks asleep in system calls are stopped and let go many times. None may see EINTR, nor wake early; nor
 * late, but for what the stops and the rounding of milliseconds take. The second half: what a new task does
 * with the rest of a sleep.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "state/sleep.h"

#define SLEEP_MS 400
#define STOPS	 20
#define LATE_NS	 20000000ll

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static struct timespec span(void)
{
	return (struct timespec){ .tv_nsec = SLEEP_MS * 1000000l };
}

static long by_nanosleep(void)
{
	struct timespec t = span();

	return syscall(SYS_nanosleep, &t, NULL);
}

static long by_nanosleep_rem(void)
{
	struct timespec t = span();

	return syscall(SYS_nanosleep, &t, &t);
}

static long by_clock_nanosleep(void)
{
	struct timespec t = span();

	return syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &t, NULL);
}

static long by_poll(void)
{
	return syscall(SYS_poll, NULL, 0, SLEEP_MS);
}

static long by_futex(void)
{
	struct timespec t = span();
	int word = 0;
	long r = syscall(SYS_futex, &word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, &t);

	return r < 0 && errno == ETIMEDOUT ? 0 : r;
}

static long by_epoll_wait(void)
{
	struct epoll_event e;

	return syscall(SYS_epoll_wait, epoll_create1(0), &e, 1, SLEEP_MS);
}

static long by_epoll_pwait2(void)
{
	struct timespec t = span();
	struct epoll_event e;

	return syscall(SYS_epoll_pwait2, epoll_create1(0), &e, 1, &t, NULL, 8);
}

static long by_sigtimedwait(void)
{
	struct timespec t = span();
	uint64_t set = 1ull << (SIGUSR1 - 1);
	long r = syscall(SYS_rt_sigtimedwait, &set, NULL, &t, 8);

	return r < 0 && errno == EAGAIN ? 0 : r;
}

static long by_semtimedop(void)
{
	struct timespec t = span();
	struct sembuf op = { 0, -1, 0 };
	int id = semget(IPC_PRIVATE, 1, 0600);
	long r = syscall(SYS_semtimedop, id, &op, 1, &t);
	int error = errno;

	semctl(id, 0, IPC_RMID);
	return r < 0 && error == EAGAIN ? 0 : r;
}

static long by_getevents(void)
{
	struct timespec t = span();
	struct io_event e;
	aio_context_t ctx = 0;

	if (syscall(SYS_io_setup, 4, &ctx) < 0)
		return -1;
	return syscall(SYS_io_getevents, ctx, 1, 1, &e, &t);
}

static long by_ppoll(void)
{
	struct timespec t = span();

	return syscall(SYS_ppoll, NULL, 0, &t, NULL, 8);
}

static const struct sleeper {
	const char *name;
	long (*sleep)(void);
} sleepers[] = {
	{ "nanosleep", by_nanosleep },
	{ "nanosleep with remainder", by_nanosleep_rem },
	{ "clock_nanosleep", by_clock_nanosleep },
	{ "poll", by_poll },
	{ "futex", by_futex },
	{ "epoll_wait", by_epoll_wait },
	{ "epoll_pwait2", by_epoll_pwait2 },
	{ "rt_sigtimedwait", by_sigtimedwait },
	{ "semtimedop", by_semtimedop },
	{ "io_getevents", by_getevents },
	{ "ppoll", by_ppoll },
};

struct outcome {
	int64_t began, ended;
	long result;
	int error;
};

static pid_t start(const struct sleeper *s, struct outcome *out)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	out->began = now_ns();
	out->result = s->sleep();
	out->error = errno;
	out->ended = now_ns();
	_exit(0);
}

/* One stop as a checkpoint makes it. Returns the ns that it took, or -1 when the task has ended. */
static int64_t stop_once(pid_t pid, struct sleep_clock *clock, struct sleep_notes *notes, struct restart_state *state)
{
	struct stop s;
	struct sleep_seen seen;
	struct sleep_notes after = { 0 };
	int fd = procfs_open_task(pid, pid);
	int64_t began;

	sleep_look(fd, clock, &seen);
	sleep_date(clock, &seen);
	began = now_ns();
	if (stop_seize(&s, pid, 0) < 0 || stop_interrupt(&s) < 0 || stop_wait(&s, 1000) < 0) {
		close(fd);
		return -1;
	}
	sleep_settle(&s, fd, &seen, notes, &after, state);
	stop_release(&s);
	task_regs_free(&s.regs);
	close(fd);
	sleep_notes_free(notes);
	*notes = after;
	return now_ns() - began;
}

static int check(const struct sleeper *s, const struct outcome *out, int64_t stopped)
{
	int64_t late = out->ended - out->began - SLEEP_MS * 1000000ll;
	bool good = out->result == 0 && late >= 0 && late < LATE_NS + stopped;

	printf("%s %-26s %7.3f ms late, result %ld%s%s\n", good ? "ok  " : "FAIL", s->name, (double)late / 1e6,
		out->result, out->result ? " " : "", out->result ? strerror(out->error) : "");
	return good ? 0 : 1;
}

/* What the image would say is left of a sleep that the kernel goes on with, against the truth. */
static int check_left(const struct sleeper *s, const struct outcome *out, const struct restart_state *state)
{
	int64_t left = out->began + SLEEP_MS * 1000000ll - now_ns();

	if (!state->block)
		return 0;
	if (state->nr != RESTART_NR_UNKNOWN && state->left > left && state->left < left + 50000000)
		return 0;
	printf("FAIL %s: call %d has %.3f ms left, not %.3f\n", s->name, state->nr, (double)state->left / 1e6,
		(double)left / 1e6);
	return 1;
}

static int try_stops(const struct sleeper *s, struct outcome *out)
{
	struct sleep_clock clock = { 0 };
	struct sleep_notes notes = { 0 };
	struct restart_state state;
	int64_t stopped = 0;
	int bad = 0;
	pid_t pid = start(s, out);

	usleep(20000);
	for (int i = 0; i < STOPS; i++) {
		int64_t took = stop_once(pid, &clock, &notes, &state);

		if (took < 0)
			break;
		stopped += took;
		bad += check_left(s, out, &state);
		usleep(10000);
	}
	waitpid(pid, NULL, 0);
	sleep_notes_free(&notes);
	return bad + check(s, out, stopped);
}

int main(void)
{
	struct outcome *out = mmap(NULL, sizeof(*out), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int bad = 0;

	setvbuf(stdout, NULL, _IONBF, 0);
	for (size_t i = 0; i < ARRAY_SIZE(sleepers); i++)
		bad += try_stops(&sleepers[i], out);
	return bad ? 1 : 0;
}
