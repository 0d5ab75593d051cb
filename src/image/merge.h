/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A chain of images becoming one: which pages it needs (merge_pages.c), and their copying (merge_copy.c). Private to the image layer. */
#pragma once

#include "image/opening.h"

/* Pages of one page file that are needed, and that no other of these has. */
struct needed {
	uint64_t at, pages;
	uint64_t order; /* of its first mention in the records, which is that of addresses */
	unsigned int file;
	unsigned int new_file; /* where they are in the new image */
	uint64_t new_at;
};

struct needs {
	struct needed *list; /* by file and page */
	struct needed **by_order;
	size_t n, room;
	uint64_t pages;
};

/* Of all its records. */
int needs_find(const struct image *img, struct problems *ps, struct needs *out);
void needs_free(struct needs *n);
/* The one that has that page. */
struct needed *needs_at(const struct needs *n, uint64_t file, uint64_t at);

/* Copies them, each checked with its block, and notes where they are then. By several threads; memory is bounded. */
int needs_copy(struct needs *n, const struct image *img, struct image_writer *w, const struct image_merging *how,
	struct problems *ps);
