/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* As whom requests of a ring are carried out: personalities that are registered with it, and the identity of the thread that polls it. */
#pragma once

#include "state/credentials.h"
#include "state/kernel_view.h"

extern const struct field ring_acting_fields[]; /* of struct credentials_state: what tells what requests may do */

/* Reads a struct cred of the kernel's. 0, -EXDEV: of another user namespace than the keeper's, or another errno. */
int ring_identity_read(struct capture *c, uint64_t cred, struct credentials_state *out);

/* In a short-lived child of the keeper's: takes it on. 0 or negative errno. */
int ring_identity_assume(const struct credentials_state *s);

/* In a task of the tree that has the keeper's identity: takes it on, as far as that can be undone, and undoes it. */
int ring_identity_take(struct batch *b, const struct credentials_state *s);
void ring_identity_drop(struct batch *b);
