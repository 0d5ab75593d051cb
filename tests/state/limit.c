/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Resource limits, and how a process is scheduled. getrlimit(2), sched(7), ioprio_set(2). */

#include "maker.h"

#include <sched.h>
#include <sys/resource.h>

/* As in <linux/sched/types.h>, which cannot be included beside <sched.h>. */
struct sched_attr {
	uint32_t size, sched_policy;
	uint64_t sched_flags;
	int32_t sched_nice;
	uint32_t sched_priority;
	uint64_t sched_runtime, sched_deadline, sched_period;
	uint32_t sched_util_min, sched_util_max;
};

/* arg: which limit. The soft one is lower than the hard one, both lower than they were where that does not
 * hurt. */

static void wanted(int which, struct rlimit *r)
{
	static const struct rlimit want[RLIM_NLIMITS] = {
		[RLIMIT_CPU] = { 5000, 6000 },
		[RLIMIT_FSIZE] = { 1ul << 32, 1ul << 33 },
		[RLIMIT_DATA] = { 1ul << 38, 1ul << 39 },
		[RLIMIT_STACK] = { 4 << 20, 6 << 20 },
		[RLIMIT_CORE] = { 0, 0 },
		[RLIMIT_RSS] = { 1ul << 36, 1ul << 37 },
		[RLIMIT_NPROC] = { 3000, 4000 },
		[RLIMIT_NOFILE] = { 512, 1024 },
		[RLIMIT_MEMLOCK] = { 65536, 131072 },
		[RLIMIT_AS] = { 1ul << 45, 1ul << 46 },
		[RLIMIT_LOCKS] = { 100, 200 },
		[RLIMIT_SIGPENDING] = { 500, 1000 },
		[RLIMIT_MSGQUEUE] = { 1000, 2000 },
		[RLIMIT_NICE] = { 0, 0 },
		[RLIMIT_RTPRIO] = { 0, 0 },
		[RLIMIT_RTTIME] = { 3000000, 4000000 },
	};

	*r = want[which];
}

static int rlimit_make(struct maker_ctx *ctx)
{
	struct rlimit r;

	wanted((int)ctx->arg, &r);
	CHECK(!setrlimit((__rlimit_resource_t)ctx->arg, &r));
	return 0;
}

static int rlimit_use(struct maker_ctx *ctx)
{
	struct rlimit r, now;

	wanted((int)ctx->arg, &r);
	CHECK(!getrlimit((__rlimit_resource_t)ctx->arg, &now));
	SAME(now.rlim_cur, r.rlim_cur);
	SAME(now.rlim_max, r.rlim_max);
	return 0;
}

/* All of them in a child, others in its parent. */

static int all_make(struct maker_ctx *ctx)
{
	for (ctx->arg = 0; ctx->arg < RLIM_NLIMITS; ctx->arg++)
		TRY(rlimit_make(ctx));
	return 0;
}

static int all_use(struct maker_ctx *ctx)
{
	for (ctx->arg = 0; ctx->arg < RLIM_NLIMITS; ctx->arg++)
		TRY(rlimit_use(ctx));
	return 0;
}

static int all_user_make(struct maker_ctx *ctx)
{
	TRY(all_make(ctx));
	CHECK(!setgid(1000));
	CHECK(!setuid(1000));
	return 0;
}

static int all_kid_make(struct maker_ctx *ctx)
{
	TRY(kid_start(ctx, all_make, all_use, NULL));
	return kid_start(ctx, all_user_make, all_use, NULL);
}

/* A limit that is exceeded already: it holds only for what comes. */

static int exceeded_make(struct maker_ctx *ctx)
{
	struct rlimit r = { 10, 20000 };

	SAME(fcntl(open("/dev/null", O_RDONLY), F_DUPFD, 700), 700);
	CHECK(!getrlimit(RLIMIT_NOFILE, &r));
	r.rlim_cur = 10;
	CHECK(!setrlimit(RLIMIT_NOFILE, &r));
	return 0;
}

static int exceeded_use(struct maker_ctx *ctx)
{
	CHECK(fcntl(700, F_GETFD) >= 0);
	SAME(dup2(700, 701), -1);
	SAME(errno, EBADF);
	return 0;
}

/* Scheduling. arg: the policy. */

static int policy_make(struct maker_ctx *ctx)
{
	int policy = (int)ctx->arg & 0xff;
	struct sched_param p = { .sched_priority = policy == SCHED_FIFO || policy == SCHED_RR ? 3 : 0 };

	NEED(!sched_setscheduler(0, (int)ctx->arg, &p));
	return 0;
}

