/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What several trees of one image are to share, read once: state/memory_parked.h. */
#pragma once

#include "engine/plan.h"
#include "state/memory_parked.h"

/* Chooses, maps in this process, and reads, by all workers. What it reads is checked by somebody else. Nothing is shared if *out is empty. */
int parking_make(struct plan *plan, struct workers *w, struct parking *out);
/* In this process alone: whoever was forked from it has them. */
void parking_unmap(const struct parking *p);
void parking_free(struct parking *p);
