/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the kernel tells of how a task is scheduled, of a dead one too. */
#pragma once

#include "object/component.h"

#define POLICY_DEADLINE 6

struct scheduling_state {
	object_id of;
	uint32_t policy, priority;
	int32_t nice;
	bool reset_on_fork;
	uint64_t flags; /* SCHED_FLAG_* of sched_getattr but reset_on_fork */
	uint64_t runtime, deadline, period, slice;
	uint32_t util_min, util_max;
	bool any_cpu;
	uint64_t *cpus;
	size_t n_cpus;
	/* of the living only */
	uint32_t ioprio;
	uint64_t timer_slack;
};

/* Of the dead too. */
#define SCHEDULING_FIELDS                                                                                              \
	FIELD_UINT(struct scheduling_state, policy, "policy", "SCHED_*"),                                              \
		FIELD_UINT(struct scheduling_state, priority, "priority", "of the real-time policies"),                \
		FIELD_INT(struct scheduling_state, nice, "nice", "kept by the kernel under every policy"),             \
		FIELD_BOOL(struct scheduling_state, reset_on_fork, "reset_on_fork",                                    \
			"children start with the normal policy"),                                                      \
		FIELD_UINT(struct scheduling_state, slice, "slice_ns",                                                 \
			"of the normal policies, where the thread chose one; 0: the kernel's"),                        \
		FIELD_UINT(struct scheduling_state, util_min, "util_min", "lower utilisation clamp"),                  \
		FIELD_UINT(struct scheduling_state, util_max, "util_max", "upper utilisation clamp; 0: no clamps"),    \
		FIELD_BOOL(struct scheduling_state, any_cpu, "any_cpu", "could run on every CPU of the machine"),      \
		FIELD_UINTS(struct scheduling_state, cpus, n_cpus, "cpus", SHOW_HEX,                                   \
			"the CPUs that it may run on, 64 to a number")

/* All but what only the living tell; s->of is the caller's. */
int scheduling_read(struct capture *c, pid_t tid, struct scheduling_state *s);
int scheduling_validate(struct restore *r, const struct record *rec);
void scheduling_build_affinity(struct build *build, const struct scheduling_state *s);
/* Now, whatever the policy. */
void scheduling_build_policy(struct batch *b, const struct scheduling_state *s);
