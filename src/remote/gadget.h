/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Instructions of the program's own that the first and the last step of an injection borrow. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

struct gadgets {
	uint64_t syscall_ret; /* `syscall; ret` */
	uint64_t restorer;    /* `mov $15, %rax; syscall`: rt_sigreturn */
	uint64_t syscall;     /* `syscall` with anything after it */
};

/* Where they lie in files that were searched before, for the 500 processes that map the same libc. Safe for several threads. */
struct gadget_cache;
struct gadget_cache *gadget_cache_new(void);
void gadget_cache_free(struct gadget_cache *c);

struct exec_mapping {
	uint64_t start, end, offset;
	uint64_t dev, inode;
};

/* Searches one executable mapping of a file, and fills what is still 0. cache may be NULL. */
void gadgets_search(struct gadgets *g, pid_t pid, const struct exec_mapping *m, struct gadget_cache *cache);
