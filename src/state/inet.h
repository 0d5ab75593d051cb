/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What sockets of IPv4 and IPv6 have in common, whatever their protocol: ip(7), ipv6(7); net/ipv4/af_inet.c, net/ipv6/af_inet6.c. */
#pragma once

#include <netinet/in.h>

#include "state/files.h"
#include "state/inet_hidden.h"
#include "state/inet_options.h"

union inet_sockaddr {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

/* As it stands in the image. */
struct inet_address {
	char *ip; /* NULL: none */
	uint64_t port, scope, flow;
};
extern const struct field inet_address_fields[];

struct inet_source {
	char *ip;
};

struct inet_membership {
	char *group, *interface;
	bool exclude; /* the filter's mode */
	struct inet_source *sources;
	size_t n_sources;
};

struct inet_state {
	uint64_t family, type, protocol;
	uint64_t mode, uid, gid;
	uint64_t order; /* of sockets that share a port */
	struct inet_address local, peer;
	struct socket_options options;
	struct ip_level ip;
	struct ipv6_level ipv6;
	struct blob ip_options, hopopts, rthdrdstopts, rthdr, dstopts;
	struct inet_membership *memberships;
	size_t n_memberships;
	struct inet_hidden hidden;
};
extern const struct field inet_fields[];

/* --- addresses --- */

socklen_t inet_size(const union inet_sockaddr *a);
int inet_from_text(uint64_t family, const struct inet_address *from, union inet_sockaddr *to); /* -EBADMSG */
int inet_to_text(const union inet_sockaddr *from, struct inet_address *to);
/* For IPv4, and IPv4 in IPv6: as IPv6 has it. */
struct in6_addr inet_ip(const union inet_sockaddr *a);
in_port_t inet_port(const union inet_sockaddr *a);
/* Family, address and port of one end, in which two ends of one connection are alike. */
bool inet_same(const union inet_sockaddr *a, const union inet_sockaddr *b);
/* "127.0.0.1:80" */
struct inet_text {
	char s[80];
};
struct inet_text inet_text(const union inet_sockaddr *a);
struct inet_text inet_name(const struct inet_state *s); /* of what it is bound to */
/* Does it belong to this machine? Asked of a socket of the network namespace in question, not connected, which is closed for it. */
bool inet_is_local(int netns_of_pid, const union inet_sockaddr *a);

/* --- checkpoint --- */

/* All but what is the protocol's own. Refuses by name. */
int inet_capture(struct capture *c, const struct file_look *f, int fd, struct inet_state *s);

/* --- restore --- */

int inet_validate(struct restore *r, const struct inet_state *s);
/* A socket of that kind, with the early options. */
int inet_open(struct restore *r, const struct inet_state *s);
int inet_set_early(struct restore *r, int fd, const struct inet_state *s);
/* inet_bind.c. What to bind of the address of a stream that is then connected. */
void inet_unbind_address(const struct inet_state *s, const union inet_sockaddr *peer, union inet_sockaddr *local);
/* Would the kernel choose that port for a socket to which it is offered? */
bool inet_may_choose(struct restore *r, in_port_t port);
int inet_offer_port(int fd, in_port_t port); /* 0: any */
/* Binds to that address, and to its port as the kernel's choice. */
int inet_bind_chosen(int fd, const union inet_sockaddr *a);
int inet_bind(struct restore *r, int fd, const struct inet_state *s);
/* Bits of how: 1 receiving, 2 sending. One that is not connected is shut too. */
int inet_shut(struct restore *r, int fd, const struct inet_state *s, uint64_t how);
/* Everything that is left: options, memberships, owner, flags of the file. */
int inet_settle(struct restore *r, int fd, const struct inet_state *s, const struct file_state *file);

/* Sockets of one kind of record, each with the keeper's descriptor of it. */
struct inet_made {
	const struct record *rec;
	const struct inet_state *state;
	const struct file_state *file;
	int fd;
};
/* Sockets of UDP, or UDP-Lite, with that own port in the network namespace of process pid; but those of an inode of which `but` says true. */
unsigned int inet_count_udp(int pid, bool lite, uint64_t port, bool (*but)(void *arg, uint64_t ino), void *arg);
/* To be called from open; hands out the descriptor. */
int inet_made_open(
	struct restore *r, const struct record *rec, const struct inet_state *s, const struct file_state *file);
struct inet_made *inet_made(struct restore *r, object_id id); /* NULL: not open */
/* All sockets of that kind, in the order in which they are to be bound; the caller frees the list. 0 or negative errno, told. */
int inet_made_list(struct restore *r, const struct record_kind *kind, struct inet_made ***list, size_t *n);
