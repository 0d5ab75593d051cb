/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Core-scheduling cookies: tasks with the same may run at once on the threads of one processor core, others may not. PR_SCHED_CORE(2const),
 * Documentation/admin-guide/hw-vuln/core-scheduling.rst; kernel/sched/core_sched.c; selftests/sched/cs_prctl_test.c. A cookie has no name that outlives it:
 * the first of those that share one makes a new one, and the others take it from that. One that the outside has too cannot be had again.
 */
#include "object/component.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "state/files.h"
#include "state/owner.h"

extern const struct component component_core_scheduling;

struct core_scheduling_state {
	object_id of;
	uint64_t group;
};

static const struct field core_scheduling_fields[] = {
	FIELD_REF(struct core_scheduling_state, of, "of", "thread", REF_STRONG, "the thread"),
	FIELD_UINT(struct core_scheduling_state, group, "group", "the same for all that share a cookie"),
	FIELD_END,
};

/* 0: it has none, or no task has on this machine. */
static uint64_t cookie_of(pid_t tid)
{
	uint64_t cookie = 0;

	return prctl(PR_SCHED_CORE, PR_SCHED_CORE_GET, tid, PR_SCHED_CORE_SCOPE_THREAD, &cookie) < 0 ? 0 : cookie;
}

static bool is_of_tree(const struct tree *t, pid_t pid)
{
	for (size_t i = 0; i < t->n_processes; i++)
		if (t->processes[i]->pid == pid)
			return true;
	return false;
}

/* A task outside of the tree with that cookie; 0: none. */
static pid_t find_outside(const struct tree *t, uint64_t cookie)
{
	_cleanup_free_ int *pids = NULL;
	size_t n = 0;
	pid_t found = 0;

	procfs_numbers(AT_FDCWD, "/proc", &pids, &n);
	for (size_t i = 0; i < n && !found; i++) {
		_cleanup_free_ int *tids = NULL;
		size_t n_tids = 0;
		char path[32];

		snprintf(path, sizeof(path), "/proc/%d/task", pids[i]);
		if (is_of_tree(t, pids[i]) || procfs_numbers(AT_FDCWD, path, &tids, &n_tids) < 0)
			continue;
		for (size_t k = 0; k < n_tids && !found; k++)
			if (cookie_of(tids[k]) == cookie)
				found = tids[k];
	}
	return found;
}

static int core_scheduling_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	struct core_scheduling_state *s = state;
	uint64_t cookie = cookie_of(c->thread->tid);
	bool is_new = false;
	pid_t outside;

	if (!cookie)
		return CAPTURE_NOTHING;
	s->of = c->thread->id;
	s->group = identity_of(c->identities, "core-scheduling cookie", cookie, 0, 0, &is_new);
	outside = is_new ? find_outside(c->tree, cookie) : 0;
	if (outside)
		return refused(c->ps, BLAME_PROCESS(c->process, .object = "core-scheduling cookie"),
			"thread %d has the same as task %d, which is outside of the tree", c->thread->tid, outside);
	return 0;
}

/* --- restore --- */

static int try_cookie(void *unused)
{
	return prctl(PR_SCHED_CORE, PR_SCHED_CORE_CREATE, 0, PR_SCHED_CORE_SCOPE_THREAD, 0) < 0 ? -errno : 0;
}

/* Without a second thread in a core, every task has its core alone, and the kernel knows no cookies. */
static bool has_smt(void)
{
	_cleanup_free_ char *text = NULL;

	return procfs_read(AT_FDCWD, "/sys/devices/system/cpu/smt/active", &text, NULL) == 0 && *text == '1';
}

/* Whether it can be had does not change while a tree is restored. */
static bool is_there(void)
{
	uint64_t cookie;

	return prctl(PR_SCHED_CORE, PR_SCHED_CORE_GET, 0, PR_SCHED_CORE_SCOPE_THREAD, &cookie) == 0;
}

static const struct record *first_of_group(const struct restore *r, uint64_t group)
{
	size_t n;
	const struct record *rec = image_records(r->image, &component_core_scheduling.kind, &n);

	for (size_t i = 0; i < n; i++)
		if (((const struct core_scheduling_state *)rec[i].state)->group == group)
			return &rec[i];
	return NULL;
}

static int core_scheduling_validate(struct restore *r, const struct record *rec)
{
	const struct core_scheduling_state *s = rec->state;
	int error = first_of_group(r, s->group) == rec ? call_in_child(try_cookie, NULL) : 0;
	struct blame who = { .pid = owner_vpid(r, s->of), .object = "core-scheduling cookie" };

	if (!error)
		return 0;
	if (!has_smt())
		return changed(r->ps, &who, "this machine has one thread in each core, and knows no cookies");
	who.remedy = "restore with a kernel that has CONFIG_SCHED_CORE";
	refused(r->ps, &who, "it cannot be made here: %s", strerror(-error));
	return 0;
}

/* No task is born any more that would inherit it. */
static int core_scheduling_attach(struct build *b, const void *state)
{
	const struct core_scheduling_state *s = state;

	if (is_there() && first_of_group(b->restore, s->group)->state == state)
		batch_call(b->batch, "prctl(PR_SCHED_CORE_CREATE)", SYS_prctl, PR_SCHED_CORE, PR_SCHED_CORE_CREATE, 0,
			PR_SCHED_CORE_SCOPE_THREAD, 0);
	return 0;
}

static int core_scheduling_arm(struct build *b, const void *state)
{
	const struct core_scheduling_state *s = state, *first = first_of_group(b->restore, s->group)->state;

	if (is_there() && first != s)
		batch_call(b->batch, "prctl(PR_SCHED_CORE_SHARE_FROM)", SYS_prctl, PR_SCHED_CORE,
			PR_SCHED_CORE_SHARE_FROM, (uint64_t)owner_vpid(b->restore, first->of),
			PR_SCHED_CORE_SCOPE_THREAD, 0);
	return 0;
}

const struct component component_core_scheduling = {
	.kind = {
		.name = "core_scheduling",
		.version = 1,
		.size = sizeof(struct core_scheduling_state),
		.fields = core_scheduling_fields,
		.doc = "a thread with a core-scheduling cookie",
		.sources = "PR_SCHED_CORE(2const); kernel/sched/core_sched.c; selftests/sched/cs_prctl_test.c",
	},
	.scope = SCOPE_THREAD,
	.capture = core_scheduling_capture,
	.validate = core_scheduling_validate,
	.build = { [STAGE_ATTACH] = core_scheduling_attach, [STAGE_ARM] = core_scheduling_arm },
};
