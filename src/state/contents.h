/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The contents of a file that only descriptors and mappings hold: in a page file of the image. Holes stay
 * holes. */
#pragma once

#include <sys/stat.h>

#include "state/files.h"

struct extent {
	uint64_t offset; /* in the file, a multiple of the page size */
	uint64_t length; /* bytes */
	uint64_t file;	 /* number of the page file */
	uint64_t at;	 /* first page in it */
};

extern const struct field extent_fields[];

/* Room that a file has beyond what was written to it: fallocate(2). */
struct contents_room {
	bool all;	    /* its holes too, all of them */
	uint64_t elsewhere; /* bytes of other room */
};
struct contents_room contents_room(const struct stat *st, const struct extent *extents, size_t n);

/* Saves what the descriptor reads (pread). */
int contents_save(struct capture *c, int fd, struct extent **extents, size_t *n);
/* Saves bytes; pages of zeros are left out. */
int contents_save_bytes(struct capture *c, const uint8_t *bytes, size_t size, struct extent **extents, size_t *n);
/* The same without what is zero, of a file that does not tell its holes. */
int contents_save_touched(struct capture *c, int fd, struct extent **extents, size_t *n);
/* Writes it into an empty file and makes it `size` long. what: for errors. */
int contents_restore(
	struct restore *r, int fd, const struct extent *extents, size_t n, uint64_t size, const char *what);
/* Reads it into `size` zeroed bytes. 0 or negative errno. */
int contents_read(struct restore *r, uint8_t *bytes, const struct extent *extents, size_t n, uint64_t size);
/* The same through a mapping, of a file with pages of that size that cannot be written to otherwise. */
int contents_restore_mapped(struct restore *r, int fd, uint64_t page_size, const struct extent *extents, size_t n,
	uint64_t size, const char *what);
/* Are these extents of contents that are so long, in order, and whole? 0 or negative errno. */
int contents_check(struct restore *r, const struct extent *extents, size_t n, uint64_t size);
/* Then: room for all of it. What cannot be had is said. */
void contents_reserve(struct restore *r, int fd, uint64_t size, const char *what);
