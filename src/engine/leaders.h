/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Processes whose first thread has ended, while others go on. */
#pragma once

#include "engine/plan.h"

/* Ends the first threads of those that were so, the last thing that they are told. When it returns they have ended: the area may be used anew. */
int leaders_end(struct plan *plan);
