/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Interval timers: alarm(2), setitimer(2) with its three clocks; kernel/time/itimer.c;
 * selftests/timers/posix_timers.c.
 *
 * What was left when the tree was saved is left when it goes on: the real one by the tree's CLOCK_MONOTONIC,
 * the others by its CPU time.
 */
#include "object/component.h"

#include <errno.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include "state/clocks.h"

#define N_ITIMERS 3

struct itimer {
	uint64_t left_us, interval_us;
};

static const struct field itimer_fields[] = {
	FIELD_UINT(struct itimer, left_us, "left_us",
		"until it fires; 0: not set, or, with an interval, expired and its signal not taken yet"),
	FIELD_UINT(struct itimer, interval_us, "interval_us", "from one to the next"),
	FIELD_END,
};

struct itimers_state {
	object_id of;
	int64_t at;
	struct itimer real, virt, prof;
};

static const struct field itimers_fields[] = {
	FIELD_REF(struct itimers_state, of, "of", "process", REF_STRONG, "the process"),
	FIELD_INT(struct itimers_state, at, "at_ns", "the tree's CLOCK_MONOTONIC when they were read"),
	FIELD_STRUCT(struct itimers_state, real, "real", itimer_fields, "ITIMER_REAL"),
	FIELD_STRUCT(struct itimers_state, virt, "virtual", itimer_fields, "ITIMER_VIRTUAL"),
	FIELD_STRUCT(struct itimers_state, prof, "prof", itimer_fields, "ITIMER_PROF"),
	FIELD_END,
};

struct itimers_got {
	struct itimerval timers[N_ITIMERS];
	struct timespec now;
};

struct itimers_scratch {
	struct itimers_got *got;
};

static void itimers_ask(struct capture *c, struct batch *b, void *scratch)
{
	struct itimers_scratch *s = scratch;
	void *room = NULL;
	uint64_t at = batch_room(b, sizeof(*s->got), &room).v;

	s->got = room;
	for (uint64_t i = 0; i < N_ITIMERS; i++)
		batch_call(b, "getitimer", SYS_getitimer, i,
			at + offsetof(struct itimers_got, timers) + i * sizeof(struct itimerval));
	batch_call(b, "clock_gettime", SYS_clock_gettime, CLOCK_MONOTONIC, at + offsetof(struct itimers_got, now));
}

static uint64_t timeval_us(const struct timeval *t)
{
	return (uint64_t)t->tv_sec * 1000000 + (uint64_t)t->tv_usec;
}

static struct itimer itimer_of(const struct itimerval *v)
{
	return (struct itimer){ timeval_us(&v->it_value), timeval_us(&v->it_interval) };
}

static bool is_set(const struct itimer *t)
{
	return t->left_us || t->interval_us;
}

static int itimers_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	const struct itimers_got *got = ((struct itimers_scratch *)scratch)->got;
	struct itimers_state *s = state;

	*s = (struct itimers_state){
		.of = c->process->id,
		.at = timespec_ns(&got->now),
		.real = itimer_of(&got->timers[ITIMER_REAL]),
		.virt = itimer_of(&got->timers[ITIMER_VIRTUAL]),
		.prof = itimer_of(&got->timers[ITIMER_PROF]),
	};
	return is_set(&s->real) || is_set(&s->virt) || is_set(&s->prof) ? 0 : CAPTURE_NOTHING;
}

static struct timeval us_timeval(uint64_t us)
{
	return (struct timeval){ .tv_sec = (time_t)(us / 1000000), .tv_usec = (suseconds_t)(us % 1000000) };
}

/*
 * A real timer that has expired begins its next interval when its signal is taken, and has none left until then. Such a one is
 * made to expire again at once: the signal is pending already, or ignored, and so the same state comes of it.
 */
static void arm_itimer(struct batch *b, uint64_t which, const struct itimer *t, uint64_t left_us)
{
	const struct itimerval v = { .it_value = us_timeval(MAX(left_us, 1)),
		.it_interval = us_timeval(t->interval_us) };

	if (is_set(t))
		batch_call(b, "setitimer", SYS_setitimer, which, batch_copy(b, &v, sizeof(v)).v, 0);
}

static int itimers_arm(struct build *b, const void *state)
{
	const struct itimers_state *s = state;
	uint64_t left = s->real.left_us;

	if (left && left < INT64_MAX / 1000)
		left = (uint64_t)(clocks_left(b, (int64_t)left * 1000, s->at) + 999) / 1000;
	arm_itimer(b->batch, ITIMER_REAL, &s->real, left);
	arm_itimer(b->batch, ITIMER_VIRTUAL, &s->virt, s->virt.left_us);
	arm_itimer(b->batch, ITIMER_PROF, &s->prof, s->prof.left_us);
	return 0;
}

const struct component component_itimers = {
	.kind = {
		.name = "itimers",
		.version = 1,
		.size = sizeof(struct itimers_state),
		.fields = itimers_fields,
		.doc = "interval timers that are set",
		.sources = "setitimer(2), alarm(2); kernel/time/itimer.c; selftests/timers/posix_timers.c",
	},
	.scope = SCOPE_PROCESS,
	.scratch_size = sizeof(struct itimers_scratch),
	.ask = itimers_ask,
	.capture = itimers_capture,
	.build = { [STAGE_ARM] = itimers_arm },
};
