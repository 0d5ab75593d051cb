/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether anything but page tables holds a page of anonymous memory: a device or another process that has pinned it (pin_user_pages(), process_vm_writev(2), direct
 * I/O) writes to it past the page tables, so that no write protection notes it. Whoever comes after the page was protected has to ask for leave to write, which is noted.
 *
 * Told by the kernel's own count of references beside that of mappings, read from its memory (kernel/peek.h): include/linux/mm_types.h, folio_ref_count() and
 * folio_mapcount(). A page counts as held whenever that is not sure.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct kernel_peek;
struct page_holders;

/* Negative errno where it cannot be told: -ENODATA, -EPERM (CAP_SYS_ADMIN, for the frames in /proc/PID/pagemap), -ENOTSUP (what is read does not fit a page of our own). */
int page_holders_open(struct kernel_peek *kernel, struct page_holders **out);
void page_holders_free(struct page_holders *h); /* takes NULL */

enum page_holding {
	PAGE_HELD,
	PAGE_MAPPED,	/* by page tables alone: of several processes, since a fork */
	PAGE_EXCLUSIVE, /* by the page table of this process alone */
};

/* Of pages at these addresses of the process whose pagemap that is. Most at a time: */
#define PAGE_HOLDERS_MOST 512
int page_holders_find(
	struct page_holders *h, int pagemap_fd, const uint64_t *addresses, size_t n, enum page_holding *out);
