/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The keeper's side of src/init/moved.h: starting spore-init in the new pid namespace of a tree that moves. */
#pragma once

#include "container/proc_mounts.h"
#include "engine/plan.h"

struct moving {
	int socket, init_socket; /* ours, spore-init's */
	int program;		 /* O_PATH of spore-init */
	struct proc_mount *mounts;
	char numbers[5][16];
	char *argv[10];
	const char *why; /* the tree moves */
};

#define MOVING_NONE ((struct moving){ .socket = -1, .init_socket = -1, .program = -1 })

/* seed: the argument with which the root execs the seed. */
int moving_prepare(struct moving *m, const struct plan *plan, char *seed);
void moving_free(struct moving *m);
/* spore-init has been cloned as `init`: waits until it is up, opens r->root_fd, and lets it give birth to the root. */
int moving_go(struct moving *m, struct restore *r, pid_t init);
/* What it said when it gave up; false: nothing. */
bool moving_explain(struct moving *m, struct restore *r);
/* The root's pid here. -ESRCH */
pid_t moving_find_root(pid_t init, pid_t number);
