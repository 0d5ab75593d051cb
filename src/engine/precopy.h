/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pre-copy: what was written since the parent is saved while the tree runs, after it was protected anew, so that in the stop only what was written meanwhile is left to be
 * read. A page that somebody holds otherwise than by page tables could be written past the protection (state/page_holders.h): it is read in the stop, and its protection is
 * taken away, so that it counts as written the next time too.
 */
#pragma once

#include "engine/capture.h"
#include "state/page_holders.h"
#include "state/written.h"

/* Ranges of a running process that were just protected (written_take). What cannot be read counts as written. Negative errno: nothing of it is to be relied on. */
int precopy(struct capturing *c, struct page_holders *holders, pid_t pid, struct written *w, int proc_fd,
	int pagemap_fd, const struct page_ranges *ranges);
