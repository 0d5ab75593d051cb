/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pressure files that are open for writing, and whom they are to tell. Documentation/accounting/psi.rst. */

#include "maker.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/prctl.h>

static int fd = -1, ep = -1;

/* In /proc, or in the cgroup that the maker is in, where that is one of version 2. */
static int open_pressure(bool cgroup)
{
	char line[256] = "", path[512];
	FILE *f;

	if (!cgroup)
		return open("/proc/pressure/cpu", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	f = fopen("/proc/self/cgroup", "r");
	while (f && fgets(line, sizeof(line), f) && strncmp(line, "0::", 3) != 0)
		;
	if (f)
		fclose(f);
	line[strcspn(line, "\n")] = 0;
	snprintf(path, sizeof(path), "/sys/fs/cgroup%s/cpu.pressure", line + 3);
	if (access(path, W_OK))
		snprintf(path, sizeof(path), "/sys/fs/cgroup/unified%s/cpu.pressure", line + 3);
	return open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
}

static int set(const char *trigger)
{
	return write(fd, trigger, strlen(trigger) + 1) < 0 ? errno : 0;
}

/* arg: bit 0: of a cgroup, bit 1: no trigger yet. */
static int trigger_make(struct maker_ctx *ctx)
{
	fd = open_pressure(ctx->arg & 1);
	NEED(fd >= 0);
	if (ctx->arg & 2)
		return 0;
	/* the whole window: nobody is told meanwhile; of one second only who has CAP_SYS_RESOURCE may */
	SAME(set("full 1000000 1000000") == 0 ? 0 : set("full 2000000 2000000"), 0);
	return 0;
}

static int trigger_use(struct maker_ctx *ctx)
{
	char text[256];

	SAME(fcntl(fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDWR | O_NONBLOCK);
	CHECK(pread(fd, text, sizeof(text), 0) > 0);
	SAME(set("some 1000 2000000"), ctx->arg & 2 ? 0 : EBUSY);
	SAME(poll(&(struct pollfd){ .fd = fd, .events = POLLERR }, 1, 0), 0);
	return 0;
}

/* One that tells: of more tasks than processors. */
static int tells_make(struct maker_ctx *ctx)
{
	struct epoll_event e = { .events = EPOLLPRI, .data.u32 = 7 };

	fd = open_pressure(false);
	NEED(fd >= 0);
	SAME(set("some 20000 2000000"), 0);
	ep = epoll_create1(EPOLL_CLOEXEC);
	CHECK(ep >= 0 && !epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e));
	/* what has happened until now */
	poll(&(struct pollfd){ .fd = fd, .events = POLLPRI }, 1, 0);
	return 0;
}

static int tells_use(struct maker_ctx *ctx)
{
	const int n = 2 * (int)sysconf(_SC_NPROCESSORS_ONLN);
	struct epoll_event e = { 0 };
	pid_t busy[64];
	int found;

	for (int i = 0; i < n && i < 64; i++) {
		busy[i] = fork();
		if (!busy[i]) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				;
		}
	}
	found = epoll_wait(ep, &e, 1, 20000);
	for (int i = 0; i < n && i < 64; i++) {
		kill(busy[i], SIGKILL);
		waitpid(busy[i], NULL, 0);
	}
	SAME(found, 1);
	SAME(e.data.u32, 7);
	return 0;
}

/* Opened without privileges: windows of whole two seconds alone. arg: there is a trigger. */
static int modest_make(struct maker_ctx *ctx)
{
	CHECK(!setresuid(-1, 1005, 0));
	fd = open_pressure(false);
	CHECK(!setresuid(-1, 0, -1) && !prctl(PR_SET_DUMPABLE, 1));
	NEED(fd >= 0);
	SAME(ctx->arg ? set("full 2000000 2000000") : 0, 0);
	return 0;
}

static int modest_use(struct maker_ctx *ctx)
{
	SAME(set("some 1000 1000000"), ctx->arg ? EBUSY : EINVAL);
	SAME(set("some 100000 2000000"), ctx->arg ? EBUSY : 0);
	return 0;
}

const struct maker makers_pressure[] = {
	ROW_ARG("none", "a file of /proc/pressure without a threshold", trigger, 2),
	ROW_ARG("threshold", "with one", trigger, 0),
	ROW_ARG("cgroup", "of a cgroup, without", trigger, 3),
	ROW_ARG("cgroup-threshold", "of a cgroup, with one", trigger, 1),
	ROW("tells", "one that tells, by epoll", tells),
	ROW_ARG("modest", "opened without privileges", modest, 0),
	ROW_ARG("modest-threshold", "the same with a threshold", modest, 1),
	{ 0 },
};
