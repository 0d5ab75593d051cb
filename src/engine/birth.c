/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Births go in waves from the root. A process in a wave first makes its memory; then it gives birth to its children: those that
 * were forked from it inherit its pages, and those that have called exec share its memory for a moment, and exec the seed.
 */
#include "engine/birth.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "engine/fill.h"
#include "engine/groups.h"
#include "engine/numbers.h"
#include "engine/stand_in.h"
#include "engine/streamed_memory.h"
#include "engine/tasks.h"
#include "remote/birth.h"
#include "state/descriptors.h"
#include "state/io_context.h"
#include "state/semaphore_undo.h"
#include "state/login.h"
#include "state/memory_parked.h"
#include "state/session_keyring.h"
#include "state/terminal.h"
#include "state/timer_slack.h"

/* Flags of a process's birth: one that had called exec borrows its creator's memory until it execs the seed. worn: the creator's timer slack. */
static void add_process(struct plan *plan, struct batch *b, struct new_process *p, uint64_t *worn)
{
	struct birth *birth = birth_of(p);
	uint64_t flags = (is_born_forked(p) ? 0 : CLONE_VM) | (birth->sibling || birth->stand_in ? CLONE_PARENT : 0) |
			 (descriptors_shared(plan->r, p->id) ? CLONE_FILES : 0);

	if (io_context_is_shared(plan->r, p->threads[0].id)) {
		io_context_prepare(b);
		flags |= CLONE_IO;
	}
	timer_slack_wear(b, worn, birth->worn_slack);
	if (semaphore_undo_is_shared(plan->r, p->threads[0].id))
		flags |= CLONE_SYSVSEM;
	parked_offer(plan->r, b, p->id);
	batch_clone(b, "clone3 of a process", flags, flags & CLONE_PARENT ? 0 : process_of(p)->exit_signal, p->vpid,
		p->threads[0].slot);
	parked_part_with(plan->r, b, p->id);
}

/* --- one wave --- */

/* Those that had called exec are in their parent's memory still. */
static int exec_seeds(struct plan *plan, struct new_process **wave, size_t n)
{
	struct step s = { .plan = plan, .name = "exec" };

	for (size_t i = 0; i < n; i++) {
		struct batch *b;

		if (is_born_forked(wave[i]) || !wave[i]->parent)
			continue;
		b = step_add(&s, &wave[i]->threads[0]);
		if (!b)
			return -ENOMEM;
		batch_call(b, "personality", SYS_personality, memory_personality(plan_memory(plan, wave[i])));
		batch_exec_seed(b, BARE_FD_SEED, BARE_FD_AREA, wave[i]->threads[0].slot);
	}
	return step_run(&s);
}

/* Whose memory a forked process has at birth. */
static const struct memory_state *inherited_memory(const struct plan *plan, const struct new_process *p)
{
	const struct new_process *from = inherits_from(p);

	return plan_memory(plan, from->zombie ? from->parent : from);
}

static int add_memory(struct plan *plan, struct step *s, struct new_process *p)
{
	struct vdso_pieces pieces;
	struct build b;
	int r;

	birth_of(p)->has_memory = true;
	if (!step_add(s, &p->threads[0]))
		return -ENOMEM;
	b = step_build(s, &p->threads[0]);
	if (birth_of(p)->forked && p->parent)
		return memory_make_forked(&b, plan_memory(plan, p), inherited_memory(plan, p));
	r = vdso_pieces_of(p->pid, &pieces);
	return r < 0 ? r : memory_make_bare(&b, plan_memory(plan, p), &pieces);
}

/* Those that share a table of descriptors take turns: each fetches what it maps and reads to the same numbers, and closes all of them. */
static bool has_turn(const struct plan *plan, const struct new_process *p, object_id *tables, size_t *n)
{
	object_id table;

	if (!descriptors_shared(plan->r, p->id))
		return true;
	table = descriptors_owner(plan->r, p->id);
	for (size_t i = 0; i < *n; i++)
		if (tables[i] == table)
			return false;
	tables[(*n)++] = table;
	return true;
}

