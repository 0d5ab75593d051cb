/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An engine that only looks like one, so that the keeper, its protocol and the calls of libspore can be
 * tested by themselves. A tree is its root: isolated by SIGSTOP, restored by fork. timeout_ms is the knob: 1
 * is refused, twice; from 100 on, the call takes as many milliseconds.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "engine/engine.h"
#include "isolate/watchdog.h"

struct engine {
	struct engine_events events;
	pid_t root, child;
	struct watchdog watchdog; /* of a restore, until the engine is freed */
	bool held;
};

int engine_new(const struct engine_events *events, struct engine **out)
{
	*out = calloc(1, sizeof(**out));
	if (!*out)
		return -ENOMEM;
	(*out)->events = *events;
	(*out)->watchdog = WATCHDOG_NONE;
	return 0;
}

void engine_get_ready(struct engine *e)
{
}

void engine_free(struct engine *e)
{
	if (!e)
		return;
	if (e->held)
		kill(e->root, SIGKILL);
	else if (e->root)
		kill(e->root, SIGCONT);
	watchdog_end(&e->watchdog);
	free(e);
}

pid_t engine_root(const struct engine *e)
{
	return e->root;
}

void engine_take_child(struct engine *e, struct engine_child *out)
{
	*out = (struct engine_child){ .pid = e->child, .init_socket = -1 };
}

static int act(struct engine *e, pid_t pid, uint32_t knob, struct problems *ps)
{
	e->events.log(e->events.data, "a line of the log");
	if (knob == 1) {
		refused(ps, BLAME(.pid = pid, .process = "fake", .object = "fd 5 (socket:[1])", .remedy = "close it"),
			"first");
		return refused(ps, BLAME(.pid = pid, .process = "fake"), "second");
	}
	for (uint32_t ms = 0; knob >= 100 && ms < knob; ms += 10) {
		e->events.progress(e->events.data, "sleeping", ms, knob);
		usleep(10000);
	}
	return 0;
}

int engine_merge(struct engine *e, int dir_fd, int out_dir_fd, uint32_t flags, struct spore_merge_result *result,
	struct problems *ps)
{
	*result = (struct spore_merge_result){ .total_us = 1 };
	return 0;
}

int engine_check(
	struct engine *e, pid_t pid, const char *cgroup, uint32_t timeout_ms, uint32_t flags, struct problems *ps)
{
	return act(e, pid, timeout_ms, ps);
}

int engine_check_image(struct engine *e, int dir_fd, uint32_t flags, struct problems *ps)
{
	return act(e, 0, 0, ps);
}

int engine_isolate(struct engine *e, pid_t pid, const char *cgroup, uint32_t timeout_ms, struct problems *ps)
{
	int r = act(e, pid, timeout_ms, ps);

	if (r < 0)
		return r;
	kill(pid, SIGSTOP);
	e->root = pid;
	return 0;
}

int engine_checkpoint(struct engine *e, int old_dir_fd, int new_dir_fd, pid_t pid, const char *cgroup,
	uint32_t timeout_ms, uint32_t flags, uint32_t compression, struct spore_checkpoint_result *result,
	struct problems *ps)
{
	int r = act(e, pid, timeout_ms, ps);

	if (r < 0)
		return r;
	changed(ps, BLAME(.pid = pid), "a note");
	*result = (struct spore_checkpoint_result){ .stop_us = 1, .total_us = 2, .pages = 3, .bytes = 4, .tasks = 5 };
	return file_replace(new_dir_fd, "manifest", "fake\n");
}

bool engine_tracks(const struct engine *e)
{
	return false;
}

int engine_unisolate(struct engine *e, struct problems *ps)
{
	kill(e->root, SIGCONT);
	e->root = 0;
	e->held = false;
	return 0;
}

static void end(int sig)
{
	_exit(42);
}

/* The child says on its standard output that it runs, and exits with 42 when it gets SIGTERM. */
static void restored(const struct engine_outside *outside)
{
	dup2(outside->stdio[1], 1);
	signal(SIGTERM, end);
	raise(SIGSTOP);
	if (write(1, "runs\n", 5) < 0)
		_exit(1);
	for (;;)
		pause();
}

struct engine_clones {
	unsigned int n;
};

int engine_clones_make(int dir_fd, uint32_t flags, unsigned int n, const struct engine_events *events,
	struct problems *ps, struct engine_clones **out)
{
	static struct engine_clones only;

	if (faccessat(dir_fd, "manifest", F_OK, 0) < 0)
		return failed(ps, NULL, -ENOENT, "no image in the directory");
	only.n = n;
	*out = &only;
	return 0;
}

/* In the directory: "third" has that one fail. */
static int meet(const struct engine_outside *outside, int dir_fd, struct problems *ps)
{
	struct pollfd go = { .fd = outside->go_fd, .events = POLLIN };

	if (outside->clone == 2 && faccessat(dir_fd, "third", F_OK, 0) == 0)
		return failed(ps, NULL, -EADDRINUSE, "the third cannot be");
	return eventfd_write(outside->arrive_fd, 1) < 0 || poll(&go, 1, -1) != 1 ? -errno : 0;
}

/* In the directory: "slow" has it take five seconds after the birth. */
pid_t engine_restore(struct engine *e, int dir_fd, uint32_t flags, const struct engine_outside *outside,
	struct spore_restore_result *result, struct problems *ps)
{
	static uint32_t own;
	siginfo_t info;
	pid_t pid;

	if (faccessat(dir_fd, "manifest", F_OK, 0) < 0)
		return failed(ps, NULL, -ENOENT, "no image in the directory");
	if (watchdog_start(&e->watchdog, &own) < 0)
		return failed(ps, NULL, -EIO, "no watchdog");
	pid = fork();
	if (pid == 0)
		restored(outside);
	watchdog_add(&e->watchdog, pid);
	waitid(P_PID, (id_t)pid, &info, WSTOPPED | WNOWAIT);
	if (faccessat(dir_fd, "slow", F_OK, 0) == 0)
		sleep(5);
	if (outside->clones && meet(outside, dir_fd, ps) < 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		return ps->first_error;
	}
	*result = (struct spore_restore_result){ .tasks = 1 + outside->clone };
	e->root = e->child = pid;
	e->held = true;
	return pid;
}

int engine_wants(int dir_fd, uint32_t *wants, struct problems *ps)
{
	*wants = 0;
	return 0;
}

struct filler *engine_take_filler(struct engine *e)
{
	(void)e;
	return NULL;
}
