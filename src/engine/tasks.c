/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/tasks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define STEP_TIMEOUT_MS                                                                                                \
	(30 * 60 * 1000) /* reading memory from a slow disk may take long; a task that dies is noticed at once */

struct build step_build(struct step *s, struct new_thread *task)
{
	return (struct build){
		.restore = s->plan->r,
		.process = task->process,
		.thread = task,
		.batch = &task->batch,
		.ps = s->plan->r->ps,
	};
}

static bool task_alive(void *arg)
{
	const struct new_thread *task = arg;
	struct proc_stat st;
	int dir, r;

	if (!task->process->pid) /* its number is not known yet */
		return true;
	dir = procfs_open_pid(task->process->pid);
	r = dir < 0 ? dir : proc_stat_read(dir, &st);
	close_fd(&dir);
	return r == 0 && st.state != 'Z' && st.state != 'X';
}

/* Of a tree that can move a taken number is no failure yet (engine/restore.c). */
static int tell_taken(struct plan *plan, pid_t number)
{
	if (move_is_possible(plan))
		return -EEXIST;
	return failed(plan->r->ps, BLAME(.pid = number, .object = "pid", .remedy = "try again"), -EEXIST,
		"is taken in the tree's own pid namespace, which somebody else must have entered");
}

/* Whether to try a birth again. The tree's own namespace is nobody else's: who is there cannot be told by the numbers here. */
static bool number_yields(struct plan *plan, pid_t number, uint64_t *since)
{
	struct holder holder;

	if (!number || plan->taken.number || !move_is_possible(plan))
		return false;
	if (holder_yields(number, since, &holder))
		return true;
	plan->taken = holder;
	return false;
}

static int wait_for(
	struct plan *plan, struct batch *b, struct slot *slot, bool (*alive)(void *arg), struct new_thread *task)
{
	uint64_t since = 0;
	int r = batch_wait(b, slot, STEP_TIMEOUT_MS, alive, task);

	while (r == -EEXIST && number_yields(plan, batch_unborn(b, slot), &since)) {
		r = batch_again(b, slot);
		if (r == 0)
			r = batch_wait(b, slot, STEP_TIMEOUT_MS, alive, task);
	}
	return r;
}

static int tell_failure(
	struct plan *plan, const struct batch *b, const struct slot *slot, pid_t vpid, const char *name, int error)
{
	uint32_t at = batch_failed_at(b, slot);

	if (b->error)
		return failed(plan->r->ps, BLAME(.pid = vpid), b->error, "%s cannot be prepared: %s", name,
			strerror(-b->error));
	if (error == -EEXIST && batch_unborn(b, slot))
		return tell_taken(plan, batch_unborn(b, slot));
	if (error == -ESRCH)
		return failed(plan->r->ps, BLAME(.pid = vpid), error, "the task died during %s", name);
	if (at < b->n)
		return failed(plan->r->ps, BLAME(.pid = vpid), error, "%s: %s: %s", name, batch_what(b, at),
			strerror(-error));
	return failed(plan->r->ps, BLAME(.pid = vpid), error, "%s: %s", name, strerror(-error));
}

static void submit(struct step *s, struct new_thread *t)
{
	int r;

	if (!t->batch.n && !t->batch.error) {
		batch_free(&t->batch);
		return;
	}
	r = batch_submit(&t->batch, t->slot);
	if (r == 0) {
		s->tasks[s->n++] = t;
		return;
	}
	r = tell_failure(s->plan, &t->batch, t->slot, t->vtid, s->name, r);
	s->error = s->error ? s->error : r;
	batch_free(&t->batch);
}

void step_submit(struct step *s)
{
	if (s->open)
		submit(s, s->open);
	s->open = NULL;
}

struct batch *step_add(struct step *s, struct new_thread *task)
{
	step_submit(s);
	if (s->n == s->room) {
		struct new_thread **grown = reallocarray(s->tasks, s->room ? 2 * s->room : 64, sizeof(*grown));

		if (!grown) {
			failed(s->plan->r->ps, NULL, -ENOMEM, "out of memory");
			return NULL;
		}
		s->tasks = grown;
		s->room = s->room ? 2 * s->room : 64;
	}
	batch_init(&task->batch, &s->plan->r->area);
	s->open = task;
	return &task->batch;
}

static void forget(struct step *s)
{
	for (size_t i = 0; i < s->n; i++)
		batch_free(&s->tasks[i]->batch);
	free(s->tasks);
	*s = (struct step){ .plan = s->plan, .name = s->name };
}

void step_abandon(struct step *s)
{
	if (s->open)
		batch_free(&s->open->batch);
	forget(s);
}

int step_wait(struct step *s)
{
	int first;

	step_submit(s);
	first = s->error;
	for (size_t i = 0; i < s->n; i++) {
		struct new_thread *t = s->tasks[i];
		int r = wait_for(s->plan, &t->batch, t->slot, task_alive, t);

		if (r < 0) {
			r = tell_failure(s->plan, &t->batch, t->slot, t->vtid, s->name, r);
			first = first ? first : r;
		}
	}
	forget(s);
	return first;
}

void step_end(struct plan *plan)
{
	area_reset(&plan->r->area);
}

int step_run(struct step *s)
{
	int r = step_wait(s);

	step_end(s->plan);
	return r;
}

int run_alone(struct plan *plan, struct batch *b, struct slot *slot, const char *name)
{
	int r = batch_submit(b, slot);

	if (r == 0)
		r = wait_for(plan, b, slot, NULL, NULL);
	return r < 0 ? tell_failure(plan, b, slot, 0, name, r) : 0;
}
