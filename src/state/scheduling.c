/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How a thread is scheduled: policy, priority, nice, deadline parameters, utilisation clamps, CPU affinity,
 * I/O priority, timer slack. sched(7), sched_setattr(2), sched_setaffinity(2), ioprio_set(2),
 * PR_SET_TIMERSLACK; kernel/sched/syscalls.c, block/ioprio.c; selftests/sched.
 */
#include "state/scheduling.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernel/capability.h"
#include "kernel/sched.h"
#include "state/owner.h"

#define POLICY_EXT     7
#define AFFINITY_WORDS 16 /* as many CPUs as CPU_SETSIZE */

static const struct field scheduling_fields[] = {
	FIELD_REF(struct scheduling_state, of, "of", "thread", REF_STRONG, "the thread"),
	SCHEDULING_FIELDS,
	FIELD_HEX(struct scheduling_state, flags, "flags", "other flags of sched_getattr"),
	FIELD_UINT(struct scheduling_state, runtime, "runtime_ns", "SCHED_DEADLINE"),
	FIELD_UINT(struct scheduling_state, deadline, "deadline_ns", "SCHED_DEADLINE"),
	FIELD_UINT(struct scheduling_state, period, "period_ns", "SCHED_DEADLINE"),
	FIELD_UINT(struct scheduling_state, ioprio, "ioprio", "ioprio_get(2): class << 13 | level"),
	FIELD_UINT(struct scheduling_state, timer_slack, "timer_slack_ns", "how late its timers may be"),
	FIELD_END,
};

static long own_ioprio(void)
{
	return syscall(SYS_ioprio_get, IOPRIO_OF_PROCESS, 0);
}

/* The slice of a thread that chose none: this one's. */
static uint64_t usual_slice(void)
{
	struct sched_attributes own = { 0 };

	return kernel_sched_getattr(0, &own) == 0 ? own.runtime : 0;
}

static bool is_fair(uint32_t policy)
{
	return policy == SCHED_OTHER || policy == SCHED_BATCH || policy == SCHED_IDLE || policy == POLICY_EXT;
}

static int capture_policy(struct capture *c, pid_t tid, struct scheduling_state *s)
{
	struct sched_attributes a = { 0 };

	if (kernel_sched_getattr(tid, &a) < 0)
		return failed(c->ps, BLAME_PROCESS(c->process), -errno, "sched_getattr of thread %d", tid);
	s->policy = a.policy;
	s->priority = a.priority;
	s->reset_on_fork = a.flags & SCHED_ATTRIBUTES_RESET_ON_FORK;
	s->flags = a.flags & ~(uint64_t)SCHED_ATTRIBUTES_RESET_ON_FORK;
	s->util_min = a.util_min;
	s->util_max = a.util_max;
	if (a.policy == POLICY_DEADLINE) {
		s->runtime = a.runtime;
		s->deadline = a.deadline;
		s->period = a.period;
	} else if (is_fair(a.policy) && a.runtime != usual_slice()) {
		s->slice = a.runtime;
	}
	errno = 0;
	s->nice = getpriority(PRIO_PROCESS, (id_t)tid);
	return errno ? -errno : 0;
}

static void all_cpus(long n, uint64_t words[static AFFINITY_WORDS])
{
	memset(words, 0, AFFINITY_WORDS * sizeof(*words));
	for (long i = 0; i < n && i < AFFINITY_WORDS * 64; i++)
		words[i / 64] |= 1ull << (i % 64);
}

