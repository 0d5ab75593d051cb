/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What no look at the queue of a unix socket shows. */
#pragma once

#include "state/sockets.h"

/*
 * An empty message that somebody has looked at (MSG_PEEK; a checkpoint does that too) is shown to no look any more that has an offset, as those of a
 * checkpoint have: it is added to what a look has brought. Negative errno: it cannot be read.
 */
int unix_add_empty(struct capture *c, const struct socket_hidden *h, struct socket_queue *q);
/* Of a stream: is the last in its queue a byte out of band that was taken, and whose mark is still to be come to? */
bool unix_ends_at_mark(struct capture *c, const struct socket_hidden *h);
/* Not of a stream: what is in its queue, where an error is to be told before, and a look would take that. */
int unix_read_behind_error(struct capture *c, const struct socket_hidden *h, struct socket_queue *q);
/* Of a stream: is the mark of a byte out of band that was taken in the midst of what a look has brought as one (as on Linux 6.1, where it does not end there)? */
bool unix_hides_mark(struct capture *c, const struct socket_hidden *h, const struct socket_queue *q);
/* Of a stream: which of what a look has brought is out of band, as a look cannot tell behind descriptors. */
int unix_place_mark(struct capture *c, const struct socket_hidden *h, struct socket_queue *q);
