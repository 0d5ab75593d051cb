/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Single things that a task asks for, most of them by one call of prctl or a file of /proc. prctl(2), personality(2), membarrier(2), proc(5). */

#include "maker.h"

#include <sys/personality.h>
#include <sys/prctl.h>

/* Single numbers that prctl and /proc set: how to set, how to read, which value. */
enum { SET_MDWE = 65, GET_MDWE = 66, SET_MERGE = 67, GET_MERGE = 68 };

static int write_proc(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n = write(fd, text, strlen(text));

	close(fd);
	return n == (ssize_t)strlen(text) ? 0 : -1;
}

static const struct number {
	int set, get;
	long value;
} numbers[] = {
	{ PR_SET_TIMERSLACK, PR_GET_TIMERSLACK, 123456 },
	{ PR_SET_THP_DISABLE, PR_GET_THP_DISABLE, 1 },
	{ PR_SET_IO_FLUSHER, PR_GET_IO_FLUSHER, 1 },
	{ SET_MDWE, GET_MDWE, 1 },
	{ SET_MERGE, GET_MERGE, 1 },
};

static int number_make(struct maker_ctx *ctx)
{
	const struct number *n = &numbers[ctx->arg];

	NEED(prctl(n->set, n->value, 0, 0, 0) >= 0);
	SAME(prctl(n->get, 0, 0, 0, 0), n->value);
	return 0;
}

static int number_use(struct maker_ctx *ctx)
{
	SAME(prctl(numbers[ctx->arg].get, 0, 0, 0, 0), numbers[ctx->arg].value);
	return 0;
}

/* The default slack is what the parent had at the fork, here of a child, a grandchild without it, and a child of a real-time parent: 0. */
static int default_slack(long ns)
{
	int own = prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0);

	CHECK(!prctl(PR_SET_TIMERSLACK, 0, 0, 0, 0));
	SAME(prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0), ns);
	if (own)
		CHECK(!prctl(PR_SET_TIMERSLACK, own, 0, 0, 0));
	return 0;
}

static int slack_usual_use(struct maker_ctx *ctx)
{
	return default_slack(50000);
}

static int slack_zero_use(struct maker_ctx *ctx)
{
	SAME(prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0), 0);
	return default_slack(0);
}

static void *slack_thread(void *arg)
{
	wait_for(arg);
	return (void *)(intptr_t)default_slack(4321);
}

static pthread_t slack_thread_id;
static _Atomic int slack_thread_go;

static int slack_kid_make(struct maker_ctx *ctx)
{
	CHECK(!prctl(PR_SET_TIMERSLACK, 50000, 0, 0, 0));
	TRY(kid_start(ctx, NULL, slack_usual_use, NULL));
	CHECK(!prctl(PR_SET_TIMERSLACK, 4321, 0, 0, 0));
	TRY(thread_start(&slack_thread_id, slack_thread, &slack_thread_go));
	CHECK(!prctl(PR_SET_TIMERSLACK, 7777, 0, 0, 0));
	return 0;
}

static int slack_kid_use(struct maker_ctx *ctx)
{
	void *answer;

	SAME(prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0), 7777);
	TRY(default_slack(123456));
	let_go(&slack_thread_go);
	SAME(pthread_join(slack_thread_id, &answer), 0);
	SAME((intptr_t)answer, 0);
	return kids_finish(ctx);
}

static int default_slack_make(struct maker_ctx *ctx)
{
	struct sched_param param = { .sched_priority = 1 };

	NEED(!sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &param));
	TRY(kid_start(ctx, NULL, slack_zero_use, NULL));
	param.sched_priority = 0;
	CHECK(!sched_setscheduler(0, SCHED_OTHER, &param));
	CHECK(!prctl(PR_SET_TIMERSLACK, 123456, 0, 0, 0));
	TRY(kid_start(ctx, slack_kid_make, slack_kid_use, NULL));
	return prctl(PR_SET_TIMERSLACK, 0, 0, 0, 0);
}

static int default_slack_use(struct maker_ctx *ctx)
{
	TRY(default_slack(50000));
	return kids_finish(ctx);
}

