/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "remote/batch.h"

/* Queues a capset(2) of the task itself. */
void capabilities_add(struct batch *b, const char *what, uint64_t inheritable, uint64_t permitted, uint64_t effective);
