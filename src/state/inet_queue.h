/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Datagrams that wait to be read, looked at without taking them: MSG_PEEK and SO_PEEK_OFF, udp(7), ip(7), ipv6(7); net/ipv4/udp.c. */
#pragma once

#include "state/inet.h"

struct inet_message {
	struct blob data;
	struct inet_address from;
	char *to; /* address that it was sent to */
	uint64_t ttl, tos;
	bool begins; /* a buffer of the kernel's: several may have waited as one. Not in the image */
};
extern const struct field inet_message_fields[];

struct inet_queue {
	struct inet_message *list;
	size_t n, buffers;
	bool elsewhere; /* one came by another interface than loopback, or by multicast: told by IP_PKTINFO */
	bool segments;	/* several waited as one (UDP_GRO) */
	in_port_t port; /* that the last of them was sent to, where that is told (IP_RECVORIGDSTADDR); 0: it is not, */
	bool ports;	/* or others were sent to others */
};

int inet_queue_read(int fd, struct inet_queue *out);

/* inet_queue_empty.c: adds those that no look shows. Negative errno: they cannot be read. */
struct socket_hidden;
int inet_queue_add_empty(struct capture *c, int family, const struct socket_hidden *h, struct inet_queue *q);
