/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cgroups(7), version 2 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Where cgroup2 is mounted. System calls only. -ENOENT */
int cgroup2_mount_point(char *out, size_t size);
/* Is a process in the cgroup of that path, which counts from the mount point, or below it? Negative errno: it is gone. */
int cgroup_has_processes(const char *path, bool *populated);
