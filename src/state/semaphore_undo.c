/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Adjustments that System V semaphores get at a process's exit. semop(2) SEM_UNDO, clone(2) and unshare(2) CLONE_SYSVSEM, kcmp(2); ipc/sem.c. A list of
 * them belongs to all tasks that share it: the threads of a process mostly do. What is in it, a task that has it is made to tell (semaphore_probe.c), and
 * a new one makes it again by operations of its own.
 */
#include "state/semaphore_undo.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kernel/sched.h"
#include "state/owner.h"
#include "state/semaphore_probe.h"
#include "state/sysv_sem.h"

struct set_adjustment {
	object_id set;
	uint64_t num;
	int64_t by;
};

struct undo_state {
	object_id of;
	bool alone;
	bool parents;
	struct set_adjustment *list;
	size_t n;
};

static const struct field adjustment_fields[] = {
	FIELD_REF(struct set_adjustment, set, "set", "sysv_sem", REF_STRONG, "of which set"),
	FIELD_UINT(struct set_adjustment, num, "num", "which semaphore"),
	FIELD_INT(struct set_adjustment, by, "by", "what its value changes by at exit"),
	FIELD_END,
};

static const struct field undo_fields[] = {
	FIELD_REF(struct undo_state, of, "of", "thread", REF_STRONG, "whose"),
	FIELD_BOOL(struct undo_state, alone, "alone", "the thread does not share its process's (unshare(2))"),
	FIELD_BOOL(struct undo_state, parents, "parents",
		"a leader's that it shares with its parent's leader (clone(2)), whose record has them"),
	FIELD_LIST(struct undo_state, list, n, "adjustments", adjustment_fields, "those that are not 0"),
	FIELD_END,
};

/* --- who shares with whom --- */

static bool same_list(const struct thread *a, const struct thread *b)
{
	return kernel_kcmp(a->tid, b->tid, KCMP_SYSVSEM) == 0;
}

/* This thread of spore's gives up what it may have, to be like one that has none. */
static bool has_list(const struct thread *th)
{
	unshare(CLONE_SYSVSEM);
	return kernel_kcmp((pid_t)syscall(SYS_gettid), th->tid, KCMP_SYSVSEM) != 0;
}

/* A child has its parent's only if it was born with CLONE_SYSVSEM. */
static bool has_parents(const struct process *p, const struct thread *th)
{
	return p->parent && !p->parent->zombie && has_list(th) && same_list(th, owner_alive(p->parent));
}

static int refuse_sharing(struct capture *c, const struct thread *with)
{
	return refused(c->ps, BLAME_PROCESS(c->process, .object = "adjustments of semaphores at exit (SEM_UNDO)"),
		"thread %d shares them with %d, which is neither of its process nor its parent", c->thread->vtid,
		with->vtid);
}

/* Who was born of the same parent with CLONE_SYSVSEM, when the parent has given up its own; or threads that share with one another and not with their leader. */
static const struct thread *shares_otherwise(const struct capture *c, const struct thread *main)
{
	const struct process *p = c->process;

	for (size_t i = 0; c->thread != main && i < c->thread->slot; i++)
		if (&p->threads[i] != main && p->threads[i].stat.state != 'Z' && same_list(&p->threads[i], c->thread))
			return &p->threads[i];
	for (size_t i = 0; c->thread == main && i < c->tree->n_processes && c->tree->processes[i] != p; i++)
		if (!c->tree->processes[i]->zombie && c->tree->processes[i] != p->parent &&
			c->tree->processes[i]->parent == p->parent &&
			same_list(owner_alive(c->tree->processes[i]), c->thread))
			return owner_alive(c->tree->processes[i]);
	return NULL;
}

/* --- what is in it --- */

static int refuse_set(struct capture *c, int semid, const char *why)
{
	char text[48];

	snprintf(text, sizeof(text), "System V semaphores (set %d)", semid);
	return refused(c->ps,
		BLAME_PROCESS(c->process, .object = text,
			.remedy = "start it with spore run, in an IPC namespace of its own"),
		"%s", why);
}

/* Its last operation came before the process (both in whole seconds of the clock as it is set now). */
static bool is_older(time_t set, const struct process *p)
{
	struct timespec now, up;
	int64_t born;

	clock_gettime(CLOCK_REALTIME, &now);
	clock_gettime(CLOCK_BOOTTIME, &up);
	born = now.tv_sec - up.tv_sec + (int64_t)(p->stat.starttime / (uint64_t)sysconf(_SC_CLK_TCK));
	return set + 1 < born;
}

