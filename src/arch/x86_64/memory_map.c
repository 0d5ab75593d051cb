/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "arch/x86_64/memory_map.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/macro.h"
#include "kernel/peek.h"

/* With four levels of page tables, unless these variables of the kernel say otherwise (CONFIG_DYNAMIC_MEMORY_LAYOUT). */
#define KERNEL_VMEMMAP_SYMBOL	  "vmemmap_base"
#define KERNEL_VMEMMAP		  0xffffea0000000000
#define KERNEL_PAGE_OFFSET_SYMBOL "page_offset_base"
#define KERNEL_PAGE_OFFSET	  0xffff888000000000

/* Variables of the kernel: -ENOENT: it has none of that name, -EPERM: it does not tell where. The list is long: all are looked for at once, and noted. */
struct symbol {
	const char *name;
	uint64_t address;
	int error;
};

#define SYMBOLS "kallsyms" /* the type of their notes: an address in two halves, 0 where there is none */

static void find_symbols(struct symbol *wanted, size_t n)
{
	_cleanup_file_ FILE *list = fopen("/proc/kallsyms", "re");
	char line[256], found[128];
	unsigned long at;
	size_t missing = n;

	for (size_t i = 0; i < n; i++)
		wanted[i].error = list ? -ENOENT : -EPERM;
	while (list && missing && fgets(line, sizeof(line), list))
		for (size_t i = 0; i < n; i++)
			if (strstr(line, wanted[i].name) && sscanf(line, "%lx %*c %127s", &at, found) == 2 &&
				!strcmp(found, wanted[i].name)) {
				wanted[i].address = at;
				wanted[i].error = at ? 0 : -EPERM;
				missing--;
			}
}

static bool recall_symbols(struct kernel_peek *kernel, struct symbol *wanted, size_t n)
{
	struct member_place halves;
	size_t at = 0, known = 0;

	for (const char *name; (name = kernel_peek_noted(kernel, SYMBOLS, &at, &halves));)
		for (size_t i = 0; i < n; i++)
			if (!strcmp(name, wanted[i].name)) {
				wanted[i].address = (uint64_t)halves.size << 32 | halves.offset;
				wanted[i].error = wanted[i].address ? 0 : -ENOENT;
				known++;
			}
	return known == n;
}

static void note_symbols(struct kernel_peek *kernel, const struct symbol *found, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (found[i].error == -EPERM)
			return;
	for (size_t i = 0; i < n; i++) {
		struct member_place halves = { .offset = (uint32_t)found[i].address,
			.size = (uint32_t)(found[i].address >> 32) };

		kernel_peek_note(kernel, SYMBOLS, found[i].name, &halves);
	}
}

/* A kernel that has no such variable has it where it is by default. */
int memory_map_find(struct kernel_peek *kernel, struct memory_map *out)
{
	struct symbol symbols[] = { { .name = KERNEL_VMEMMAP_SYMBOL }, { .name = KERNEL_PAGE_OFFSET_SYMBOL } };
	uint64_t bases[] = { KERNEL_VMEMMAP, KERNEL_PAGE_OFFSET };
	int err = 0;

	if (!recall_symbols(kernel, symbols, ARRAY_SIZE(symbols))) {
		find_symbols(symbols, ARRAY_SIZE(symbols));
		note_symbols(kernel, symbols, ARRAY_SIZE(symbols));
	}
	for (size_t i = 0; i < ARRAY_SIZE(symbols) && !err; i++) {
		err = symbols[i].error;
		if (!err)
			err = kernel_peek_bytes(kernel, symbols[i].address, &bases[i], sizeof(bases[i]));
		else if (err == -ENOENT)
			err = 0;
	}
	if (!err)
		*out = (struct memory_map){ .vmemmap = bases[0], .page_offset = bases[1] };
	return err;
}
