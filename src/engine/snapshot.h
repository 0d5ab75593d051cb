/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Large processes need not stand until their memory is saved: each is forked in the stop, and saved from that copy when it runs on (remote/copy.h). The stop
 * then costs page tables, not bytes. What fork does not copy (shared memory, MADV_DONTFORK, MADV_WIPEONFORK), and what lies over a file, is saved in the stop, as are
 * the small.
 */
#pragma once

#include "engine/pass.h"
#include "remote/copy.h"

struct snapshot {
	struct memory_copy copy;
};

/* Takes a copy of each process where that is quicker, and possible, and divides its plan. Where it is not, its memory is saved in the stop. */
void snapshots_take(struct pass *pass);
/* When the tree runs: ends the copies, and has their parents reap them. */
void snapshots_end(struct pass *pass);
/* In a stopped tree: the same for those whose spore was killed before it could. They are dropped from the tree. */
void snapshots_sweep(struct tree *t, struct workers *w, struct problems *ps);
