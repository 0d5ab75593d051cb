/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Packets that a raw socket, or one that pings, has got and nobody has read: read from the kernel's memory (socket_view.h), and sent to it once more through
 * the loopback interface. raw(7), icmp(7); net/ipv4/raw.c, net/ipv6/raw.c, net/ipv4/ping.c.
 */
#pragma once

#include "state/inet.h"

struct raw_packet {
	struct blob data;   /* from the header of IP on */
	uint64_t interface; /* that is told (IP_PKTINFO); 0: none is */
};

struct raw_queue {
	struct raw_packet *list;
	size_t n;
};
extern const struct field raw_queue_fields[];

/* Refuses by name. */
int raw_queue_capture(
	struct capture *c, const struct file_look *f, int fd, const struct inet_state *s, struct raw_queue *q);
/* Refuses what an image may not have. */
int raw_queue_validate(struct restore *r, const struct inet_state *s, const struct raw_queue *q);
/* Before the socket hears anything else. */
int raw_queue_fill(struct restore *r, int fd, const struct inet_state *s, const struct raw_queue *q);
