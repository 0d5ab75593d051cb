/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Flow labels of IPv6 that a socket has leased (IPV6_FLOWLABEL_MGR): net/ipv6/ip6_flowlabel.c. Which ones is read from the kernel's memory; what they are
 * like stands in /proc/PID/net/ip6_flowlabel.
 */
#pragma once

#include "object/component.h"

struct inet_state;
struct inet_hidden;

struct inet_flow_label {
	uint64_t label, share, uid;
	uint64_t linger, expires; /* seconds: for which it stays when it is given back; from now on, at least */
	char *to;
};
extern const struct field inet_flow_label_fields[];

/* Refuses by name. */
int inet_flow_capture(struct capture *c, const struct file_look *f, int fd, struct inet_hidden *s);
/* Before it is connected. */
int inet_flow_lease(struct restore *r, int fd, const struct inet_state *s);
