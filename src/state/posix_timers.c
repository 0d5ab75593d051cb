/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * POSIX timers, under their ids. timer_create(2), proc(5) on /proc/PID/timers; kernel/time/posix-timers.c;
 * selftests/timers/posix_timers.c.
 */
#include "state/posix_timers.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "kernel/proc_timers.h"
#include "state/clocks.h"
#include "state/kernel_view.h"
#include "state/owner.h"
#include "state/timer_view.h"
#include "state/wall_timers.h"

static const struct field posix_timer_fields[] = {
	FIELD_UINT(struct posix_timer, id, "id", "timer_t"),
	FIELD_INT(struct posix_timer, clock, "clock", "CLOCK_*, or the CPU clock of a pid or tid"),
	FIELD_UINT(struct posix_timer, signal, "signal", "sigev_signo"),
	FIELD_UINT(struct posix_timer, notify, "notify", "SIGEV_SIGNAL (0), _NONE (1), _THREAD (2)"),
	FIELD_HEX(struct posix_timer, value, "value", "sigev_value"),
	FIELD_INT(struct posix_timer, thread, "thread", "SIGEV_THREAD_ID: the thread that gets the signal; 0: any"),
	FIELD_SINCE(2, INT, struct posix_timer, counted, "counted",
		"CLOCK_THREAD_CPUTIME_ID: the thread whose it is; 0: the first (hidden)"),
	FIELD_UINT(struct posix_timer, left, "left_ns", "until it fires; 0: not set"),
	FIELD_BOOL(struct posix_timer, wall_clock, "wall_clock",
		"set to a time of day, by CLOCK_REALTIME: left_ns is that time, since 1970"),
	FIELD_UINT(struct posix_timer, interval, "interval_ns", "from one to the next"),
	FIELD_END,
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

/* Whose time a timer of that clock counts; 0: the first thread's. */
static int find_counted(struct capture *c, const char *object, const struct proc_timer *pt, int32_t *counted)
{
	_cleanup_free_ struct counted_thread *list = NULL;
	struct thread *t = NULL;
	size_t n;
	int err = timer_view_read(c, &list, &n);

	if (err && c->process->n_threads == 1)
		return 0;
	if (!err)
		err = timer_view_thread(c, list, n, pt->id, &t);
	if (err)
		return refused(c->ps, BLAME_PROCESS(c->process, .object = object, .remedy = KERNEL_VIEW_REMEDY),
			"it counts the CPU time of the thread that made it, and which that is cannot be read here");
	if (!t || t->process != c->process)
		return refused(c->ps, BLAME_PROCESS(c->process, .object = object),
			"it counts the CPU time of the thread that made it, which has ended");
	*counted = t == c->process->threads ? 0 : t->vtid;
	return 0;
}

static int capture_timer(struct capture *c, const struct timer_got *got, struct posix_timer *t)
{
	const struct proc_timer *pt = &got->timer;
	const struct thread *target = pt->to_thread && pt->target ? tree_find_tid(c->tree, pt->target) : NULL;
	char object[32];
	int32_t counted = 0;
	int err = 0;

	snprintf(object, sizeof(object), "timer %d", pt->id);
	if (pt->to_thread && !target)
		return refused(c->ps, BLAME_PROCESS(c->process, .object = object),
			"the thread that it signals has ended, and no new timer can be made for it");
	if (is_own_thread_clock(pt->clock))
		err = find_counted(c, object, pt, &counted);
	if (err)
		return err;
	*t = (struct posix_timer){
		.id = (uint32_t)pt->id,
		.clock = pt->clock,
		.signal = (uint8_t)pt->signal,
		.notify = (uint8_t)pt->notify,
		.value = pt->value,
		.thread = target ? target->vtid : 0,
		.counted = counted,
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

const struct component component_posix_timers = {
	.kind = {
		.name = "posix_timers",
		.version = 2,
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
	.round = posix_timers_round,
	.build = { [STAGE_ARM] = posix_timers_arm },
};