/* *left: some have yet to wait. */
static int make_memories_once(struct plan *plan, struct new_process **wave, size_t n, bool *left)
{
	_cleanup_free_ object_id *tables = calloc(n + 1, sizeof(*tables));
	struct step s = { .plan = plan, .name = "memory" };
	size_t n_tables = 0;
	int r = tables ? 0 : -ENOMEM;

	*left = false;
	for (size_t i = 0; r == 0 && i < n; i++) {
		if (wave[i]->zombie || birth_of(wave[i])->has_memory)
			continue;
		if (has_turn(plan, wave[i], tables, &n_tables))
			r = add_memory(plan, &s, wave[i]);
		else
			*left = true;
	}
	if (r < 0)
		step_abandon(&s);
	return r < 0 ? r : step_run(&s);
}

static int make_memories(struct plan *plan, struct new_process **wave, size_t n)
{
	bool left = true;
	int r = 0;

	while (r == 0 && left)
		r = make_memories_once(plan, wave, n, &left);
	return r;
}

#define THREAD_FLAGS (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM)

/* Those that are to give birth come before the children, the others last. */
static void add_threads(struct plan *plan, struct batch *b, struct new_process *p, bool parents)
{
	for (size_t i = 1; i < p->n_threads; i++) {
		const struct new_thread *t = &p->threads[i];
		bool shares = io_context_is_shared(plan->r, t->id);

		if (t->is_parent != parents)
			continue;
		if (shares)
			io_context_prepare(b);
		timer_slack_wear(b, &birth_of(p)->worn_slack, timer_slack_default(plan->r, t->id));
		batch_clone(b, "clone3 of a thread", THREAD_FLAGS | (shares ? CLONE_IO : 0), 0, t->vtid, t->slot);
	}
}

/* With all that those are to have who are born by it. */
static void add_stand_in(struct plan *plan, struct batch *b, struct stand_in *s)
{
	for (size_t i = 0; i < plan->r->n_processes; i++)
		if (birth_of(plan->r->processes[i])->stand_in == s)
			parked_offer(plan->r, b, plan->r->processes[i]->id);
	stand_in_clone(b, "clone3 of a stand-in for a dead session leader", s->number, s->slot);
	for (size_t i = 0; i < plan->r->n_processes; i++)
		if (birth_of(plan->r->processes[i])->stand_in == s)
			parked_part_with(plan->r, b, plan->r->processes[i]->id);
}

/* Children that keep the session their parent was born in come before it leads one of its own. */
static int add_births(struct plan *plan, struct build *build, struct new_process *p)
{
	struct batch *b = build->batch;
	int r = login_assume(build, inherits_from(p));

	session_keyring_join(build);
	add_threads(plan, b, p, true);
	for (int early = 1; early >= 0; early--) {
		for (size_t i = 0; i < plan->r->n_processes; i++) {
			struct new_process *child = plan->r->processes[i];
			struct birth *birth = birth_of(child);

			if (child->parent && birth->creator == p && !birth->thread && !birth->stand_in &&
				birth->early == (early == 1)) {
				add_process(plan, b, child, &birth_of(p)->worn_slack);
				birth->born = true;
			}
		}
		if (r == 0 && early && (pid_t)process_of(p)->session == p->vpid) {
			batch_call(b, "setsid", SYS_setsid, 0);
			r = terminal_acquire(build, p->id);
		}
	}
	if (!birth_of(p)->worn_slack)
		timer_slack_wear(b, &birth_of(p)->worn_slack, TIMER_SLACK_USUAL);
	for (struct stand_in *s = plan->sessions; s; s = s->next)
		if (s->parent == p)
			add_stand_in(plan, b, s);
	return r;
}

static bool is_in(struct new_process *const *wave, size_t n, const struct new_process *p)
{
	for (size_t i = 0; i < n; i++)
		if (wave[i] == p)
			return true;
	return false;
}

