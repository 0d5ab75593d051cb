/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who armed the switch is killed at once, at many moments around the disarming: all of those tied to it die, or none. */
#include "isolate/deadman.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "unit.h"

#define MANY  600 /* more than go into two messages */
#define FEW   20
#define TIMES 200

static pid_t sleeper(void)
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	return pid;
}

static void sleepers(pid_t *pids, size_t n)
{
	for (size_t i = 0; i < n; i++)
		pids[i] = sleeper();
}

/* How many have died; the others are killed. */
static size_t harvest(const pid_t *pids, size_t n)
{
	size_t dead = 0;

	for (size_t i = 0; i < n; i++)
		dead += waitpid(pids[i], NULL, WNOHANG) == pids[i]
				? 1
				: (kill(pids[i], SIGKILL), waitpid(pids[i], NULL, 0), 0);
	return dead;
}

/* Those that have had their SIGKILL may not have ended yet. */
static void settle(const pid_t *pids, size_t n, bool expected)
{
	for (size_t i = 0; expected && i < n; i++) {
		struct pollfd p = { .fd = (int)syscall(SYS_pidfd_open, pids[i], 0), .events = POLLIN };

		CHECK(p.fd >= 0);
		CHECK(poll(&p, 1, 10000) == 1);
		close(p.fd);
	}
}

/* Dead, or with a SIGKILL that it has not taken yet. */
static bool doomed(pid_t pid)
{
	unsigned long long pending = 0, shared = 0;
	char path[32], line[128], state = 'Z';
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		sscanf(line, "State: %c", &state);
		sscanf(line, "SigPnd: %llx", &pending);
		sscanf(line, "ShdPnd: %llx", &shared);
	}
	if (f)
		fclose(f);
	return state == 'Z' || state == 'X' || ((pending | shared) >> (SIGKILL - 1) & 1);
}

static bool any_doomed(const pid_t *pids, size_t n)
{
	bool any = false;

	usleep(2000);
	for (size_t i = 0; i < n; i++)
		any |= doomed(pids[i]);
	return any;
}

static pid_t armer(const pid_t *pids, size_t n, int ready, _Atomic int *disarmed, bool again)
{
	struct deadman d = DEADMAN_NONE;
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid)
		return pid;
	CHECK(deadman_arm(&d, pids, n) == 0);
	CHECK(write(ready, "r", 1) == 1);
	while (!again)
		pause();
	deadman_disarm(&d);
	*disarmed = 1;
	for (;;)
		pause();
}

static void all_or_none(size_t n, unsigned int delay_ns, bool disarm, int expected)
{
	_Atomic int *disarmed = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct timespec delay = { 0, delay_ns };
	pid_t pids[MANY], pid;
	int ready[2];
	size_t dead;
	char byte;

	CHECK(disarmed != MAP_FAILED && pipe(ready) == 0);
	sleepers(pids, n);
	pid = armer(pids, n, ready[1], disarmed, disarm);
	CHECK(read(ready[0], &byte, 1) == 1);
	if (delay_ns)
		nanosleep(&delay, NULL);
	kill(pid, SIGKILL);
	CHECK(waitpid(pid, NULL, 0) == pid);
	settle(pids, n, expected < 0 ? any_doomed(pids, n) : expected > 0);
	dead = harvest(pids, n);
	CHECK(dead == 0 || dead == n);
	CHECK(expected < 0 || dead == (expected ? n : 0));
	CHECK(!(*disarmed && dead));
	munmap((void *)disarmed, 4096);
	close(ready[0]);
	close(ready[1]);
}

/* Where the kernel does not let the switch reach, it is no error: the watchdog is there. */
static void not_ours(void)
{
	pid_t other = sleeper(), pid = fork();
	struct deadman d = DEADMAN_NONE;

	CHECK(other > 0 && pid >= 0);
	if (pid == 0) {
		if (setresuid(65534, 65534, 65534) < 0)
			_exit(2);
		_exit(deadman_arm(&d, &other, 1) == 0 ? 0 : 1);
	}
	int status;

	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	usleep(2000);
	CHECK(harvest(&other, 1) == 0);
}

int main(void)
{
	struct rlimit limit;

	CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	all_or_none(MANY, 0, false, 1);
	for (unsigned int i = 0; i < TIMES; i++)
		all_or_none(FEW, 1 + i * 1500, true, -1);
	all_or_none(FEW, 100000000, true, 0);
	if (getuid() == 0)
		not_ours();
	return 0;
}
