/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The memory of a process: what the memory_*.c share, from memory.c (the record) to memory_build.c (making it again). */
#pragma once

#include <sys/personality.h>

#include "object/component.h"
#include "state/page_ranges.h"

enum area_kind {
	AREA_ANON,    /* private anonymous, the heap and stacks included */
	AREA_PRIVATE, /* a private mapping of a backing: its unmodified pages stay with the file */
	AREA_SHARED,  /* a shared mapping of a backing */
	AREA_VDSO,
	AREA_VVAR,	    /* the kernel's data pages before the vDSO */
	AREA_AIO,	    /* the ring of an AIO context: state/aio.h */
	AREA_AIO_INHERITED, /* that of the process it was forked from, which alone can use the context */
};

/* What a program asked for with madvise, mlock and mmap: from VmFlags of smaps. */
#define AREA_GROWSDOWN	(1u << 0)
#define AREA_LOCKED	(1u << 1)
#define AREA_SEQUENTIAL (1u << 2)
#define AREA_RANDOM	(1u << 3)
#define AREA_DONTFORK	(1u << 4)
#define AREA_DONTDUMP	(1u << 5)
#define AREA_HUGEPAGE	(1u << 6)
#define AREA_NOHUGEPAGE (1u << 7)
#define AREA_MERGEABLE	(1u << 8)
#define AREA_WIPEONFORK (1u << 9)
#define AREA_NORESERVE	(1u << 10)
#define AREA_SEALED	(1u << 11)
#define AREA_DROPPABLE	(1u << 12)
#define AREA_MAYWRITE	(1u << 13) /* a shared mapping that may be made writable: its file was open for writing */
#define AREA_SYNC	(1u << 14)
#define AREA_ONFAULT	(1u << 15) /* locked, but only what is touched */

struct memory_area {
	uint64_t start, end;
	uint64_t kind;	 /* enum area_kind */
	uint64_t prot;	 /* PROT_* */
	uint64_t flags;	 /* AREA_* */
	uint64_t offset; /* in the backing */
	object_id backing;
	char *name; /* PR_SET_VMA_ANON_NAME; NULL: none */
};

/* Pages that are in a page file. */
struct page_run {
	uint64_t start; /* address */
	uint64_t pages;
	uint64_t file; /* number of the page file */
	uint64_t at;   /* page in it */
};

struct memory_state {
	object_id of;
	object_id exe; /* backing of the executable */
	uint64_t start_code, end_code, start_data, end_data, start_brk, brk, start_stack;
	uint64_t arg_start, arg_end, env_start, env_end;
	struct blob auxv;
	bool lock_future;   /* mlockall(MCL_FUTURE) */
	bool lock_onfault;  /* with MCL_ONFAULT */
	bool bottom_up;	    /* new mappings go to the lowest free place (ADDR_COMPAT_LAYOUT at its exec) */
	uint64_t vdso_hash; /* XXH3 of the vDSO's bytes */
	object_id
		forked_from; /* the process with whom pages are still shared by fork: its memory is made first, and this one forked from it */
	struct memory_area *areas;
	size_t n_areas;
	struct page_run *runs; /* sorted by address */
	size_t n_runs;
	struct page_range *inherited; /* pages equal to those of forked_from, not saved again */
	size_t n_inherited;
	struct page_range *guards; /* MADV_GUARD_INSTALL */
	size_t n_guards;
};

extern const struct component component_memory;

/* With what an exec makes such an address space; how the program's own is set comes later (state/thread_attributes.c). */
static inline uint64_t memory_personality(const struct memory_state *m)
{
	return m && m->bottom_up ? ADDR_COMPAT_LAYOUT : 0;
}

struct page_runs {
	struct page_run *list;
	size_t n, room;
};

/* One worker's saving of pages. */
struct page_saving {
	struct image_writer *image;
	struct page_writer *writer;
	const struct image *older; /* the parent; NULL: none */
	uint8_t *buffer;	   /* PAGE_BLOCK pages; with a parent twice as many */
	struct page_cache cache;   /* of the parent */
	struct page_runs *runs;	   /* of the process; appended to */
	uint64_t saved, unchanged; /* pages: written; the parent's */
};

/*
 * Copies ranges of pages of a stopped process to a page file. Zero pages are left out, unless they lie over a file; those that the older memory (NULL: none) has
 * alike at the same address are its.
 */
int pages_save(
	struct page_saving *s, pid_t pid, const struct memory_state *older, const struct page_range *ranges, size_t n);

bool page_is_zero(const uint8_t *page);

/* The same in two steps: what is read in the stop is saved from there when the process runs. */
int pages_read(pid_t pid, const struct page_range *ranges, size_t n, uint8_t *to);
int pages_save_read(struct page_saving *s, uint8_t *from, const struct memory_state *older,
	const struct page_range *ranges, size_t n);

/* --- restore: memory_build.c, memory_finish.c --- */

