/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which pages of a process are in a state: PAGEMAP_SCAN in ioctl_pagemap_scan(2), Linux 6.7; fs/proc/task_mmu.c. */
#pragma once

#include "kernel/uapi.h"

/*
 * Tells `found` of each run of pages in [what->start, what->end) of which what->flags and the categories hold; its error ends the scan. pagemap_fd: of
 * /proc/PID/pagemap. -ENOTTY: this kernel does not know the call; -EINVAL: nor a category; -EPERM: memory that is not watched (SPORE_PM_SCAN_CHECK_WPASYNC).
 */
int page_scan(int pagemap_fd, const struct pm_scan_arg *what, int (*found)(void *arg, const struct page_region *run),
	void *arg);
