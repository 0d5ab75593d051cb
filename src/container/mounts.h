/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>

/* In the first process: what it mounts and, with a root of its own, the change to it. System calls only. */
int container_mount_all(const char *root, bool init, const char **what);
