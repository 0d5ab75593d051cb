/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Datagram sockets of unix(7): whom they are connected with, and that they are told when that ends. */
#pragma once

#include "state/unix.h"

/* How a bound socket is reached, wherever its name may lead by now: *file is a descriptor to be closed, or -1. */
int unix_address_of(const struct unix_made *m, struct sockaddr_un *a, socklen_t *size, int *file);
/* Made as a pair, and connected with each other still. */
bool unix_is_twin(const struct unix_all *all, const struct unix_made *m, const struct unix_made *of);
struct unix_made *unix_peer_of(const struct unix_all *all, const struct unix_made *m);
/* One that has been closed since is there again until its message lies in the queue. */
int unix_open_sender(const struct unix_all *all, const struct blob *name);

/* What is connected with it both ways is connected no more, and had something unread: net/unix/af_unix.c, unix_dgram_disconnected(). */
int unix_reset_by(const struct unix_made *m, int by);

/* For each, in this order. Before anything is in a queue, which that would empty; of one whose peer is closed the last makes its error. */
int unix_reset_again(const struct unix_all *all, struct unix_made *m);
int unix_leave_pair(const struct unix_all *all, struct unix_made *m);
/* And then. */
int unix_count_followers(const struct unix_all *all, struct unix_made *m);
int unix_connect_in_order(const struct unix_all *all, struct unix_made *m);
int unix_check_connected(const struct unix_all *all, struct unix_made *m);
