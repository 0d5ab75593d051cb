/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sessions and process groups, and those whose leader is gone. setsid(2), setpgid(2), credentials(7). */

#include "maker.h"

#include <sys/prctl.h>

static pid_t a, b;
static volatile sig_atomic_t caught;

static void on_usr1(int sig)
{
	caught++;
}

/* What each process was, it still is, and hands on to its children. */

static pid_t my_sid, my_pgid;

static int remember(struct maker_ctx *ctx)
{
	my_sid = getsid(0);
	my_pgid = getpgrp();
	CHECK(signal(SIGUSR1, on_usr1) != SIG_ERR);
	return 0;
}

static int still_same(struct maker_ctx *ctx)
{
	pid_t p;

	SAME(getsid(0), my_sid);
	SAME(getpgrp(), my_pgid);
	p = fork();
	CHECK(p >= 0);
	if (!p)
		_exit(getsid(0) != my_sid || getpgrp() != my_pgid);
	return reap_ok(p);
}

static int session_kid(struct maker_ctx *ctx)
{
	SAME(setsid(), getpid());
	return remember(ctx);
}

static int session_kid_use(struct maker_ctx *ctx)
{
	SAME(my_sid, getpid());
	TRY(still_same(ctx));
	SAME(setsid(), -1);
	SAME(errno, EPERM);
	return 0;
}

static int session_make(struct maker_ctx *ctx)
{
	TRY(remember(ctx));
	return kid_start(ctx, session_kid, session_kid_use, &a);
}

static int session_use(struct maker_ctx *ctx)
{
	TRY(still_same(ctx));
	SAME(getsid(a), a);
	return kids_finish(ctx);
}

/* A session within: its leader's child starts one more. */

static int nested_kid(struct maker_ctx *ctx)
{
	TRY(session_kid(ctx));
	return kid_start(ctx, session_kid, session_kid_use, NULL);
}

static int nested_kid_use(struct maker_ctx *ctx)
{
	TRY(session_kid_use(ctx));
	return kids_finish(ctx);
}

static int nested_make(struct maker_ctx *ctx)
{
	return kid_start(ctx, nested_kid, nested_kid_use, NULL);
}

/* Groups: one of two children, one of one, one of the parent. */

static int told_once(struct maker_ctx *ctx)
{
	CHECK(UNTIL(caught));
	SAME(caught, 1);
	return 0;
}

static int not_told(struct maker_ctx *ctx)
{
	CHECK(UNTIL(shared(ctx)->flag[0]));
	tid_self(); /* a signal that was sent is handled by the end of a system call */
	SAME(caught, 0);
	return 0;
}

static int groups_make(struct maker_ctx *ctx)
{
	pid_t third;

	TRY(kid_start(ctx, remember, told_once, &a));
	TRY(kid_start(ctx, remember, told_once, &b));
	TRY(kid_start(ctx, remember, not_told, &third));
	CHECK(!setpgid(a, a));
	CHECK(!setpgid(b, a));
	CHECK(!setpgid(third, third));
	return 0;
}

static int groups_use(struct maker_ctx *ctx)
{
	SAME(getpgid(b), a);
	CHECK(!kill(-a, SIGUSR1));
	shared(ctx)->flag[0] = 1;
	return kids_finish(ctx);
}

/* A group whose leader is dead: the number lives on. arg: the leader stays a zombie. */

static int ends_when_told(struct maker_ctx *ctx)
{
	while (!shared(ctx)->flag[1])
		nap(2);
	_exit(0);
}

static int leader_make(struct maker_ctx *ctx)
{
	shared(ctx);
	a = fork();
	CHECK(a >= 0);
	if (!a)
		ends_when_told(ctx);
	TRY(kid_start(ctx, remember, told_once, &b));
	CHECK(!setpgid(a, a));
	CHECK(!setpgid(b, a));
	shared(ctx)->flag[1] = 1;
	if (ctx->arg) {
		siginfo_t si;

		return waitid(P_PID, (id_t)a, &si, WEXITED | WNOWAIT);
	}
	return reap_ok(a);
}

static int leader_use(struct maker_ctx *ctx)
{
	SAME(getpgid(b), a);
	CHECK(!kill(-a, SIGUSR1));
	TRY(kids_finish(ctx));
	if (ctx->arg)
		TRY(reap_ok(a));
	SAME(kill(-a, 0), -1);
	SAME(errno, ESRCH);
	return 0;
}

