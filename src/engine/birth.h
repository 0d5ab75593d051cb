/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Giving birth to every task of a plan from its first process, and making their memory on the way. */
#pragma once

#include "engine/plan.h"

/* The root is the seed, idle in its slot, and r->root_pid is known. Afterwards every task waits in its slot, with its memory, session and group. */
int births(struct plan *plan, struct workers *w);
