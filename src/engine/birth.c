/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Births go in waves from the root. A process in a wave first makes its memory; then it gives birth to its children: those that
 * were forked from it inherit its pages, and those that have called exec share its memory for a moment, and exec the seed.
 */
#include "engine/birth.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "engine/tasks.h"
#include "remote/birth.h"
#include "state/descriptors.h"
#include "state/io_context.h"
#include "state/login.h"
#include "state/session_keyring.h"
#include "state/terminal.h"
#include "state/timer_slack.h"

/* --- operations ------------------------------------------------------------------------------------------------------------ */

static void add_clone(
	struct batch *b, const char *what, uint64_t flags, uint64_t exit_signal, pid_t number, struct slot *slot)
{
	struct remote_addr set_tid = batch_copy(b, &number, sizeof(number));
	struct clone_args args = {
		.flags = flags, .exit_signal = exit_signal, .set_tid = set_tid.v, .set_tid_size = 1
	};
	uint32_t op = batch_call(b, what, SYS_clone3, batch_copy(b, &args, sizeof(args)).v, sizeof(args));

	batch_expect(b, op, number);
	batch_birth(b, op, slot);
}

/* Flags of a process's birth: one that had called exec borrows its creator's memory until it execs the seed. worn: the creator's timer slack. */
static void add_process(struct plan *plan, struct batch *b, struct new_process *p, uint64_t *worn)
{
	struct birth *birth = birth_of(p);
	uint64_t flags = (birth->forked || p->zombie ? 0 : CLONE_VM) |
			 (birth->sibling || birth->stand_in ? CLONE_PARENT : 0) |
			 (descriptors_shared(plan->r, p->id) ? CLONE_FILES : 0);

	if (io_context_is_shared(plan->r, p->threads[0].id)) {
		io_context_prepare(b);
		flags |= CLONE_IO;
	}
	timer_slack_wear(b, worn, birth->worn_slack);
	add_clone(b, "clone3 of a process", flags, flags & CLONE_PARENT ? 0 : process_of(p)->exit_signal, p->vpid,
		p->threads[0].slot);
}

/* --- numbers outside ----------------------------------------------------------------------------------------------------------- */

static pid_t number_in_namespace(int dir)
{
	struct proc_status st;
	pid_t pid;

	if (proc_status_read(dir, &st) < 0)
		return 0;
	pid = st.pid_in_ns;
	proc_status_free(&st);
	return pid;
}

static void learn_number(struct plan *plan, pid_t pid)
{
	_cleanup_fd_ int dir = procfs_open_pid(pid);
	struct new_process *p = dir < 0 ? NULL : restore_vpid(plan->r, number_in_namespace(dir));

	if (p)
		p->pid = pid;
}

/* Where the kernel does not list children (CONFIG_PROC_CHILDREN). */
static int find_children_by_scan(struct plan *plan, struct new_process *parent)
{
	_cleanup_fd_ int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_free_ struct proc_parent *list = NULL;
	size_t n = 0;
	int r = proc < 0 ? -errno : procfs_parents(proc, &list, &n);

	for (size_t i = 0; i < n; i++)
		if (list[i].parent == parent->pid)
			learn_number(plan, list[i].pid);
	return r;
}

/* In a pid namespace of its own, a tree's numbers are others than the keeper's: found by looking at a parent's children. */
static int find_children(struct plan *plan, struct new_process *parent)
{
	_cleanup_fd_ int dir = procfs_open_pid(parent->pid);
	_cleanup_free_ char *text = NULL;
	char name[48];
	int r;

	snprintf(name, sizeof(name), "task/%d/children", parent->pid);
	r = dir < 0 ? dir : procfs_read(dir, name, &text, NULL);
	for (char *c = text; r == 0 && *c;) {
		char *end;
		pid_t pid = (pid_t)strtol(c, &end, 10);

		if (end == c)
			break;
		c = end + strspn(end, " \n");
		learn_number(plan, pid);
	}
	return r == -ENOENT ? find_children_by_scan(plan, parent) : r;
}

static bool own_numbers(const struct plan *plan)
{
	return plan->move.moves || plan->r->root_pid != plan->r->processes[0]->vpid;
}

static int find_numbers(struct plan *plan, struct new_process **wave, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct new_process *p = wave[i];

		if (!own_numbers(plan))
			p->pid = p->vpid;
		else if (!p->pid && p->parent)
			find_children(plan, p->parent);
		if (!p->pid)
			return failed(
				plan->r->ps, BLAME(.pid = p->vpid), -ESRCH, "was born, but cannot be found in /proc");
	}
	return 0;
}

/* Of those whose memory is being made already, so that their death is noticed. */
static int find_numbers_of_children(struct plan *plan)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < plan->r->n_processes; i++)
		if (birth_of(plan->r->processes[i])->has_memory && !plan->r->processes[i]->pid)
			r = find_numbers(plan, &plan->r->processes[i], 1);
	return r;
}

