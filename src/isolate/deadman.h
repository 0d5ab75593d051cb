/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A dead man's switch: when the process that armed it dies, the kernel sends SIGKILL to every process tied to it, all in one step
 * that needs nobody else to be alive. And it is disarmed in one step. So a tree is committed at one moment: before it, spore's
 * death ends all of it; after it, none of it. PTRACE_O_EXITKILL alone cannot give that, since it is cleared task by task.
 *
 * It does not reach pid 1 of a pid namespace, which ignores such a signal; nor, unless the caller is root of the initial user
 * namespace, processes of another user.
 */
#pragma once

#include <sys/types.h>

struct deadman {
	int writer, reader; /* of a pipe: the event is that the writer is closed, and nobody else has it */
	int tied[2];	    /* a socket pair, on its way through which the descriptors are that have an owner each */
};
#define DEADMAN_NONE ((struct deadman){ -1, -1, { -1, -1 } })

/* From here on the process must not fork: a copy of its descriptors would keep the switch from falling. 0 or negative errno. */
int deadman_arm(struct deadman *d, const pid_t *pids, size_t n);
/* The commit. Takes one that was not armed. */
void deadman_disarm(struct deadman *d);

/*
 * A descriptor that is still open when the switch has fallen, whatever else of this process is closed before: a copy of it is on its way between held[0] and
 * held[1], which the caller closes to let go of it. 0 or negative errno.
 */
int deadman_hold(int fd, int held[2]);
