/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/groups.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "engine/stand_in.h"
#include "engine/tasks.h"

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
	stand_in_clone(&birth, "clone3 of a stand-in for a dead group leader", g->number, g->slot);
	batch_call(&lead, "setpgid of a stand-in", SYS_setpgid, 0, 0);
	r = run_alone(plan, &birth, g->member->threads[0].slot, "a group whose leader is dead");
	if (r == 0)
		r = run_alone(plan, &lead, g->slot, "a group whose leader is dead");
	batch_free(&birth);
	batch_free(&lead);
	return r;
}

int make_groups(struct plan *plan)
{
	_cleanup_free_ struct dead_group *dead = calloc(plan->r->n_processes, sizeof(*dead));
	size_t n = dead ? find_dead_groups(plan, dead) : 0;
	int r = dead ? set_groups(plan, true) : -ENOMEM;

	for (size_t i = 0; r == 0 && i < n; i++)
		r = begin_dead_group(plan, &dead[i], plan->n_slots + i);
	if (r == 0)
		r = set_groups(plan, false);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = stand_in_end(plan, dead[i].slot, dead[i].member, dead[i].number);
	return r;
}
