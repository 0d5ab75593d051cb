/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kernel/procfs.h"
#include "state/io_context.h"
#include "state/memory_parked.h"
#include "state/semaphore_undo.h"
#include "state/session_keyring.h"
#include "state/timer_slack.h"

#define AREA_SIZE    (512ull << 20) /* sparse: only what batches use is ever touched */
#define AREA_SCRATCH (1ull << 20)   /* room behind it, to move the vDSO by */
#define AREA_LOWEST  0x200000000000ull
#define AREA_HIGHEST 0x500000000000ull

/* --- processes and threads --- */

static int bad_image(struct plan *plan, const char *what)
{
	return failed(plan->r->ps, NULL, -EBADMSG, "the image is damaged: %s", what);
}

static struct new_process *new_process(struct restore *r, const struct record *rec)
{
	const struct process_state *s = rec->state;
	struct new_process *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	*p = (struct new_process){
		.restore = r,
		.id = rec->id,
		.vpid = (pid_t)s->pid,
		.record = rec,
		.zombie = s->zombie,
		.keeper_fd = BARE_FD_KEEPER,
		.birth = calloc(1, sizeof(struct birth)),
	};
	if (!p->birth) {
		free(p);
		return NULL;
	}
	return p;
}

/* Records come in the order in which workers wrote them; parents go before children. */
static int add_processes(struct plan *plan)
{
	struct restore *r = plan->r;
	size_t n, added = 0;
	struct record *rec = image_records(r->image, &component_process.kind, &n);
	_cleanup_free_ bool *taken = calloc(n + 1, sizeof(*taken));

	r->processes = calloc(n + 1, sizeof(*r->processes));
	if (!r->processes || !taken)
		return -ENOMEM;
	for (bool progress = true; progress && added < n;) {
		progress = false;
		for (size_t i = 0; i < n; i++) {
			const struct process_state *s = rec[i].state;
			struct new_process *parent = s->parent ? restore_process(r, s->parent) : NULL;

			if (taken[i] || (s->parent && !parent))
				continue;
			r->processes[added] = new_process(r, &rec[i]);
			if (!r->processes[added])
				return -ENOMEM;
			r->processes[added]->parent = parent;
			r->n_processes = ++added;
			taken[i] = progress = true;
		}
	}
	if (!n || added < n)
		return bad_image(plan, "its processes do not form a tree");
	return 0;
}

static int add_threads(struct plan *plan)
{
	struct restore *r = plan->r;
	size_t n;
	struct record *rec = image_records(r->image, &component_thread.kind, &n);

	for (int pass = 0; pass < 2; pass++) /* leaders first */
		for (size_t i = 0; i < n; i++) {
			const struct thread_state *s = rec[i].state;
			struct new_process *p = restore_process(r, s->of);
			struct new_thread *grown;

			if (!p || p->zombie)
				return bad_image(plan, "a thread of no process");
			if (((pid_t)s->tid == p->vpid) != (pass == 0))
				continue;
			if (pass == 0 ? p->n_threads : !p->n_threads)
				return bad_image(plan, "a process without a leader, or with two");
			if (!(p->n_threads & (p->n_threads - 1))) {
				grown = reallocarray(p->threads, p->n_threads ? 2 * p->n_threads : 1, sizeof(*grown));
				if (!grown)
					return -ENOMEM;
				p->threads = grown;
			}
			p->threads[p->n_threads++] = (struct new_thread){
				.process = p, .id = rec[i].id, .vtid = (pid_t)s->tid, .record = &rec[i]
			};
		}
	for (size_t i = 0; i < r->n_processes; i++)
		if (!r->processes[i]->zombie && !r->processes[i]->n_threads)
			return bad_image(plan, "a process without threads");
	return 0;
}

/* A zombie has a task of its own until it ends. */
static int add_zombie_threads(struct plan *plan)
{
	for (size_t i = 0; i < plan->r->n_processes; i++) {
		struct new_process *p = plan->r->processes[i];

		if (!p->zombie)
			continue;
		p->threads = calloc(1, sizeof(*p->threads));
		if (!p->threads)
			return -ENOMEM;
		p->threads[0] = (struct new_thread){ .process = p, .vtid = p->vpid };
		p->n_threads = 1;
	}
	return 0;
}

static int find_memories(struct plan *plan)
{
	struct restore *r = plan->r;
	size_t n;
	struct record *rec = image_records(r->image, &component_memory.kind, &n);

	plan->memories = calloc(r->n_processes, sizeof(*plan->memories));
	if (!plan->memories)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < r->n_processes; k++)
			if (r->processes[k]->id == ((const struct memory_state *)rec[i].state)->of)
				plan->memories[k] = rec[i].state;
	for (size_t i = 0; i < r->n_processes; i++)
		if (!plan->memories[i] && !r->processes[i]->zombie)
			return bad_image(plan, "a process without memory");
	return 0;
}

const struct memory_state *plan_memory(const struct plan *plan, const struct new_process *p)
{
	for (size_t i = 0; i < plan->r->n_processes; i++)
		if (plan->r->processes[i] == p)
			return plan->memories[i];
	return NULL;
}

