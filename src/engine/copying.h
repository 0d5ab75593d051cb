/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Putting pages into memory that is being made, by userfaultfd: the kernel takes a page that it need not clear first, and no lock of the whole address space, which makes it faster
 * than any other way. What cannot be filled so is written by process_vm_writev. userfaultfd(2), ioctl_userfaultfd(2).
 */
#pragma once

#include "engine/plan.h"

struct copying {
	struct new_process **processes; /* the caller's */
	int *uffds;			/* of each; -1: none of its areas is to be filled so */
	size_t n;
};

/* For those of the processes that have areas for it, where the kernel allows it. */
int copying_begin(struct copying *c, struct plan *plan, struct new_process **processes, size_t n);
/* Within one area. 0 or negative errno */
int copying_put(int uffd, uint64_t start, uint64_t pages, const uint8_t *bytes);
/* Nothing of it stays with the processes. */
void copying_end(struct copying *c);
