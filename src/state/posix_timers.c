/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * POSIX timers, under their ids. timer_create(2), proc(5) on /proc/PID/timers; kernel/time/posix-timers.c;
 * selftests/timers/posix_timers.c.
 *
 * Linux 6.15 brought PR_TIMER_CREATE_RESTORE_IDS; before it a new process numbers its timers from 0, so that
 * ids in between are taken and given back.
 */
#include "state/posix_timers.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "kernel/proc_timers.h"
#include "kernel/uapi.h"
#include "state/clocks.h"
#include "state/owner.h"
#include "state/pending_signals.h"
#include "state/wall_timers.h"

#define MOST_IDS_IN_BETWEEN 4096 /* that a kernel without RESTORE_IDS is made to go through */

struct posix_timer {
	uint32_t id;
	int32_t clock;
	uint8_t signal;
	uint8_t notify;
	uint64_t value;
	int32_t thread;
	uint64_t left, interval;
	bool wall_clock;
};

static const struct field posix_timer_fields[] = {
	FIELD_UINT(struct posix_timer, id, "id", "timer_t"),
	FIELD_INT(struct posix_timer, clock, "clock", "CLOCK_*, or the CPU clock of a pid or tid"),
	FIELD_UINT(struct posix_timer, signal, "signal", "sigev_signo"),
	FIELD_UINT(struct posix_timer, notify, "notify", "SIGEV_SIGNAL (0), _NONE (1), _THREAD (2)"),
	FIELD_HEX(struct posix_timer, value, "value", "sigev_value"),
	FIELD_INT(struct posix_timer, thread, "thread", "SIGEV_THREAD_ID: the thread that gets the signal; 0: any"),
	FIELD_UINT(struct posix_timer, left, "left_ns", "until it fires; 0: not set"),
	FIELD_BOOL(struct posix_timer, wall_clock, "wall_clock",
		"set to a time of day, by CLOCK_REALTIME: left_ns is that time, since 1970"),
	FIELD_UINT(struct posix_timer, interval, "interval_ns", "from one to the next"),
	FIELD_END,
};

struct posix_timers_state {
	object_id of;
	int64_t at;
	struct posix_timer *timers;
	size_t n_timers;
};

static const struct field posix_timers_fields[] = {
	FIELD_REF(struct posix_timers_state, of, "of", "process", REF_STRONG, "the process"),
	FIELD_INT(struct posix_timers_state, at, "at_ns", "the tree's CLOCK_MONOTONIC when they were read"),
	FIELD_LIST(struct posix_timers_state, timers, n_timers, "timers", posix_timer_fields, "by id"),
	FIELD_END,
};

/* --- checkpoint --- */

struct timer_got { /* in the area */
	struct itimerspec left;
	struct proc_timer timer;
	uint32_t overrun;
};

struct posix_timers_scratch {
	struct timer_got *got;
	size_t n;
	struct timespec *now;
	struct timespec *wall; /* before and after they were asked; NULL: none is of CLOCK_REALTIME or CLOCK_TAI */
	int error;
};

static int read_timers(const struct process *p, struct proc_timer **timers, size_t *n)
{
	_cleanup_free_ char *text = NULL;
	size_t size;
	int r = procfs_read(p->proc_fd, "timers", &text, &size);

	*timers = NULL;
	*n = 0;
	return r < 0 ? r : proc_timers_parse(text, timers, n);
}

static bool is_by_wall_clock(uint64_t clock)
{
	return clock == CLOCK_REALTIME || clock == CLOCK_TAI;
}

static bool any_by_wall_clock(const struct proc_timer *timers, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (is_by_wall_clock(timers[i].clock))
			return true;
	return false;
}

static void ask_wall_clock(struct batch *b, uint64_t at)
{
	if (at)
		batch_call(b, "clock_gettime", SYS_clock_gettime, CLOCK_REALTIME, at);
}

