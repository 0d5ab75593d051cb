/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What an injection has to know of a process before it touches it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "kernel/procfs.h"
#include "remote/gadget.h"

#define LAYOUT_STEP 65536ul

struct layout {
	struct gadgets gadgets;
	uint64_t stack_start, stack_end; /* of the main thread; 0: none */
	uint64_t vdso_start, vdso_end;
	uint64_t free;	/* where the area goes; 0: nowhere */
	bool in_window; /* something is mapped where areas go */
};

/* -ENOMEM: no room for `size` bytes. */
int layout_of(struct layout *l, pid_t pid, const struct proc_maps *maps, size_t size, struct gadget_cache *cache);

/* Is this where areas go? Far from where the kernel, C libraries, Go, Java and the sanitizers put anything. */
bool layout_is_ours(uint64_t start, uint64_t end);
