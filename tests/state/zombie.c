/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Processes that have ended and were not waited for: how they ended, and who they were. wait(2), proc(5). */

#include "maker.h"

#include <grp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static pid_t kid;

/* Zombies: arg is the wait status. */

static pid_t zombie(long status)
{
	pid_t p = fork();
	siginfo_t si;

	if (!p) {
		if (WIFEXITED(status))
			_exit(WEXITSTATUS(status));
		signal(WTERMSIG(status), SIG_DFL);
		kill(getpid(), WTERMSIG(status));
		pause();
	}
	if (p > 0)
		waitid(P_PID, (id_t)p, &si, WEXITED | WNOWAIT);
	return p;
}

static int zombie_make(struct maker_ctx *ctx)
{
	kid = zombie(ctx->arg);
	CHECK(kid > 0);
	return 0;
}

static int zombie_use(struct maker_ctx *ctx)
{
	int status;

	SAME(task_state(kid), 'Z');
	SAME(waitpid(-1, &status, 0), kid);
	SAME(status, ctx->arg);
	SAME(waitpid(-1, &status, 0), -1);
	SAME(errno, ECHILD);
	return 0;
}

/* A zombie of another user and group than its parent: its status and the siginfo of its end tell. */
static int zombie_other_make(struct maker_ctx *ctx)
{
	const gid_t groups[] = { 7, 3001 };
	siginfo_t si = { 0 };

	kid = fork();
	CHECK(kid >= 0);
	if (!kid)
		_exit(prctl(PR_CAPBSET_DROP, 21) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || setgroups(2, groups) ||
			setresgid(2001, 2002, 2003) || setresuid(1001, 1002, 1003));
	return waitid(P_PID, (id_t)kid, &si, WEXITED | WNOWAIT);
}

static int zombie_other_use(struct maker_ctx *ctx)
{
	char path[64];
	siginfo_t si = { 0 };

	snprintf(path, sizeof(path), "/proc/%d/status", kid);
	CHECK(file_has(path, "1001\t1002\t1003\t1002"));
	CHECK(file_has(path, "2001\t2002\t2003\t2002"));
	CHECK(file_has(path, "7 3001"));
	SAME(proc_number(path, "NoNewPrivs", 10), 1);
	CHECK(!waitid(P_PID, (id_t)kid, &si, WEXITED));
	SAME(si.si_uid, 1001);
	SAME(si.si_status, 0);
	return 0;
}

/* A zombie as it was scheduled: arg is the policy. */
static int zombie_scheduled_make(struct maker_ctx *ctx)
{
	struct sched_param param = { .sched_priority = ctx->arg == SCHED_FIFO ? 4 : 0 };
	cpu_set_t cpus;
	siginfo_t si = { 0 };

	CPU_ZERO(&cpus);
	CPU_SET(0, &cpus);
	kid = fork();
	CHECK(kid >= 0);
	if (!kid)
		_exit(setpriority(PRIO_PROCESS, 0, 7) || sched_setaffinity(0, sizeof(cpus), &cpus) ||
			sched_setscheduler(0, (int)ctx->arg, &param));
	CHECK(!waitid(P_PID, (id_t)kid, &si, WEXITED | WNOWAIT));
	NEED(si.si_status == 0);
	return 0;
}

static int zombie_scheduled_use(struct maker_ctx *ctx)
{
	struct sched_param param = { 0 };
	cpu_set_t cpus;

	SAME(sched_getscheduler(kid), ctx->arg);
	CHECK(!sched_getparam(kid, &param));
	SAME(param.sched_priority, ctx->arg == SCHED_FIFO ? 4 : 0);
	SAME(getpriority(PRIO_PROCESS, (id_t)kid), 7);
	CHECK(!sched_getaffinity(kid, sizeof(cpus), &cpus));
	SAME(CPU_COUNT(&cpus), 1);
	return reap_ok(kid);
}

/* A zombie that dumped core: a machine that pipes them away may refuse to say so twice. */
static int zombie_core_make(struct maker_ctx *ctx)
{
	struct rlimit limit = { 1 << 20, 1 << 20 };
	siginfo_t si = { 0 };

	CHECK(!chdir(ctx->dir));
	kid = fork();
	CHECK(kid >= 0);
	if (!kid) {
		if (!setrlimit(RLIMIT_CORE, &limit))
			kill(getpid(), SIGABRT);
		pause();
	}
	CHECK(!waitid(P_PID, (id_t)kid, &si, WEXITED | WNOWAIT));
	NEED(si.si_code == CLD_DUMPED);
	unlink("core");
	return 0;
}

static int zombie_core_use(struct maker_ctx *ctx)
{
	int status;

	CHECK(access("core", F_OK) < 0);
	SAME(waitpid(kid, &status, 0), kid);
	SAME(status, SIGABRT | 0x80);
	return 0;
}

static pid_t zombies[20];

static int zombies_make(struct maker_ctx *ctx)
{
	for (int i = 0; i < 20; i++)
		CHECK((zombies[i] = zombie(i << 8)) > 0);
	return 0;
}

static int zombies_use(struct maker_ctx *ctx)
{
	int status;

	for (int i = 19; i >= 0; i--) {
		SAME(waitpid(zombies[i], &status, 0), zombies[i]);
		SAME(status, i << 8);
	}
	return 0;
}

/* A zombie below a living child: only that child may reap it. */
static int zombie_below_make(struct maker_ctx *ctx)
{
	ctx->arg = 0x2a00;
	return kid_start(ctx, zombie_make, zombie_use, NULL);
}

/* One that only a wait for clones sees: no signal tells its parent that it ended. */
static int zombie_clone_make(struct maker_ctx *ctx)
{
	siginfo_t si;

	kid = (pid_t)syscall(SYS_clone, 0, 0, 0, 0, 0);
	CHECK(kid >= 0);
	if (!kid)
		_exit(7);
	return waitid(P_PID, (id_t)kid, &si, WEXITED | WNOWAIT | __WALL);
}

static int zombie_clone_use(struct maker_ctx *ctx)
{
	int status;

	SAME(task_state(kid), 'Z');
	SAME(waitpid(-1, &status, 0), -1);
	SAME(errno, ECHILD);
	SAME(waitpid(-1, &status, __WCLONE), kid);
	SAME(status, 7 << 8);
	return 0;
}

const struct maker makers_zombie[] = {
	{ "exit", "a zombie that exited with 7", zombie_make, zombie_use, 0, 7 << 8 },
	{ "batch", "a zombie of the batch policy, nice, on one CPU", zombie_scheduled_make, zombie_scheduled_use, 0,
		SCHED_BATCH },
	{ "fifo", "a zombie of a real-time policy", zombie_scheduled_make, zombie_scheduled_use, 0, SCHED_FIFO },
	{ "exit-0", "a zombie that exited with 0", zombie_make, zombie_use, 0, 0 },
	{ "term", "a zombie killed by SIGTERM", zombie_make, zombie_use, 0, SIGTERM },
	{ "kill", "a zombie killed by SIGKILL", zombie_make, zombie_use, 0, SIGKILL },
	{ "many", "twenty zombies", zombies_make, zombies_use },
	{ "identity", "a zombie of other users and groups", zombie_other_make, zombie_other_use },
	{ "core", "a zombie that dumped core", zombie_core_make, zombie_core_use },
	{ "below", "a zombie of a child", zombie_below_make },
	{ "clone", "a zombie that no signal told of", zombie_clone_make, zombie_clone_use },
	{ 0 },
};