static int add_adjustments(struct capture *c, struct undo_state *s, int semid, const struct adjustments *a)
{
	struct set_adjustment *grown = reallocarray(s->list, s->n + a->n, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	s->list = grown;
	for (size_t i = 0; i < a->n; i++)
		s->list[s->n++] =
			(struct set_adjustment){ sysv_sem_id(c, (uint64_t)semid), a->list[i].num, a->list[i].by };
	return 0;
}

static int capture_set(struct capture *c, struct undo_state *s, int semid, const struct semid_ds *set, bool own)
{
	_cleanup_(adjustments_free)
	struct adjustments a = { 0 };
	int r = semaphore_probe(c->process, c->thread, semid, set->sem_nsems, &a);

	if (r == -EIDRM || r == -EINVAL || (r == -EACCES && is_older(set->sem_otime, c->process)))
		return 0;
	if (r == -EACCES || r == -ENOSYS) /* it may have been another user when it used the set */
		return refuse_set(
			c, semid, "it may have adjustments to make at its exit (SEM_UNDO), and cannot be asked");
	if (r < 0 || !a.n)
		return r;
	if (!own && !sysv_sem_is_trees(c->tree, semid, set->sem_nsems))
		return refuse_set(c, semid,
			"it is to be adjusted when the process exits (SEM_UNDO), but others than the tree use it too");
	return add_adjustments(c, s, semid, &a);
}

static int capture_sets(struct capture *c, struct undo_state *s, bool own)
{
	struct seminfo used = { 0 };
	int last = semctl(0, 0, SEM_INFO, (union semun){ .info = &used }), r = 0;

	for (int i = 0; r == 0 && used.semusz && i <= last; i++) {
		struct semid_ds set;
		int semid = semctl(i, 0, SEM_STAT_ANY, (union semun){ .set = &set });

		if (semid >= 0 && set.sem_otime)
			r = capture_set(c, s, semid, &set, own);
	}
	return r;
}

static int capture_list(struct capture *c, struct undo_state *s)
{
	struct ipc_place place;
	int r = ipc_enter(c->process->living_fd, &place);

	if (r < 0)
		return r;
	r = capture_sets(c, s, place.foreign);
	ipc_leave(&place);
	return r;
}

static int undo_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	struct undo_state *s = state;
	const struct thread *main = owner_alive(c->process), *with;
	int r = 0;

	s->of = c->thread->id;
	s->alone = c->thread != main && (!same_list(c->thread, main) || !has_list(main));
	if (c->thread != main && !s->alone)
		return CAPTURE_NOTHING;
	if (has_list(c->thread)) {
		with = shares_otherwise(c, main);
		s->parents = c->thread == main && has_parents(c->process, main);
		if (with && !s->parents)
			return refuse_sharing(c, with);
		r = s->parents ? 0 : capture_list(c, s);
	}
	return r < 0 ? r : s->alone || s->parents || s->n ? 0 : CAPTURE_NOTHING;
}

/* --- restore --- */

bool semaphore_undo_is_shared(const struct restore *r, object_id leader)
{
	size_t n;
	const struct record *rec = image_records(r->image, &component_semaphore_undo.kind, &n);

	for (size_t i = 0; leader && i < n; i++) {
		const struct undo_state *s = rec[i].state;

		if (s->of == leader && s->parents)
			return true;
	}
	return false;
}

static int undo_validate(struct restore *r, const struct record *rec)
{
	const struct undo_state *s = rec->state;

	for (size_t i = 0; i < s->n; i++) {
		const struct sysv_sem_state *set = restore_state(r, s->list[i].set, component_sysv_sem.kind.name);

		if (!set || s->list[i].num >= set->n || s->list[i].by < -32768 || s->list[i].by > 32767)
			return failed(r->ps,
				BLAME(.pid = owner_vpid(r, s->of), .object = "adjustments of semaphores at exit"),
				-EBADMSG, "the image has an impossible one");
	}
	return 0;
}

static void adjust(struct build *b, const struct sysv_sem_state *set, const struct set_adjustment *a)
{
	struct sembuf ops[12], *end = ops;
	int left = (int)a->by, value = (int)set->list[a->num].value;

	while (left) {
		int by = left > SEMAPHORE_STEP ? SEMAPHORE_STEP : left < -SEMAPHORE_STEP ? -SEMAPHORE_STEP : left;

		semaphore_move(&end, (unsigned short)a->num, by, value);
		left -= by;
	}
	batch_call(b->batch, "semop with SEM_UNDO", SYS_semop, set->o.id,
		batch_copy(b->batch, ops, (size_t)(end - ops) * sizeof(*ops)).v, (uint64_t)(end - ops));
}

static int undo_make(struct build *b, const void *state)
{
	const struct undo_state *s = state;

	if (s->alone)
		batch_call(b->batch, "unshare(CLONE_SYSVSEM)", SYS_unshare, CLONE_SYSVSEM);
	for (size_t i = 0; i < s->n; i++)
		adjust(b, restore_state(b->restore, s->list[i].set, component_sysv_sem.kind.name), &s->list[i]);
	return 0;
}

const struct component component_semaphore_undo = {
	.kind = {
		.name = "semaphore_undo",
		.version = 2,
		.size = sizeof(struct undo_state),
		.fields = undo_fields,
		.doc = "what System V semaphores change by when a task ends (SEM_UNDO), and who shares that",
		.sources = "semop(2), clone(2), unshare(2), kcmp(2); ipc/sem.c; selftests/kcmp",
	},
	.scope = SCOPE_THREAD,
	.capture = undo_capture,
	.validate = undo_validate,
	.build[STAGE_ATTACH] = undo_make,
};