/* Descriptors of a task that is being made. Those of page files and backings follow; only the keeper's pidfd survives the making of the memory. */
enum bare_fd {
	BARE_FD_KEEPER,
	BARE_FD_AREA,
	BARE_FD_SEED,
	BARE_FD_FIRST,
};

/* The mappings that the kernel gives a new program: vvar (in pieces) and vDSO. */
struct vdso_pieces {
	struct page_range list[4];
	size_t n;
};
int vdso_pieces_of(pid_t pid, struct vdso_pieces *out);

/* Makes the memory in a process that has just exec'ed the seed: everything of the seed's goes. */
int memory_make_bare(struct build *b, const struct memory_state *m, const struct vdso_pieces *seed);
/* Makes it in a process that was forked from one whose memory is `parent`. */
int memory_make_forked(struct build *b, const struct memory_state *m, const struct memory_state *parent);
/* Of a forked process: the area of the parent's memory that covers this one and is of the same stuff, so that what fork left in place can stay. NULL: none. */
const struct memory_area *memory_covering(const struct memory_state *parent, const struct memory_area *a);
/* The System V segment that an area is an attachment of, or a part of one; NULL: it is none. */
const struct sysv_shm_state *memory_segment(const struct restore *r, const struct memory_area *a);
int memory_validate_attached(struct restore *r, const struct memory_area *a);
/* Attaches the segments that are not there since the fork (parent: NULL if there was none). When all else is mapped. */
int memory_attach(struct build *b, const struct memory_state *m, const struct memory_state *parent);
/* Where pages are written from outside (compressed ones, a stream), when these are in: the protections that areas have. Else they have them by then. */
void memory_protect(struct build *b, const struct memory_state *m);
/* After every birth: advice and locks. */
int memory_finish(struct build *b, const struct memory_state *m);
/* Closes what the keeper opened for mapping, once all memory is made. */
void memory_close_mapped(struct restore *r);
/* Is what the mappings need here, and the same vDSO? */
int memory_validate(struct restore *r, const struct record *rec);

/* --- checkpoint --- */

/* One process's memory, captured inside the stop; its pages are then copied by all workers, and the record is added last. */
struct memory_plan {
	struct memory_state state;
	struct page_ranges present; /* to be saved, in the stop */
	struct page_ranges later;   /* from a copy of the memory, when the process runs on */
	pid_t copy;		    /* whose memory that is */
	uint8_t *stash;		    /* or where it was read to in the stop; NULL: it was not */
	struct page_ranges inherited, guards;
	const struct memory_state *older; /* what the parent has of it; NULL: nothing */
	bool knows;			  /* what was written since */
	struct page_ranges
		settled; /* not written since the look before the stop: those of them that were settled by then need not be present */
	const struct written *settled_by; /* NULL: none */
	uint64_t unchanged;		  /* pages known to be the parent's: their runs are in state */
};

/* --- of memory_areas.c: one of the kernel's own, as [vdso] */
bool memory_is_special(const struct proc_map *m);
/* Of an entry of /proc/PID/pagemap: proc_pid_pagemap(5) */
#define PM_PRESENT   (1ull << 63)
#define PM_SWAPPED   (1ull << 62)
#define PM_FILE	     (1ull << 61)
#define PM_EXCLUSIVE (1ull << 56) /* mapped by nobody else */
#define PM_FRAME     ((1ull << 55) - 1)
/* Private, and over no file; the heap and stacks included. */
bool memory_is_anonymous(const struct proc_map *m);
/* The areas of a stopped process. 0 or negative errno, told */
int memory_add_areas(struct capture *c, struct memory_state *s, const struct proc_maps *maps);

/* Refuses the mappings that cannot be carried. */
int memory_look(struct capture *c);
void memory_ask(struct capture *c, struct batch *b, void *scratch);
#define MEMORY_SCRATCH 32
/* c->process, in its stop, its area mapped. parent: the plan of the process's parent, or NULL. */
int memory_capture(struct capture *c, const struct batch *b, const void *scratch, struct memory_plan *plan);
/* Which pages of the areas hold something of the process's own, and which of these are still its parent's too: memory_find.c. Zero-filled ones may be among them. */
int memory_find_pages(struct capture *c, struct memory_plan *plan);
/*
 * memory_unchanged.c. Before the stop: of which pages will the image have what they held at the last look? Of those not written since the parent, where it has them, and of
 * those saved since they were written. -ENOMEM
 */
struct written;
int memory_settle(struct written *w, const struct memory_state *older);
/* In the stop: what else of the pages that were not written since that look is there is added to those present, which stay sorted. */
int memory_take_settled(const struct page_ranges *unchanged, const struct written *w, struct page_ranges *present);
/* After it: adds to the state where those of plan->settled lie. */
int memory_refer_settled(struct image_writer *image, struct memory_plan *plan);
void memory_plan_free(struct memory_plan *plan);
