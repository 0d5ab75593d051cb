/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/stages.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "engine/leaders.h"
#include "engine/release.h"
#include "engine/tasks.h"
#include "engine/zombie.h"
#include "kernel/procfs.h"
#include "state/descriptors.h"

/* --- which records are whose --- */

struct owned {
	object_id of;
	size_t order; /* of the component in the table */
	const struct component *component;
	const struct record *record;
};

struct staging {
	struct plan *plan;
	struct workers *workers;
	struct owned *owned; /* sorted by owner, then by the order of the table */
	size_t n;
};

static int compare_owned(const void *a, const void *b)
{
	const struct owned *x = a, *y = b;

	if (x->of != y->of)
		return x->of < y->of ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

static size_t order_of(const struct component *k)
{
	size_t i = 0;

	while (components[i] && components[i] != k)
		i++;
	return i;
}

/* A thread's own record names its process first, and is its own all the same. */
static object_id owner_of(const struct component *k, const struct record *rec)
{
	return k == &component_thread ? rec->id : *(const object_id *)rec->state;
}

static int find_owned(struct staging *s)
{
	const struct image *img = s->plan->r->image;

	s->owned = calloc(img->n_records + 1, sizeof(*s->owned));
	if (!s->owned)
		return failed(s->plan->r->ps, NULL, -ENOMEM, "out of memory");
	for (size_t i = 0; i < img->n_records; i++) {
		const struct record *rec = &img->records[i];
		const struct component *k = component_of(rec->kind);

		if (k && (k->scope == SCOPE_PROCESS || k->scope == SCOPE_THREAD))
			s->owned[s->n++] = (struct owned){ owner_of(k, rec), order_of(k), k, rec };
	}
	qsort(s->owned, s->n, sizeof(*s->owned), compare_owned);
	return 0;
}

static const struct owned *owned_of(const struct staging *s, object_id of, size_t *n)
{
	size_t low = 0, high = s->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (s->owned[mid].of < of)
			low = mid + 1;
		else
			high = mid;
	}
	for (*n = 0; low + *n < s->n && s->owned[low + *n].of == of; (*n)++)
		;
	return &s->owned[low];
}

/* --- one stage --- */

static const char *const stage_names[] = {
	[STAGE_NAMESPACES] = "namespaces",
	[STAGE_BIRTH] = "birth",
	[STAGE_CREATE] = "creation of files",
	[STAGE_CONNECT] = "descriptors",
	[STAGE_ATTACH] = "attaching",
	[STAGE_ARM] = "signals and timers",
	[STAGE_IDENTITY] = "identity",
};

static const enum stage first_stages[] = { STAGE_CREATE, STAGE_CONNECT, STAGE_ATTACH },
			last_stages[] = { STAGE_ARM, STAGE_IDENTITY };

static bool is_stopped(const struct new_process *p)
{
	return process_of(p)->stopped && !p->zombie;
}

static int build_owned(struct staging *s, struct build *b, object_id of, enum stage stage)
{
	size_t n;
	const struct owned *o = owned_of(s, of, &n);

	for (size_t i = 0; i < n; i++)
		if (o[i].component->build[stage]) {
			int r = o[i].component->build[stage](b, o[i].record->state);

			if (r < 0)
				return s->plan->r->ps->first_error
					       ? r
					       : failed(s->plan->r->ps,
							 BLAME(.pid = b->process->vpid,
								 .object = o[i].component->kind.name),
							 r, "cannot be restored: %s", strerror(-r));
		}
	return 0;
}

static bool has_ended(const struct new_thread *t)
{
	return t->record && ((const struct thread_state *)t->record->state)->exited && t != &t->process->threads[0];
}

static int stage_of_process(struct staging *s, struct step *step, struct new_process *p, enum stage stage)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < p->n_threads; i++) {
		struct build b;

		if (has_ended(&p->threads[i]))
			continue;
		if (!step_add(step, &p->threads[i]))
			return -ENOMEM;
		b = step_build(step, &p->threads[i]);
		/* Not at the end of the stage before: threads, and a process that shares the table, may still be using it. */
		if (i == 0 && stage == STAGE_ARM && !descriptors_shared(s->plan->r, p->id))
			batch_call(b.batch, "close of the keeper's pidfd", SYS_close, (uint64_t)p->keeper_fd);
		if (i == 0)
			r = build_owned(s, &b, p->id, stage);
		if (r == 0)
			r = build_owned(s, &b, p->threads[i].id, stage);
	}
	return r;
}

