/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A stand-in: a short-lived process with the number of a leader that is dead, of a session (engine/birth.c) or of a group (engine/groups.c), for
 * as long as others are born into the one or join the other.
 */
#pragma once

#include "engine/plan.h"

/* what: for errors */
void stand_in_clone(struct batch *b, const char *what, pid_t number, struct slot *slot);
/* It ends, is reaped, and so is the signal by which its parent would know of it. */
int stand_in_end(struct plan *plan, struct slot *slot, struct new_process *parent, pid_t number);
