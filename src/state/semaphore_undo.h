/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "object/component.h"

extern const struct component component_semaphore_undo;

/* Is the process whose leader this is to be born with its parent's leader's adjustments at exit (CLONE_SYSVSEM)? */
bool semaphore_undo_is_shared(const struct restore *r, object_id leader);