static int stage_run(struct staging *s, enum stage stage)
{
	struct restore *r = s->plan->r;
	struct step step = { .plan = s->plan, .name = stage_names[stage] };
	int error = 0;

	for (size_t i = 0; error == 0 && i < r->n_processes; i++)
		if (!r->processes[i]->zombie && !(stage >= STAGE_ARM && is_stopped(r->processes[i])))
			error = stage_of_process(s, &step, r->processes[i], stage);
	if (error < 0) {
		step_abandon(&step);
		return error;
	}
	return step_run(&step);
}

/* --- what the engine itself does --- */

/* The rounds of one component. */
struct rounds {
	struct callers callers;
	struct step step;
	struct build build;
};

static struct build *add_caller(struct callers *c, struct new_thread *t)
{
	struct rounds *rounds = (struct rounds *)c;

	if (!step_add(&rounds->step, t))
		return NULL;
	rounds->build = step_build(&rounds->step, t);
	return &rounds->build;
}

static int run_rounds(struct plan *plan, const struct component *k)
{
	struct rounds rounds = { .callers = { .add = add_caller }, .step = { .plan = plan, .name = k->kind.name } };

	for (unsigned int n = 0;; n++) {
		int r = k->round(plan->r, &rounds.callers, n);

		if (r <= 0) {
			step_abandon(&rounds.step);
			return r == 0 || plan->r->ps->first_error ? r
								  : failed(plan->r->ps, BLAME(.object = k->kind.name),
									    r, "cannot be connected: %s", strerror(-r));
		}
		r = step_run(&rounds.step);
		if (r < 0) {
			k->round(plan->r, &rounds.callers, ROUND_ABANDON);
			return r;
		}
	}
}

/* In the keeper: every open file description, what connects them, then what is in their queues. */
static int create_files(struct plan *plan)
{
	struct restore *r = plan->r;

	for (size_t i = 0; i < r->image->n_records; i++)
		if (!strcmp(r->image->records[i].kind->name, "file")) {
			int fd = restore_file(r, r->image->records[i].id);

			if (fd < 0)
				return r->ps->first_error ? fd
							  : failed(r->ps, NULL, fd, "an open file cannot be made: %s",
								    strerror(-fd));
		}
	for (size_t i = 0; components[i]; i++) {
		int error = components[i]->round ? run_rounds(plan, components[i]) : 0;

		if (error < 0)
			return error;
	}
	for (size_t i = 0; i < r->image->n_records; i++) {
		const struct component *k = component_of(r->image->records[i].kind);
		int error = k && k->fill ? k->fill(r, &r->image->records[i]) : 0;

		if (error < 0)
			return r->ps->first_error ? error
						  : failed(r->ps, BLAME(.object = k->kind.name), error,
							    "its contents cannot be put back: %s", strerror(-error));
	}
	return 0;
}

#define STOP_STEPS 500 /* of 1 ms */

/* --- zombies, stopped processes, leaders that have gone --- */

/* Whatever signal, or none, tells that it ended. */
static uint32_t add_waitid(struct batch *b, pid_t pid, int options)
{
	return batch_call(b, "waitid", SYS_waitid, P_PID, (uint64_t)pid, 0, (uint64_t)(options | __WALL), 0);
}

/* A child's end or stop, which was told to its parent in the tree's first life, is not to be told again. */
static void add_forget_signals(struct batch *b)
{
	struct timespec now = { 0, 0 };
	uint64_t all = ~0ull;

	for (int i = 0; i < 2; i++)
		batch_may_fail(
			b, batch_call(b, "rt_sigtimedwait", SYS_rt_sigtimedwait, batch_copy(b, &all, sizeof(all)).v, 0,
				   batch_copy(b, &now, sizeof(now)).v, sizeof(all)));
}

