/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A second process that outlives the keeper while pages are missing. When the last descriptor of a userfaultfd is closed, the kernel gives zeros for what is missing: the worst that
 * could happen to the tree. This process shares the keeper's table of descriptors, and so keeps all of them open, also those of processes forked later, until the
 * tree is dead, which it sees to when the keeper dies. If both are killed at once, the dead man's switch (isolate/deadman.h), whose pipe is in that table too, falls before the
 * descriptors are closed.
 */
#pragma once

#include "isolate/end_tree.h"

struct survivor_page;

struct survivor {
	struct survivor_page *page; /* shared with the process */
	int pidfd;		    /* of the process */
	int keeper;		    /* pidfd of this one: the table is one */
};
#define SURVIVOR_NONE ((struct survivor){ .page = NULL, .pidfd = -1, .keeper = -1 })

/* roots: of the tree; their pidfds stay open until survivor_end. 0 or negative errno. */
int survivor_start(struct survivor *s, const struct doomed *roots, size_t n);
/* A userfaultfd that is open from now on. Takes one that was not started, and does nothing. */
void survivor_note(struct survivor *s, int uffd);
/* Everything is in, or everything is dead. Takes one that was not started. */
void survivor_end(struct survivor *s);
