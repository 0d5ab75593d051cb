/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "object/component.h"

extern const struct component component_io_context;

/* Is the thread to be born with CLONE_IO: a leader by its parent's leader, another by its leader? */
bool io_context_is_shared(const struct restore *r, object_id thread);
/* Queues, in the task that is about to give such a birth, what gives it an I/O context to share. */
void io_context_prepare(struct batch *b);
