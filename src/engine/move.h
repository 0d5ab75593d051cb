/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whether a tree of the host's pid namespace can have its pids back there, or moves to a new one under spore-init (src/init/moved.c). */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

struct plan;

struct move {
	bool moves;
	pid_t session;	    /* of the root, led from outside: a stand-in has this number there; 0: none has to */
	pid_t attendant;    /* the number of the root's parent */
	pid_t last;	    /* the highest number of the tree */
	unsigned int flags; /* MOVED_* */
	char why[160];
};

/* Whether the tree could: it was in the host's pid namespace, or in one that an earlier restore moved it to, and does so not yet. */
bool move_is_possible(const struct plan *plan);

/* Decides, once processes and threads are known; waits for a moment if a pid is held only by what is dying. Tells why, if the tree moves. */
int move_decide(struct plan *plan);
