/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cgroups(7), version 2 */
#pragma once

#include <stddef.h>

/* Where cgroup2 is mounted. System calls only. -ENOENT */
int cgroup2_mount_point(char *out, size_t size);
