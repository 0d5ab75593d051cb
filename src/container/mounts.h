/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "container/container.h"

/* Is every directory here on which that mounts? */
void container_validate_points(const struct container_spec *spec, struct problems *ps);
/* In the first process: what it mounts and, with a root of its own, the change to it. System calls only. */
int container_mount_all(const struct container_spec *spec, const char **what);
