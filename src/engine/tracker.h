/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is kept between two checkpoints of a tree: which pages of its large processes were written since the one before (state/written.h). It is relative to one
 * image; against any other parent, or where it was lost, pages are compared instead.
 */
#pragma once

#include "engine/pass.h"

struct tracker;

struct tracker *tracker_new(struct kernel_peek *kernel);
void tracker_free(struct tracker *t); /* takes NULL; tracking ends */

/* While the tree runs: notes what was written so far, and saves it, if an image against a parent is begun, so that in the stop little is left to be found. */
void tracker_look(struct tracker *t, struct capturing *c);
/* Room for what else was written by then, made before the stop; pages. It is the tracker's, until tracker_look. */
uint8_t *tracker_stash(const struct tracker *t, uint64_t *pages);
/* Tells each process of a tree what is known of it, if it is relative to the image with this id (NULL: none). t: NULL, nothing is known of any. */
void tracker_attach(struct tracker *t, struct tree *tree, const uint8_t parent_id[16]);
/* When the stopped tree was looked at: forgets what cannot be relied on. May its processes be tracked? */
bool tracker_may(struct tree *tree, struct kernel_peek *kernel);
/* Begins to track a stopped process that is worth it, into which an area is mapped, and whose memory was captured. What cannot be tracked is compared the next
 * time. Negative: written_begin. */
int tracker_add(struct tracker *t, struct process *p, struct thread *th, const struct memory_plan *plan);
/* What was attached is relative to this image from now on; what was not has ended. */
void tracker_done(struct tracker *t, const struct tree *tree, const uint8_t image_id[16]);
/* There is no new image: what was attached stays relative to the older one, what was added for it ends. */
void tracker_failed(struct tracker *t);
size_t tracker_count(const struct tracker *t);
