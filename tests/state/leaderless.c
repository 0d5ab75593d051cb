/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A process whose first thread has ended. pthread_exit(3), capabilities(7). */

#include "maker.h"

#include <linux/capability.h>
#include <linux/securebits.h>
#include <sched.h>
#include <sys/prctl.h>

/* A process whose first thread has ended: the others go on. */

static void *outlives(void *arg)
{
	struct maker_ctx *ctx = arg;

	if (!UNTIL(task_state(getpid()) == 'Z'))
		_exit(9);
	kid_live(ctx, NULL, NULL);
}

/* One inheritable, and so ambient: it outlasts a change of identity with SECBIT_NO_SETUID_FIXUP only. */
static int ambient_capability(void)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct cap[2];

	if (prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP) || syscall(SYS_capget, &head, cap))
		return 1;
	cap[0].inheritable |= 1u << CAP_NET_RAW;
	return syscall(SYS_capset, &head, cap) || prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_RAW, 0, 0);
}

static int leaderless_kid(struct maker_ctx *ctx)
{
	pthread_t other;

	if (pthread_create(&other, NULL, outlives, ctx))
		return 1;
	if (ctx->arg && ambient_capability())
		return 1;
	if (ctx->arg && (syscall(SYS_setresgid, 2001, 2001, 2001) || syscall(SYS_setresuid, 1001, 1001, 1001) ||
				prctl(PR_SET_DUMPABLE, 1)))
		return 1;
	syscall(SYS_exit, 3);
	return 1;
}

static pid_t kid;

static int leaderless_make(struct maker_ctx *ctx)
{
	TRY(kid_start(ctx, leaderless_kid, NULL, &kid));
	SAME(task_state(kid), 'Z');
	return 0;
}

static int leaderless_use(struct maker_ctx *ctx)
{
	int status;
	char path[64];

	SAME(task_state(kid), 'Z');
	snprintf(path, sizeof(path), "/proc/%d/status", kid);
	SAME(proc_number(path, "Uid", 10), ctx->arg);
	SAME(proc_number(path, "Gid", 10), ctx->arg ? 2001 : 0);
	SAME(proc_number(path, "CapInh", 16), ctx->arg ? 1 << CAP_NET_RAW : 0);
	SAME(proc_number(path, "CapAmb", 16), ctx->arg ? 1 << CAP_NET_RAW : 0);
	SAME(waitpid(kid, &status, WNOHANG), 0);
	return kids_finish(ctx);
}

/* --- its descriptors: of two such processes neither shows a table by its pid --- */

static int pair_fd;
static pid_t second;

static int close_in_second(struct maker_ctx *ctx)
{
	return close(pair_fd);
}

/* arg: what the two share */
static int look_in_first(struct maker_ctx *ctx)
{
	TRY(reap_ok(second));
	SAME(fcntl(pair_fd, F_GETFD) < 0, ctx->arg == CLONE_FILES);
	return 0;
}

static void *pair_outlives(void *arg)
{
	if (!UNTIL(task_state(getpid()) == 'Z'))
		_exit(9);
	kid_live(arg, NULL, second ? look_in_first : close_in_second);
}

static int pair_kid(struct maker_ctx *ctx)
{
	pthread_t other;

	pair_fd = open("/dev/null", O_RDONLY);
	CHECK(pair_fd >= 0);
	second = ctx->arg ? (pid_t)syscall(SYS_clone, SIGCHLD | ctx->arg, 0, 0, 0, 0) : fork();
	CHECK(second >= 0);
	if (!second && ctx->arg)
		kid_live(ctx, NULL, close_in_second);
	CHECK(!pthread_create(&other, NULL, pair_outlives, ctx));
	syscall(SYS_exit, 0);
	return 1;
}

static int pair_make(struct maker_ctx *ctx)
{
	TRY(kid_start(ctx, pair_kid, NULL, &kid));
	CHECK(UNTIL(shared(ctx)->up == 2));
	SAME(task_state(kid), 'Z');
	return 0;
}

static int pair_use(struct maker_ctx *ctx)
{
	return kids_finish(ctx);
}

const struct maker makers_leaderless[] = {
	ROW("plain", "a process whose first thread has ended", leaderless),
	{ "uid", "the first thread ended with another identity", leaderless_make, leaderless_use, 0, 1001 },
	{ "files", "it and a child, both such, each with a copy of the same descriptors", pair_make, pair_use },
	{ "files-shared", "it and a child with one descriptor table", pair_make, pair_use, 0, CLONE_FILES },
	{ 0 },
};
