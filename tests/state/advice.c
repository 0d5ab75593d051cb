/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a program asked for about its memory: locks, advice, names, guards, seals, policies. mlock(2), madvise(2), mseal(2), mbind(2). */

#include "memory_look.h"

#include <sys/prctl.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
enum { ADV_GUARD_INSTALL = 102, MAP_DROP = 0x08, NR_mseal = 462 };

static char *area, *second;
static pid_t kid;

/* mlock. */
static int mlock_make(struct maker_ctx *ctx)
{
	area = map_private(16 * PAGE);
	CHECK(area);
	CHECK(!mlock(area, 4 * PAGE));
	NEED(!mlock2(area + 8 * PAGE, 4 * PAGE, MLOCK_ONFAULT));
	area[9 * PAGE] = 1;
	return 0;
}

static int mlock_use(struct maker_ctx *ctx)
{
	SAME(resident(area, 4 * PAGE), 4);
	CHECK(vm_flag(area, " lo"));
	CHECK(!vm_flag(area + 4 * PAGE, " lo"));
	CHECK(vm_flag(area + 8 * PAGE, " lo"));
	CHECK(present(area + 9 * PAGE) && !present(area + 10 * PAGE));
	SAME(proc_number("/proc/self/status", "VmLck", 10), 32);
	CHECK(!munlock(area, 16 * PAGE));
	SAME(proc_number("/proc/self/status", "VmLck", 10), 0);
	return 0;
}

static int mlockall_make(struct maker_ctx *ctx)
{
	CHECK(!mlockall((int)ctx->arg));
	area = map_private(4 * PAGE);
	CHECK(area);
	return 0;
}

static int mlockall_use(struct maker_ctx *ctx)
{
	SAME(vm_flag(area, " lo"), (ctx->arg & MCL_FUTURE) != 0);
	second = map_private(8 * PAGE);
	CHECK(second);
	SAME(vm_flag(second, " lo"), (ctx->arg & MCL_FUTURE) != 0);
	SAME(present(second + PAGE), (ctx->arg & MCL_FUTURE) && !(ctx->arg & MCL_ONFAULT));
	CHECK(!munlockall());
	return 0;
}

/* Advice that stays with the mapping. */

static const struct {
	int advice;
	const char *flag;
} advices[] = {
	{ MADV_DONTFORK, " dc" },
	{ MADV_WIPEONFORK, " wf" },
	{ MADV_DONTDUMP, " dd" },
	{ MADV_MERGEABLE, " mg" },
	{ MADV_HUGEPAGE, " hg" },
	{ MADV_NOHUGEPAGE, " nh" },
	{ MADV_SEQUENTIAL, " sr" },
	{ MADV_RANDOM, " rr" },
};

static int advice_make(struct maker_ctx *ctx)
{
	area = map_private(4 * PAGE);
	CHECK(area);
	fill(area, 4 * PAGE, 21);
	NEED(!madvise(area, 2 * PAGE, advices[ctx->arg].advice));
	return 0;
}

static int advice_use(struct maker_ctx *ctx)
{
	static const char zero[PAGE];

	TRY(check_fill(area, 4 * PAGE, 21));
	CHECK(vm_flag(area, advices[ctx->arg].flag));
	CHECK(!vm_flag(area + 2 * PAGE, advices[ctx->arg].flag));
	kid = fork();
	CHECK(kid >= 0);
	if (!kid) {
		if (advices[ctx->arg].advice == MADV_DONTFORK)
			_exit(fault_of(area, false) != SIGSEGV || fault_of(area + 2 * PAGE, false));
		if (advices[ctx->arg].advice == MADV_WIPEONFORK)
			_exit(memcmp(area, zero, PAGE) || !memcmp(area + 2 * PAGE, zero, PAGE));
		_exit(check_fill(area, 4 * PAGE, 21));
	}
	return reap_ok(kid);
}

/* Huge pages. */
static int huge_make(struct maker_ctx *ctx)
{
	size_t huge = 2ul << 20;
	char *p = map_private(3 * huge);

	CHECK(p);
	area = (char *)(((uintptr_t)p + huge - 1) & ~(huge - 1));
	NEED(!madvise(area, 2 * huge, MADV_HUGEPAGE));
	fill(area, 2 * huge, 31);
	return 0;
}

static int huge_use(struct maker_ctx *ctx)
{
	CHECK(vm_flag(area, " hg"));
	return check_fill(area, 4ul << 20, 31);
}

/* A name for anonymous memory; kernels without it say so. */
static int named_make(struct maker_ctx *ctx)
{
	area = map_private(4 * PAGE);
	CHECK(area);
	NEED(!prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, area, 2 * PAGE, "a name, (odd)"));
	return 0;
}

static int named_use(struct maker_ctx *ctx)
{
	CHECK(file_has("/proc/self/maps", "[anon:a name, (odd)]"));
	return 0;
}

