/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Processes: who is whose child, who adopts it, whether it has called exec, what it says when it ends. clone(2), wait(2), prctl(2). */

#include "maker.h"

#include <grp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>

static pid_t kid;

/* Three levels, two children each. */

static int leaf_use(struct maker_ctx *ctx)
{
	SAME(getppid(), (pid_t)ctx->arg);
	return 0;
}

static int branch_make(struct maker_ctx *ctx)
{
	ctx->arg = getpid();
	TRY(kid_start(ctx, NULL, leaf_use, NULL));
	return kid_start(ctx, NULL, leaf_use, NULL);
}

static int tree_make(struct maker_ctx *ctx)
{
	TRY(kid_start(ctx, branch_make, kids_finish, NULL));
	return kid_start(ctx, branch_make, kids_finish, NULL);
}

static int chain_make(struct maker_ctx *ctx)
{
	return --ctx->arg ? kid_start(ctx, chain_make, kids_finish, NULL) : 0;
}

static int chain_use(struct maker_ctx *ctx)
{
	TRY(kids_finish(ctx));
	SAME(shared(ctx)->up, 9);
	return 0;
}

static int many_make(struct maker_ctx *ctx)
{
	for (int i = 0; i < 100; i++)
		TRY(kid_start(ctx, NULL, NULL, NULL));
	return 0;
}

/* A grandchild whose parent is gone: it belongs to the nearest subreaper, or to init. */

static int orphan_use(struct maker_ctx *ctx)
{
	SAME(getppid(), shared(ctx)->value[0]);
	shared(ctx)->flag[0] = 1;
	return 0;
}

static int orphan_make(struct maker_ctx *ctx)
{
	struct maker_shared *s = shared(ctx);
	int before = s->up, status;
	pid_t middle;

	if (ctx->arg)
		CHECK(!prctl(PR_SET_CHILD_SUBREAPER, 1));
	middle = fork();
	CHECK(middle >= 0);
	if (!middle) {
		pid_t p = fork();

		if (p)
			_exit(p < 0);
		while (getppid() == (pid_t)s->value[1] || !s->value[1])
			nap(2);
		s->value[0] = getppid();
		s->value[2] = getpid();
		kid_live(ctx, NULL, orphan_use);
	}
	s->value[1] = middle;
	SAME(waitpid(middle, &status, 0), middle);
	SAME(status, 0);
	return kid_up(ctx, before, 0);
}

static int orphan_of_ours_use(struct maker_ctx *ctx)
{
	int on = 0;

	CHECK(!prctl(PR_GET_CHILD_SUBREAPER, &on));
	SAME(on, 1);
	SAME(shared(ctx)->value[0], getpid());
	let_go(&shared(ctx)->go);
	return reap_ok((pid_t)shared(ctx)->value[2]);
}

/* One that was forked by a program that has ended, not by the one that is its parent now: it has that program's memory. */

static int fifo_of(struct maker_ctx *ctx, char path[600], const char *name)
{
	snprintf(path, 600, "%s/%s", ctx->dir, name);
	return 0;
}

static int other_program_make(struct maker_ctx *ctx)
{
	char script[2000], fifo[600], answer[600];
	int status;
	pid_t pid;

	fifo_of(ctx, fifo, "fifo");
	fifo_of(ctx, answer, "answer");
	CHECK(!mkfifo(fifo, 0600));
	CHECK(!prctl(PR_SET_CHILD_SUBREAPER, 1));
	snprintf(script, sizeof(script), "{ read x < %s; echo $x > %s; } & echo $! > %s", fifo, answer, answer);
	pid = fork();
	if (!pid)
		execl("/bin/sh", "sh", "-c", script, NULL);
	SAME(waitpid(pid, &status, 0), pid);
	SAME(status, 0);
	return 0;
}

static int other_program_use(struct maker_ctx *ctx)
{
	char path[600], text[32] = "";
	int fd, status;

	fifo_of(ctx, path, "fifo");
	fd = open(path, O_WRONLY);
	SAME(write(fd, "hello\n", 6), 6);
	CHECK(wait(&status) > 0);
	SAME(status, 0);
	fifo_of(ctx, path, "answer");
	fd = open(path, O_RDONLY);
	SAME(read(fd, text, sizeof(text)), 6);
	CHECK(!strcmp(text, "hello\n"));
	return 0;
}

