/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What was sent on a unix connection that is not accepted yet. It lies in a socket that nobody has a descriptor of. */
#pragma once

#include "state/sockets.h"

/* Of the end that dialled. -ENOTSUP: what it cannot tell. -ENOENT: a descriptor that nobody of the tree has. */
int unix_early_read(struct capture *c, int fd, struct socket_queue *out);
/* The same of the i-th of n connections that wait at a listener, whose client has been closed since. */
int unix_early_read_waiting(struct capture *c, int listener, size_t i, size_t n, struct socket_queue *out);
/* The messages in a socket's own queue, not of a stream, with the senders' names; of those that are not empty the size alone, if `empty`. -ENOENT: as above. */
int unix_own_read(struct capture *c, uint64_t sock, bool empty, struct socket_queue *out);
