/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Finding and stopping a whole tree, until no task is missed. */
#pragma once

#include "engine/workers.h"
#include "object/tree.h"

/*
 * Finds every task of the tree of `root` (or of the cgroup) without touching any: for a look. Tasks that come and go
 * meanwhile may be missed.
 */
int tree_find_tasks(struct tree *t, struct workers *w, struct problems *ps);
/* Finds and stops, in rounds, until a round over stopped tasks finds no new one. On failure everything is let go. */
int tree_stop(struct tree *t, struct workers *w, uint32_t timeout_ms, struct problems *ps);
/* Lets every task go as it was. The only place from which the tasks of a tree are let go. */
void tree_release(struct tree *t, struct workers *w);
