/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a socket of IPv4 or IPv6 was told and does not tell (state/socket_hidden.h): ip(7), ipv6(7), raw(7); net/ipv4/ip_sockglue.c, net/ipv6/ipv6_sockglue.c,
 * net/ipv6/anycast.c, net/ipv6/ip6_flowlabel.c.
 */
#pragma once

#include "object/component.h"

struct inet_state;

struct inet_anycast {
	char *ip, *interface;
};

/* IPV6_ROUTER_ALERT, which tells by getsockopt only what was last set. */
enum { ALERT_NONE, ALERT_ZERO /* told of packets with that value */, ALERT_TAKEN_BACK };

/* What of its name a socket of TCP or UDP was given by bind(), and so keeps when it is connected no more: SOCK_BINDADDR_LOCK, SOCK_BINDPORT_LOCK. */
enum { BOUND_KNOWN = 1, BOUND_ADDRESS = 2, BOUND_PORT = 4 };

struct inet_hidden {
	uint64_t bound;		   /* BOUND_*; 0: not known */
	char *multicast_interface; /* IP_MULTICAST_IF by index; NULL: not set so. With the address of inet_state.ip */
	uint64_t ipv6_mtu;	   /* IPV6_MTU; 0: not set */
	uint64_t ipv6_router_alert;
	struct inet_anycast *anycast; /* IPV6_JOIN_ANYCAST, in that order */
	size_t n_anycast;
	uint64_t
		group; /* 1 + its place among the sockets of its port (SO_REUSEPORT); 0: it has none, or it is not known */
	struct blob chooser;		/* SO_ATTACH_REUSEPORT_CBPF */
	struct inet_flow_label *labels; /* IPV6_FLOWLABEL_MGR, in that order */
	size_t n_labels;
};
extern const struct field inet_hidden_fields[];

/* Refuses by name. */
int inet_hidden_capture(struct capture *c, const struct file_look *f, int fd, struct inet_state *s);
/* Before the options, which compare what is with what is to be. */
int inet_hidden_write(struct problems *ps, int fd, const struct inet_state *s);
