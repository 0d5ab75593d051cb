/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The pages of processes from a stream: each block is checked, put where its pages go in the processes that are being made, and forgotten. Those that processes
 * are forked from come first, and are in place before the fork that shares them.
 */
#pragma once

#include "engine/plan.h"

struct streaming;

/* Where the pages of the stream go. 0 or negative errno, told; *out stays NULL where the image is no stream. */
int streaming_new(struct plan *plan, struct streaming **out);
/* These processes have their memory now, and will be forked: what they share comes. Takes NULL. */
int streaming_first(struct streaming *s, struct new_process **processes, size_t n);
/* All have: the rest, to the end of the stream, which is then known to be whole. Takes NULL. */
int streaming_rest(struct streaming *s);
/* Something of the stream has been read that cannot be read again. */
bool streaming_has_begun(const struct streaming *s);
uint64_t streaming_pages(const struct streaming *s); /* put in place; 0 for NULL */
void streaming_free(struct streaming *s);	     /* takes NULL */
