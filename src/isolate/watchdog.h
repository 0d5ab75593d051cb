/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A second process that outlives the keeper: while a tree is being built, it kills what was built if the
 * keeper dies. The kernel does that for a tree in a pid namespace of its own, but only for as long as its
 * init lives in the stub; and not at all for a tree in the host's.
 */
#pragma once

#include <sys/types.h>

struct watchdog_page;

struct watchdog {
	struct watchdog_page *page; /* shared with the process */
	int pidfd;		    /* of the process */
};
#define WATCHDOG_NONE ((struct watchdog){ .page = NULL, .pidfd = -1 })

/* From the keeper, before the first task is born. The process is no child that a plain waitpid(-1) sees. */
int watchdog_start(struct watchdog *w);
/* A process of the new tree, as the keeper sees its pid, once it is born (a pid that another process holds
 * must never stand here). What its descendants are, the watchdog finds by itself. From any thread. */
void watchdog_add(struct watchdog *w, pid_t pid);
/* The tree stands by itself: from here on the keeper's death does it no harm. */
void watchdog_commit(struct watchdog *w);
/* Ends the process. Takes one that was not started. */
void watchdog_end(struct watchdog *w);
