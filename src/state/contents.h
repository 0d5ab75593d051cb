/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The contents of a file that only descriptors and mappings hold: in a page file of the image. Holes stay
 * holes. */
#pragma once

#include "state/files.h"

struct extent {
	uint64_t offset; /* in the file, a multiple of the page size */
	uint64_t length; /* bytes */
	uint64_t file;	 /* number of the page file */
	uint64_t at;	 /* first page in it */
};

extern const struct field extent_fields[];

/* Saves what the descriptor reads (pread). */
int contents_save(struct capture *c, int fd, struct extent **extents, size_t *n);
/* Writes it into an empty file and makes it `size` long. what: for errors. */
int contents_restore(
	struct restore *r, int fd, const struct extent *extents, size_t n, uint64_t size, const char *what);
