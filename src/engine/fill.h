/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "engine/plan.h"

/*
 * Pages that lie compressed in the image. Tasks read what is not by themselves; these are put into them from outside, by all workers, block after block, whosever pages lie in it. For all
 * processes whose memory has been made since the last call; then it gets its protections.
 */
int fill_memories(struct plan *plan, struct workers *w);
