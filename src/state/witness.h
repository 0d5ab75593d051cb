/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Witnesses: processes of spore's own that do nothing. By what a task of the tree may not do to one, which nothing else forbids, it can be told how it is
 * confined. One for each identity that a task may have, in the tree's pid namespace; gone with the stop, or with the keeper.
 */
#pragma once

#include <sys/types.h>

#include "object/tree.h"

struct witnesses;

struct witnesses *witnesses_new(void);
void witnesses_free(struct witnesses *w); /* takes NULL */

/* One that any task of that real uid and gid may look at, made when first asked for: its pid in the namespace of the tree's root, or negative errno. Thread-safe. */
pid_t witness_for(struct witnesses *w, const struct tree *t, uid_t uid, gid_t gid);
