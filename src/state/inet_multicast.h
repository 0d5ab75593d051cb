/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Multicast groups that a socket has joined: ip(7), rfc3678; net/ipv4/igmp.c, net/ipv6/mcast.c. */
#pragma once

#include "state/inet.h"

/* The kernel lists the groups of interfaces only: each is asked for at the socket. pid: one of the socket's network namespace. */
int inet_memberships_read(int pid, int fd, struct inet_state *s);
int inet_memberships_write(struct problems *ps, int fd, const struct inet_state *s);
