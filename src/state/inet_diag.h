/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What sock_diag(7) tells of TCP sockets, those without a descriptor too: net/ipv4/inet_diag.c, net/ipv4/tcp_diag.c. */
#pragma once

#include "base/map.h"
#include "state/inet.h"

struct inet_diag {
	uint32_t ino; /* 0: it has no descriptor: not accepted yet, or closed by its program */
	uint8_t state;
	uint8_t shutdown;
	struct blob md5; /* struct tcp_diag_md5sig of each key, for whom may see them (CAP_NET_ADMIN) */
	union inet_sockaddr local, peer;
	uint32_t rqueue, wqueue; /* of a listener: connections that wait, and how many it takes */
	uint32_t idle_ms;	 /* since it last sent data: of one not accepted yet, since it is there */
	uint8_t id[48];		 /* struct inet_diag_sockid, to name it to the kernel */
};

struct inet_diags {
	struct inet_diag *list; /* by both addresses: see inet_diag_find */
	size_t n, room;
	struct map inodes;
};

/* Of the network namespace of process pid. 0 or negative errno. */
int inet_diag_read(int pid, struct inet_diags *out);
void inet_diag_free(struct inet_diags *d);
/* The socket with these names, but listening ones. */
const struct inet_diag *inet_diag_find(
	const struct inet_diags *d, const union inet_sockaddr *local, const union inet_sockaddr *peer);
const struct inet_diag *inet_diag_of(const struct inet_diags *d, uint64_t ino);
/*
 * Ends what sockets with that own port have left in TIME_WAIT; with peer: only those with that peer, and what else its program has closed. For those
 * of a tree that has been killed and is to be restored. The number that there was, or negative errno.
 */
int inet_diag_clear(int pid, const union inet_sockaddr *local, const union inet_sockaddr *peer);