static int orphan_of_init_use(struct maker_ctx *ctx)
{
	let_go(&shared(ctx)->go);
	CHECK(UNTIL(shared(ctx)->flag[0]));
	CHECK(UNTIL(kill((pid_t)shared(ctx)->value[2], 0) && errno == ESRCH));
	return 0;
}

static int subreaper_kid_make(struct maker_ctx *ctx)
{
	ctx->arg = 1;
	return kid_start(ctx, orphan_make, orphan_of_ours_use, NULL);
}

/* The subreaper flag is not inherited: a child's child goes past it. */
static int not_subreaper_kid(struct maker_ctx *ctx)
{
	int on = 1;

	CHECK(!prctl(PR_GET_CHILD_SUBREAPER, &on));
	SAME(on, 0);
	return 0;
}

static int subreaper_own_make(struct maker_ctx *ctx)
{
	CHECK(!prctl(PR_SET_CHILD_SUBREAPER, 1));
	return kid_start(ctx, NULL, not_subreaper_kid, NULL);
}

static int subreaper_own_use(struct maker_ctx *ctx)
{
	int on = 0;

	CHECK(!prctl(PR_GET_CHILD_SUBREAPER, &on));
	SAME(on, 1);
	return kids_finish(ctx);
}

/* A parent may setpgid a child until that has called exec. */

static int execed_make(struct maker_ctx *ctx)
{
	CHECK(!mkfifo(in_dir(ctx, "exit-now"), 0600));
	kid = fork();
	CHECK(kid >= 0);
	if (!kid) {
		execl("/proc/self/exe", "a-name-of-its-own", "--wait", ctx->path, "5", NULL);
		_exit(99);
	}
	return until_blocked_in(kid, SYS_openat);
}

static int execed_use(struct maker_ctx *ctx)
{
	int status;

	SAME(setpgid(kid, kid), -1);
	SAME(errno, EACCES);
	CHECK(open(ctx->path, O_RDWR) >= 0);
	SAME(waitpid(kid, &status, 0), kid);
	SAME(status, 5 << 8);
	return 0;
}

static int in_own_group(struct maker_ctx *ctx)
{
	CHECK(UNTIL(getpgrp() == getpid()));
	return 0;
}

static int unexeced_make(struct maker_ctx *ctx)
{
	return kid_start(ctx, NULL, in_own_group, &kid);
}

static int unexeced_use(struct maker_ctx *ctx)
{
	CHECK(!setpgid(kid, kid));
	return kids_finish(ctx);
}

/* A parent inside vfork: its child has its memory until it calls exec or ends. arg: for how many
 * milliseconds, 0: until told. */

static int in_vfork(struct maker_ctx *ctx)
{
	struct maker_shared *s = shared(ctx);
	long ms = ctx->arg;
	pid_t p;
	int status;

	s->up++;
	do {
		p = vfork();
		if (!p) {
			struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

			s->flag[0] = 1;
			if (ms)
				nanosleep(&t, NULL);
			else
				wait_for(&s->go);
			_exit(6);
		}
		CHECK(p > 0);
		SAME(waitpid(p, &status, 0), p);
		SAME(status, 6 << 8);
	} while (!s->go);
	return 0;
}

static int vfork_make(struct maker_ctx *ctx)
{
	struct maker_shared *s = shared(ctx);

	kid = fork();
	CHECK(kid >= 0);
	if (!kid)
		_exit(in_vfork(ctx));
	ctx->kids[ctx->n_kids++] = kid;
	CHECK(UNTIL(s->flag[0]));
	return 0;
}

/* A child that tells of its end by another signal, or by none: arg is the signal. */

static volatile sig_atomic_t handled;

static void on_usr1(int sig)
{
	(void)sig;
	handled++;
}

static int exit_signal_make(struct maker_ctx *ctx)
{
	CHECK(signal(SIGUSR1, on_usr1) != SIG_ERR);
	shared(ctx);
	kid = (pid_t)syscall(SYS_clone, ctx->arg, NULL, NULL, NULL, 0);
	CHECK(kid >= 0);
	if (!kid)
		kid_live(ctx, NULL, NULL);
	return kid_up(ctx, 0, kid);
}