/* --- births --- */

static struct stand_in *stand_in_for(struct plan *plan, pid_t session, struct new_process *parent)
{
	struct stand_in *s;

	for (s = plan->sessions; s; s = s->next)
		if (s->number == session)
			return s->parent == parent ? s : NULL;
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	*s = (struct stand_in){ .number = session, .parent = parent, .next = plan->sessions };
	plan->sessions = s;
	return s;
}

static int refuse_session(struct plan *plan, struct new_process *p)
{
	return refused(plan->r->ps, BLAME(.pid = p->vpid, .process = process_of(p)->name, .object = "session"),
		"it is in session %d, which neither its parent nor a forebear can give it",
		(int)process_of(p)->session);
}

static int plan_thread(struct plan *plan, struct new_process *p)
{
	const struct process_state *s = process_of(p);

	if (!s->parent_thread)
		return 0;
	for (size_t i = 1; i < p->parent->n_threads; i++)
		if (p->parent->threads[i].id == s->parent_thread) {
			birth_of(p)->thread = &p->parent->threads[i];
			p->parent->threads[i].is_parent = true;
			return 0;
		}
	return bad_image(plan, "a child of a thread that its parent has not");
}

/* Who gives birth to it is chosen by its session, or must be the leader. */
static int not_by_thread(struct plan *plan, struct new_process *p)
{
	if (process_of(p)->parent_thread)
		changed(plan->r->ps, BLAME(.pid = p->vpid, .process = process_of(p)->name, .object = "parent thread"),
			"it is now a child of the first thread of its parent, which alone can give birth to it");
	return 0;
}

/*
 * A session is inherited, and left only by becoming a leader. So a process is born either by its parent, before or after that one became a leader;
 * or in the name of its parent by a task that is in the session: its leader, or a stand-in for one that is dead.
 */
static int plan_birth(struct plan *plan, struct new_process *p)
{
	const struct process_state *s = process_of(p);
	struct new_process *parent = p->parent, *leader;
	struct birth *b = birth_of(p);
	pid_t session = (pid_t)s->session;
	const struct memory_state *m = plan_memory(plan, p);

	b->creator = parent;
	b->forked = !s->executed;
	b->carries = parked_process_of(plan->r, p->id) && !b->forked;
	b->worn_slack = timer_slack_default(plan->r, p->threads[0].id);
	if (!parent) { /* born in that session, or in none of the tree's */
		b->born_session = plan->move.session;
		return 0;
	}
	b->born_session = (pid_t)process_of(parent)->session;
	if (session == p->vpid || session == b->born_session)
		return io_context_is_shared(plan->r, p->threads[0].id) ? not_by_thread(plan, p) : plan_thread(plan, p);
	not_by_thread(plan, p);
	if (session == birth_of(parent)->born_session) {
		b->early = true;
		b->born_session = session;
		return 0;
	}
	b->born_session = session;
	leader = restore_vpid(plan->r, session);
	if (session == plan->move.session)
		return refuse_session(plan, p);
	if (!leader) {
		b->stand_in = stand_in_for(plan, session, parent);
		return b->stand_in ? 0 : refuse_session(plan, p);
	}
	/* A zombie, like a stand-in, has its parent's memory until it ends; a leader that lives has its own. */
	if (leader->parent != parent || (!leader->zombie && m && m->n_inherited))
		return refuse_session(plan, p);
	b->creator = leader;
	b->sibling = true;
	return 0;
}

/* --- where the area lies --- */

struct taken_range {
	uint64_t start, end;
};

