/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a process's adjustments of semaphores at its exit are. The kernel shows them to nobody, but it keeps them between -32768 and 32767, and answers a
 * semop that would leave that range with ERANGE. So a task that has them is made to ask for operations that move an adjustment, and whose last one can only
 * block: semop does all or nothing, so that EAGAIN says that the adjustment stayed in the range, ERANGE that it did not, and neither leaves a trace.
 */
#pragma once

#include "object/component.h"

#define SEMAPHORE_STEP 8192

struct sembuf;

struct adjustment {
	uint16_t num;
	int by;
};

struct adjustments {
	struct adjustment *list;
	size_t n;
};

/*
 * Those that the task, stopped and with its process's area mapped, has of that set of its IPC namespace, in which the caller is. -EACCES: it may not use the
 * set (any more); -ENOSYS: it cannot be asked; else 0 or negative errno.
 */
int semaphore_probe(struct process *p, struct thread *th, int semid, size_t n_sems, struct adjustments *out);
void adjustments_free(struct adjustments *a);

/* Operations that move an adjustment by so much, at most SEMAPHORE_STEP either way, and leave the value, now `value`, as it is. */
void semaphore_move(struct sembuf **op, unsigned short num, int by, int value);