static int exit_signal_use(struct maker_ctx *ctx)
{
	int status;

	SAME(waitpid(-1, &status, WNOHANG), -1);
	SAME(errno, ECHILD);
	let_go(&shared(ctx)->go);
	SAME(waitpid(kid, &status, __WCLONE), kid);
	SAME(status, 0);
	SAME(handled, ctx->arg == SIGUSR1);
	return 0;
}

/* A child of a thread that is not the first: it is told of that thread's end, and waited for by that thread alone (__WNOTHREAD). arg: it calls exec. */

static pthread_t bearer;
static _Atomic int bearer_ends;
static int bearer_answer;

static int mortal_make(struct maker_ctx *ctx)
{
	CHECK(!prctl(PR_SET_PDEATHSIG, SIGTERM));
	return 0;
}

static int execed_mortal_start(struct maker_ctx *ctx)
{
	CHECK(!mkfifo(in_dir(ctx, "never"), 0600));
	kid = fork();
	CHECK(kid >= 0);
	if (!kid) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		execl("/proc/self/exe", "a-name-of-its-own", "--wait", ctx->path, "5", NULL);
		_exit(99);
	}
	return until_blocked_in(kid, SYS_openat);
}

static void *bears(void *arg)
{
	struct maker_ctx *ctx = arg;

	bearer_answer = ctx->arg ? execed_mortal_start(ctx) : kid_start(ctx, mortal_make, NULL, &kid);
	let_go(&shared(ctx)->flag[0]);
	wait_for(&bearer_ends);
	return NULL;
}

static int bearer_make(struct maker_ctx *ctx)
{
	shared(ctx);
	TRY(thread_start(&bearer, bears, ctx));
	wait_for(&shared(ctx)->flag[0]);
	return bearer_answer;
}

static int bearer_use(struct maker_ctx *ctx)
{
	int status = 0;

	SAME(waitpid(kid, &status, WNOHANG | __WNOTHREAD), -1);
	SAME(errno, ECHILD);
	SAME(waitpid(kid, &status, WNOHANG), 0);
	let_go(&bearer_ends);
	SAME(pthread_join(bearer, NULL), 0);
	SAME(waitpid(kid, &status, 0), kid);
	SAME(status, SIGTERM);
	return 0;
}

const struct maker makers_task[] = {
	{ "tree", "two children with two children each", tree_make },
	{ "chain", "ten generations", chain_make, chain_use, 0, 10 },
	{ "many", "a hundred children", many_make, NULL, MAKER_SLOW },
	{ "subreaper", "a subreaper and a child, which is none", subreaper_own_make, subreaper_own_use },
	{ "orphan-subreaper", "a grandchild handed to its subreaper", orphan_make, orphan_of_ours_use, 0, 1 },
	{ "orphan-inner-subreaper", "the same, further down", subreaper_kid_make },
	{ "orphan-init", "a grandchild handed to init", orphan_make, orphan_of_init_use, MAKER_CONTAINER },
	{ "other-program", "a child that another program forked, which has ended", other_program_make,
		other_program_use },
	{ "unexeced", "a child that never called exec", unexeced_make, unexeced_use },
	{ "execed", "a child that called exec", execed_make, execed_use },
	{ "vfork-brief", "a parent often inside vfork, for 200 ms", vfork_make, NULL, MAKER_RESTLESS, 200 },
	{ "vfork-long", "a parent inside vfork for as long as it takes", vfork_make, NULL, MAKER_MUST_REFUSE, 0,
		"vfork" },
	{ "thread-parent", "a child of a thread that is not the first", bearer_make, bearer_use },
	{ "thread-parent-execed", "one that called exec", bearer_make, bearer_use, 0, 1 },
	{ "exit-signal-usr1", "a child whose end is told by SIGUSR1", exit_signal_make, exit_signal_use, 0, SIGUSR1 },
	{ "exit-signal-none", "a child whose end is not told", exit_signal_make, exit_signal_use, 0, 0 },
	{ 0 },
};
