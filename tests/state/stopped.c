/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Processes that a signal has stopped, or continued, told to their parent or not. waitpid(2), kill(2). */

#include "maker.h"

#include <sys/prctl.h>

static pid_t kid;

/* Stopped and continued children: arg is the signal. */

static _Noreturn void idle_forever(void)
{
	for (;;)
		pause();
}

static int idle_child(void)
{
	kid = fork();
	CHECK(kid >= 0);
	if (!kid)
		idle_forever();
	return 0;
}

static int stopped_make(struct maker_ctx *ctx)
{
	siginfo_t si;

	TRY(idle_child());
	CHECK(!setpgid(kid, kid)); /* SIGTSTP does not stop a process of an orphaned group */
	CHECK(!kill(kid, (int)ctx->arg));
	return waitid(P_PID, (id_t)kid, &si, WSTOPPED | WNOWAIT);
}

static int end_child(void)
{
	int status;

	CHECK(!kill(kid, SIGTERM));
	CHECK(!kill(kid, SIGCONT));
	SAME(waitpid(kid, &status, 0), kid);
	SAME(status, SIGTERM);
	return 0;
}

static int stopped_unreported_use(struct maker_ctx *ctx)
{
	siginfo_t si = { 0 };

	SAME(task_state(kid), 'T');
	CHECK(!waitid(P_PID, (id_t)kid, &si, WSTOPPED | WNOHANG));
	SAME(si.si_pid, kid);
	SAME(si.si_code, CLD_STOPPED);
	SAME(si.si_status, ctx->arg);
	return end_child();
}

static int stopped_reported_make(struct maker_ctx *ctx)
{
	int status;

	TRY(stopped_make(ctx));
	SAME(waitpid(kid, &status, WUNTRACED), kid);
	return 0;
}

static int stopped_reported_use(struct maker_ctx *ctx)
{
	siginfo_t si = { 0 };

	SAME(task_state(kid), 'T');
	CHECK(!waitid(P_PID, (id_t)kid, &si, WSTOPPED | WNOHANG));
	SAME(si.si_pid, 0);
	CHECK(!kill(kid, SIGCONT));
	CHECK(!waitid(P_PID, (id_t)kid, &si, WCONTINUED));
	SAME(si.si_code, CLD_CONTINUED);
	CHECK(UNTIL(task_state(kid) == 'S'));
	return end_child();
}

static int continued_make(struct maker_ctx *ctx)
{
	siginfo_t si;

	TRY(stopped_reported_make(ctx));
	CHECK(!kill(kid, SIGCONT));
	return waitid(P_PID, (id_t)kid, &si, WCONTINUED | WNOWAIT);
}

static int continued_use(struct maker_ctx *ctx)
{
	siginfo_t si = { 0 };

	CHECK(!waitid(P_PID, (id_t)kid, &si, WCONTINUED | WNOHANG));
	SAME(si.si_pid, kid);
	SAME(si.si_code, CLD_CONTINUED);
	return end_child();
}

/* Stopped with a signal pending: it is handled when the process goes on. */

static volatile sig_atomic_t handled;

static void on_usr1(int sig)
{
	handled++;
}

static int handled_once(struct maker_ctx *ctx)
{
	shared(ctx)->flag[0] = handled;
	return 0;
}

static int catch_usr1(struct maker_ctx *ctx)
{
	CHECK(signal(SIGUSR1, on_usr1) != SIG_ERR);
	return 0;
}

static int stopped_pending_make(struct maker_ctx *ctx)
{
	siginfo_t si;

	TRY(kid_start(ctx, catch_usr1, handled_once, &kid));
	CHECK(!kill(kid, SIGSTOP));
	CHECK(!waitid(P_PID, (id_t)kid, &si, WSTOPPED));
	return kill(kid, SIGUSR1);
}

static int stopped_pending_use(struct maker_ctx *ctx)
{
	CHECK(!kill(kid, SIGCONT));
	TRY(kids_finish(ctx));
	SAME(shared(ctx)->flag[0], 1);
	return 0;
}

const struct maker makers_stopped[] = {
	{ "sigstop", "a stopped child, not waited for", stopped_make, stopped_unreported_use, MAKER_NO_STOP, SIGSTOP },
	{ "sigtstp", "the same by SIGTSTP", stopped_make, stopped_unreported_use, MAKER_NO_STOP, SIGTSTP },
	{ "waited", "a stopped child, waited for", stopped_reported_make, stopped_reported_use, MAKER_NO_STOP,
		SIGSTOP },
	{ "continued", "a continued child, not waited for", continued_make, continued_use, MAKER_NO_STOP, SIGSTOP },
	{ "pending", "a stopped child with a signal pending", stopped_pending_make, stopped_pending_use,
		MAKER_NO_STOP },
	{ 0 },
};
