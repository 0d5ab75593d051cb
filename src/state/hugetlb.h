/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Huge pages of hugetlbfs, of files without a name: memfd_create(2) with MFD_HUGETLB, mmap(2) with MAP_HUGETLB. Each is a memfd or shmem whose pages come from
 * a pool of that size, which the machine sets aside. Documentation/admin-guide/mm/hugetlbpage.rst; fs/hugetlbfs, mm/hugetlb.c.
 */
#pragma once

#include "object/component.h"

/* The size of the pages of the file behind a descriptor; 0: it is of no hugetlbfs. */
uint64_t hugetlb_page_size(int fd);
/* MFD_HUGE_*, which are MAP_HUGE_* too. */
unsigned int hugetlb_size_flags(uint64_t page_size);
/* Gives the file so many pages, of which it may have some. */
void hugetlb_allocate(int fd, uint64_t size, uint64_t page_size, uint64_t pages);
/* Has the pool of that size enough for all that the image holds? Answered for the first record that has such pages. */
int hugetlb_validate(struct restore *r, const struct record *rec, uint64_t page_size);

/* memfd.c: of a record of kind memfd or shmem. 0: it has no huge pages. */
uint64_t memfd_huge_page(const struct record *rec, uint64_t *size, uint64_t *pages);
