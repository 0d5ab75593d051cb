/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files that make an address space again share: memory_build.c, memory_fetch.c, memory_vdso.c, memory_finish.c. */
#pragma once

#include "state/memory.h"

static inline bool is_vdso(const struct memory_area *a)
{
	return a->kind == AREA_VDSO || a->kind == AREA_VVAR;
}

/* A name for an operation, in errors, that lives as long as the batch. */
PRINTF_LIKE(2, 3) const char *memory_label(struct batch *b, const char *fmt, ...);

/* Which descriptors a task has fetched while its memory is made. */
struct fetched {
	struct backing_fd {
		object_id backing;
		bool write;
	} list[256];
	size_t n;
	unsigned int n_page_files;
};

/* The page files that it has pages in; each has its number. */
int fetch_page_files(struct build *b, struct fetched *f, const struct memory_state *m);
int page_file_number(unsigned int file);
/* The number in the task of a descriptor of that backing. */
int fetch_backing(struct build *b, struct fetched *f, object_id backing, bool write);

/* Is it a mapping of an io_uring? Those are mapped when all else is in place; parent: of whom it was forked, or NULL. */
bool memory_is_ring(const struct restore *r, const struct memory_area *a);
int memory_map_rings(
	struct build *b, struct fetched *f, const struct memory_state *m, const struct memory_state *parent);
/* Those that a process of the tree has made (state/io_uring_late.c), when that has been fetched: in each process, whoever it was forked from. */
bool memory_has_late_rings(const struct restore *r, const struct memory_state *m);
int memory_map_late_rings(struct build *b, const struct memory_state *m);

/* Is it a mapping of a packet ring, or a part of one? It is mapped anew in a forked process too. `first`: mapped with those behind it. */
bool memory_is_packet(const struct restore *r, const struct memory_area *a);
int memory_map_packet(
	struct build *b, struct fetched *f, const struct memory_state *m, const struct memory_area *first);

/* Moves the kernel's pages to where the program knew them; by way of the free room behind our area when the two places overlap. */
void move_vdso(struct build *b, const struct vdso_pieces *from, uint64_t to);
uint64_t vdso_start(const struct memory_state *m); /* 0: it has none */
