/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where the kernel's memory map lies: Documentation/arch/x86/x86_64/mm.rst, arch/x86/include/asm/page_64_types.h. */
#pragma once

#include <stdint.h>

/* With four levels of page tables, unless these variables of the kernel say otherwise (CONFIG_DYNAMIC_MEMORY_LAYOUT). */
#define KERNEL_VMEMMAP_SYMBOL	  "vmemmap_base"
#define KERNEL_VMEMMAP		  0xffffea0000000000
#define KERNEL_PAGE_OFFSET_SYMBOL "page_offset_base"
#define KERNEL_PAGE_OFFSET	  0xffff888000000000
#define KERNEL_STRUCT_PAGE	  64
#define KERNEL_PAGE		  4096
