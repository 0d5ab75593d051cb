/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pages that come after the tree runs: those that it touches first, with what lies around them; the others are streamed behind. One thread answers faults and events, and
 * there is one for each CPU that streams. No page reaches the tree before the block that it lies in was found to have its checksum. If one has not, or cannot be read, the whole
 * tree is ended.
 */
#pragma once

#include "image/image.h"
#include "isolate/deadman.h"
#include "isolate/end_tree.h"
#include "lazy/space.h"

struct filler;

int filler_new(struct image *img, struct filler **out);
/* A space that is registered; before filler_start. */
void filler_add(struct filler *f, struct space *s);
/* From here on faults are answered. */
int filler_start(struct filler *f);
/* Before the tree runs. From here on the keeper's death ends it, until all pages are in. Takes the dead man's switch, which may not be armed, and the pidfds. */
int filler_secure(struct filler *f, struct deadman *deadman, struct doomed *roots, size_t n);
/* The rest, too. */
void filler_stream(struct filler *f);

/* Readable when filler_is_over, or there is a problem. */
int filler_event(const struct filler *f);
/* Nothing is missing any more, or nobody is left who could miss it. */
bool filler_is_over(struct filler *f);
/* Moves them there; whether there were any. */
bool filler_problems(struct filler *f, struct problems *to);
/* Takes NULL. When it is over, or the tree is dead. */
void filler_free(struct filler *f);
