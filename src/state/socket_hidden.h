/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What of a socket no interface shows, read from the kernel's memory (kernel/peek.h): include/net/sock.h, inet_sock.h, af_unix.h, linux/ipv6.h, linux/tcp.h.
 * One look for each socket, two for one of IPv6, when the sockets of a tree are gone through.
 */
#pragma once

#include "object/component.h"

struct socket_options;
struct socket_places;

/* Zero for what the socket, or this kernel, does not have. Of a pointer: what it is, which tells whether there is something. */
struct socket_hidden {
	bool known; /* it could be read */
	uint64_t sock;
	uint64_t error, soft_error, errors_queued;
	uint64_t queued, queued_aside; /* buffers to be read; those of UDP that were set aside for it */
	uint64_t shutdown;	       /* 1 receiving, 2 sending */
	uint64_t bound;		       /* HIDDEN_BOUND_*, among others */
	uint64_t busy_poll_budget, policies, reuseport, net;
	uint64_t timestamps, zerocopies; /* the numbers of the next ones that it will be told of */
	uint64_t last_packet;		 /* when it came, where that is kept (SIOCGSTAMP): nanoseconds, signed */
	uint64_t multicast_index, multicast_ip, flow_labels, ipv6; /* IPv4 and IPv6 */
	uint64_t ipv6_mtu, ipv6_flow_labels, anycast;
	uint64_t md5, saved_syn, urgent,
		unacked; /* TCP: the numbers of the byte behind one sent out of band, and of the first not acknowledged */
	uint64_t inq,
		in_file_system; /* unix: SO_INQ; its name is that of a file (else: of its listener, or abstract) */
};

#define HIDDEN_BOUND_ADDRESS 4 /* the program bound it: SOCK_BINDADDR_LOCK, */
#define HIDDEN_BOUND_PORT    8 /* SOCK_BINDPORT_LOCK */

/* Where all this lies. NULL where the kernel does not let be read. */
struct socket_places *socket_places_new(struct kernel_peek *kernel);
void socket_places_free(struct socket_places *p); /* takes NULL */
/* Of a descriptor of the keeper's. What cannot be read is not known. */
void socket_hidden_read(
	const struct socket_places *p, int fd, int family, int type, int protocol, struct socket_hidden *out);

/* Of a file that is being captured; never NULL. */
const struct socket_hidden *socket_hidden_of(const struct capture *c, const struct file_look *f);
/* Refuses by name what cannot be given back; fills what every socket has into *o. */
int socket_hidden_capture(struct capture *c, const struct file_look *f, struct socket_options *o);
