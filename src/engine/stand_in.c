/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/stand_in.h"

#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "engine/tasks.h"
#include "remote/birth.h"

void stand_in_clone(struct batch *b, const char *what, pid_t number, struct slot *slot)
{
	batch_clone(b, what, 0, SIGCHLD, number, slot);
}

static void add_exit(struct batch *b)
{
	batch_call(b, "exit", SYS_exit_group, 0);
}

static void add_reap(struct batch *b, pid_t number)
{
	uint64_t set = 1ull << (SIGCHLD - 1);
	struct timespec now = { 0, 0 };
	uint32_t op = batch_call(b, "reaping of a stand-in", SYS_wait4, (uint64_t)number, 0, __WALL, 0);

	batch_expect(b, op, number);
	op = batch_call(b, "SIGCHLD of a stand-in", SYS_rt_sigtimedwait, batch_copy(b, &set, sizeof(set)).v, 0,
		batch_copy(b, &now, sizeof(now)).v, sizeof(set));
	batch_may_fail(b, op);
}

int stand_in_end(struct plan *plan, struct slot *slot, struct new_process *parent, pid_t number)
{
	struct batch leave, reap;
	int r;

	batch_init(&leave, &plan->r->area);
	batch_init(&reap, &plan->r->area);
	add_exit(&leave);
	add_reap(&reap, number);
	r = batch_submit(&leave, slot);
	if (r == 0)
		r = run_alone(plan, &reap, parent->threads[0].slot, "reaping");
	batch_free(&leave);
	batch_free(&reap);
	return r;
}
