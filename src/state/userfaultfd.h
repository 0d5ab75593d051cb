/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "object/component.h"

/* Has the tree a userfaultfd for the memory of that process? */
bool userfaultfd_is_for(const struct restore *r, object_id process);
