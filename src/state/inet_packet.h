/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A packet that comes from whom it says, through a raw socket: raw(7), ip(7). Between addresses of one machine it goes through its loopback
 * interface, where nobody asks whether the sender is there.
 */
#pragma once

#include "state/inet.h"

struct inet_packet {
	union inet_sockaddr from, to; /* of one family; ports are the protocol's own business */
	uint8_t protocol;
	uint8_t ttl, tos; /* of IPv6: hop limit and traffic class */
	uint8_t *data;	  /* with the protocol's header */
	size_t size;
	size_t checksum; /* where in the data it stands, and is put; SIZE_MAX: there is none */
};

/* A socket to send them by, in the network namespace of process pid: for IPv4 (and IPv4 in IPv6), or IPv6. */
int inet_packet_socket(int pid, const union inet_sockaddr *to);
/* IPv4 in IPv6 is IPv4. */
union inet_sockaddr inet_unmapped(const union inet_sockaddr *a);
/* Only system calls. 0 or negative errno. */
int inet_packet_send(int fd, const struct inet_packet *p);
