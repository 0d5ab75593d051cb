/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Keys by which a socket of TCP signs its segments, and asks its peers to (TCP_MD5SIG, TCP_MD5SIG_EXT): tcp(7), RFC 2385; net/ipv4/tcp_ipv4.c. They are read from the
 * kernel's memory; without that, sock_diag(7) tells those of sockets that listen or are connected, to whom has CAP_NET_ADMIN.
 */
#pragma once

#include "object/component.h"

struct inet_diag;
struct inet_state;
struct socket_look;
struct tcp_state;
union inet_sockaddr;

struct tcp_md5_key {
	char *ip; /* of the peers; of IPv4 on a socket of IPv6: without ::ffff: */
	uint64_t prefix;
	bool of_interface; /* TCP_MD5SIG_FLAG_IFINDEX, and no interface: not for peers behind a VRF */
	struct blob key;
};
extern const struct field tcp_md5_fields[];

struct tcp_md5 {
	struct tcp_md5_key *keys; /* as the kernel has them: the last one that was set comes first */
	size_t n;
};

/* --- checkpoint: both refuse by name --- */

/* Once it is known with whom it is connected. */
int tcp_md5_capture(struct capture *c, const struct file_look *f, const struct socket_look *own, struct tcp_state *s);
/* A connection that waits at that listener; client: NULL: it was closed since. */
int tcp_md5_capture_waiting(struct capture *c, const struct file_look *f, const struct tcp_md5 *listener,
	const struct inet_diag *child, const struct socket_look *client);
/* What a signature takes of each segment that goes to that peer, in bytes. */
size_t tcp_md5_size(const struct tcp_md5 *m, const union inet_sockaddr *peer);

/* --- restore --- */

bool tcp_md5_is_possible(const struct tcp_md5 *m);
/* At the beginning, so that what is sent is signed: or at the end, where the two ends do not agree, or nothing will be sent any more. */
bool tcp_md5_goes_first(struct restore *r, const struct tcp_state *s);
int tcp_md5_set(struct restore *r, int fd, const struct tcp_state *s);
/* A socket for this moment, at address `own`, signs as the one at `other`, which has these keys, expects of it. */
int tcp_md5_answer(int fd, const struct tcp_md5 *m, const union inet_sockaddr *own, const union inet_sockaddr *other);
