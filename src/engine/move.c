/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/move.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/holder.h"
#include "engine/plan.h"
#include "init/moved.h"
#include "state/terminal.h"
#include "state/tree.h"

#define PID_LIMIT (4 * 1024 * 1024) /* PID_MAX_LIMIT of the kernel */

/* --- the tree's numbers --- */

/* Of processes and threads, and of the groups and sessions that they are in. */
static int numbers_of(const struct restore *r, struct numbers *out)
{
	size_t n = 0;

	for (size_t i = 0; i < r->n_processes; i++)
		n += r->processes[i]->n_threads + 2;
	out->list = calloc(n + 1, sizeof(*out->list));
	if (!out->list)
		return -ENOMEM;
	n = 0;
	for (size_t i = 0; i < r->n_processes; i++) {
		const struct new_process *p = r->processes[i];

		for (size_t k = 0; k < p->n_threads; k++)
			out->list[n++] = p->threads[k].vtid;
		out->list[n++] = (pid_t)process_of(p)->group;
		out->list[n++] = (pid_t)process_of(p)->session;
	}
	out->n = n;
	numbers_settle(out);
	return 0;
}

/* --- the decision --- */

/* Of the root's parent there: the session's own number if the leader is that, else one that nobody of the tree has. */
static int choose_attendant(struct move *m, const struct numbers *numbers)
{
	if (m->session > 1 && m->flags & MOVED_PARENT_IN_SESSION && m->flags & MOVED_LEADER_LIVES) {
		m->attendant = m->session;
		return 0;
	}
	for (pid_t pid = m->last + 1 < PID_LIMIT ? m->last + 1 : 2; pid < PID_LIMIT; pid++)
		if (!numbers_have(numbers, pid)) {
			m->attendant = pid;
			return 0;
		}
	return -ENOSPC;
}

static int tell(struct plan *plan, const char *why, ...) PRINTF_LIKE(2, 3);
static int tell(struct plan *plan, const char *why, ...)
{
	const struct new_process *root = plan->r->processes[0];
	va_list ap;

	va_start(ap, why);
	vsnprintf(plan->move.why, sizeof(plan->move.why), why, ap);
	va_end(ap);
	return changed(plan->r->ps,
		BLAME(.pid = root->vpid, .process = process_of(root)->name, .object = "pid namespace"),
		"the tree is restored in a new one, in which alone it has its pids: %s", plan->move.why);
}

static int move(struct plan *plan, const struct tree_state *tree, const struct numbers *numbers)
{
	struct move *m = &plan->move;

	m->moves = true;
	m->last = numbers->n ? numbers->list[numbers->n - 1] : 0;
	m->flags = (tree->leader_outside ? MOVED_LEADER_LIVES : 0) |
		   (tree->parent_in_session ? MOVED_PARENT_IN_SESSION : 0);
	return choose_attendant(m, numbers);
}

static int decide(struct plan *plan, const struct tree_state *tree, const struct numbers *numbers)
{
	const struct new_process *root = plan->r->processes[0];
	pid_t session = (pid_t)process_of(root)->session;
	struct holder h;
	char text[sizeof(plan->move.why)];

	if (!session || !restore_vpid(plan->r, session)) {
		tell(plan, "session %d, in which it was, was led from outside of it", (int)session);
		/* One from outside of the pid namespace: it shows as 0 again, unless a terminal needs somebody to lead it. */
		plan->move.session = !session && terminal_is_wanted(plan->r, root->id) ? 1 : session;
		if (plan->move.session != session)
			changed(plan->r->ps, BLAME(.pid = root->vpid, .object = "session"),
				"session 0 is session 1 now");
		return move(plan, tree, numbers);
	}
	if (plan->r->clone) {
		tell(plan, "each of several clones is to have them");
		return move(plan, tree, numbers);
	}
	h = plan->taken.number ? plan->taken : holder_find(numbers);
	if (h.number == 0)
		return 0;
	holder_describe(&h, text, sizeof(text));
	tell(plan, "%s", text);
	return move(plan, tree, numbers);
}

static bool had_namespace(const struct tree_state *tree)
{
	return tree->container || tree->own_pid_namespace;
}

bool move_is_possible(const struct plan *plan)
{
	return !plan->move.moves && !had_namespace(tree_state_of(plan->r->image));
}

int move_decide(struct plan *plan)
{
	const struct tree_state *tree = tree_state_of(plan->r->image);
	struct numbers numbers = { 0 };
	int r;

	if (had_namespace(tree))
		return 0;
	r = numbers_of(plan->r, &numbers);
	if (r == 0)
		r = decide(plan, tree, &numbers);
	free(numbers.list);
	return r;
}
