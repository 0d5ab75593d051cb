/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An address space whose pages come by userfaultfd: what it lacks, what the kernel tells of it, and the copying into it. userfaultfd(2), ioctl_userfaultfd(2);
 * fs/userfaultfd.c, mm/userfaultfd.c.
 *
 * The kernel tells of every fork, mremap, munmap and MADV_DONTNEED, and holds whoever called until that was read. Copying and the reading of events exclude
 * each other (`lock`): else a page could be decided on before, and copied after, the program had let go of it, and would be back. While there is an event that was
 * not read, the kernel refuses to copy (EAGAIN).
 */
#pragma once

#include <pthread.h>
#include <sys/types.h>

#include "lazy/layout.h"

struct space {
	struct space *next;
	int uffd;	       /* -1: over */
	int held[2];	       /* isolate/deadman.h */
	int pagemap, smaps;    /* -1: whose it is is not known */
	bool child;	       /* forked from one that was being filled */
	pthread_rwlock_t lock; /* shared: to copy; exclusive: to read events */
	pthread_mutex_t map;   /* of `layout` and `cursor`, for those that share `lock` */
	struct layout layout;
	uint64_t cursor;	/* where streaming is */
	unsigned int streaming; /* threads: of the filler's lock */
};

/* Whose features the kernel must have, and the caller must be permitted: 0 or negative errno. */
int space_probe(void);

/* Takes uffd, which is new, and the layout. NULL: out of memory, and uffd is closed. */
struct space *space_new(int uffd, struct layout *layout);
int space_prepare(const struct space *s); /* UFFDIO_API */
int space_register(struct space *s, uint64_t start, uint64_t size);
/* Of a space that is over, or of a tree that is dead. */
void space_free(struct space *s);
/* Nothing of it stays with the process: when nothing is missing and nobody copies. */
void space_close(struct space *s);
uint64_t space_missing(struct space *s);

/* What was read. Events have been followed up already. */
struct space_news {
	uint64_t faults[64]; /* addresses */
	size_t n_faults;
	struct space *children[64]; /* new ones */
	size_t n_children;
};
/* 0; 1: there may be more; a negative errno: what an event says could not be noted. */
int space_read(struct space *s, struct space_news *out);

/* A verified block of pages. */
struct loaded {
	bool valid;
	struct block where;
	uint8_t *bytes;
};

/*
 * Copies what is missing of that block in [start, end). 0; -EAGAIN: something is left, and can be copied when events are read; -ESRCH: the process is gone; or
 * another negative errno.
 */
int space_copy(struct space *s, const struct loaded *block, uint64_t start, uint64_t end);
/* A page that is not in the image. The same answers. */
int space_zero(struct space *s, uint64_t address);
/* A page that can never come: who touches it gets SIGBUS. */
void space_poison(struct space *s, uint64_t address);
/* Is the memory gone, with the last process that had it? */
bool space_is_gone(struct space *s);
bool uffd_is_gone(int uffd);
