/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which pids tasks that were just born have in the keeper's pid namespace. In a pid namespace of its own a tree's numbers are others than the
 * keeper's, and are found by looking at a parent's children and at the number that each has in the namespace.
 */
#pragma once

#include "engine/plan.h"

int find_numbers(struct plan *plan, struct new_process **wave, size_t n);
/* Of those whose memory is being made already, so that their death is noticed. */
int find_numbers_of_children(struct plan *plan);
int find_all_threads(struct plan *plan);
