/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Kernel interfaces with a file's face: /proc, /sys, cgroups and the like. */
#pragma once

#include "object/component.h"

/* Refuses what cannot be opened again as it was; else *pseudo tells whether the kernel makes the contents. fd: any descriptor of the file; flags: F_GETFL's. */
int pseudo_check(struct capture *c, const struct blame *who, int fd, uint64_t flags, const char *path, bool *pseudo);