/* Guard regions: pages that fault without a mapping of their own. */
static int guard_make(struct maker_ctx *ctx)
{
	area = map_private(16 * PAGE);
	CHECK(area);
	fill(area, 16 * PAGE, 41);
	NEED(!madvise(area + 4 * PAGE, 2 * PAGE, ADV_GUARD_INSTALL));
	return 0;
}

static int guard_use(struct maker_ctx *ctx)
{
	TRY(check_fill(area, 4 * PAGE, 41));
	SAME(fault_of(area + 4 * PAGE, false), SIGSEGV);
	SAME(fault_of(area + 5 * PAGE, true), SIGSEGV);
	SAME(fault_of(area + 6 * PAGE, true), 0);
	return 0;
}

static int droppable_make(struct maker_ctx *ctx)
{
	area = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_DROP | MAP_ANONYMOUS, -1, 0);
	NEED(area != MAP_FAILED);
	fill(area, PAGE, 51);
	return 0;
}

static int droppable_use(struct maker_ctx *ctx)
{
	CHECK(vm_flag(area, " dp"));
	area[1] = 2;
	return 0;
}

static int sealed_make(struct maker_ctx *ctx)
{
	area = map_private(4 * PAGE);
	CHECK(area);
	fill(area, 4 * PAGE, 61);
	NEED(!syscall(NR_mseal, area, 2 * PAGE, 0));
	return 0;
}

static int sealed_use(struct maker_ctx *ctx)
{
	TRY(check_fill(area, 4 * PAGE, 61));
	SAME(munmap(area, PAGE), -1);
	SAME(errno, EPERM);
	SAME(mprotect(area + PAGE, PAGE, PROT_NONE), -1);
	CHECK(!munmap(area + 2 * PAGE, 2 * PAGE));
	return 0;
}

/* Memory policy: of a mapping and of the task. */
enum { POLICY_BIND = 2, POLICY_INTERLEAVE = 3 };

static int policy_make(struct maker_ctx *ctx)
{
	unsigned long nodes = 1;

	area = map_private(4 * PAGE);
	CHECK(area);
	NEED(!syscall(SYS_mbind, area, 2 * PAGE, POLICY_BIND, &nodes, 64, 0));
	area[0] = 1;
	return 0;
}

static int policy_use(struct maker_ctx *ctx)
{
	unsigned long nodes = 0;
	int mode = -1;

	CHECK(!syscall(SYS_get_mempolicy, &mode, &nodes, 64, area, 2 /* MPOL_F_ADDR */));
	SAME(mode, POLICY_BIND);
	SAME(nodes, 1);
	CHECK(!syscall(SYS_get_mempolicy, &mode, &nodes, 64, area + 2 * PAGE, 2));
	SAME(mode, 0);
	return 0;
}

static int task_policy_make(struct maker_ctx *ctx)
{
	unsigned long nodes = 1;

	NEED(!syscall(SYS_set_mempolicy, POLICY_INTERLEAVE, &nodes, 64));
	return 0;
}

static int task_policy_use(struct maker_ctx *ctx)
{
	unsigned long nodes = 0;
	int mode = -1;

	CHECK(!syscall(SYS_get_mempolicy, &mode, &nodes, 64, NULL, 0));
	SAME(mode, POLICY_INTERLEAVE);
	SAME(nodes, 1);
	return 0;
}

const struct maker makers_advice[] = {
	ROW("mlock", "mlock, and mlock2 on fault", mlock),
	{ "mlockall", "mlockall of now", mlockall_make, mlockall_use, 0, MCL_CURRENT },
	{ "mlockall-future", "mlockall of the future", mlockall_make, mlockall_use, 0, MCL_FUTURE },
	{ "mlockall-onfault", "mlockall of the future, on fault", mlockall_make, mlockall_use, 0,
		MCL_FUTURE | MCL_ONFAULT },
	{ "dontfork", "MADV_DONTFORK", advice_make, advice_use, 0, 0 },
	{ "wipeonfork", "MADV_WIPEONFORK", advice_make, advice_use, 0, 1 },
	{ "dontdump", "MADV_DONTDUMP", advice_make, advice_use, 0, 2 },
	{ "mergeable", "MADV_MERGEABLE", advice_make, advice_use, 0, 3 },
	{ "hugepage", "MADV_HUGEPAGE", advice_make, advice_use, 0, 4 },
	{ "nohugepage", "MADV_NOHUGEPAGE", advice_make, advice_use, 0, 5 },
	{ "sequential", "MADV_SEQUENTIAL", advice_make, advice_use, 0, 6 },
	{ "random", "MADV_RANDOM", advice_make, advice_use, 0, 7 },
	ROW("huge", "4 MiB of huge pages", huge),
	ROW("named", "named anonymous memory", named),
	{ "guard", "guard regions", guard_make, guard_use },
	{ "droppable", "MAP_DROPPABLE", droppable_make, droppable_use },
	{ "sealed", "mseal", sealed_make, sealed_use },
	{ "policy", "the policy of a mapping", policy_make, policy_use, MAKER_MUST_REFUSE, 0, "NUMA policy" },
	{ "task-policy", "the policy of the task", task_policy_make, task_policy_use },
	{ 0 },
};
