/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory, directories and tables of descriptors that a task of the tree shares with one outside of it (CLONE_VM, CLONE_FS, CLONE_FILES): refused. Where the kernel can
 * be looked at, each is asked in the stop how many share it. Where not, every process of the system is compared with those of the tree, once that runs again.
 */
#pragma once

#include "object/component.h"

#define SHARED_KINDS 3

/* For the latter: tasks that live, each list in the order that kcmp(2) gives. */
struct outside_sharers {
	struct outside_sharer {
		pid_t tid, pid;
		char process[64];
	} * list[SHARED_KINDS];
	size_t n;
	pid_t root, roots_parent;
};

/* 0 or negative errno. Nothing is noted where the kernel can be looked at. */
int outside_sharers_note(struct capture *c, struct outside_sharers *s);
/* Adds a refusal for each kind of thing that this process, which is outside of the tree, shares with it. */
void outside_sharers_check(const struct outside_sharers *s, pid_t pid, struct problems *ps);
void outside_sharers_free(struct outside_sharers *s);
