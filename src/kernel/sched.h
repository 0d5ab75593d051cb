/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* sched_setattr(2), ioprio_set(2) and kcmp(2), which the C library lacks. */
#pragma once

#include <linux/kcmp.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

struct sched_attributes { /* struct sched_attr of linux/sched/types.h, whose header clashes with sched.h */
	uint32_t size;
	uint32_t policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
	uint32_t util_min, util_max;
};
#define SCHED_ATTRIBUTES_RESET_ON_FORK	0x01
#define SCHED_ATTRIBUTES_UTIL_CLAMP_MIN 0x20
#define SCHED_ATTRIBUTES_UTIL_CLAMP_MAX 0x40

#define IOPRIO_OF_PROCESS 1 /* IOPRIO_WHO_PROCESS: one task */

static inline int kernel_sched_getattr(pid_t tid, struct sched_attributes *a)
{
	return (int)syscall(SYS_sched_getattr, tid, a, sizeof(*a), 0);
}

/* 0: the same object; 1, 2, 3: not; negative: errno is set. */
static inline int kernel_kcmp(pid_t a, pid_t b, int type)
{
	return (int)syscall(SYS_kcmp, a, b, type, 0, 0);
}