/*
 * Whoever is forked finds the batch that makes its memory in its slot when it is born, and runs it while its siblings are being born. Not a
 * stand-in's children, who come later, not those who exec first, and not those who share a table of descriptors.
 */
static int add_forked_memories(struct plan *plan, struct step *s, struct new_process **wave, size_t n)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < plan->r->n_processes; i++) {
		struct new_process *p = plan->r->processes[i];
		const struct birth *b = birth_of(p);

		if (p->parent && b->born && b->forked && !b->has_memory && !p->zombie && !b->stand_in &&
			is_in(wave, n, b->creator) && !descriptors_shared(plan->r, p->id))
			r = add_memory(plan, s, p);
	}
	return r;
}

static int give_birth(struct plan *plan, struct new_process **wave, size_t n)
{
	struct step s = { .plan = plan, .name = "birth" }, memories = { .plan = plan, .name = "memory" };
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++) {
		struct build b;

		if (!step_add(&s, &wave[i]->threads[0]))
			return -ENOMEM;
		b = step_build(&s, &wave[i]->threads[0]);
		r = add_births(plan, &b, wave[i]);
	}
	step_submit(&s);
	if (r == 0)
		r = add_forked_memories(plan, &memories, wave, n);
	step_submit(&memories);
	if (r == 0)
		r = step_wait(&s);
	/* Whoever was not born is not waited for. */
	if (r == 0)
		r = find_numbers_of_children(plan);
	if (r == 0)
		r = step_wait(&memories);
	if (r == 0)
		step_end(plan);
	step_abandon(&s);
	step_abandon(&memories);
	return r;
}

/* --- children of other threads than the leader --- */

static int add_births_of_thread(struct plan *plan, struct step *s, struct new_thread *t)
{
	uint64_t worn = timer_slack_default(plan->r, t->id);
	struct batch *b = step_add(s, t);

	if (!b)
		return -ENOMEM;
	for (size_t i = 0; i < plan->r->n_processes; i++)
		if (birth_of(plan->r->processes[i])->thread == t) {
			add_process(plan, b, plan->r->processes[i], &worn);
			birth_of(plan->r->processes[i])->born = true;
		}
	if (!worn)
		timer_slack_wear(b, &worn, TIMER_SLACK_USUAL);
	return 0;
}

static int births_of_threads(struct plan *plan, struct new_process **wave, size_t n)
{
	struct step s = { .plan = plan, .name = "birth by a thread" };
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++)
		for (size_t k = 1; r == 0 && k < wave[i]->n_threads; k++)
			if (wave[i]->threads[k].is_parent)
				r = add_births_of_thread(plan, &s, &wave[i]->threads[k]);
	if (r < 0)
		step_abandon(&s);
	return r < 0 ? r : step_run(&s);
}

/* --- stand-ins --- */

static int stand_in_births(struct plan *plan, struct stand_in *s)
{
	uint64_t worn = TIMER_SLACK_USUAL;
	struct batch b;
	int r;

	batch_init(&b, &plan->r->area);
	batch_call(&b, "setsid of a stand-in", SYS_setsid, 0);
	batch_call(&b, "prctl(PR_SET_TIMERSLACK)", SYS_prctl, PR_SET_TIMERSLACK, worn);
	for (size_t i = 0; i < plan->r->n_processes; i++)
		if (birth_of(plan->r->processes[i])->stand_in == s) {
			add_process(plan, &b, plan->r->processes[i], &worn);
			birth_of(plan->r->processes[i])->born = true;
		}
	r = run_alone(plan, &b, s->slot, "a session whose leader is dead");
	batch_free(&b);
	return r;
}

static int stand_ins_of(struct plan *plan, struct new_process **wave, size_t n)
{
	int r = 0;

	for (struct stand_in *s = plan->sessions; s; s = s->next)
		for (size_t i = 0; r == 0 && i < n; i++)
			if (s->parent == wave[i]) {
				r = stand_in_births(plan, s);
				if (r == 0)
					r = stand_in_end(plan, s->slot, s->parent, s->number);
			}
	return r;
}