/* Its parent takes no notice: that was told in the tree's first life. */
static int end_zombie(struct staging *s, struct step *step, struct new_process *p)
{
	struct step own = { .plan = s->plan, .name = "zombies" };
	struct build b;
	int directory, r;

	if (!step_add(&own, &p->threads[0]))
		return -ENOMEM;
	b = step_build(&own, &p->threads[0]);
	directory = zombie_prepare(&b);
	r = build_owned(s, &b, p->id, STAGE_IDENTITY);
	if (r == 0)
		r = step_run(&own);
	else
		step_abandon(&own);
	if (r == 0)
		r = zombie_end(s->plan, p);
	close_fd(&directory);
	if (r < 0 || !p->parent)
		return r;
	if (!step_add(step, &p->parent->threads[0]))
		return -ENOMEM;
	add_waitid(&p->parent->threads[0].batch, p->vpid, WEXITED | WNOWAIT);
	add_forget_signals(&p->parent->threads[0].batch);
	return step_run(step);
}

static int end_zombies(struct staging *s)
{
	struct step step = { .plan = s->plan, .name = "zombies" };
	int r = 0;

	for (size_t i = 0; r == 0 && i < s->plan->r->n_processes; i++)
		if (s->plan->r->processes[i]->zombie)
			r = end_zombie(s, &step, s->plan->r->processes[i]);
	return r;
}

/*
 * The parent is to hear by which signal: one of the terminal's stops only by its default action, in a task that does not block it, and not in an
 * orphaned group. The task is in that call still when its registers are set.
 */
static bool stops_itself(struct plan *plan, struct new_process *p)
{
	const struct process_state *s = process_of(p);
	uint64_t mask = ~(1ull << ((s->stopped - 1) & 63));
	_cleanup_fd_ int dir = procfs_open_pid(p->pid);
	struct proc_stat st;
	struct batch b;
	int r;

	if ((s->stopped != SIGTSTP && s->stopped != SIGTTIN && s->stopped != SIGTTOU) || s->stop_reported || !p->parent)
		return false;
	batch_init(&b, &plan->r->area);
	batch_call(&b, "kill", SYS_kill, s->pid, s->stopped);
	batch_call(&b, "rt_sigprocmask", SYS_rt_sigprocmask, SIG_SETMASK, batch_copy(&b, &mask, sizeof(mask)).v, 0,
		sizeof(mask));
	r = batch_submit(&b, p->threads[0].slot);
	batch_free(&b);
	for (int i = 0; r == 0 && i < STOP_STEPS; i++) {
		if (proc_stat_read(dir, &st) == 0 && st.state == 'T')
			return true;
		usleep(1000);
	}
	return false;
}

static int stop_process(struct plan *plan, struct new_process *p)
{
	struct step step = { .plan = plan, .name = "job control" };

	if (!stops_itself(plan, p) && kill(p->pid, SIGSTOP) < 0)
		return failed(plan->r->ps, BLAME(.pid = p->vpid), -errno, "cannot be stopped: %m");
	if (!p->parent)
		return 0;
	if (!step_add(&step, &p->parent->threads[0]))
		return -ENOMEM;
	add_waitid(&p->parent->threads[0].batch, p->vpid, WSTOPPED | (process_of(p)->stop_reported ? 0 : WNOWAIT));
	add_forget_signals(&p->parent->threads[0].batch);
	return step_run(&step);
}

/* What is stopped runs no batch any more: it goes through its last stages before the others, and before its parent if that is stopped too. */
static int stop_processes(struct staging *s)
{
	struct restore *r = s->plan->r;

	for (size_t i = r->n_processes; i-- > 0;) {
		int error = 0;

		if (!is_stopped(r->processes[i]))
			continue;
		for (size_t k = 0; error == 0 && k < ARRAY_SIZE(last_stages); k++) {
			struct step step = { .plan = s->plan, .name = stage_names[last_stages[k]] };

			error = stage_of_process(s, &step, r->processes[i], last_stages[k]);
			if (error == 0)
				error = step_run(&step);
		}
		if (error == 0)
			error = stop_process(s->plan, r->processes[i]);
		if (error < 0)
			return error;
	}
	return 0;
}

