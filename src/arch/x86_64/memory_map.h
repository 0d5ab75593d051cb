/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where the kernel's memory map lies: Documentation/arch/x86/x86_64/mm.rst, arch/x86/include/asm/page_64_types.h. */
#pragma once

#include <stdint.h>

struct kernel_peek;

#define KERNEL_STRUCT_PAGE 64
#define KERNEL_PAGE	   4096

/* Of physical page 0: what describes it (struct page), and the kernel's own view of its contents. Those of page N follow N times as far. */
struct memory_map {
	uint64_t vmemmap, page_offset;
};

/* -EPERM: this caller is not told; or a negative errno of kernel/peek.h. Whoever uses it tries first on something known whether it is so. */
int memory_map_find(struct kernel_peek *kernel, struct memory_map *out);
