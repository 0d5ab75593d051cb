/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Linux 6.15 brought PR_TIMER_CREATE_RESTORE_IDS; before it a new process numbers its timers from 0, so that
 * ids in between are taken and given back.
 */
#include "state/posix_timers.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "kernel/uapi.h"
#include "state/clocks.h"
#include "state/owner.h"
#include "state/pending_signals.h"

#define MOST_IDS_IN_BETWEEN 4096 /* that a kernel without RESTORE_IDS is made to go through */

struct kernel_sigevent {
	uint64_t value;
	int32_t signal, notify, tid;
	int32_t pad[11];
};

_Static_assert(sizeof(struct kernel_sigevent) == 64, "struct sigevent");

static bool kernel_restores_ids(void)
{
	/* PR_TIMER_CREATE_RESTORE_IDS_GET: this thread's own process, which is left as it is. */
	return prctl(SPORE_PR_TIMER_CREATE_RESTORE_IDS, SPORE_PR_TIMER_CREATE_RESTORE_IDS_GET, 0, 0, 0) >= 0;
}

static struct new_thread *thread_of(const struct new_process *p, int32_t vtid)
{
	for (size_t i = 1; i < p->n_threads; i++)
		if (p->threads[i].vtid == vtid)
			return &p->threads[i];
	return NULL;
}

int posix_timers_validate(struct restore *r, const struct record *rec)
{
	const struct posix_timers_state *s = rec->state;
	const struct new_process *p = restore_process(r, s->of);

	for (size_t i = 0; i < s->n_timers; i++) {
		const struct posix_timer *t = &s->timers[i];
		bool ordered = i == 0 || s->timers[i - 1].id < t->id;

		if (!ordered || t->notify > SIGEV_THREAD || t->id > INT32_MAX || t->left > INT64_MAX ||
			t->interval > INT64_MAX || (t->counted && p && !thread_of(p, t->counted)))
			return failed(r->ps, BLAME(.pid = owner_vpid(r, s->of), .object = "POSIX timers"), -EBADMSG,
				"timer %u makes no sense", t->id);
	}
	if (s->n_timers && s->timers[s->n_timers - 1].id > MOST_IDS_IN_BETWEEN && !kernel_restores_ids())
		refused(r->ps,
			BLAME(.pid = owner_vpid(r, s->of), .object = "POSIX timers",
				.remedy = "use Linux 6.15 or later"),
			"timer %u: this kernel cannot give a timer its id", s->timers[s->n_timers - 1].id);
	return 0;
}

/* by_itself: by the thread whose time it counts, if it counts one's. */
static void create_timer(struct batch *b, const struct posix_timer *t, bool restores_ids, bool by_itself)
{
	struct kernel_sigevent ev = {
		.value = t->value,
		.signal = t->signal,
		.notify = t->notify | (t->thread ? SIGEV_THREAD_ID : 0),
		.tid = t->thread,
	};
	int64_t clock = t->clock;
	uint32_t id = t->id;

	if (t->counted && !by_itself)
		clock = (int32_t)(~(uint32_t)t->counted << 3 | 6); /* goes by that thread's number */
	batch_call(b, restores_ids ? "timer_create with its id" : "timer_create", SYS_timer_create, (uint64_t)clock,
		batch_copy(b, &ev, sizeof(ev)).v, batch_copy(b, &id, sizeof(id)).v);
}

/* Without RESTORE_IDS: takes and gives back the ids before this one. */
static void skip_ids(struct batch *b, uint32_t from, uint32_t to)
{
	struct kernel_sigevent none = { .notify = SIGEV_NONE };
	uint64_t event = batch_copy(b, &none, sizeof(none)).v, id = batch_copy(b, &from, sizeof(from)).v;

	for (; from < to; from++) {
		batch_call(b, "timer_create", SYS_timer_create, CLOCK_MONOTONIC, event, id);
		batch_call(b, "timer_delete", SYS_timer_delete, from);
	}
}

/*
 * By the clock that it had, to the nanosecond, where that is the tree's CLOCK_MONOTONIC or the time of day. A timer that repeats
 * and whose signal was still pending is set to when it last was due: it fires at once, and counts its
 * overruns as before.
 */
static void arm_timer(struct build *build, const struct posix_timer *t, int64_t at, bool fired)
{
	struct batch *b = build->batch;
	bool monotonic = t->clock == CLOCK_MONOTONIC && t->left < INT64_MAX / 4;
	bool cpu = t->clock < 0 || t->clock == CLOCK_PROCESS_CPUTIME_ID || t->clock == CLOCK_THREAD_CPUTIME_ID;
	int64_t due = (int64_t)t->left;
	struct itimerspec v;

	if (monotonic)
		due += at + build->restore->clock_shift_ns;
	if (monotonic || t->wall_clock)
		due -= fired ? (int64_t)t->interval : 0;
	else if (fired)
		due = 1;
	else if (!cpu)
		due = clocks_left(build, due, at);
	v = (struct itimerspec){ .it_value = ns_timespec(MAX(due, (int64_t)1)),
		.it_interval = ns_timespec((int64_t)t->interval) };
	batch_call(b, "timer_settime", SYS_timer_settime, t->id, monotonic || t->wall_clock ? TIMER_ABSTIME : 0,
		batch_copy(b, &v, sizeof(v)).v, 0);
}

