/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* net/netfilter/nfnetlink_queue.c, nfnetlink_log.c, nf_tables_api.c (NFT_TABLE_F_OWNER). No other part of nfnetlink knows ports. */
#include "state/netfilter_holds.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kernel/procfs.h"
#include "state/sock_diag.h"

/* In each line of these the number of a queue or group, and the port that it goes to. */
static int has_line(const struct process *p, const char *file, uint32_t port)
{
	_cleanup_free_ char *text = NULL;
	int err = procfs_read(p->living_fd, file, &text, NULL);

	for (const char *line = text; !err && line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : "") {
		unsigned int number, its;

		if (sscanf(line, "%u %u", &number, &its) == 2 && its == port)
			return 1;
	}
	return err == -ENOENT ? 0 : err;
}

static bool is_owned(const struct nlmsghdr *m, uint32_t port)
{
	size_t rest = NLMSG_PAYLOAD(m, sizeof(struct nfgenmsg));
	const struct rtattr *a = (const void *)((const char *)NLMSG_DATA(m) + NLMSG_ALIGN(sizeof(struct nfgenmsg)));

	for (; RTA_OK(a, rest); a = RTA_NEXT(a, rest))
		if ((a->rta_type & NLA_TYPE_MASK) == NFTA_TABLE_OWNER && RTA_PAYLOAD(a) >= sizeof(port) &&
			ntohl(*(const uint32_t *)RTA_DATA(a)) == port)
			return true;
	return false;
}

/* Of one packet of answers: 1: a table is owned; 0: that was all; -EAGAIN: there is more. */
static int packet_has_owned(const void *packet, size_t size, uint32_t port)
{
	for (const struct nlmsghdr *m = packet; NLMSG_OK(m, size); m = NLMSG_NEXT(m, size)) {
		const struct nlmsgerr *e = NLMSG_DATA(m);

		if (m->nlmsg_type == NLMSG_DONE)
			return 0;
		if (m->nlmsg_type == NLMSG_ERROR) /* no nf_tables here */
			return e->error == -EPERM ? -EPERM : 0;
		if (is_owned(m, port))
			return 1;
	}
	return -EAGAIN;
}

static int owns_table(const struct process *p, uint32_t port)
{
	const struct {
		struct nlmsghdr head;
		struct nfgenmsg body;
	} ask = { .head = { sizeof(ask), NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE, NLM_F_REQUEST | NLM_F_DUMP, 1,
			  0 } };
	_cleanup_fd_ int fd = socket_in(p->living_tid, AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);
	_cleanup_free_ char *packet = malloc(65536);
	int r = -EAGAIN;

	if (fd < 0 || !packet)
		return fd < 0 ? fd : -ENOMEM;
	if (send(fd, &ask, sizeof(ask), 0) < 0)
		return -errno;
	while (r == -EAGAIN) {
		ssize_t n = recv(fd, packet, 65536, 0);

		r = n < 0 ? -errno : packet_has_owned(packet, (size_t)n, port);
	}
	return r;
}

static int refuse(struct capture *c, const struct file_look *f, const char *what, int found)
{
	if (!found)
		return 0;
	return found > 0 ? refused(c->ps, BLAME_FILE(f, .remedy = "let the program give it up"),
				   "a netlink socket of netfilter that has %s", what)
			 : refused(c->ps, BLAME_FILE(f), "whether netfilter keeps %s for it cannot be told: %s", what,
				   strerror(-found));
}

int netfilter_holds_refuse(struct capture *c, const struct file_look *f, uint32_t port)
{
	const struct process *p = c->process;
	int err = refuse(c, f, "a queue of packets", has_line(p, "net/netfilter/nfnetlink_queue", port));

	if (!err)
		err = refuse(c, f, "a log of packets", has_line(p, "net/netfilter/nfnetlink_log", port));
	return err ? err : refuse(c, f, "a table that ends with it", owns_table(p, port));
}