static int find_threads(struct new_process *p)
{
	_cleanup_fd_ int dir = procfs_open_pid(p->pid);
	_cleanup_free_ int *tids = NULL;
	size_t n = 0;
	int r = dir < 0 ? dir : procfs_numbers(dir, "task", &tids, &n);

	for (size_t i = 0; r == 0 && i < n; i++) {
		_cleanup_fd_ int task = procfs_open_task(p->pid, tids[i]);
		pid_t vtid = task < 0 ? 0 : number_in_namespace(task);

		for (size_t k = 0; k < p->n_threads; k++)
			if (p->threads[k].vtid == vtid)
				p->threads[k].tid = tids[i];
	}
	return r;
}

static int find_all_threads(struct plan *plan)
{
	for (size_t i = 0; i < plan->r->n_processes; i++) {
		struct new_process *p = plan->r->processes[i];
		int r = 0;

		if (p->n_threads > 1 && own_numbers(plan))
			r = find_threads(p);
		for (size_t k = 0; r == 0 && k < p->n_threads; k++) {
			if (!own_numbers(plan))
				p->threads[k].tid = p->threads[k].vtid;
			else if (k == 0)
				p->threads[k].tid = p->pid;
			if (!p->threads[k].tid)
				r = -ESRCH;
		}
		if (r < 0)
			return failed(plan->r->ps, BLAME(.pid = p->vpid), r, "its threads cannot be found in /proc: %s",
				strerror(-r));
	}
	return 0;
}

/* --- one wave --------------------------------------------------------------------------------------------------------------------- */

/* Those that had called exec are in their parent's memory still. */
static int exec_seeds(struct plan *plan, struct new_process **wave, size_t n)
{
	struct step s = { .plan = plan, .name = "exec" };

	for (size_t i = 0; i < n; i++) {
		struct batch *b;

		if (birth_of(wave[i])->forked || wave[i]->zombie || !wave[i]->parent)
			continue;
		b = step_add(&s, &wave[i]->threads[0]);
		if (!b)
			return -ENOMEM;
		batch_exec_seed(b, BARE_FD_SEED, BARE_FD_AREA, wave[i]->threads[0].slot);
	}
	return step_run(&s);
}

/* From whom a process inherits; a stand-in hands on what it inherited. NULL: from spore. */
static struct new_process *inherits_from(const struct new_process *p)
{
	const struct birth *b = birth_of(p);

	return b->stand_in ? b->stand_in->parent : b->creator;
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

static int make_memories(struct plan *plan, struct new_process **wave, size_t n)
{
	struct step s = { .plan = plan, .name = "memory" };
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++)
		if (!wave[i]->zombie && !birth_of(wave[i])->has_memory)
			r = add_memory(plan, &s, wave[i]);
	if (r < 0)
		step_abandon(&s);
	return r < 0 ? r : step_run(&s);
}