static bool counts_others(const struct posix_timers_state *s)
{
	for (size_t i = 0; i < s->n_timers; i++)
		if (s->timers[i].counted)
			return true;
	return false;
}

static int let_give_ids(const struct new_process *p, struct callers *callers, uint64_t how)
{
	struct build *b = callers->add(callers, p->threads);

	if (!b)
		return -ENOMEM;
	batch_call(b->batch, "prctl(PR_TIMER_CREATE_RESTORE_IDS)", SYS_prctl, SPORE_PR_TIMER_CREATE_RESTORE_IDS, how);
	return 0;
}

static int create_own(const struct posix_timers_state *s, struct new_thread *t, struct callers *callers)
{
	struct build *b = NULL;

	for (size_t i = 0; i < s->n_timers; i++) {
		if (s->timers[i].counted != t->vtid)
			continue;
		b = b ? b : callers->add(callers, t);
		if (!b)
			return -ENOMEM;
		create_timer(b->batch, &s->timers[i], true, true);
	}
	return 0;
}

static int create_by_threads(struct new_process *p, const struct posix_timers_state *s, struct callers *callers)
{
	int err = 0;

	for (size_t i = 1; !err && i < p->n_threads; i++)
		err = create_own(s, &p->threads[i], callers);
	return err;
}

/* Each thread makes the timers of its own time, between two rounds of the first one's: that ids may be given is of the process. */
int posix_timers_round(struct restore *r, struct callers *callers, unsigned int n)
{
	size_t n_records;
	const struct record *records = image_records(r->image, &component_posix_timers.kind, &n_records);
	bool any = false;
	int err = 0;

	if (n > 2 || !kernel_restores_ids())
		return 0;
	for (size_t i = 0; !err && i < n_records; i++) {
		const struct posix_timers_state *s = records[i].state;
		struct new_process *p = counts_others(s) ? restore_process(r, s->of) : NULL;

		if (!p)
			continue;
		any = true;
		if (n == 1)
			err = create_by_threads(p, s, callers);
		else
			err = let_give_ids(p, callers,
				n ? SPORE_PR_TIMER_CREATE_RESTORE_IDS_OFF : SPORE_PR_TIMER_CREATE_RESTORE_IDS_ON);
	}
	return err ? err : any;
}

/* On a kernel that cannot be told the ids of timers the first thread makes all, in their order. */
static void tell_number(struct build *build, const struct posix_timer *t)
{
	char object[32];

	snprintf(object, sizeof(object), "timer %u", t->id);
	changed(build->ps, BLAME(.pid = build->process->vpid, .object = object),
		"/proc/PID/timers will name thread %d, whose CPU time it counts, and did not", t->counted);
}

int posix_timers_arm(struct build *build, const void *state)
{
	const struct posix_timers_state *s = state;
	bool restores_ids = kernel_restores_ids();
	struct batch *b = build->batch;
	uint32_t next = 0;

	if (restores_ids)
		batch_call(b, "prctl(PR_TIMER_CREATE_RESTORE_IDS)", SYS_prctl, SPORE_PR_TIMER_CREATE_RESTORE_IDS,
			SPORE_PR_TIMER_CREATE_RESTORE_IDS_ON);
	for (size_t i = 0; i < s->n_timers; i++) {
		const struct posix_timer *t = &s->timers[i];

		if (t->counted && restores_ids)
			continue;
		if (!restores_ids)
			skip_ids(b, next, t->id);
		next = t->id + 1;
		create_timer(b, t, restores_ids, false);
		if (t->counted)
			tell_number(build, t);
	}
	if (restores_ids)
		batch_call(b, "prctl(PR_TIMER_CREATE_RESTORE_IDS)", SYS_prctl, SPORE_PR_TIMER_CREATE_RESTORE_IDS,
			SPORE_PR_TIMER_CREATE_RESTORE_IDS_OFF);
	for (size_t i = 0; i < s->n_timers; i++) {
		const struct posix_timer *t = &s->timers[i];

		if (t->left)
			arm_timer(build, t, s->at, t->interval && pending_has_timer(build->process, (int)t->id));
	}
	return 0;
}

bool posix_timer_repeats(const struct restore *r, object_id process, int timer_id)
{
	size_t n;
	const struct record *records = image_records(r->image, &component_posix_timers.kind, &n);

	for (size_t i = 0; i < n; i++) {
		const struct posix_timers_state *s = records[i].state;

		for (size_t t = 0; s->of == process && t < s->n_timers; t++)
			if (s->timers[t].id == (uint32_t)timer_id)
				return s->timers[t].left && s->timers[t].interval;
	}
	return false;
}
