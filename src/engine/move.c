/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/move.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "engine/plan.h"
#include "init/moved.h"
#include "state/terminal.h"
#include "state/tree.h"

#define DYING_TIMEOUT_US 2000000
#define DYING_PAUSE_US	 10000
#define PID_LIMIT	 (4 * 1024 * 1024) /* PID_MAX_LIMIT of the kernel */

/* --- the tree's numbers ------------------------------------------------------------------------------------------------- */

struct numbers {
	pid_t *list; /* sorted, each once */
	size_t n;
};

static int compare_pids(const void *a, const void *b)
{
	pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;

	return (x > y) - (x < y);
}

static bool has_number(const struct numbers *numbers, pid_t pid)
{
	return bsearch(&pid, numbers->list, numbers->n, sizeof(pid), compare_pids) != NULL;
}

/* Of processes and threads, and of the groups and sessions that they are in. */
static int numbers_of(const struct restore *r, struct numbers *out)
{
	size_t n = 0, kept = 0;

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
	qsort(out->list, n, sizeof(*out->list), compare_pids);
	for (size_t i = 0; i < n; i++)
		if (out->list[i] > 0 && (!kept || out->list[i] != out->list[kept - 1]))
			out->list[kept++] = out->list[i];
	out->n = kept;
	return 0;
}

/* --- who has them -------------------------------------------------------------------------------------------------------- */

enum taken { FREE, BY_DYING, BY_LIVING };

struct holder {
	enum taken taken;
	pid_t number;
	char name[64];
};

static void note_holder(struct holder *h, pid_t number, const struct proc_stat *st)
{
	enum taken taken = st->state == 'Z' || st->state == 'X' || st->flags & PF_EXITING ? BY_DYING : BY_LIVING;

	if (taken <= h->taken)
		return;
	h->taken = taken;
	h->number = number;
	snprintf(h->name, sizeof(h->name), "%s", st->comm);
}

/* /proc shows a thread too, if it is asked for. */
static void look_for_tasks(const struct numbers *numbers, struct holder *h)
{
	for (size_t i = 0; i < numbers->n && h->taken < BY_LIVING; i++) {
		_cleanup_fd_ int dir = procfs_open_pid(numbers->list[i]);
		struct proc_stat st;

		if (dir >= 0 && proc_stat_read(dir, &st) == 0)
			note_holder(h, numbers->list[i], &st);
	}
}

/* A number is taken too while a group or a session has it. */
static void look_for_groups(const struct numbers *numbers, struct holder *h)
{
	_cleanup_dir_ DIR *proc = opendir("/proc");

	for (struct dirent *e; proc && h->taken < BY_LIVING && (e = readdir(proc));) {
		pid_t pid = (pid_t)atoi(e->d_name);
		_cleanup_fd_ int dir = pid > 0 ? procfs_open_pid(pid) : -1;
		struct proc_stat st;

		if (dir < 0 || proc_stat_read(dir, &st) < 0)
			continue;
		if (has_number(numbers, st.pgrp))
			note_holder(h, st.pgrp, &st);
		if (has_number(numbers, st.session))
			note_holder(h, st.session, &st);
	}
}

/* What is dying lets go of its number soon, or never, if its parent does not reap it. */
static struct holder find_holder(const struct numbers *numbers)
{
	uint64_t end = clock_us() + DYING_TIMEOUT_US;

	for (;;) {
		struct holder h = { 0 };

		look_for_tasks(numbers, &h);
		look_for_groups(numbers, &h);
		if (h.taken != BY_DYING || clock_us() >= end)
			return h;
		usleep(DYING_PAUSE_US);
	}
}

/* --- the decision --------------------------------------------------------------------------------------------------------- */

/* Of the root's parent there: the session's own number if the leader is that, else one that nobody of the tree has. */
static int choose_attendant(struct move *m, const struct numbers *numbers)
{
	if (m->session > 1 && m->flags & MOVED_PARENT_IN_SESSION && m->flags & MOVED_LEADER_LIVES) {
		m->attendant = m->session;
		return 0;
	}
	for (pid_t pid = m->last + 1 < PID_LIMIT ? m->last + 1 : 2; pid < PID_LIMIT; pid++)
		if (!has_number(numbers, pid)) {
			m->attendant = pid;
			return 0;
		}
	return -ENOSPC;
}

static int tell(struct plan *plan, const char *why, ...) PRINTF_LIKE(2, 3);
static int tell(struct plan *plan, const char *why, ...)
{
	const struct new_process *root = plan->r->processes[0];
	char text[160];
	va_list ap;

	va_start(ap, why);
	vsnprintf(text, sizeof(text), why, ap);
	va_end(ap);
	return changed(plan->r->ps,
		BLAME(.pid = root->vpid, .process = process_of(root)->name, .object = "pid namespace"),
		"the tree is restored in a new one, in which alone it has its pids: %s", text);
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

	if (!session || !restore_vpid(plan->r, session)) {
		tell(plan, "session %d, in which it was, was led from outside of it", (int)session);
		/* One from outside of the pid namespace: it shows as 0 again, unless a terminal needs somebody to lead it. */
		plan->move.session = !session && terminal_is_wanted(plan->r, root->id) ? 1 : session;
		if (plan->move.session != session)
			changed(plan->r->ps, BLAME(.pid = root->vpid, .object = "session"),
				"session 0 is session 1 now");
		return move(plan, tree, numbers);
	}
	h = find_holder(numbers);
	if (h.taken == FREE)
		return 0;
	tell(plan, "%d is taken here (%s%s)", (int)h.number, h.name,
		h.taken == BY_DYING ? ", which has ended but was not waited for" : "");
	return move(plan, tree, numbers);
}

int move_decide(struct plan *plan)
{
	const struct tree_state *tree = tree_state_of(plan->r->image);
	struct numbers numbers = { 0 };
	int r;

	if (tree->container || tree->own_pid_namespace)
		return 0;
	r = numbers_of(plan->r, &numbers);
	if (r == 0)
		r = decide(plan, tree, &numbers);
	free(numbers.list);
	return r;
}