#define FUTEX_HASH_ 78 /* PR_FUTEX_HASH; 1 sets, 2 gets */

static int futex_slots_make(struct maker_ctx *ctx)
{
	NEED(!prctl(FUTEX_HASH_, 1, 64, 0));
	return 0;
}

static int futex_slots_use(struct maker_ctx *ctx)
{
	SAME(prctl(FUTEX_HASH_, 2, 0, 0), 64);
	return 0;
}

static int mce_make(struct maker_ctx *ctx)
{
	NEED(!prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0));
	return 0;
}

static int mce_use(struct maker_ctx *ctx)
{
	SAME(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0), PR_MCE_KILL_EARLY);
	return 0;
}

/* arg: which control. Flushing the first cache is what a task may ask for; the others it may give up. */
static unsigned long speculation_wanted(const struct maker_ctx *ctx)
{
	return ctx->arg == PR_SPEC_L1D_FLUSH ? PR_SPEC_ENABLE : PR_SPEC_DISABLE;
}

static int speculation_make(struct maker_ctx *ctx)
{
	NEED(!prctl(PR_SET_SPECULATION_CTRL, ctx->arg, speculation_wanted(ctx), 0, 0));
	return 0;
}

static int speculation_use(struct maker_ctx *ctx)
{
	SAME(prctl(PR_GET_SPECULATION_CTRL, ctx->arg, 0, 0, 0), PR_SPEC_PRCTL | speculation_wanted(ctx));
	return 0;
}

static int oom_make(struct maker_ctx *ctx)
{
	return write_proc("/proc/self/oom_score_adj", "321");
}

static int oom_use(struct maker_ctx *ctx)
{
	CHECK(file_has("/proc/self/oom_score_adj", "321"));
	return 0;
}

static int filter_make(struct maker_ctx *ctx)
{
	return write_proc("/proc/self/coredump_filter", "0x5a");
}

static int filter_use(struct maker_ctx *ctx)
{
	CHECK(file_has("/proc/self/coredump_filter", "0000005a"));
	return 0;
}

/* Personality. arg: which; the whole of it, with neighbours. */
static int personality_make(struct maker_ctx *ctx)
{
	CHECK(personality((unsigned long)ctx->arg) >= 0);
	return 0;
}

static int personality_use(struct maker_ctx *ctx)
{
	SAME(personality(0xffffffff), ctx->arg);
	return 0;
}

/* Told when the parent dies. */

static volatile sig_atomic_t told;

static void on_usr1(int sig)
{
	told++;
}

static int mourner_make(struct maker_ctx *ctx)
{
	CHECK(signal(SIGUSR1, on_usr1) != SIG_ERR);
	shared(ctx)->value[0] = getpid();
	return prctl(PR_SET_PDEATHSIG, SIGUSR1);
}

static int mourner_use(struct maker_ctx *ctx)
{
	int sig = 0;

	CHECK(!prctl(PR_GET_PDEATHSIG, &sig));
	SAME(sig, SIGUSR1);
	CHECK(UNTIL(told == 1));
	return 0;
}

static int parent_make(struct maker_ctx *ctx)
{
	return kid_start(ctx, mourner_make, mourner_use, NULL);
}

static int parent_use(struct maker_ctx *ctx)
{
	return 0; /* ends at once, its child does not */
}

static int pdeathsig_make(struct maker_ctx *ctx)
{
	CHECK(!prctl(PR_SET_CHILD_SUBREAPER, 1));
	return kid_start(ctx, parent_make, parent_use, NULL);
}

static int pdeathsig_use(struct maker_ctx *ctx)
{
	TRY(kids_finish(ctx));
	return reap_ok((pid_t)shared(ctx)->value[0]);
}

/* Registered for barriers in other threads; the session's share of the processor. */

#ifndef MEMBARRIER_CMD_GET_REGISTRATIONS
#define MEMBARRIER_CMD_GET_REGISTRATIONS (1 << 9)
#endif
#define PRIVATE_EXPEDITED	   (1 << 3)
#define REGISTER_PRIVATE_EXPEDITED (1 << 4)

static int membarrier_make(struct maker_ctx *ctx)
{
	NEED(!syscall(SYS_membarrier, REGISTER_PRIVATE_EXPEDITED, 0, 0));
	return 0;
}

