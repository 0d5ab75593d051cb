/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Several trees of one image: what is the same for all is done once. */
#pragma once

#include "engine/engine.h"
#include "object/component.h"

/* Waits for all of them. Who does not come ends this process. Nothing to do for the only one. */
int clones_meet(const struct engine_outside *outside, struct problems *ps);
/* Gives one of them its part. */
void clones_take(const struct engine_clones *c, unsigned int which, struct restore *r);
