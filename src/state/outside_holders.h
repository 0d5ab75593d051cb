/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "object/component.h"

/* Refuses pipes, ptys and message queues of the tree that a process outside it has open too: it would be left with a dead
 * end. */
int outside_holders(struct capture *c);