static int membarrier_use(struct maker_ctx *ctx)
{
	CHECK(!syscall(SYS_membarrier, PRIVATE_EXPEDITED, 0, 0));
	return 0;
}

static int autogroup_make(struct maker_ctx *ctx)
{
	FILE *f = fopen("/proc/self/autogroup", "w");

	NEED(f);
	CHECK(fprintf(f, "5") > 0);
	return fclose(f);
}

static int autogroup_use(struct maker_ctx *ctx)
{
	char text[100] = "";
	FILE *f = fopen("/proc/self/autogroup", "r");

	CHECK(f && fgets(text, sizeof(text), f));
	CHECK(strstr(text, " nice 5"));
	return fclose(f);
}

/* Of a session whose leader has ended. */
static int autogroup_orphan_make(struct maker_ctx *ctx)
{
	struct maker_shared *s = shared(ctx);
	pid_t leader;

	CHECK(!prctl(PR_SET_CHILD_SUBREAPER, 1));
	leader = fork();
	CHECK(leader >= 0);
	if (!leader) {
		pid_t self = setsid();

		if (autogroup_make(ctx) || fork())
			_exit(0);
		while (getppid() == self)
			nap(2);
		s->flag[0] = 1;
		wait_for(&s->go);
		_exit(autogroup_use(ctx));
	}
	SAME(waitpid(leader, NULL, 0), leader);
	NEED(UNTIL(s->flag[0]));
	return 0;
}

static int autogroup_orphan_use(struct maker_ctx *ctx)
{
	int status;

	let_go(&shared(ctx)->go);
	CHECK(waitpid(-1, &status, 0) > 0);
	SAME(status, 0);
	return 0;
}

const struct maker makers_attributes[] = {
	{ "timerslack", "timer slack", number_make, number_use, 0, 0 },
	ROW("timerslack-default", "default timer slacks: of children, a thread, a child of a real-time parent",
		default_slack),
	{ "thp-disable", "PR_SET_THP_DISABLE", number_make, number_use, 0, 1 },
	{ "io-flusher", "PR_SET_IO_FLUSHER", number_make, number_use, MAKER_MAY_REFUSE, 2 },
	{ "mdwe", "memory-deny-write-execute", number_make, number_use, 0, 3 },
	{ "memory-merge", "PR_SET_MEMORY_MERGE", number_make, number_use, 0, 4 },
	{ "mce-kill", "early machine check kill", mce_make, mce_use },
	{ "speculation", "store bypass disabled", speculation_make, speculation_use, MAKER_MAY_REFUSE,
		PR_SPEC_STORE_BYPASS },
	{ "indirect-branch", "indirect branch speculation disabled", speculation_make, speculation_use,
		MAKER_MAY_REFUSE, PR_SPEC_INDIRECT_BRANCH },
	{ "l1d-flush", "the first cache flushed at a switch", speculation_make, speculation_use, MAKER_MAY_REFUSE,
		PR_SPEC_L1D_FLUSH },
	ROW("oom-score-adj", "out-of-memory score", oom),
	ROW("coredump-filter", "core dump filter", filter),
	{ "no-randomize", "ADDR_NO_RANDOMIZE", personality_make, personality_use, 0, ADDR_NO_RANDOMIZE },
	{ "read-implies-exec", "READ_IMPLIES_EXEC", personality_make, personality_use, 0, READ_IMPLIES_EXEC },
	{ "personality", "five flags of personality", personality_make, personality_use, 0,
		UNAME26 | MMAP_PAGE_ZERO | STICKY_TIMEOUTS | WHOLE_SECONDS | ADDR_COMPAT_LAYOUT },
	ROW("pdeathsig", "a child that is told of its parent's death", pdeathsig),
	ROW("futex-slots", "a table of futexes of a size that it chose", futex_slots),
	ROW("membarrier", "registered for private expedited barriers", membarrier),
	ROW("autogroup", "a nice value of its session's group", autogroup),
	ROW("autogroup-orphan", "that of a session whose leader has ended", autogroup_orphan),
	{ 0 },
};