static int capture_affinity(struct capture *c, pid_t tid, struct scheduling_state *s)
{
	uint64_t words[AFFINITY_WORDS] = { 0 }, all[AFFINITY_WORDS];
	long n = syscall(SYS_sched_getaffinity, tid, sizeof(words), words);

	if (n < 0)
		return failed(c->ps, BLAME_PROCESS(c->process), -errno, "sched_getaffinity of thread %d", tid);
	all_cpus(c->tree->n_cpus, all);
	s->any_cpu = !memcmp(words, all, sizeof(words));
	for (s->n_cpus = AFFINITY_WORDS; s->n_cpus > 1 && !words[s->n_cpus - 1];)
		s->n_cpus--;
	s->cpus = malloc(s->n_cpus * sizeof(*s->cpus));
	if (!s->cpus)
		return -ENOMEM;
	memcpy(s->cpus, words, s->n_cpus * sizeof(*s->cpus));
	return 0;
}

int scheduling_read(struct capture *c, pid_t tid, struct scheduling_state *s)
{
	int r = capture_policy(c, tid, s);

	return r < 0 ? r : capture_affinity(c, tid, s);
}

struct scheduling_scratch {
	uint32_t slack;
};

static void scheduling_ask(struct capture *c, struct batch *b, void *scratch)
{
	struct scheduling_scratch *s = scratch;

	s->slack = batch_call(b, "prctl(PR_GET_TIMERSLACK)", SYS_prctl, PR_GET_TIMERSLACK);
}

static int scheduling_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	const struct scheduling_scratch *ops = scratch;
	struct scheduling_state *s = state;
	long ioprio;

	s->of = c->thread->id;
	s->timer_slack = (uint64_t)batch_result(b, ops->slack);
	ioprio = syscall(SYS_ioprio_get, IOPRIO_OF_PROCESS, c->thread->tid);
	if (ioprio < 0)
		return failed(c->ps, BLAME_PROCESS(c->process), -errno, "ioprio_get of thread %d", c->thread->tid);
	s->ioprio = (uint32_t)ioprio;
	return scheduling_read(c, c->thread->tid, s);
}

/* --- restore --- */

static long own_cpus(struct restore *r)
{
	if (!r->own.n_cpus)
		r->own.n_cpus = sysconf(_SC_NPROCESSORS_CONF);
	return r->own.n_cpus;
}

static void validate_cpus(struct restore *r, const struct scheduling_state *s)
{
	uint64_t all[AFFINITY_WORDS];
	const char *remedy = "restore on a machine with these CPUs";

	all_cpus(own_cpus(r), all);
	for (size_t i = 0; !s->any_cpu && i < s->n_cpus * 64; i++) {
		if (!(s->cpus[i / 64] >> (i % 64) & 1))
			continue;
		if (i < AFFINITY_WORDS * 64 && all[i / 64] >> (i % 64) & 1)
			continue;
		refused(r->ps, BLAME(.pid = owner_vpid(r, s->of), .object = "CPU affinity", .remedy = remedy),
			"it is bound to CPU %zu, which this machine does not have", i);
		return;
	}
}

int scheduling_validate(struct restore *r, const struct record *rec)
{
	const struct scheduling_state *s = rec->state;
	bool wanted = !is_fair(s->policy) || s->nice < getpriority(PRIO_PROCESS, 0);

	validate_cpus(r, s);
	if (wanted && !capable_own(CAP_SYS_NICE))
		refused(r->ps,
			BLAME(.pid = owner_vpid(r, s->of), .object = "scheduling", .remedy = "give spore CAP_SYS_NICE"),
			"policy %u, priority %u, nice %d need CAP_SYS_NICE", s->policy, s->priority, s->nice);
	return 0;
}

/* A newborn has the mask of spore: mostly that is what it is to have. */
void scheduling_build_affinity(struct build *build, const struct scheduling_state *s)
{
	struct batch *b = build->batch;
	uint64_t want[AFFINITY_WORDS], own[AFFINITY_WORDS] = { 0 };

	all_cpus(own_cpus(build->restore), want);
	if (!s->any_cpu) {
		memset(want, 0, sizeof(want));
		memcpy(want, s->cpus, MIN(s->n_cpus, (size_t)AFFINITY_WORDS) * sizeof(*want));
	}
	if (syscall(SYS_sched_getaffinity, 0, sizeof(own), own) > 0 && !memcmp(want, own, sizeof(own)))
		return;
	batch_call(b, "sched_setaffinity", SYS_sched_setaffinity, 0, sizeof(want), batch_copy(b, want, sizeof(want)).v);
}

