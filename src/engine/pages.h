/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Copying the pages of every process by all workers: large ranges are divided, so that one big process keeps every CPU at work. */
#pragma once

#include "engine/capture.h"
#include "state/memory.h"

/* Fills state.runs of each plan. */
int pages_copy(struct capturing *c, struct memory_plan *plans);
