/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Copying the pages of every process by all workers: large ranges are divided, so that one big process keeps every CPU at work. */
#pragma once

#include "engine/capture.h"
#include "state/memory.h"

/* Both add to state.runs of each plan: those of `present`, and those of `later`. */
int pages_copy(struct capturing *c, struct memory_plan *plans);
int pages_copy_later(struct capturing *c, struct memory_plan *plans);
/* What was written in the stop, if the image is compressed. The last, since copies cost the tree memory as long as they are there. */
int pages_compress(struct capturing *c);
