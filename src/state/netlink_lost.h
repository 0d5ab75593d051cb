/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * That a netlink socket has missed messages, which it is told by ENOBUFS: netlink(7). What the kernel has sent to a group cannot be had again, and this is what
 * it tells who was too slow to read it.
 */
#pragma once

#include "state/files.h"

/* Can sockets of that protocol be told so? */
bool netlink_can_lose(uint64_t protocol);
/* Is it to be told so now? Refuses by name another error that was not told yet, and any where the kernel cannot be looked at. */
int netlink_lost_capture(struct capture *c, const struct file_look *f, int fd, bool *lost);
/* Has it be told so: a socket of the restore's, which has a port. 0 or negative errno. */
int netlink_lose(int fd);
