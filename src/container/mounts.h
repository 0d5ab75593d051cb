/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "container/container.h"

/* In the first process: what it mounts and, with a root of its own, the change to it. System calls only. */
int container_mount_all(const struct container_spec *spec, const char **what);
