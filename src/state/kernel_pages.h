/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which memory of which process a page of the kernel's is. The kernel knows pages that it holds on to by their struct page; /proc/PID/pagemap tells the numbers of
 * those that a process has now. Between the two lies an array, whose beginning is found by two pages of the keeper's own.
 */
#pragma once

#include "state/kernel_view.h"

struct page_array {
	uint64_t first, size; /* the struct page of page 0, and of one */
};

/* 0 or negative errno. */
int page_array_find(struct capture *c, struct page_array *out);

/* The pages of a process from an address on, as the kernel knows them; 0: there is none there. */
int process_pages(const struct page_array *a, const struct process *p, uint64_t address, uint64_t *pages, size_t n);
