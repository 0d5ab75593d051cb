/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What an open image keeps to itself. Private to the image layer. */
#pragma once

#include "image/ancestors.h"

struct kind_range {
	const struct record_kind *kind;
	size_t first, n;
	char *states; /* one allocation for all of them */
};

struct page_file {
	int fd; /* -1: that of an ancestor which has no page of this image any more */
	uint64_t pages;
	uint64_t *sums; /* one for each block */
	bool summed;
	bool *needed; /* of an ancestor's: for each block */
};

struct id_entry {
	object_id id;
	size_t record;
};

struct image_private {
	uint8_t manifest_sum[16];
	struct manifest manifest;
	struct older_image *ancestors;
	size_t n_ancestors;
	unsigned int first_own; /* page file */
	uint64_t needed_pages;	/* of ancestors */
	struct kind_range *ranges;
	size_t n_ranges;
	struct page_file *page_files;
	struct id_entry *ids; /* sorted */
	size_t n_ids;
};

/* Sorts the ids, checks that each is there once, and that every reference names a record of its kind. */
int image_index(struct image *img, struct problems *ps);
