/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The older image that a checkpoint is made against: what of its processes' memory lies where. */
#pragma once

#include "image/image.h"
#include "state/memory.h"

struct older {
	struct image *image;
	struct older_process *list; /* by number */
	size_t n;
};

/* -EBADMSG, -ENOENT and what image_open answers. */
int older_open(int dir_fd, struct problems *ps, struct older **out);
void older_free(struct older *o); /* takes NULL */
/* The memory of the process that had this number in it; NULL: none. It may have been another process: only what is compared, or otherwise known, is the same. */
const struct memory_state *older_memory(const struct older *o, uint64_t pid);

/* A walk through the runs of an older memory, by rising addresses. */
struct older_cursor {
	const struct memory_state *memory; /* NULL: there is none */
	size_t at;
};
/* The run that holds the address, cut to begin there; false: none does, and *next (UINT64_MAX: no) is where the next begins. */
bool older_find(struct older_cursor *c, uint64_t address, struct page_run *run, uint64_t *next);
