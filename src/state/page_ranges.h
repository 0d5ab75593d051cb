/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runs of pages of one process, by address. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernel/page_scan.h"

struct page_range {
	uint64_t start;
	uint64_t pages;
	/* Of what is to be saved, and not in the image: */
	bool shared;  /* another process has them too, since a fork */
	bool over;    /* they lie over a file: such as are zero are saved too, or the file's would be seen again */
	bool changed; /* since the parent, as far as is known: it is not worth a look at what that has */
};

struct page_ranges {
	struct page_range *list;
	size_t n, room;
};

uint64_t page_range_end(const struct page_range *r);
/* At the end; joined with the last if they are neighbours and alike. -ENOMEM */
int page_ranges_add(struct page_ranges *r, struct page_range new);
/* The same of what a scan finds: `ranges` is a struct page_ranges. */
int page_ranges_add_found(void *ranges, const struct page_region *run);
uint64_t page_ranges_count(const struct page_ranges *r);
void page_ranges_sort(struct page_range *list, size_t n);
/* Sorted, and each page once, of ranges that are alike. */
void page_ranges_join(struct page_ranges *r);
