/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Keys by which a socket of TCP signs (TCP_MD5SIG): sock_diag(7) tells them to whom has CAP_NET_ADMIN, of sockets that listen or are connected. */

#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oracle.h"

#define ANSWERS (1 << 16)

/* In the network namespace that the other socket is of. */
static int open_diag(int dup)
{
	_close_ int own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC), theirs = ioctl(dup, SIOCGSKNS);
	int fd;

	if (theirs >= 0 && setns(theirs, CLONE_NEWNET) < 0)
		return -1;
	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	if (theirs >= 0)
		setns(own, CLONE_NEWNET);
	return fd;
}

static void keys_fact(struct oracle *o, const char *prefix, const struct rtattr *a)
{
	const struct tcp_diag_md5sig *keys = RTA_DATA(a);
	char key[40];

	for (size_t i = 0; i < RTA_PAYLOAD(a) / sizeof(*keys); i++) {
		snprintf(key, sizeof(key), "signature %zu", i);
		fact(o, prefix, key, "family %u %08x %08x %08x %08x prefix %u key %u bytes %016lx", keys[i].tcpm_family,
			ntohl(keys[i].tcpm_addr[0]), ntohl(keys[i].tcpm_addr[1]), ntohl(keys[i].tcpm_addr[2]),
			ntohl(keys[i].tcpm_addr[3]), keys[i].tcpm_prefixlen, keys[i].tcpm_keylen,
			(unsigned long)hash_bytes(keys[i].tcpm_key, sizeof(keys[i].tcpm_key), 0));
	}
}

static void socket_fact(struct oracle *o, const char *prefix, ino_t ino, const struct nlmsghdr *h)
{
	const struct inet_diag_msg *msg = NLMSG_DATA(h);
	unsigned left = h->nlmsg_len - NLMSG_LENGTH(sizeof(*msg));

	if (msg->idiag_inode != ino)
		return;
	for (const struct rtattr *a = (const void *)(msg + 1); RTA_OK(a, left); a = RTA_NEXT(a, left))
		if (a->rta_type == INET_DIAG_MD5SIG)
			keys_fact(o, prefix, a);
}

static void dump(struct oracle *o, const char *prefix, int fd, int family, ino_t ino)
{
	struct {
		struct nlmsghdr h;
		struct inet_diag_req_v2 r;
	} ask = { { sizeof(ask), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 0, 0 },
		{ .sdiag_family = (unsigned char)family,
			.sdiag_protocol = IPPROTO_TCP,
			.idiag_ext = 1 << (INET_DIAG_INFO - 1) /* keys come with it */,
			.idiag_states = ~0u } };
	_free_ char *buf = malloc(ANSWERS);
	ssize_t n;

	if (!buf || send(fd, &ask, sizeof(ask), 0) < 0)
		return;
	while ((n = recv(fd, buf, ANSWERS, 0)) > 0)
		for (const struct nlmsghdr *h = (const void *)buf; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
			if (h->nlmsg_type == NLMSG_DONE || h->nlmsg_type == NLMSG_ERROR)
				return;
			socket_fact(o, prefix, ino, h);
		}
}

void signature_facts(struct oracle *o, const char *prefix, int dup)
{
	_close_ int fd = open_diag(dup);
	int family = 0;
	socklen_t len = sizeof(family);
	struct stat st;

	if (fd >= 0 && fstat(dup, &st) == 0 && getsockopt(dup, SOL_SOCKET, SO_DOMAIN, &family, &len) == 0)
		dump(o, prefix, fd, family, st.st_ino);
}