static int policy_use(struct maker_ctx *ctx)
{
	int policy = (int)ctx->arg & 0xff;
	struct sched_param p;

	SAME(sched_getscheduler(0), ctx->arg);
	CHECK(!sched_getparam(0, &p));
	SAME(p.sched_priority, policy == SCHED_FIFO || policy == SCHED_RR ? 3 : 0);
	return 0;
}

static int deadline_make(struct maker_ctx *ctx)
{
	struct sched_attr a = { .size = sizeof(a),
		.sched_policy = 6,
		.sched_flags = 4, /* SCHED_FLAG_DL_OVERRUN */
		.sched_runtime = 20000000,
		.sched_deadline = 40000000,
		.sched_period = 50000000 };

	NEED(!syscall(SYS_sched_setattr, 0, &a, 0));
	return 0;
}

static int deadline_use(struct maker_ctx *ctx)
{
	struct sched_attr a = { 0 };

	CHECK(!syscall(SYS_sched_getattr, 0, &a, sizeof(a), 0));
	SAME(a.sched_policy, 6);
	SAME(a.sched_flags, 4);
	SAME(a.sched_runtime, 20000000);
	SAME(a.sched_deadline, 40000000);
	SAME(a.sched_period, 50000000);
	return 0;
}

static int slice_make(struct maker_ctx *ctx)
{
	struct sched_attr a = { .size = sizeof(a), .sched_nice = 3, .sched_runtime = 1000000 };

	NEED(!syscall(SYS_sched_setattr, 0, &a, 0));
	CHECK(!syscall(SYS_sched_getattr, 0, &a, sizeof(a), 0));
	NEED(a.sched_runtime == 1000000);
	return 0;
}

static int slice_use(struct maker_ctx *ctx)
{
	struct sched_attr a = { 0 };

	CHECK(!syscall(SYS_sched_getattr, 0, &a, sizeof(a), 0));
	SAME(a.sched_nice, 3);
	SAME(a.sched_runtime, 1000000);
	return 0;
}

/* A zombie as it was scheduled; arg: in which of these ways. */

enum { ENDED_RESET, ENDED_SLICE, ENDED_DEADLINE };

static const struct sched_attr ended_as[] = {
	[ENDED_RESET] = { .size = sizeof(struct sched_attr), .sched_policy = SCHED_BATCH, .sched_flags = 1 },
	[ENDED_SLICE] = { .size = sizeof(struct sched_attr), .sched_nice = 3, .sched_runtime = 1000000 },
	[ENDED_DEADLINE] = { .size = sizeof(struct sched_attr),
		.sched_policy = 6,
		.sched_flags = 4,
		.sched_runtime = 20000000,
		.sched_deadline = 40000000,
		.sched_period = 50000000 },
};
static pid_t ended;

static int ended_make(struct maker_ctx *ctx)
{
	struct sched_attr a = { 0 };
	siginfo_t si = { 0 };

	ended = fork();
	CHECK(ended >= 0);
	if (!ended)
		_exit(syscall(SYS_sched_setattr, 0, &ended_as[ctx->arg], 0) != 0);
	CHECK(!waitid(P_PID, (id_t)ended, &si, WEXITED | WNOWAIT));
	NEED(si.si_status == 0);
	CHECK(!syscall(SYS_sched_getattr, ended, &a, sizeof(a), 0));
	NEED(ctx->arg != ENDED_SLICE || a.sched_runtime == 1000000);
	return 0;
}

static int ended_use(struct maker_ctx *ctx)
{
	const struct sched_attr *want = &ended_as[ctx->arg];
	struct sched_attr a = { 0 };
	int status;

	CHECK(!syscall(SYS_sched_getattr, ended, &a, sizeof(a), 0));
	SAME(a.sched_policy, want->sched_policy);
	SAME(a.sched_flags, ctx->arg == ENDED_DEADLINE ? 0 : want->sched_flags); /* its end clears them */
	SAME(a.sched_nice, want->sched_nice);
	if (ctx->arg == ENDED_SLICE)
		SAME(a.sched_runtime, want->sched_runtime);
	SAME(waitpid(ended, &status, 0), ended);
	SAME(status, 0);
	return 0;
}

static int clamp_make(struct maker_ctx *ctx)
{
	struct sched_attr a = {
		.size = sizeof(a), .sched_flags = 0x20 | 0x40 | 0x18, .sched_util_min = 100, .sched_util_max = 900
	};

	NEED(!syscall(SYS_sched_setattr, 0, &a, 0));
	return 0;
}

