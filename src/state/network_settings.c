/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* sysctl(7), netlink(7), rtnetlink(7), nft(8); net/sysctl_net.c, net/netfilter/nf_tables_api.c, net/core/fib_rules.c, net/sched/sch_api.c. */
#include "state/network_settings.h"

#include <fcntl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kernel/procfs.h"

/* --- /proc/sys/net --- */

static void write_value(FILE *out, const char *path, const char *value)
{
	fprintf(out, "%s ", path);
	for (const char *c = value; *c; c++)
		fputc(*c == '\n' ? ' ' : *c, out);
	fputc('\n', out);
}

/* What cannot be written was not set. The kernel lists names in their order. */
static void walk_sysctls(FILE *out, const char *path)
{
	_cleanup_dir_ DIR *dir = opendir(path);
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		_cleanup_free_ char *name = NULL, *value = NULL;
		struct stat st;

		if (e->d_name[0] == '.' || asprintf(&name, "%s/%s", path, e->d_name) < 0 || stat(name, &st) < 0)
			continue;
		if (S_ISDIR(st.st_mode))
			walk_sysctls(out, name);
		else if (st.st_mode & 0200 && procfs_read(AT_FDCWD, name, &value, NULL) == 0)
			write_value(out, name + sizeof("/proc/sys/") - 1, value);
	}
}

char *network_sysctls(void)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	walk_sysctls(out, "/proc/sys/net");
	fclose(out);
	return text;
}

/* --- netlink --- */

struct request {
	struct nlmsghdr head;
	char body[16];
};

typedef void tell(FILE *out, const struct nlmsghdr *m);

/* Of one packet of answers. False: it was the last. */
static bool tell_packet(FILE *out, const char *packet, size_t size, tell *tell_one)
{
	for (const struct nlmsghdr *m = (const void *)packet; NLMSG_OK(m, size); m = NLMSG_NEXT(m, size)) {
		if (m->nlmsg_type == NLMSG_DONE || m->nlmsg_type == NLMSG_ERROR)
			return false;
		tell_one(out, m);
	}
	return true;
}

static char *dump(int protocol, uint16_t type, size_t body, tell *tell_one)
{
	struct request q = { .head = { .nlmsg_len = (uint32_t)NLMSG_LENGTH(body),
				     .nlmsg_type = type,
				     .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP } };
	_cleanup_fd_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
	_cleanup_free_ char *packet = malloc(65536);
	char *text = NULL;
	size_t size;
	ssize_t n;
	FILE *out;

	if (fd < 0 || !packet || send(fd, &q, q.head.nlmsg_len, 0) < 0)
		return NULL;
	out = open_memstream(&text, &size);
	if (!out)
		return NULL;
	do
		n = recv(fd, packet, 65536, 0);
	while (n > 0 && tell_packet(out, packet, (size_t)n, tell_one));
	fclose(out);
	return text;
}

static void tell_that(FILE *out, const struct nlmsghdr *m)
{
	(void)m;
	fputc('1', out);
}

static void tell_bytes(FILE *out, const struct nlmsghdr *m)
{
	const uint8_t *bytes = NLMSG_DATA(m);

	for (size_t i = 0; i < NLMSG_PAYLOAD(m, 0); i++)
		fprintf(out, "%02x", bytes[i]);
	fputc('\n', out);
}

/* Who has none is listed with handle 0. What they count differs. */
static void tell_discipline(FILE *out, const struct nlmsghdr *m)
{
	const struct tcmsg *t = NLMSG_DATA(m);

	if (t->tcm_handle)
		fprintf(out, "%d %x %x\n", t->tcm_ifindex, t->tcm_handle, t->tcm_parent);
}

char *network_nft_tables(void)
{
	return dump(
		NETLINK_NETFILTER, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE, sizeof(struct nfgenmsg), tell_that);
}

char *network_policy_rules(void)
{
	return dump(NETLINK_ROUTE, RTM_GETRULE, sizeof(struct rtmsg), tell_bytes);
}

char *network_disciplines(void)
{
	return dump(NETLINK_ROUTE, RTM_GETQDISC, sizeof(struct tcmsg), tell_discipline);
}
