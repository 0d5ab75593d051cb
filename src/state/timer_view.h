/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Of timers on the processor time of the thread that made them (CLOCK_THREAD_CPUTIME_ID): which that is, as the kernel's memory has it. */
#pragma once

#include "object/component.h"

struct counted_thread {
	int32_t timer;
	uint64_t pid; /* the address of its struct pid */
};

/* Those of c->process; *list is allocated. -ENODATA: the kernel cannot be looked at. */
int timer_view_read(struct capture *c, struct counted_thread **list, size_t *n);
/* -ENOENT: there is no such timer. Else as kernel_pid_thread. */
int timer_view_thread(
	struct capture *c, const struct counted_thread *list, size_t n, int32_t timer, struct thread **out);
