/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Core scheduling: who has which cookie. PR_SCHED_CORE in prctl(2). */

#include "maker.h"

#include <sys/prctl.h>

static _Atomic int go;
static pthread_t thread;

/* Core-scheduling cookies: one of two threads, another of a child that shares it with a third. arg: the outside has it too. */

static uint64_t cookie_of(pid_t tid)
{
	uint64_t cookie = 0;

	return prctl(PR_SCHED_CORE, PR_SCHED_CORE_GET, tid, PR_SCHED_CORE_SCOPE_THREAD, &cookie) ? 0 : cookie;
}

static int cookie_create(void)
{
	return prctl(PR_SCHED_CORE, PR_SCHED_CORE_CREATE, 0, PR_SCHED_CORE_SCOPE_THREAD, 0);
}

static int cookie_kid_make(struct maker_ctx *ctx)
{
	return cookie_create();
}

static int cookie_inherited_use(struct maker_ctx *ctx)
{
	CHECK(cookie_of(0));
	SAME(cookie_of(0), cookie_of(getppid()));
	return 0;
}

static int cookie_kid_both(struct maker_ctx *ctx)
{
	TRY(cookie_kid_make(ctx));
	return kid_start(ctx, NULL, cookie_inherited_use, NULL);
}

static int cookie_kid_use(struct maker_ctx *ctx)
{
	CHECK(cookie_of(0));
	CHECK(cookie_of(0) != cookie_of(getppid()));
	return kids_finish(ctx);
}

static void *cookie_thread(void *arg)
{
	wait_for(&go);
	return (void *)(intptr_t)(cookie_of(0) != 0);
}

static int cookie_make(struct maker_ctx *ctx)
{
	TRY(kid_start(ctx, NULL, NULL, NULL));
	NEED(!cookie_create());
	if (ctx->arg)
		return prctl(PR_SCHED_CORE, PR_SCHED_CORE_SHARE_TO, getppid(), PR_SCHED_CORE_SCOPE_THREAD, 0);
	TRY(thread_start(&thread, cookie_thread, NULL));
	return kid_start(ctx, cookie_kid_both, cookie_kid_use, NULL);
}

static int cookie_use(struct maker_ctx *ctx)
{
	void *answer = NULL;

	CHECK(cookie_of(0));
	SAME(cookie_of(ctx->kids[0]), 0);
	if (!ctx->arg) {
		let_go(&go);
		SAME(pthread_join(thread, &answer), 0);
		SAME((intptr_t)answer, 1);
	}
	return kids_finish(ctx);
}

const struct maker makers_core_cookie[] = {
	{ "several", "core-scheduling cookies", cookie_make, cookie_use, MAKER_MAY_REFUSE, 0, "core-scheduling" },
	{ "outside", "one that the outside has too", cookie_make, cookie_use, MAKER_MUST_REFUSE, 1, "core-scheduling" },
	{ 0 },
};
