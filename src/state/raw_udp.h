/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Datagrams of UDP that a raw socket has overheard. Sent to it once more they would come to who has the port, too, or, if nobody has, be answered: for that
 * moment a socket has it that nobody reads. The tree's own have no port yet by then. udp(7); net/ipv4/udp.c, net/ipv6/udp.c.
 */
#pragma once

#include "state/inet.h"

/* NULL: it can be sent once more. payload: behind the header of IP. */
const char *raw_udp_check(const uint8_t *payload, size_t size);
/* Whether somebody outside of the tree has the port it goes to. */
bool raw_udp_has_outsider(struct capture *c, const struct inet_state *s, const uint8_t *payload);
/* A socket that has it; or a negative errno: -EADDRINUSE, somebody else has. */
int raw_udp_sink(struct restore *r, const struct inet_state *s, const uint8_t *payload);
