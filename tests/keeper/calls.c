/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The calls of libspore against a keeper with a fake engine (fake_engine.c). SPORE_KEEPER names it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <spore.h>

static int failures;

#define CHECK(got, want)                                                                                               \
	do {                                                                                                           \
		long got_ = (long)(got), want_ = (long)(want);                                                         \
		if (got_ != want_) {                                                                                   \
			printf("%s:%d: %s is %ld, not %ld\n", __FILE__, __LINE__, #got, got_, want_);                  \
			failures++;                                                                                    \
		}                                                                                                      \
	} while (0)

struct seen {
	int problems, refused, changed, progress, logs;
	char last[512];
};

static void on_problem(void *data, const struct spore_problem *p)
{
	struct seen *s = data;

	s->problems++;
	s->refused += p->kind == SPORE_REFUSED;
	s->changed += p->kind == SPORE_CHANGED;
	snprintf(s->last, sizeof(s->last), "%s", p->text);
}

static void on_progress(void *data, const char *phase, uint64_t done, uint64_t total)
{
	((struct seen *)data)->progress++;
}

static void on_log(void *data, const char *line)
{
	((struct seen *)data)->logs++;
}

static pid_t sleeper(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		pause();
		_exit(0);
	}
	return pid;
}

static char state_of(pid_t pid)
{
	char path[64], text[512], *after;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return '-';
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	after = strrchr(text, ')');
	return after ? after[2] : '-';
}

static int wait_state(pid_t pid, const char *states)
{
	for (int i = 0; i < 500; i++) {
		if (strchr(states, state_of(pid)))
			return 1;
		usleep(10000);
	}
	return 0;
}

