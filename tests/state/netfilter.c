/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sockets of NETLINK_NETFILTER, and what netfilter keeps for them: netlink(7), nfnetlink_queue, nfnetlink_log, nf_tables. */

#include "unix.h"

#include <arpa/inet.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_compat.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netfilter/nfnetlink_log.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

static int fd = -1;
static struct sockaddr_nl port;

/* A port of its own: others run beside it, in the same network, each as process 2 of its container, which would be the kernel's choice. */
static int open_socket(void)
{
	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_NETFILTER);
	NEED(fd >= 0);
	port = (struct sockaddr_nl){ .nl_family = AF_NETLINK,
		.nl_pid = 1u << 30 | (uint32_t)(now_ns(CLOCK_MONOTONIC) >> 8) % (1u << 30) };
	return bind(fd, (struct sockaddr *)&port, sizeof(port));
}

struct message {
	struct nlmsghdr h;
	struct nfgenmsg g;
	char attributes[64];
};

static void begin(struct message *m, uint16_t type, uint16_t flags, uint8_t family, uint16_t id)
{
	*m = (struct message){ .h = { NLMSG_LENGTH(sizeof(m->g)), type, NLM_F_REQUEST | flags, 1, 0 },
		.g = { .nfgen_family = family, .res_id = htons(id) } };
}

static void add(struct message *m, uint16_t type, const void *value, uint16_t size)
{
	struct rtattr *a = (void *)((char *)m + m->h.nlmsg_len);

	*a = (struct rtattr){ RTA_LENGTH(size), type };
	memcpy(RTA_DATA(a), value, size);
	m->h.nlmsg_len += RTA_ALIGN(a->rta_len);
}

/* The error that it is answered; 1: there is none such. */
static int answer(void)
{
	struct {
		struct nlmsghdr h;
		struct nlmsgerr e;
		char rest[8192];
	} a = { 0 };

	return recv(fd, &a, sizeof(a), 0) > 0 && a.h.nlmsg_type == NLMSG_ERROR ? a.e.error : 1;
}

static int ask(const struct message *m)
{
	SAME(send(fd, m, m->h.nlmsg_len, 0), m->h.nlmsg_len);
	return 0;
}

/* A table that there is none of. */
static int ask_wrong(void)
{
	struct message m;

	begin(&m, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE, 0, AF_INET, 0);
	add(&m, NFTA_TABLE_NAME, "spore-none", 11);
	return ask(&m);
}

/* --- that keep nothing; arg: how many groups it hears */

static int plain_make(struct maker_ctx *ctx)
{
	TRY(open_socket());
	for (int group = NFNLGRP_NFTABLES; group < NFNLGRP_NFTABLES + ctx->arg; group++)
		NEED(!setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)));
	return 0;
}

static int plain_use(struct maker_ctx *ctx)
{
	struct sockaddr_nl now = { 0 };
	socklen_t size = sizeof(now);
	uint32_t groups[8] = { 0 };
	char none[64];

	CHECK(!getsockname(fd, (struct sockaddr *)&now, &size));
	SAME(now.nl_pid, port.nl_pid);
	size = sizeof(groups);
	CHECK(!getsockopt(fd, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, groups, &size));
	SAME(groups[0], ctx->arg ? 1u << (NFNLGRP_NFTABLES - 1) : 0);
	while (recv(fd, none, sizeof(none), 0) > 0) /* what others change meanwhile */
		;
	TRY(ask_wrong());
	CHECK(answer() < 0);
	return 0;
}

/* --- answers that were not read: they are there, or it is told that they are not */

static int asked_make(struct maker_ctx *ctx)
{
	TRY(open_socket());
	TRY(ask_wrong());
	return ask_wrong();
}

static int asked_use(struct maker_ctx *ctx)
{
	char got[512];
	ssize_t n = recv(fd, got, sizeof(got), 0);

	if (n < 0)
		SAME(errno, ENOBUFS);
	while (n > 0)
		n = recv(fd, got, sizeof(got), 0);
	SAME(recv(fd, got, sizeof(got), 0), -1);
	SAME(errno, EAGAIN);
	return plain_use(ctx);
}

/* --- that something is kept for */

static int queue_make(struct maker_ctx *ctx)
{
	const struct nfqnl_msg_config_cmd bind_it = { .command = NFQNL_CFG_CMD_BIND };
	struct message m;

	TRY(open_socket());
	begin(&m, NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_CONFIG, NLM_F_ACK, AF_UNSPEC, (uint16_t)getpid());
	add(&m, NFQA_CFG_CMD, &bind_it, sizeof(bind_it));
	TRY(ask(&m));
	NEED(!answer());
	return 0;
}

static int log_make(struct maker_ctx *ctx)
{
	const struct nfulnl_msg_config_cmd bind_it = { .command = NFULNL_CFG_CMD_BIND };
	struct message m;

	TRY(open_socket());
	begin(&m, NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_CONFIG, NLM_F_ACK, AF_UNSPEC, (uint16_t)getpid());
	add(&m, NFULA_CFG_CMD, &bind_it, sizeof(bind_it));
	TRY(ask(&m));
	NEED(!answer());
	return 0;
}

#define OWNED 2 /* NFT_TABLE_F_OWNER, Linux 5.12 */

static int table_make(struct maker_ctx *ctx)
{
	struct message m[3];
	char name[32], all[sizeof(m)];
	const uint32_t flags = htonl(OWNED);
	size_t size = 0;

	snprintf(name, sizeof(name), "spore-%d-%ld", getpid(), (long)now_ns(CLOCK_MONOTONIC));
	TRY(open_socket());
	begin(&m[0], NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	begin(&m[1], NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_ACK, AF_INET, 0);
	add(&m[1], NFTA_TABLE_NAME, name, (uint16_t)(strlen(name) + 1));
	add(&m[1], NFTA_TABLE_FLAGS, &flags, sizeof(flags));
	begin(&m[2], NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	for (size_t i = 0; i < 3; i++) {
		memcpy(all + size, &m[i], m[i].h.nlmsg_len);
		size += m[i].h.nlmsg_len;
	}
	SAME(send(fd, all, size, 0), size);
	NEED(!answer());
	return 0;
}

#define queue_use plain_use
#define log_use	  plain_use
#define table_use plain_use

const struct maker makers_netfilter[] = {
	ROW_ARG("plain", "one that nothing is kept for", plain, 0),
	ROW_ARG("group", "and that hears of changes", plain, 1),
	ROW_ARG("asked", "with answers that were not read", asked, 0),
	REFUSED("queue", "one that packets are queued for", queue_make, queue_use, 0, "a queue of packets"),
	REFUSED("log", "one that packets are logged to", log_make, log_use, 0, "a log of packets"),
	REFUSED("table", "one that a table ends with", table_make, table_use, 0, "a table that ends with it"),
	{ 0 },
};
