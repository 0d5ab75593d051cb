/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "object/component.h"

extern const struct component component_locks_mapped;

/* The keeper has opened a file for mapping: sets the locks that its mappings are to hold. 0 or negative errno, told */
int locks_mapped_set(struct restore *r, object_id backing, int fd);
