/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Process groups: leaders first, then whoever joins them; one whose leader is dead needs a stand-in for as long as its members join. */
#pragma once

#include "engine/plan.h"

/* Every process has been born. */
int make_groups(struct plan *plan);