static int image_dir(char *path)
{
	if (!mkdtemp(path))
		return -1;
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void remove_dir(const char *path)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", path);
	if (system(command) != 0)
		failures++;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void test_options(void)
{
	struct {
		struct spore_isolate_options known;
		uint64_t tail;
	} longer = { .tail = 0 };
	struct spore_isolate_options o = { .flags = 1 };

	CHECK(spore_isolate_with(0, &longer.known, sizeof(longer)), -ESRCH);
	longer.tail = 1;
	CHECK(spore_isolate_with(0, &longer.known, sizeof(longer)), -E2BIG);
	CHECK(spore_isolate_with(0, &longer.known, 4), -EINVAL);
	CHECK(spore_isolate_with(getpid(), &o, sizeof(o)), -EINVAL);
	CHECK(spore_isolate(-5), -EINVAL);
	CHECK(spore_isolate(0x3fffff), -ESRCH);
	CHECK(spore_unisolate(getpid()), -ESRCH);
	CHECK(spore_checkpoint(-2, 4, getpid()), -EBADF);
	CHECK(spore_restore(3, 4), -EOPNOTSUPP);
	CHECK(spore_wait(getpid(), NULL), -ECHILD);
}

static void test_isolation(void)
{
	char path[] = "/tmp/spore-calls-XXXXXX";
	int dir = image_dir(path);
	pid_t pid = sleeper();

	CHECK(spore_isolate(pid), 0);
	CHECK(wait_state(pid, "T"), 1);
	CHECK(spore_isolate(pid), -EALREADY);
	CHECK(spore_checkpoint(-1, dir, pid), 0);
	CHECK(faccessat(dir, "manifest", F_OK, 0), 0);
	CHECK(wait_state(pid, "T"), 1);
	CHECK(spore_unisolate(pid), 0);
	CHECK(wait_state(pid, "S"), 1);
	CHECK(spore_unisolate(pid), -ESRCH);
	CHECK(spore_isolate(pid), 0);
	CHECK(spore_unisolate(pid), 0);
	errno = 0;
	CHECK(waitpid(-1, NULL, WNOHANG), 0); /* the sleeper lives, and nobody else is there */
	end(pid);
	CHECK(waitpid(-1, NULL, WNOHANG), -1);
	close(dir);
	remove_dir(path);
}

static void test_listener(void)
{
	char path[] = "/tmp/spore-calls-XXXXXX";
	struct seen seen = { 0 };
	struct spore_listener l = { .data = &seen, .problem = on_problem, .progress = on_progress, .log = on_log };
	struct spore_checkpoint_result result = { 0 };
	struct spore_checkpoint_options o = { .listener = &l, .timeout_ms = 500, .result = &result };
	int dir = image_dir(path);
	pid_t pid = sleeper();

	CHECK(spore_checkpoint_with(-1, dir, pid, &o, sizeof(o)), 0);
	CHECK(result.stop_us == 1 && result.total_us == 2 && result.pages == 3 && result.bytes == 4 &&
			result.tasks == 5,
		1);
	CHECK(seen.changed, 1);
	CHECK(seen.logs, 1);
	CHECK(seen.progress >= 3 && seen.progress < 50, 1); /* of 50 that the engine told: a few a second get through */
	memset(&seen, 0, sizeof(seen));
	o.timeout_ms = 1;
	CHECK(spore_checkpoint_with(-1, dir, pid, &o, sizeof(o)), -ENOTSUP);
	CHECK(seen.refused, 2);
	CHECK(strcmp(seen.last, "second"), 0);
	end(pid);
	close(dir);
	remove_dir(path);
}

/* That the engine is at work. */
static void on_first_progress(void *data, const char *phase, uint64_t done, uint64_t total)
{
	(void)phase, (void)done, (void)total;
	CHECK(write(*(int *)data, "", 1), 1);
}

/* The keeper of a caller that was killed ends too. */
static int isolate_soon(pid_t pid)
{
	int r = -EBUSY;

	for (int i = 0; i < 500 && r == -EBUSY; i++) {
		r = spore_isolate(pid);
		if (r == -EBUSY)
			usleep(10000);
	}
	return r;
}

/* A second caller, while a call is under way. */
static void test_busy_and_hang_up(void)
{
	int at_work[2], piped = pipe2(at_work, O_CLOEXEC);
	struct spore_listener l = { .data = &at_work[1], .progress = on_first_progress };
	struct spore_isolate_options slow = { .listener = &l, .timeout_ms = 30000 };
	pid_t pid = sleeper(), caller = fork();
	char byte;

	if (caller == 0)
		_exit(spore_isolate_with(pid, &slow, sizeof(slow)) ? 1 : 0);
	CHECK(piped, 0);
	CHECK(read(at_work[0], &byte, 1), 1);
	CHECK(spore_isolate(pid), -EBUSY);
	end(caller);
	CHECK(isolate_soon(pid), 0);
	CHECK(spore_unisolate(pid), 0);
	CHECK(wait_state(pid, "S"), 1);
	close(at_work[0]);
	close(at_work[1]);
	end(pid);
}

static void test_restore(void)
{
	char path[] = "/tmp/spore-calls-XXXXXX";
	int dir = image_dir(path), out[2], status = 0, pidfd;
	struct spore_restore_options o = { .has_stdio = 1, .stdio = { -1, -1, -1 } };
	char text[8] = "";
	pid_t pid;

	CHECK(spore_restore(dir, 0), -ENOENT);
	CHECK(spore_checkpoint(-1, dir, getppid()), 0);
	CHECK(pipe2(out, O_CLOEXEC), 0);
	o.stdio[1] = out[1];
	pid = spore_restore_with(dir, 0, &o, sizeof(o));
	close(out[1]);
	CHECK(pid > 0, 1);
	CHECK(wait_state(pid, "T"), 1);
	CHECK(spore_isolate(pid), -EALREADY);
	CHECK(spore_unisolate(pid), 0);
	CHECK(read(out[0], text, 5), 5);
	CHECK(strcmp(text, "runs\n"), 0);
	CHECK(spore_isolate(pid), 0); /* another keeper than the parent */
	CHECK(spore_unisolate(pid), 0);
	kill(pid, SIGTERM);
	CHECK(spore_wait(pid, &status), 0);
	CHECK(status, 42 << 8);
	close(out[0]);

	/* the status is kept for who comes late */
	o = (struct spore_restore_options){ .flags = SPORE_RESTORE_RUN };
	pid = spore_restore_with(dir, 0, &o, sizeof(o));
	CHECK(pid > 0, 1);
	CHECK(spore_unisolate(pid), -ESRCH);
	kill(pid, SIGTERM);
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	CHECK(poll(&(struct pollfd){ .fd = pidfd, .events = POLLIN }, 1, 5000), 1);
	close(pidfd);
	status = 0;
	CHECK(spore_wait(pid, &status), 0);
	CHECK(status, 42 << 8);
	CHECK(spore_wait(pid, &status), -ECHILD);
	CHECK(waitpid(-1, NULL, WNOHANG), -1);
	close(dir);
	remove_dir(path);
}

struct told {
	pid_t pids[3];
	int n, last; /* last: what the caller says of the third */
};

static int note_built(void *data, pid_t pid, const struct spore_restore_result *result)
{
	struct told *t = data;

	CHECK((int)result->tasks, t->n + 1);
	t->pids[t->n++] = pid;
	return t->n == 3 ? t->last : 0;
}

static bool are_gone(const pid_t *pids, int n)
{
	bool gone = true;

	for (int i = 0; i < n; i++)
		gone = gone && (kill(pids[i], 0) < 0 || state_of(pids[i]) == 'Z');
	return gone;
}

/* Three of one image: all, or none. */
static void test_clones(void)
{
	char path[] = "/tmp/spore-calls-XXXXXX";
	int dir = image_dir(path), status;
	struct told told = { 0 };
	struct spore_restore_result results[3] = { 0 };
	pid_t pids[3];
	struct spore_restore_options o = { .flags = SPORE_RESTORE_RUN,
		.clones = 3,
		.pids = pids,
		.result = results,
		.built = note_built,
		.built_data = &told };

	CHECK(spore_restore_with(dir, 0, &o, sizeof(o)), -ENOENT);
	CHECK(spore_checkpoint(-1, dir, getppid()), 0);
	CHECK(spore_restore_with(dir, 0, &o, sizeof(o)), pids[0]);
	CHECK(told.n, 3);
	for (int i = 0; i < 3; i++) {
		CHECK(told.pids[i], pids[i]);
		CHECK((int)results[i].tasks, i + 1);
		CHECK(spore_unisolate(pids[i]), -ESRCH);
	}
	for (int i = 2; i >= 0; i--) {
		kill(pids[i], SIGTERM);
		CHECK(spore_wait(pids[i], &status), 0);
		CHECK(status, 42 << 8);
	}
	told = (struct told){ .last = -EPIPE };
	CHECK(spore_restore_with(dir, 0, &o, sizeof(o)), -EPIPE);
	CHECK(told.n, 3);
	CHECK(are_gone(told.pids, 3), 1);
	told = (struct told){ 0 };
	close(openat(dir, "third", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	CHECK(spore_restore_with(dir, 0, &o, sizeof(o)), -EADDRINUSE);
	CHECK(told.n, 0);
	unlinkat(dir, "third", 0);
	o.flags |= SPORE_RESTORE_LAZY;
	CHECK(spore_restore_with(dir, 0, &o, sizeof(o)), -EOPNOTSUPP);
	o.flags = 0;
	o.clones = SPORE_CLONES_MOST + 1;
	CHECK(spore_restore_with(dir, 0, &o, sizeof(o)), -EINVAL);
	o.clones = 2;
	o.reserved_too = 1;
	CHECK(spore_restore_with(dir, 0, &o, sizeof(o)), -EINVAL);
	close(dir);
	remove_dir(path);
}

/* The parent of a process, and when it was born; -1: gone. */
static pid_t parent_of(pid_t pid, unsigned long long *born)
{
	char path[64], text[512] = "", *after;
	pid_t parent = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "r");
	if (!f)
		return -1;
	after = fgets(text, sizeof(text), f) ? strrchr(text, ')') : NULL;
	if (!after ||
		sscanf(after + 1, " %*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
			&parent, born) != 2)
		parent = -1;
	fclose(f);
	return parent;
}

/* What a keeper has built and holds: the youngest stopped process of its name that is not an orphan. */
static pid_t find_built(void)
{
	unsigned long long born, youngest = 0;
	DIR *proc = opendir("/proc");
	pid_t found = 0;

	for (struct dirent *de = readdir(proc); de; de = readdir(proc)) {
		char path[300], text[32] = "";
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%s/comm", de->d_name);
		f = atoi(de->d_name) > 0 ? fopen(path, "r") : NULL;
		if (!f)
			continue;
		if (fgets(text, sizeof(text), f) && strcmp(text, "spore-keeper\n") == 0 &&
			state_of(atoi(de->d_name)) == 'T' && parent_of(atoi(de->d_name), &born) > 1 &&
			born >= youngest) {
			found = atoi(de->d_name);
			youngest = born;
		}
		fclose(f);
	}
	closedir(proc);
	return found;
}

/* Whoever dies before the restore is complete, the client or the keeper: nothing of the tree is left. */
static void test_restore_cut_off(void)
{
	char path[] = "/tmp/spore-calls-XXXXXX";
	int dir = image_dir(path);
	pid_t caller, built;

	CHECK(spore_checkpoint(-1, dir, getppid()), 0);
	close(openat(dir, "slow", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	for (int keeper_dies = 0; keeper_dies < 2; keeper_dies++) {
		caller = fork();
		if (caller == 0)
			_exit(spore_restore(dir, 0) == -EOWNERDEAD ? 7 : 1);
		built = 0;
		for (int i = 0; i < 200 && !built; i++) {
			usleep(20000);
			built = find_built();
		}
		CHECK(built > 0, 1);
		if (keeper_dies) {
			unsigned long long born;
			pid_t keeper = parent_of(built, &born);
			int status;

			CHECK(keeper > 1, 1);
			if (keeper > 1)
				kill(keeper, SIGKILL);
			waitpid(caller, &status, 0);
			CHECK(WEXITSTATUS(status), 7);
		} else {
			end(caller);
		}
		CHECK(wait_state(built, "-Z"), 1);
	}
	close(dir);
	remove_dir(path);
}

int main(void)
{
	if (geteuid() != 0) {
		printf("needs root\n");
		return 77;
	}
	setbuf(stdout, NULL);
	test_options();
	test_isolation();
	test_listener();
	test_busy_and_hang_up();
	test_restore();
	test_clones();
	test_restore_cut_off();
	return failures > 0;
}
