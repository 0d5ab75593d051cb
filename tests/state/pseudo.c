/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files that the kernel makes: namespaces(7), cgroups(7), proc(5). */

#include "maker.h"

#include <sched.h>

static int fd = -1, fd2 = -1;

/* Namespaces of the tree, which it can join again. */

static const char *const namespaces[] = { "cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "time", "user",
	"uts" };
static int namespace_fds[9];

static int namespaces_make(struct maker_ctx *ctx)
{
	char path[64];

	for (size_t i = 0; i < 9; i++) {
		snprintf(path, sizeof(path), "/proc/self/ns/%s", namespaces[i]);
		namespace_fds[i] = open(path, (i & 1 ? O_PATH : O_RDONLY) | O_CLOEXEC);
		CHECK(namespace_fds[i] >= 0);
	}
	return 0;
}

static int namespaces_use(struct maker_ctx *ctx)
{
	char path[64];

	for (size_t i = 0; i < 9; i++) {
		struct stat a, b;

		snprintf(path, sizeof(path), "/proc/self/ns/%s", namespaces[i]);
		CHECK(!fstat(namespace_fds[i], &a) && !stat(path, &b));
		SAME(a.st_ino, b.st_ino);
		SAME(fcntl(namespace_fds[i], F_GETFL) & O_PATH, i & 1 ? O_PATH : 0);
	}
	return setns(namespace_fds[8], CLONE_NEWUTS);
}

/* Files and the directory of its cgroup. */

static int cgroup_make(struct maker_ctx *ctx)
{
	char line[256] = "", path[512];
	FILE *f = fopen("/proc/self/cgroup", "r");

	CHECK(f);
	while (fgets(line, sizeof(line), f) && strncmp(line, "0::", 3) != 0)
		;
	CHECK(!fclose(f));
	NEED(!strncmp(line, "0::", 3));
	line[strcspn(line, "\n")] = 0;
	snprintf(path, sizeof(path), "/sys/fs/cgroup%s/cgroup.procs", line + 3);
	fd = open(path, O_RDWR);
	fd2 = open("/sys/fs/cgroup", O_RDONLY | O_DIRECTORY);
	NEED(fd >= 0 && fd2 >= 0);
	return 0;
}

static int cgroup_use(struct maker_ctx *ctx)
{
	char text[32];
	int n = snprintf(text, sizeof(text), "%d", getpid());

	SAME(write(fd, text, (size_t)n), n);
	SAME(faccessat(fd2, "cgroup.procs", F_OK, 0), 0);
	return 0;
}

/* Kernel interfaces that are open for writing: of itself, of a child, of the machine. */

static pid_t written;
static int kernel_fds[6];

static int kernel_make(struct maker_ctx *ctx)
{
	char path[64];

	TRY(kid_start(ctx, NULL, NULL, &written));
	kernel_fds[0] = open("/proc/self/oom_score_adj", O_RDWR);
	snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", written);
	kernel_fds[1] = open(path, O_WRONLY);
	kernel_fds[2] = open("/proc/sys/kernel/ns_last_pid", O_RDWR | O_CLOEXEC);
	kernel_fds[3] = open("/proc/self/timerslack_ns", O_WRONLY | O_APPEND);
	snprintf(path, sizeof(path), "/proc/%d/status", written);
	kernel_fds[4] = open(path, O_RDONLY);
	kernel_fds[5] = open("/sys/kernel/profiling", O_RDONLY);
	for (int i = 0; i < 5; i++)
		CHECK(kernel_fds[i] >= 0);
	return 0;
}

static int kernel_use(struct maker_ctx *ctx)
{
	char path[64], text[64] = "";

	SAME(write(kernel_fds[0], "77", 2), 2);
	CHECK(file_has("/proc/self/oom_score_adj", "77"));
	SAME(write(kernel_fds[1], "66", 2), 2);
	snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", written);
	CHECK(file_has(path, "66"));
	CHECK(read(kernel_fds[2], text, sizeof(text)) > 0);
	SAME(fcntl(kernel_fds[3], F_GETFL) & (O_ACCMODE | O_APPEND), O_WRONLY | O_APPEND);
	SAME(write(kernel_fds[3], "50000", 5), 5);
	CHECK(pread(kernel_fds[4], text, 5, 0) == 5 && !memcmp(text, "Name:", 5));
	return kids_finish(ctx);
}

const struct maker makers_pseudo[] = {
	ROW("namespaces", "descriptors of the tree's namespaces", namespaces),
	ROW("cgroup", "files of its cgroup", cgroup),
	ROW("kernel", "kernel interfaces open for writing", kernel),
	{ 0 },
};
