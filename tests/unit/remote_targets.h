/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Programs to be stopped: each a child of the test that watches itself, and tells through shared memory what it saw. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct seen {
	volatile uint32_t ready;   /* threads that have begun */
	volatile uint64_t turns;   /* of their loops */
	volatile uint32_t wrong;   /* what must never be: a register, a mask, a sequence that was not aborted */
	volatile uint32_t eintr;   /* interrupted calls that should not have been */
	volatile uint64_t late_us; /* worst lateness of a sleep */
	volatile uint64_t token;   /* changed by the test while the target is stopped */
	volatile uint32_t go;	   /* told by the test: do your last check */
	volatile uint32_t done;
	volatile uint64_t altstack;
	volatile uint32_t started; /* by a tracer that will be killed */
};

typedef void target(struct seen *);

/* Forks a child that runs it and dies with the caller; returns when it has begun. */
pid_t target_start(target *body, struct seen *seen);
void target_end(pid_t pid);
struct seen *seen_new(void);

target target_spin, target_avx, target_nanosleep, target_epoll, target_stopped, target_threads, target_avx_threads,
	target_seccomp, target_seccomp_maps, target_dispatch, target_rseq, target_altstack, target_mdwe, target_busybox,
	target_vfork;
