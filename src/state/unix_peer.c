/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* unix_diag: sock_diag(7), net/unix/diag.c. */
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "state/external.h"

static uint64_t peer_of(const struct nlmsghdr *h)
{
	const struct unix_diag_msg *msg = NLMSG_DATA(h);
	unsigned int left = (unsigned int)(h->nlmsg_len - NLMSG_LENGTH(sizeof(*msg)));
	const struct rtattr *a = (const void *)(msg + 1);

	for (; RTA_OK(a, left); a = RTA_NEXT(a, left))
		if (a->rta_type == UNIX_DIAG_PEER) {
			uint32_t peer;

			memcpy(&peer, RTA_DATA(a), sizeof(peer));
			return peer;
		}
	return 0;
}

uint64_t unix_peer_inode(uint64_t inode)
{
	struct {
		struct nlmsghdr h;
		struct unix_diag_req r;
	} ask = {
		.h = { .nlmsg_len = sizeof(ask), .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST },
		.r = { .sdiag_family = AF_UNIX,
			.udiag_states = ~0u,
			.udiag_ino = (uint32_t)inode,
			.udiag_show = UDIAG_SHOW_PEER,
			.udiag_cookie = { ~0u, ~0u } },
	};
	_cleanup_fd_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	union {
		struct nlmsghdr h;
		char room[4096];
	} answer;
	ssize_t n;

	if (fd < 0 || send(fd, &ask, sizeof(ask), 0) < 0)
		return 0;
	n = recv(fd, &answer, sizeof(answer), 0);
	if (n < (ssize_t)NLMSG_LENGTH(sizeof(struct unix_diag_msg)) || answer.h.nlmsg_type != SOCK_DIAG_BY_FAMILY ||
		answer.h.nlmsg_len > (size_t)n)
		return 0;
	return peer_of(&answer.h);
}