/* --- waves --- */

static size_t next_wave(struct plan *plan, struct new_process **wave)
{
	size_t n = 0;

	for (size_t i = 0; i < plan->r->n_processes; i++) {
		struct new_process *p = plan->r->processes[i];

		if (birth_of(p)->born && !birth_of(p)->made) {
			birth_of(p)->made = true;
			wave[n++] = p;
		}
	}
	return n;
}

static int waves(struct plan *plan, struct workers *w)
{
	_cleanup_free_ struct new_process **wave = calloc(plan->r->n_processes, sizeof(*wave));
	int r = wave ? 0 : -ENOMEM;

	birth_of(plan->r->processes[0])->born = true;
	while (r == 0) {
		size_t n = next_wave(plan, wave);

		if (!n)
			break;
		r = find_numbers(plan, wave, n);
		if (r == 0)
			r = exec_seeds(plan, wave, n);
		if (r == 0)
			r = make_memories(plan, wave, n);
		if (r == 0)
			r = fill_memories(plan, w);
		if (r == 0)
			r = streaming_first(plan->streaming, wave, n);
		if (r == 0)
			r = give_birth(plan, wave, n);
		if (r == 0) /* of those who were forked */
			r = fill_memories(plan, w);
		if (r == 0)
			r = births_of_threads(plan, wave, n);
		if (r == 0)
			r = stand_ins_of(plan, wave, n);
	}
	for (size_t i = 0; r == 0 && i < plan->r->n_processes; i++)
		if (!birth_of(plan->r->processes[i])->born)
			r = failed(plan->r->ps, BLAME(.pid = plan->r->processes[i]->vpid), -EBADMSG,
				"nobody could give birth to it");
	return r;
}

/* --- threads --- */

/* And the last of each memory: nobody is forked from it any more. */
static int thread_births(struct plan *plan)
{
	struct step s = { .plan = plan, .name = "threads and memory" };

	for (size_t i = 0; i < plan->r->n_processes; i++) {
		struct new_process *p = plan->r->processes[i];
		struct build build;
		struct batch *b;

		if (p->zombie)
			continue;
		b = step_add(&s, &p->threads[0]);
		if (!b)
			return -ENOMEM;
		add_threads(plan, b, p, false);
		if (!birth_of(p)->worn_slack)
			timer_slack_wear(b, &birth_of(p)->worn_slack, TIMER_SLACK_USUAL);
		batch_call(b, "close_range", SYS_close_range, BARE_FD_AREA, ~0u, 0);
		build = step_build(&s, &p->threads[0]);
		if (!plan->streaming)
			memory_finish(&build, plan_memory(plan, p));
	}
	return step_run(&s);
}

/* From a stream, which cannot be read again, pages come when every number is had. */
static int stream_memories(struct plan *plan)
{
	struct step s = { .plan = plan, .name = "memory" };
	int r = streaming_rest(plan->streaming);

	for (size_t i = 0; r == 0 && i < plan->r->n_processes; i++) {
		struct new_process *p = plan->r->processes[i];
		struct build build;

		if (p->zombie)
			continue;
		if (!step_add(&s, &p->threads[0]))
			return -ENOMEM;
		build = step_build(&s, &p->threads[0]);
		memory_protect(&build, plan_memory(plan, p));
		memory_finish(&build, plan_memory(plan, p));
	}
	return r < 0 ? r : step_run(&s);
}

int births(struct plan *plan, struct workers *w)
{
	int r;

	plan->r->processes[0]->pid = plan->r->root_pid;
	r = waves(plan, w);
	if (r == 0)
		r = make_groups(plan);
	if (r == 0)
		r = thread_births(plan);
	if (r == 0)
		r = find_all_threads(plan);
	if (r == 0 && plan->streaming)
		r = stream_memories(plan);
	return r;
}
