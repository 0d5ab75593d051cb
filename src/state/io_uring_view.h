/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A ring as the kernel has it: struct io_ring_ctx and what hangs off it. */
#pragma once

#include "state/io_uring.h"
#include "state/kernel_view.h"

struct ring {
	struct capture *c;
	struct kernel_peek *k;
	const struct file_look *f;
	uint64_t at; /* the struct io_ring_ctx */
	int error;   /* of any look: the first stays, and all later ones answer 0 */
};

/* A member of at most 8 bytes of the structure at `at`. */
uint64_t ring_member(struct ring *g, uint64_t at, const char *type, const char *member);
/* Where a structure within another lies. */
uint64_t ring_address(struct ring *g, uint64_t at, const char *type, const char *member);
uint64_t ring_word_at(struct ring *g, uint64_t at);

#define RING(g, member)		ring_member((g), (g)->at, "io_ring_ctx", member)
#define OF(g, at, type, member) ring_member((g), (at), type, member)
#define WITHIN(g, member)	ring_address((g), (g)->at, "io_ring_ctx", member)

bool ring_list_is_empty(struct ring *g, uint64_t list);
bool ring_has_any(struct ring *g, const char *xarray);
/* The entry of that index; 0: none. */
uint64_t ring_entry(struct ring *g, uint64_t xarray, uint64_t index);

uint64_t ring_entries_end(struct ring *g, uint64_t xarray); /* every index is below */

/* Where it cannot be looked at. */
const char *ring_remedy(const struct ring *g);
int ring_refuse(struct ring *g, const char *remedy, const char *what);
int ring_of(struct capture *c, const struct file_look *f, struct ring *g);
/* What has it open; NULL: nothing in the tree. */
const struct description *ring_description(const struct capture *c, uint64_t ino);
bool ring_matches(const struct file_look *f);

/* io_uring_buffers.c. 0, -ENOTSUP (refused) or another errno */
int io_uring_capture_buffers(struct ring *g, struct io_uring_state *s);

/* io_uring_capture_late.c: who has to make it. The same */
int io_uring_capture_late(struct ring *g, struct io_uring_state *s);

/* A region of memory that the ring has from a process (struct io_mapped_region): where. -ENOENT: it has none, or no process has it in place any more. */
int io_uring_find_region(struct ring *g, uint64_t region, uint64_t *address, object_id *process);
/* io_uring_provided.c. The same */
int io_uring_capture_provided(struct ring *g, struct io_uring_state *s);

#define RING_LINK "anon_inode:[io_uring]"
