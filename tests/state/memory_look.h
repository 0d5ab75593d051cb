/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the makers of memory ask the kernel of it. */
#pragma once

#include "maker.h"

char *map(size_t len, int prot, int flags); /* anonymous; NULL: none */
char *map_private(size_t len);
/* Does touching this address fault, and by which signal? 0: no. */
int fault_of(volatile char *p, bool write);
int fault_code(void); /* si_code of the last one */
/* Resident pages of a range. */
long resident(void *p, size_t len);
/* The VmFlags of the mapping that starts there hold this flag. */
bool vm_flag(const void *start, const char *flag);
/* Is the page there by the process's own page table? */
bool present(const void *p);