/* Children that keep the session their parent was born in come before it leads one of its own. */
static int add_births(struct plan *plan, struct build *build, struct new_process *p)
{
	struct batch *b = build->batch;
	int r = login_assume(build, inherits_from(p));

	session_keyring_join(build);
	for (int early = 1; early >= 0; early--) {
		for (size_t i = 0; i < plan->r->n_processes; i++) {
			struct new_process *child = plan->r->processes[i];
			struct birth *birth = birth_of(child);

			if (child->parent && birth->creator == p && !birth->stand_in && birth->early == (early == 1)) {
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
			add_clone(b, "clone3 of a stand-in for a dead session leader", 0, SIGCHLD, s->number, s->slot);
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
 * stand-in's children, who come later, and not those who exec first.
 */
static int add_forked_memories(struct plan *plan, struct step *s, struct new_process **wave, size_t n)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < plan->r->n_processes; i++) {
		struct new_process *p = plan->r->processes[i];
		const struct birth *b = birth_of(p);

		if (p->parent && b->born && b->forked && !b->has_memory && !p->zombie && !b->stand_in &&
			is_in(wave, n, b->creator))
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

/* --- stand-ins ------------------------------------------------------------------------------------------------------------------------ */

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

/* A stand-in ends, is reaped, and so is the signal by which its parent would know of it. */
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

static int end_stand_in(struct plan *plan, struct slot *slot, struct new_process *parent, pid_t number)
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

static int stand_ins_of(struct plan *plan, struct new_process **wave, size_t n)
{
	int r = 0;

	for (struct stand_in *s = plan->sessions; s; s = s->next)
		for (size_t i = 0; r == 0 && i < n; i++)
			if (s->parent == wave[i]) {
				r = stand_in_births(plan, s);
				if (r == 0)
					r = end_stand_in(plan, s->slot, s->parent, s->number);
			}
	return r;
}

/* --- waves ------------------------------------------------------------------------------------------------------------------------------- */

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

static int waves(struct plan *plan)
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
			r = give_birth(plan, wave, n);
		if (r == 0)
			r = stand_ins_of(plan, wave, n);
	}
	for (size_t i = 0; r == 0 && i < plan->r->n_processes; i++)
		if (!birth_of(plan->r->processes[i])->born)
			r = failed(plan->r->ps, BLAME(.pid = plan->r->processes[i]->vpid), -EBADMSG,
				"nobody could give birth to it");
	return r;
}

/* --- groups ---------------------------------------------------------------------------------------------------------------------------------- */

static bool leads_session(const struct new_process *p)
{
	return (pid_t)process_of(p)->session == p->vpid;
}

static int set_groups(struct plan *plan, bool leaders)
{
	struct step s = { .plan = plan, .name = "process groups" };

	for (size_t i = 0; i < plan->r->n_processes; i++) {
		struct new_process *p = plan->r->processes[i];
		uint64_t group = process_of(p)->group;
		struct batch *b;

		if (!group || leads_session(p) || ((pid_t)group == p->vpid) != leaders)
			continue;
		b = step_add(&s, &p->threads[0]);
		if (!b)
			return -ENOMEM;
		batch_call(b, "setpgid", SYS_setpgid, 0, group);
	}
	return step_run(&s);
}

struct dead_group {
	pid_t number;
	struct new_process *member; /* who gives birth to its stand-in */
	struct slot *slot;
};

/* The group of a session's leader that is dead or stands in for another: whoever is in its session was born into it. */
static bool is_group_of_stand_in(const struct plan *plan, pid_t group)
{
	if (group == plan->move.session)
		return true;
	for (const struct stand_in *s = plan->sessions; s; s = s->next)
		if (s->number == group)
			return true;
	return false;
}

/* Groups whose leader is dead need one for as long as their members join. */
static size_t find_dead_groups(struct plan *plan, struct dead_group *list)
{
	size_t n = 0;

	for (size_t i = 0; i < plan->r->n_processes; i++) {
		pid_t group = (pid_t)process_of(plan->r->processes[i])->group;
		bool known = !group || restore_vpid(plan->r, group) || is_group_of_stand_in(plan, group);

		for (size_t k = 0; k < n; k++)
			known |= list[k].number == group;
		if (!known)
			list[n++] = (struct dead_group){ group, plan->r->processes[i], NULL };
	}
	return n;
}

static int begin_dead_group(struct plan *plan, struct dead_group *g, size_t slot)
{
	struct batch birth, lead;
	int r;

	g->slot = area_slot(&plan->r->area, slot);
	batch_init(&birth, &plan->r->area);
	batch_init(&lead, &plan->r->area);
	add_clone(&birth, "clone3 of a stand-in for a dead group leader", 0, SIGCHLD, g->number, g->slot);
	batch_call(&lead, "setpgid of a stand-in", SYS_setpgid, 0, 0);
	r = run_alone(plan, &birth, g->member->threads[0].slot, "a group whose leader is dead");
	if (r == 0)
		r = run_alone(plan, &lead, g->slot, "a group whose leader is dead");
	batch_free(&birth);
	batch_free(&lead);
	return r;
}

static int groups(struct plan *plan)
{
	_cleanup_free_ struct dead_group *dead = calloc(plan->r->n_processes, sizeof(*dead));
	size_t n = dead ? find_dead_groups(plan, dead) : 0;
	int r = dead ? set_groups(plan, true) : -ENOMEM;

	for (size_t i = 0; r == 0 && i < n; i++)
		r = begin_dead_group(plan, &dead[i], plan->n_slots + i);
	if (r == 0)
		r = set_groups(plan, false);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = end_stand_in(plan, dead[i].slot, dead[i].member, dead[i].number);
	return r;
}

/* --- threads ------------------------------------------------------------------------------------------------------------------------------------ */

#define THREAD_FLAGS (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM)

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
		for (size_t k = 1; k < p->n_threads; k++) {
			bool shares = io_context_is_shared(plan->r, p->threads[k].id);

			if (shares)
				io_context_prepare(b);
			timer_slack_wear(b, &birth_of(p)->worn_slack, timer_slack_default(plan->r, p->threads[k].id));
			add_clone(b, "clone3 of a thread", THREAD_FLAGS | (shares ? CLONE_IO : 0), 0,
				p->threads[k].vtid, p->threads[k].slot);
		}
		if (!birth_of(p)->worn_slack)
			timer_slack_wear(b, &birth_of(p)->worn_slack, TIMER_SLACK_USUAL);
		batch_call(b, "close_range", SYS_close_range, BARE_FD_AREA, ~0u, 0);
		build = step_build(&s, &p->threads[0]);
		memory_finish(&build, plan_memory(plan, p));
	}
	return step_run(&s);
}

int births(struct plan *plan)
{
	int r;

	plan->r->processes[0]->pid = plan->r->root_pid;
	r = waves(plan);
	if (r == 0)
		r = groups(plan);
	if (r == 0)
		r = thread_births(plan);
	if (r == 0)
		r = find_all_threads(plan);
	return r;
}