static void posix_timers_ask(struct capture *c, struct batch *b, void *scratch)
{
	struct posix_timers_scratch *s = scratch;
	_cleanup_free_ struct proc_timer *timers = NULL;
	void *room = NULL, *now = NULL, *wall = NULL;
	uint64_t at, clock_at, wall_at = 0;

	s->error = read_timers(c->process, &timers, &s->n);
	if (s->error < 0 || !s->n)
		return;
	at = batch_room(b, s->n * sizeof(*s->got), &room).v;
	clock_at = batch_room(b, sizeof(struct timespec), &now).v;
	s->got = room;
	s->now = now;
	if (any_by_wall_clock(timers, s->n))
		wall_at = batch_room(b, 2 * sizeof(struct timespec), &wall).v;
	s->wall = wall;
	ask_wall_clock(b, wall_at);
	for (size_t i = 0; room && i < s->n; i++) {
		s->got[i].timer = timers[i];
		s->got[i].overrun = batch_call(b, "timer_getoverrun", SYS_timer_getoverrun, (uint64_t)timers[i].id);
		batch_may_fail(b, s->got[i].overrun);
		batch_call(b, "timer_gettime", SYS_timer_gettime, (uint64_t)timers[i].id,
			at + i * sizeof(*s->got) + offsetof(struct timer_got, left));
	}
	ask_wall_clock(b, wall_at ? wall_at + sizeof(struct timespec) : 0);
	batch_call(b, "clock_gettime", SYS_clock_gettime, CLOCK_MONOTONIC, clock_at);
}

/* CPUCLOCK_PERTHREAD of thread 0, who made it: what /proc shows of CLOCK_THREAD_CPUTIME_ID. */
static bool is_own_thread_clock(clockid_t clock)
{
	return clock == CLOCK_THREAD_CPUTIME_ID || (clock >> 3 == ~0 && clock & 4);
}

static int capture_timer(struct capture *c, const struct timer_got *got, struct posix_timer *t)
{
	const struct proc_timer *pt = &got->timer;
	const struct thread *target = pt->to_thread && pt->target ? tree_find_tid(c->tree, pt->target) : NULL;
	char object[32];

	snprintf(object, sizeof(object), "timer %d", pt->id);
	if (pt->to_thread && !target)
		return refused(c->ps, BLAME_PROCESS(c->process, .object = object),
			"the thread that it signals has ended, and no new timer can be made for it");
	if (is_own_thread_clock(pt->clock) && !pt->to_thread && c->process->n_threads > 1)
		return refused(c->ps, BLAME_PROCESS(c->process, .object = object),
			"it counts the CPU time of the thread that made it, and the kernel does not say "
			"which that is");
	*t = (struct posix_timer){
		.id = (uint32_t)pt->id,
		.clock = pt->clock,
		.signal = (uint8_t)pt->signal,
		.notify = (uint8_t)pt->notify,
		.value = pt->value,
		.thread = target ? target->vtid : 0,
		.left = (uint64_t)timespec_ns(&got->left.it_value),
		.interval = (uint64_t)timespec_ns(&got->left.it_interval),
	};
	return 0;
}

/* One that signals nobody is not among those that the kernel lists. */
static void find_time_of_day(
	struct capture *c, const struct posix_timers_scratch *got, const struct wall_timers *all, struct posix_timer *t)
{
	int64_t left = (int64_t)t->left, due;
	char object[32];

	if (!is_by_wall_clock(t->clock) || !t->left)
		return;
	snprintf(object, sizeof(object), "timer %u", t->id);
	/* Of CLOCK_TAI the kernel keeps both kinds alike. */
	if (!all->known || t->notify == SIGEV_NONE || t->clock == CLOCK_TAI) {
		changed(c->ps, BLAME_PROCESS(c->process, .object = object),
			"it will be due after the time that it had left; if it was set to a time of day "
			"(TIMER_ABSTIME of %s), which the kernel does not tell here, that is late",
			t->clock == CLOCK_TAI ? "CLOCK_TAI" : "CLOCK_REALTIME");
		return;
	}
	due = wall_timers_find(all, timespec_ns(&got->wall[0]) + left, timespec_ns(&got->wall[1]) + left);
	t->wall_clock = due > 0;
	if (t->wall_clock)
		t->left = (uint64_t)due;
}

static int find_times_of_day(struct capture *c, const struct posix_timers_scratch *got, struct posix_timers_state *s)
{
	struct wall_timers all = { 0 };
	int r = got->wall ? wall_timers_read(&all) : 0;

	for (size_t i = 0; r == 0 && got->wall && i < s->n_timers; i++)
		find_time_of_day(c, got, &all, &s->timers[i]);
	wall_timers_free(&all);
	return r;
}