static int clamp_use(struct maker_ctx *ctx)
{
	struct sched_attr a = { 0 };

	CHECK(!syscall(SYS_sched_getattr, 0, &a, sizeof(a), 0));
	SAME(a.sched_util_min, 100);
	SAME(a.sched_util_max, 900);
	return 0;
}

static int nice_make(struct maker_ctx *ctx)
{
	return setpriority(PRIO_PROCESS, 0, (int)ctx->arg);
}

static int nice_use(struct maker_ctx *ctx)
{
	SAME(getpriority(PRIO_PROCESS, 0), ctx->arg);
	return 0;
}

static int affinity_make(struct maker_ctx *ctx)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	return sched_setaffinity(0, sizeof(set), &set);
}

static int affinity_use(struct maker_ctx *ctx)
{
	cpu_set_t set;

	CHECK(!sched_getaffinity(0, sizeof(set), &set));
	SAME(CPU_COUNT(&set), 1);
	CHECK(CPU_ISSET(0, &set));
	return 0;
}

/* arg: class and level. */
static int ioprio_make(struct maker_ctx *ctx)
{
	NEED(!syscall(SYS_ioprio_set, 1, 0, ctx->arg));
	return 0;
}

static int ioprio_use(struct maker_ctx *ctx)
{
	SAME(syscall(SYS_ioprio_get, 1, 0), ctx->arg);
	return 0;
}

#define LIMIT(name, which)                                                                                             \
	{                                                                                                              \
		"rlimit-" name, "the limit " #which, rlimit_make, rlimit_use, 0, which                                 \
	}
const struct maker makers_limit[] = {
	LIMIT("cpu", RLIMIT_CPU),
	LIMIT("fsize", RLIMIT_FSIZE),
	LIMIT("data", RLIMIT_DATA),
	LIMIT("stack", RLIMIT_STACK),
	LIMIT("core", RLIMIT_CORE),
	LIMIT("rss", RLIMIT_RSS),
	LIMIT("nproc", RLIMIT_NPROC),
	LIMIT("nofile", RLIMIT_NOFILE),
	LIMIT("memlock", RLIMIT_MEMLOCK),
	LIMIT("as", RLIMIT_AS),
	LIMIT("locks", RLIMIT_LOCKS),
	LIMIT("sigpending", RLIMIT_SIGPENDING),
	LIMIT("msgqueue", RLIMIT_MSGQUEUE),
	LIMIT("nice", RLIMIT_NICE),
	LIMIT("rtprio", RLIMIT_RTPRIO),
	LIMIT("rttime", RLIMIT_RTTIME),
	{ "rlimit-all", "all limits, in a child of root and in one of a user", all_kid_make },
	ROW("rlimit-exceeded", "a limit below what is in use", exceeded),
	{ "batch", "SCHED_BATCH", policy_make, policy_use, 0, SCHED_BATCH },
	{ "idle", "SCHED_IDLE", policy_make, policy_use, 0, SCHED_IDLE },
	{ "fifo", "SCHED_FIFO", policy_make, policy_use, 0, SCHED_FIFO },
	{ "rr", "SCHED_RR", policy_make, policy_use, 0, SCHED_RR },
	{ "reset-on-fork", "SCHED_RESET_ON_FORK", policy_make, policy_use, 0, SCHED_BATCH | SCHED_RESET_ON_FORK },
	{ "deadline", "SCHED_DEADLINE", deadline_make, deadline_use },
	{ "ended-reset", "a zombie with SCHED_RESET_ON_FORK", ended_make, ended_use, 0, ENDED_RESET },
	{ "ended-slice", "a zombie with a slice of its own", ended_make, ended_use, 0, ENDED_SLICE },
	{ "ended-deadline", "a zombie of SCHED_DEADLINE", ended_make, ended_use, 0, ENDED_DEADLINE },
	{ "slice", "a slice of its own", slice_make, slice_use },
	{ "clamp", "utilisation clamps", clamp_make, clamp_use, MAKER_MAY_REFUSE },
	{ "nice", "a nice value", nice_make, nice_use, 0, 11 },
	{ "nice-high", "a favoured one", nice_make, nice_use, 0, -5 },
	ROW("affinity", "one CPU only", affinity),
	{ "ioprio-best", "I/O priority, best effort 6", ioprio_make, ioprio_use, 0, 2 << 13 | 6 },
	{ "ioprio-idle", "I/O priority, idle", ioprio_make, ioprio_use, 0, 3 << 13 },
	{ "ioprio-realtime", "I/O priority, real time 2", ioprio_make, ioprio_use, 0, 1 << 13 | 2 },
	{ 0 },
};