/* In the call itself: the stub waits by a futex too, for another word. */
static bool is_in_sleep(const struct new_thread *t, const struct thread_state *s, const struct user_regs_struct *gp)
{
	_cleanup_free_ char *text = NULL;
	unsigned long long first;
	char path[48];
	size_t size;
	int nr;

	if (__atomic_load_n(&t->slot->state, __ATOMIC_ACQUIRE) == SLOT_DONE)
		return true;
	snprintf(path, sizeof(path), "/proc/%d/syscall", t->tid);
	if (procfs_read(AT_FDCWD, path, &text, &size) < 0)
		return true; /* it has died: nothing to wait for */
	if (sscanf(text, "%d %llx", &nr, &first) != 2)
		return false;
	return nr == s->restart.nr && (nr != SYS_futex || first == gp->rdi);
}

#define ASLEEP_TRIES 20000

/* One that is taken out of the stub before it slept would begin its sleep from the start. */
static void await_sleep(const struct new_thread *t)
{
	const struct timespec moment = { .tv_nsec = 50000 };
	const struct thread_state *s = t->record->state;
	struct user_regs_struct gp;

	memcpy(&gp, &s->regs, sizeof(gp));
	for (int i = 0; i < ASLEEP_TRIES && !is_in_sleep(t, s, &gp); i++)
		nanosleep(&moment, NULL);
}

static void await_sleeps(struct plan *plan)
{
	struct restore *r = plan->r;

	for (size_t i = 0; i < r->n_processes; i++)
		for (size_t k = 0; k < r->processes[i]->n_threads; k++)
			if (r->processes[i]->threads[k].asleep)
				await_sleep(&r->processes[i]->threads[k]);
}

/* A sleep that the kernel goes on with by itself has to be begun in the new task; it is found asleep when it is taken out of the stub. */
static int begin_sleeps(struct plan *plan)
{
	struct restore *r = plan->r;

	for (size_t i = 0; i < r->n_processes; i++)
		for (size_t k = 0; !r->processes[i]->zombie && k < r->processes[i]->n_threads; k++) {
			struct new_thread *t = &r->processes[i]->threads[k];
			const struct thread_state *s = t->record->state;
			struct user_regs_struct gp;
			int error;

			if (s->exited || !restart_needs_rearm(&s->restart))
				continue;
			memcpy(&gp, &s->regs, sizeof(gp));
			batch_init(&t->batch, &r->area);
			restart_rearm(&t->batch, &s->restart, &gp);
			error = batch_submit(&t->batch, t->slot);
			t->asleep = true;
			if (error < 0)
				return failed(r->ps, BLAME(.pid = t->vtid), error, "its sleep cannot be begun again");
		}
	return 0;
}

static int settle(struct plan *plan)
{
	struct restore *r = plan->r;
	int error = 0;

	for (size_t i = 0; error == 0 && i < r->image->n_records; i++) {
		const struct component *k = component_of(r->image->records[i].kind);

		error = k && k->settle ? k->settle(r, &r->image->records[i]) : 0;
		if (error < 0 && !r->ps->first_error)
			failed(r->ps, BLAME(.object = k->kind.name), error, "cannot be completed: %s",
				strerror(-error));
	}
	area_reset(&r->area);
	return error;
}

/* --- all --- */

static int run_all(struct staging *s)
{
	int r = create_files(s->plan);

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(first_stages); i++)
		r = stage_run(s, first_stages[i]);
	if (r == 0)
		r = end_zombies(s);
	if (r == 0)
		r = settle(s->plan);
	if (r == 0)
		r = stop_processes(s);
	if (r == 0)
		r = stage_run(s, STAGE_ARM);
	if (r == 0)
		r = release_seize_filtered(s->plan, s->workers);
	if (r == 0)
		r = stage_run(s, STAGE_IDENTITY);
	if (r == 0)
		r = leaders_end(s->plan);
	if (r == 0)
		r = begin_sleeps(s->plan);
	if (r == 0)
		await_sleeps(s->plan);
	return r;
}

int stages(struct plan *plan, struct workers *w)
{
	struct staging s = { .plan = plan, .workers = w };
	int r = find_owned(&s);

	if (r == 0)
		r = run_all(&s);
	free(s.owned);
	return r;
}