static int by_id(const void *a, const void *b)
{
	const struct posix_timer *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

/* How often a timer ran out while its signal waited is counted in the kernel, and told with that signal only. */
static void tell_overrun(struct capture *c, const struct posix_timer *t, int64_t last)
{
	uint64_t pending = c->thread->status.shared_pending;
	char object[32];

	for (size_t i = 0; i < c->process->n_threads; i++)
		pending |= c->process->threads[i].status.sig_pending;
	snprintf(object, sizeof(object), "timer %u", t->id);
	if (last > 0)
		changed(c->ps, BLAME_PROCESS(c->process, .object = object),
			"timer_getoverrun will answer 0, not %lld: the count of its last signal has no setter",
			(long long)last);
	if (t->interval && t->notify != SIGEV_NONE && t->signal && pending >> (t->signal - 1) & 1)
		changed(c->ps, BLAME_PROCESS(c->process, .object = object),
			"its signal waits: how often it ran out meanwhile is counted anew from the restore "
			"on");
}

static int posix_timers_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	const struct posix_timers_scratch *got = scratch;
	struct posix_timers_state *s = state;

	if (got->error < 0)
		return failed(
			c->ps, BLAME_PROCESS(c->process, .object = "POSIX timers"), got->error, "cannot read them");
	if (!got->n)
		return CAPTURE_NOTHING;
	s->of = c->process->id;
	s->at = timespec_ns(got->now);
	s->timers = calloc(got->n, sizeof(*s->timers));
	if (!s->timers)
		return -ENOMEM;
	for (size_t i = 0; i < got->n; i++) {
		int r = capture_timer(c, &got->got[i], &s->timers[s->n_timers]);

		if (r < 0)
			return r;
		s->n_timers++;
		tell_overrun(c, &s->timers[s->n_timers - 1], batch_result(b, got->got[i].overrun));
	}
	qsort(s->timers, s->n_timers, sizeof(*s->timers), by_id);
	return find_times_of_day(c, got, s);
}

/* --- restore --- */

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

static int posix_timers_validate(struct restore *r, const struct record *rec)
{
	const struct posix_timers_state *s = rec->state;

	for (size_t i = 0; i < s->n_timers; i++) {
		const struct posix_timer *t = &s->timers[i];
		bool ordered = i == 0 || s->timers[i - 1].id < t->id;

		if (!ordered || t->notify > SIGEV_THREAD || t->id > INT32_MAX || t->left > INT64_MAX ||
			t->interval > INT64_MAX)
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

static void create_timer(struct batch *b, const struct posix_timer *t, bool restores_ids)
{
	struct kernel_sigevent ev = {
		.value = t->value,
		.signal = t->signal,
		.notify = t->notify | (t->thread ? SIGEV_THREAD_ID : 0),
		.tid = t->thread,
	};
	int64_t clock = t->clock;
	uint32_t id = t->id;

	/* Made by the leader, so the CPU clock of another thread goes by that thread's name. */
	if (clock == CLOCK_THREAD_CPUTIME_ID && t->thread)
		clock = (int32_t)(~(uint32_t)t->thread << 3 | 6);
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

static int posix_timers_arm(struct build *build, const void *state)
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

		if (!restores_ids)
			skip_ids(b, next, t->id);
		next = t->id + 1;
		create_timer(b, t, restores_ids);
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

const struct component component_posix_timers = {
	.kind = {
		.name = "posix_timers",
		.version = 1,
		.size = sizeof(struct posix_timers_state),
		.fields = posix_timers_fields,
		.doc = "POSIX timers of a process",
		.sources = "timer_create(2), proc(5); kernel/time/posix-timers.c; selftests/timers/posix_timers.c",
	},
	.scope = SCOPE_PROCESS,
	.scratch_size = sizeof(struct posix_timers_scratch),
	.ask = posix_timers_ask,
	.capture = posix_timers_capture,
	.validate = posix_timers_validate,
	.build = { [STAGE_ARM] = posix_timers_arm },
};

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
