/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Messages that other programs have sent to a netlink socket, and that it has not read: read from the kernel's memory (socket_view.h), and sent once more.
 * Nobody can send what the kernel has, but for what a message queue tells: a socket has a port, and a message of the kernel none. netlink(7), mq_notify(3); net/netlink/af_netlink.c.
 */
#pragma once

#include "state/files.h"

struct netlink_message {
	struct blob data;
	uint64_t port, group;	/* of the sender; that it was sent to, 0: to this socket alone */
	uint64_t pid, uid, gid; /* SCM_CREDENTIALS */
};

struct netlink_queue {
	struct netlink_message *list;
	size_t n;
};
extern const struct field netlink_queue_fields[];

struct netlink_reading {
	bool all_nsid; /* NETLINK_LISTEN_ALL_NSID */
	bool may_lose; /* what the kernel has sent */
	size_t lost;   /* answer: how many of these there are, which are left out */
};
/* Refuses by name. */
int netlink_queue_capture(
	struct capture *c, const struct file_look *f, int fd, struct netlink_reading *r, struct netlink_queue *q);
/* bound: it has a port, which programs need to send to. */
bool netlink_queue_valid(const struct netlink_queue *q, bool bound);

/* What is needed to fill queues; kept until all of them are. */
struct netlink_filling {
	struct restore *r;
	int apart; /* a network namespace of its own, which that of the tree knows by a number; -1: not made yet */
};
void netlink_filling_end(struct netlink_filling *f);

struct netlink_receiver {
	int fd, protocol;
	uint32_t port; /* that it is bound to */
};
/* sender: a socket of the tree that has the sender's port; -1: none has. 0 or negative errno. */
int netlink_queue_put(
	struct netlink_filling *f, const struct netlink_receiver *to, int sender, const struct netlink_message *m);
