/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which pages of a process were written since a moment: asynchronous write protection. userfaultfd(2) UFFD_FEATURE_WP_ASYNC, PAGEMAP_SCAN in
 * ioctl_pagemap_scan(2) (Linux 6.9: before, its answers about swapped pages are wrong); fs/userfaultfd.c, fs/proc/task_mmu.c. The kernel notes the first write to each
 * page by itself: nobody is asked, and nothing waits.
 *
 * It fails closed: memory that came since (a mapping, a move, an exec), and all of it when the descriptor is closed, counts as written. What is written by others
 * than the processor, into pages pinned before (io_uring's registered buffers), is not seen: who has an io_uring is not tracked.
 */
#pragma once

#include "state/memory.h"
#include "state/precopied.h"

struct written {
	int uffd;			       /* made by the process, and held here alone */
	bool known;			       /* since the instant of the parent */
	bool lost;			       /* what it says is not to be relied on any more */
	struct page_ranges before;	       /* what was written until the last look before the stop */
	struct precopied copied;	       /* what of that was saved then */
	struct page_ranges settled;	       /* of which the image will have what they held then */
	const struct memory_state *settled_by; /* by this of the parent's; NULL: nothing is settled */
};

/* A mapping whose pages are worth it. */
bool written_may_track(const struct memory_area *a);
bool written_may_track_map(const struct proc_map *m);
/*
 * By a thread of a stopped process into which an area is mapped. Where it cannot be, uffd stays -1. Negative: the thread could not be brought back to where it stood.
 */
int written_begin(struct process *p, struct thread *th, struct written *w);
/* From now on [start, end), which is one mapping, is tracked, if it was not: then all of it counts as written. Or it is another's: written_has. -EBUSY. The program may run. */
int written_add(const struct written *w, int pagemap_fd, uint64_t start, uint64_t end);
/* Is [start, end), a mapping under userfaultfd, tracked by this? */
bool written_has(const struct written *w, uint64_t start, uint64_t end);
/* The memory that it was made for is gone: by an exec, or with the process. */
bool written_ended(const struct written *w);
/*
 * Adds to `out` what was written in [start, end), and begins anew. The program may run. Where an error comes in between, as where there is memory that is not tracked
 * any more, what was begun anew is not known, and all of it is added. -ENOMEM
 */
int written_take(int pagemap_fd, uint64_t start, uint64_t end, struct page_ranges *out);
/*
 * Of a stopped process: divides what there is in [start, end), which is all tracked, into what was written since (of which some may not be there) and what was not.
 * Far faster than to look at each page.
 */
int written_find(
	int pagemap_fd, uint64_t start, uint64_t end, struct page_ranges *written, struct page_ranges *unchanged);
void written_end(struct written *w);
