/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The pages of a tree as a stream has them. Where each goes is said before any of them is read: zero pages get a place too, and are left out when they are found.
 * Whoever reads the stream may be slow. So in the stop nothing is written: what cannot be saved from a copy is read into memory there, unless the tree stays
 * stopped anyway.
 */
#pragma once

#include "engine/pass.h"
#include "state/memory.h"

#define STREAM_STASH                                                                                                   \
	8192u /* pages: so many of what could be saved from a copy are read in the stop, since that is faster */

struct streamed;

/* The image goes to no directory. */
bool streamed_is_wanted(int fd);
/* A stream is one image, whole: 0, or why not, told. */
int streamed_may_be(bool parent, bool compressed, uint32_t flags, struct problems *ps);
/* Before the stop, room for what is read in it: to make it costs a third of what the copying costs. Without it, it is made in the stop. */
void streamed_room(struct capturing *c);
void streamed_room_free(struct capturing *c);
/* In the stop, when the copies have been made. */
int streamed_stash(struct capturing *c, struct memory_plan *plans);
/* Then, stopped or not: places, which are noted in state.runs of each plan. */
int streamed_lay_out(struct capturing *c, struct memory_plan *plans, struct streamed **out);
/* When all records have been added: writes everything but the end. */
int streamed_send(struct streamed *s);
void streamed_free(struct streamed *s); /* takes NULL */