static int compare_ranges(const void *a, const void *b)
{
	const struct taken_range *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

/* What is the keeper's own, and parked there, is in a clone's first process when the area is mapped. */
static int own_maps(const struct restore *r, struct proc_maps *out)
{
	_cleanup_fd_ int dir = r->clone ? procfs_open_pid(getpid()) : -1;

	return dir < 0 ? 0 : proc_maps_read(dir, out);
}

/* A hole that no process uses, so that one address serves all. */
static int find_hole(struct plan *plan, const struct proc_maps *own, uint64_t size, uint64_t *base)
{
	_cleanup_free_ struct taken_range *all = NULL;
	uint64_t at = AREA_LOWEST;
	size_t n = own->n, i = 0;

	for (size_t k = 0; k < plan->r->n_processes; k++)
		n += plan->memories[k] ? plan->memories[k]->n_areas : 0;
	all = calloc(n + 1, sizeof(*all));
	if (!all)
		return -ENOMEM;
	n = 0;
	for (size_t k = 0; k < own->n; k++)
		all[n++] = (struct taken_range){ own->list[k].start, own->list[k].end };
	for (size_t k = 0; k < plan->r->n_processes; k++)
		for (size_t j = 0; plan->memories[k] && j < plan->memories[k]->n_areas; j++)
			all[n++] = (struct taken_range){ plan->memories[k]->areas[j].start,
				plan->memories[k]->areas[j].end };
	qsort(all, n, sizeof(*all), compare_ranges);
	for (; i < n && (all[i].start < at + size || all[i].end <= at); i++)
		if (all[i].end > at)
			at = ALIGN_UP(all[i].end, 1ul << 21);
	if (at + size > AREA_HIGHEST)
		return failed(plan->r->ps, NULL, -ENOMEM,
			"no room in the address space for spore beside what the programs have mapped");
	*base = at;
	return 0;
}

int plan_find_hole(struct plan *plan, uint64_t size, uint64_t *base)
{
	struct proc_maps own = { 0 };
	int r = own_maps(plan->r, &own);

	if (r == 0)
		r = find_hole(plan, &own, size, base);
	proc_maps_free(&own);
	return r;
}

static int make_area(struct plan *plan)
{
	struct restore *r = plan->r;
	uint64_t base = 0;
	size_t slots = 0, next = 0;
	int error = plan_find_hole(plan, AREA_SIZE + AREA_SCRATCH, &base);

	if (error < 0)
		return error;
	for (size_t i = 0; i < r->n_processes; i++)
		slots += r->processes[i]->n_threads;
	for (struct stand_in *s = plan->sessions; s; s = s->next)
		slots++;
	slots += r->n_processes; /* stand-ins for group leaders */
	error = area_create(&r->area, REMOTE(base), AREA_SIZE, slots);
	if (error < 0)
		return failed(r->ps, NULL, error, "the shared area cannot be made: %s", strerror(-error));
	for (size_t i = 0; i < r->n_processes; i++)
		for (size_t k = 0; k < r->processes[i]->n_threads; k++)
			r->processes[i]->threads[k].slot = area_slot(&r->area, next++);
	for (struct stand_in *s = plan->sessions; s; s = s->next)
		s->slot = area_slot(&r->area, next++);
	plan->n_slots = next;
	return 0;
}

/* --- all --- */

/* What comes from the parent itself at birth. */
static void refuse_other_creator(struct plan *plan, const struct new_process *p)
{
	const struct birth *b = birth_of(p);

	if ((b->sibling || b->stand_in) && io_context_is_shared(plan->r, p->threads[0].id))
		refused(plan->r->ps, BLAME(.pid = p->vpid, .process = process_of(p)->name, .object = "I/O context"),
			"it is its parent's, which cannot be who gives birth to it, for the sake of its session");
	if ((b->sibling || b->stand_in) && semaphore_undo_is_shared(plan->r, p->threads[0].id))
		refused(plan->r->ps,
			BLAME(.pid = p->vpid, .process = process_of(p)->name,
				.object = "adjustments of semaphores at exit (SEM_UNDO)"),
			"they are its parent's, which cannot be who gives birth to it, for the sake of its session");
	if (b->sibling && session_keyring_any(plan->r))
		refused(plan->r->ps, BLAME(.pid = p->vpid, .process = process_of(p)->name, .object = "session keyring"),
			"it is its parent's, which cannot be who gives birth to it, for the sake of its session");
}

static int validate_records(struct plan *plan)
{
	struct restore *r = plan->r;

	for (size_t i = 0; i < r->n_processes; i++)
		refuse_other_creator(plan, r->processes[i]);

	for (size_t i = 0; i < r->image->n_records; i++) {
		const struct component *k = component_of(r->image->records[i].kind);

		if (k == &component_memory)
			memory_validate(r, &r->image->records[i]);
		else if (k && k->validate)
			k->validate(r, &r->image->records[i]);
	}
	return r->ps->first_error;
}

static void tell_of_forks(struct plan *plan)
{
	size_t n = 0;

	for (size_t i = 0; i < plan->r->n_processes; i++)
		n += birth_of(plan->r->processes[i])->carries;
	if (n)
		changed(plan->r->ps, BLAME(.object = "exec"),
			"of each clone %zu processes look as if they had never called exec (PF_FORKNOEXEC in "
			"/proc/PID/stat), for memory is shared by fork alone",
			n);
}

/* A process that cannot be born, and state that cannot be had here, are told together. */
static int plan_births(struct plan *plan)
{
	int error = 0, r;

	for (size_t i = 0; i < plan->r->n_processes; i++) {
		r = plan_birth(plan, plan->r->processes[i]);
		if (r < 0 && error == 0)
			error = r;
	}
	tell_of_forks(plan);
	r = validate_records(plan);
	return error < 0 ? error : r;
}

int plan_make(struct plan *plan, struct restore *r)
{
	int error;

	*plan = (struct plan){ .r = r, .taken = plan->taken };
	error = add_processes(plan);
	if (error == 0)
		error = add_threads(plan);
	if (error == 0)
		error = add_zombie_threads(plan);
	if (error == 0)
		error = find_memories(plan);
	if (error == 0)
		error = move_decide(plan);
	if (error == 0)
		error = plan_births(plan);
	if (error == 0)
		error = make_area(plan);
	if (error < 0 && !r->ps->first_error)
		failed(r->ps, NULL, error, "the restore cannot be planned: %s", strerror(-error));
	return error;
}

void plan_free(struct plan *plan)
{
	while (plan->sessions) {
		struct stand_in *next = plan->sessions->next;

		free(plan->sessions);
		plan->sessions = next;
	}
	free(plan->memories);
	plan->memories = NULL;
}