/* A session whose leader is dead; its orphan belongs to us. arg: 1: the leader stays a zombie; 2: the orphan
 * has a group of its own. */

static int orphan_use(struct maker_ctx *ctx)
{
	SAME(getsid(0), shared(ctx)->value[1]);
	SAME(getpgrp(), shared(ctx)->value[2]);
	TRY(still_same(ctx));
	if (ctx->arg != 2)
		SAME(setsid(), getpid());
	return 0;
}

static int dead_session_make(struct maker_ctx *ctx)
{
	struct maker_shared *s = shared(ctx);
	siginfo_t si;

	CHECK(!prctl(PR_SET_CHILD_SUBREAPER, 1));
	a = fork();
	CHECK(a >= 0);
	if (!a) {
		pid_t leader = setsid(), p = fork();

		if (p)
			_exit(p < 0 || leader < 0);
		if (ctx->arg == 2)
			setpgid(0, 0);
		while (getppid() == leader)
			nap(2);
		s->value[0] = getpid();
		s->value[1] = leader;
		s->value[2] = getpgrp();
		kid_live(ctx, remember, orphan_use);
	}
	TRY(kid_up(ctx, 0, 0));
	return ctx->arg == 1 ? waitid(P_PID, (id_t)a, &si, WEXITED | WNOWAIT) : reap_ok(a);
}

static int dead_session_use(struct maker_ctx *ctx)
{
	struct maker_shared *s = shared(ctx);

	SAME(getsid((pid_t)s->value[0]), a);
	if (ctx->arg == 1)
		TRY(reap_ok(a));
	let_go(&s->go);
	return reap_ok((pid_t)s->value[0]);
}

/* An orphaned group: SIGTSTP does not stop it, SIGSTOP does. */

static int orphaned_kid_use(struct maker_ctx *ctx)
{
	CHECK(!raise(SIGTSTP));
	CHECK(!raise(SIGTTIN));
	return 0;
}

static int orphaned_make(struct maker_ctx *ctx)
{
	return kid_start(ctx, session_kid, orphaned_kid_use, NULL);
}

/* A group that its parent holds up: stopped by SIGTSTP, then orphaned: it gets SIGHUP and SIGCONT. */

static volatile sig_atomic_t hup;

static void on_hup(int sig)
{
	hup++;
}

static int inner_use(struct maker_ctx *ctx)
{
	CHECK(UNTIL(shared(ctx)->flag[0]));
	SAME(hup, 0);
	return 0;
}

static int holder_make(struct maker_ctx *ctx)
{
	CHECK(signal(SIGHUP, on_hup) != SIG_ERR);
	TRY(session_kid(ctx));
	TRY(kid_start(ctx, remember, inner_use, &b));
	CHECK(!setpgid(b, b));
	return 0;
}

static int holder_use(struct maker_ctx *ctx)
{
	siginfo_t si;

	SAME(getpgid(b), b);
	CHECK(!kill(b, SIGTSTP)); /* not orphaned: we are in its session and in another group */
	CHECK(!waitid(P_PID, (id_t)b, &si, WSTOPPED));
	SAME(si.si_status, SIGTSTP);
	CHECK(!kill(b, SIGCONT));
	shared(ctx)->flag[0] = 1;
	return kids_finish(ctx);
}

static int held_make(struct maker_ctx *ctx)
{
	return kid_start(ctx, holder_make, holder_use, NULL);
}

const struct maker makers_session[] = {
	{ "session", "a child that leads a session", session_make, session_use },
	{ "nested", "a session below a session", nested_make },
	{ "groups", "three process groups", groups_make, groups_use },
	{ "group-leader-gone", "a group whose leader is gone", leader_make, leader_use, 0, 0 },
	{ "group-leader-zombie", "a group whose leader is a zombie", leader_make, leader_use, 0, 1 },
	{ "leader-gone", "a session whose leader is gone", dead_session_make, dead_session_use, 0, 0 },
	{ "leader-zombie", "a session whose leader is a zombie", dead_session_make, dead_session_use, 0, 1 },
	{ "leader-gone-own-group", "such a session's other group", dead_session_make, dead_session_use, 0, 2 },
	{ "orphaned-group", "a group that SIGTSTP must not stop", orphaned_make },
	{ "held-group", "a group that SIGTSTP stops", held_make },
	{ 0 },
};
