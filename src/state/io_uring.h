/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rings of io_uring: io_uring.c looks at them and saves them, io_uring_restore.c makes them again. */
#pragma once

#include <linux/io_uring.h>

#include "object/component.h"

#define IO_URING_NO_SQARRAY (1u << 16) /* IORING_SETUP_NO_SQARRAY, newer than some headers */

/* Flags of rings that can be made again, by anybody, as they were. */
#define IO_URING_CARRIED                                                                                               \
	(IORING_SETUP_IOPOLL | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_R_DISABLED |                    \
		IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG |                      \
		IORING_SETUP_SQE128 | IORING_SETUP_CQE32 | IO_URING_NO_SQARRAY)

/* A restored ring carries out as many requests that do nothing: this many take some ten seconds. */
#define IO_URING_REQUESTS_MAX (1ull << 27)

struct io_uring_file {
	uint64_t slot;
	object_id file;
};

struct io_uring_state {
	uint64_t flags; /* IORING_SETUP_* */
	uint64_t sq_entries, cq_entries;
	uint64_t sq_head, cq_tail; /* the kernel's own */
	bool drain_disabled;	   /* a request asked for no completion: none may wait for all others any more */
	uint64_t array, cqes;	   /* where in the rings these begin */
	struct blob rings, sqes;   /* what is in the memory that it shares with the program */
	uint64_t slots;		   /* of registered files */
	struct io_uring_file *files;
	size_t n_files;
};

extern const struct component component_io_uring;

/* --- restore: io_uring_restore.c */
int io_uring_validate(struct restore *r, const struct record *rec);
int io_uring_open(struct restore *r, const struct record *rec, const struct file_state *file);
int io_uring_fill(struct restore *r, const struct record *rec);
