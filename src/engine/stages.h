/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The stages after birth: what each component has to do in each task. */
#pragma once

#include "engine/plan.h"

/* From the finished memory to the last identity. Afterwards every task waits in its slot, or has ended if it is to be a zombie. */
int stages(struct plan *plan, struct workers *w);
