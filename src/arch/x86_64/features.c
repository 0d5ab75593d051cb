/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "arch/x86_64/features.h"

#include <cpuid.h>

uint64_t cpu_xfeatures(void)
{
	uint32_t a, b, c = 0, d, low, high;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
		return 0;
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return (uint64_t)high << 32 | low;
}
