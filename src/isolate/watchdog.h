/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A second process that outlives the keeper: while a tree is being built, it kills what was built if the keeper dies. The kernel
 * does so itself: tasks in the stub see the end of spore, traced ones have PTRACE_O_EXITKILL, and the dead man's switch
 * (deadman.h) holds them together. This is for what those do not reach.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

struct watchdog_page;

struct watchdog {
	struct watchdog_page *page; /* shared with the process */
	int pidfd;		    /* of the process */
};
#define WATCHDOG_NONE ((struct watchdog){ .page = NULL, .pidfd = -1 })

/* From the keeper, before the first task is born. own: the word that tells those in the stub that spore lives (area.h). The process is no child that a plain waitpid(-1) sees. */
int watchdog_start(struct watchdog *w, uint32_t *own);
/* A process of the new tree, as the keeper sees its pid, once it is born (a pid that another process holds
 * must never stand here). What its descendants are, the watchdog finds by itself. From any thread. */
void watchdog_add(struct watchdog *w, pid_t pid);
/* Something outside of the tree was made for it, which ends when fn(id, name) is called: should the tree not be completed, by the keeper's death or otherwise. fn makes system calls only. -ENOSPC: they are too many. */
int watchdog_unmake(struct watchdog *w, int (*fn)(int id, const char *name), int id, const char *name);
/* The tree stands by itself: from here on the keeper's death does it no harm. */
void watchdog_commit(struct watchdog *w);
/* Ends the process. Takes one that was not started. */
void watchdog_end(struct watchdog *w);