static struct sched_attributes attributes_of(const struct scheduling_state *s)
{
	struct sched_attributes a = {
		.size = sizeof(a),
		.policy = s->policy,
		.flags = s->flags | (s->reset_on_fork ? SCHED_ATTRIBUTES_RESET_ON_FORK : 0),
		.nice = s->nice,
		.priority = s->priority,
		.runtime = s->policy == POLICY_DEADLINE ? s->runtime : s->slice,
		.deadline = s->deadline,
		.period = s->period,
	};

	/* 0 and 1024 are what a thread has that set no clamp; without CONFIG_UCLAMP_TASK both read 0. */
	if (s->util_max && (s->util_min != 0 || s->util_max != 1024)) {
		a.flags |= SCHED_ATTRIBUTES_UTIL_CLAMP_MIN | SCHED_ATTRIBUTES_UTIL_CLAMP_MAX;
		a.util_min = s->util_min;
		a.util_max = s->util_max;
	}
	return a;
}

void scheduling_build_policy(struct batch *b, const struct scheduling_state *s)
{
	const struct sched_attributes a = attributes_of(s);

	if (!is_fair(s->policy))
		batch_call(b, "setpriority", SYS_setpriority, PRIO_PROCESS, 0, (uint64_t)s->nice);
	batch_call(b, "sched_setattr", SYS_sched_setattr, 0, batch_copy(b, &a, sizeof(a)).v, 0);
}

static int scheduling_identity(struct build *build, const void *state)
{
	const struct scheduling_state *s = state;
	struct batch *b = build->batch;

	if (s->ioprio != (uint32_t)own_ioprio())
		batch_call(b, "ioprio_set", SYS_ioprio_set, IOPRIO_OF_PROCESS, 0, s->ioprio);
	/* It has what it wore to give birth. 0 asks for the default, and is what the real-time policies leave of any. */
	batch_call(b, "prctl(PR_SET_TIMERSLACK)", SYS_prctl, PR_SET_TIMERSLACK, s->timer_slack);
	scheduling_build_affinity(build, s);
	if (is_fair(s->policy))
		scheduling_build_policy(b, s);
	else
		batch_call(b, "setpriority", SYS_setpriority, PRIO_PROCESS, 0, (uint64_t)s->nice);
	return 0;
}

/* What spore's calls use of a deadline thread's runtime, or of a real-time one's RLIMIT_RTTIME, would count as the program's own: SIGXCPU. */
static int scheduling_held(struct restore *r, const void *state)
{
	const struct scheduling_state *s = state;
	const struct sched_attributes a = attributes_of(s);
	const struct new_thread *t = is_fair(s->policy) ? NULL : owner_thread(r, s->of);

	if (t && t->tid && syscall(SYS_sched_setattr, t->tid, &a, 0) < 0)
		return failed(r->ps, BLAME(.pid = t->vtid, .object = "scheduling"), -errno,
			"policy %u cannot be set: %m", s->policy);
	return 0;
}

const struct component component_scheduling = {
	.kind = {
		.name = "scheduling",
		.version = 1,
		.size = sizeof(struct scheduling_state),
		.fields = scheduling_fields,
		.doc = "how a thread is scheduled",
		.sources = "sched(7), sched_setattr(2), ioprio_set(2), PR_SET_TIMERSLACK; kernel/sched/syscalls.c, block/ioprio.c",
	},
	.scope = SCOPE_THREAD,
	.scratch_size = sizeof(struct scheduling_scratch),
	.ask = scheduling_ask,
	.capture = scheduling_capture,
	.validate = scheduling_validate,
	.build = { [STAGE_IDENTITY] = scheduling_identity },
	.held = scheduling_held,
};
