/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * netlink(7), rtnetlink(7), nft(8); net/core/rtnetlink.c, net/core/neighbour.c, net/core/fib_rules.c, net/ipv4/nexthop.c, net/ipv6/addrlabel.c, net/sched/sch_api.c,
 * net/sched/act_api.c, net/xfrm/xfrm_user.c, net/netfilter/nf_tables_api.c, net/netfilter/ipset/ip_set_core.c, net/mptcp/pm_netlink.c.
 */
#include <linux/fib_rules.h>
#include <linux/genetlink.h>
#include <linux/if_addrlabel.h>
#include <linux/if_link.h>
#include <linux/mptcp.h>
#include <linux/neighbour.h>
#include <linux/netfilter/ipset/ip_set.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/nexthop.h>
#include <linux/pkt_cls.h>
#include <linux/rtnetlink.h>
#include <linux/xfrm.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/macro.h"
#include "state/network_settings.h"

/* --- asking --- */

typedef void tell(FILE *out, const struct nlmsghdr *m);

struct question {
	int protocol;
	uint16_t type;
	bool one;	  /* one answer; else all that there are of that */
	const void *body; /* NULL: zeroes */
	size_t size;	  /* of it */
};

#define BODY_MAX 64

/* Of one packet of answers. False: it was the last. */
static bool tell_packet(FILE *out, const char *packet, size_t size, tell *tell_one)
{
	bool more = true;

	for (const struct nlmsghdr *m = (const void *)packet; NLMSG_OK(m, size); m = NLMSG_NEXT(m, size)) {
		if (m->nlmsg_type == NLMSG_DONE || m->nlmsg_type == NLMSG_ERROR)
			return false;
		tell_one(out, m);
		more = m->nlmsg_flags & NLM_F_MULTI;
	}
	return more;
}

static void ask(FILE *out, const struct question *q, tell *tell_one)
{
	struct {
		struct nlmsghdr head;
		char body[BODY_MAX];
	} request = { .head = { .nlmsg_len = (uint32_t)NLMSG_LENGTH(q->size),
			      .nlmsg_type = q->type,
			      .nlmsg_flags = NLM_F_REQUEST | (q->one ? 0 : NLM_F_DUMP) } };
	_cleanup_fd_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, q->protocol);
	_cleanup_free_ char *packet = malloc(65536);
	ssize_t n;

	if (q->body)
		memcpy(request.body, q->body, q->size);
	if (fd < 0 || !packet || send(fd, &request, request.head.nlmsg_len, 0) < 0)
		return;
	do
		n = recv(fd, packet, 65536, 0);
	while (n > 0 && tell_packet(out, packet, (size_t)n, tell_one));
}

static char *ask_all(const struct question *list, size_t n, tell *tell_one)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	for (size_t i = 0; out && i < n; i++)
		ask(out, &list[i], tell_one);
	if (out)
		fclose(out);
	return text;
}

#define ASK(tell_one, ...) ask_all(&(const struct question){ __VA_ARGS__ }, 1, tell_one)

/* --- telling --- */

static void tell_that(FILE *out, const struct nlmsghdr *m)
{
	(void)m;
	fputc('1', out);
}

static void tell_range(FILE *out, const uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		fprintf(out, "%02x", bytes[i]);
}

static void tell_bytes(FILE *out, const struct nlmsghdr *m)
{
	tell_range(out, NLMSG_DATA(m), NLMSG_PAYLOAD(m, 0));
	fputc('\n', out);
}

/* Without the attributes of these types, which count or measure. */
static void tell_without(
	FILE *out, const struct nlmsghdr *m, size_t header, const unsigned short *left_out, size_t n_left_out)
{
	const uint8_t *at = NLMSG_DATA(m);
	size_t rest = NLMSG_PAYLOAD(m, NLMSG_ALIGN(header));

	tell_range(out, at, header);
	for (const struct rtattr *a = (const void *)(at + NLMSG_ALIGN(header)); RTA_OK(a, rest);
		a = RTA_NEXT(a, rest)) {
		bool told = true;

		for (size_t i = 0; i < n_left_out; i++)
			told &= (a->rta_type & NLA_TYPE_MASK) != left_out[i];
		if (told)
			tell_range(out, (const void *)a, a->rta_len);
	}
	fputc('\n', out);
}

/* --- links, addresses, routes --- */

/* Settings by family are sysctls; who listens to all packets is a socket. */
static void tell_link(FILE *out, const struct nlmsghdr *m)
{
	static const unsigned short left_out[] = { IFLA_STATS, IFLA_STATS64, IFLA_AF_SPEC, IFLA_QDISC,
		IFLA_CARRIER_CHANGES, IFLA_CARRIER_UP_COUNT, IFLA_CARRIER_DOWN_COUNT, IFLA_PROMISCUITY,
		61 /* IFLA_ALLMULTI */ };

	tell_without(out, m, sizeof(struct ifinfomsg), left_out, ARRAY_SIZE(left_out));
}

static void tell_address(FILE *out, const struct nlmsghdr *m)
{
	static const unsigned short left_out[] = { IFA_CACHEINFO };

	tell_without(out, m, sizeof(struct ifaddrmsg), left_out, ARRAY_SIZE(left_out));
}

/* What was learned is none, nor what a socket has (IPV6_JOIN_ANYCAST). */
static void tell_route(FILE *out, const struct nlmsghdr *m)
{
	static const unsigned short left_out[] = { RTA_CACHEINFO };
	const struct rtmsg *r = NLMSG_DATA(m);

	if (!(r->rtm_flags & RTM_F_CLONED) && r->rtm_type != RTN_ANYCAST)
		tell_without(out, m, sizeof(*r), left_out, ARRAY_SIZE(left_out));
}

static void tell_neighbour(FILE *out, const struct nlmsghdr *m)
{
	static const unsigned short left_out[] = { NDA_CACHEINFO, NDA_PROBES };
	const struct ndmsg *n = NLMSG_DATA(m);

	if (n->ndm_state & NUD_PERMANENT || n->ndm_flags & (NTF_PROXY | NTF_EXT_LEARNED))
		tell_without(out, m, sizeof(*n), left_out, ARRAY_SIZE(left_out));
}

char *network_links(void)
{
	return ASK(tell_link, .type = RTM_GETLINK, .size = sizeof(struct ifinfomsg));
}

char *network_addresses(void)
{
	return ASK(tell_address, .type = RTM_GETADDR, .size = sizeof(struct ifaddrmsg));
}

char *network_routes(void)
{
	return ASK(tell_route, .type = RTM_GETROUTE, .size = sizeof(struct rtmsg));
}

char *network_nexthops(void)
{
	return ASK(tell_bytes, .type = RTM_GETNEXTHOP, .size = sizeof(struct nhmsg));
}

char *network_neighbours(void)
{
	const struct ndmsg proxies = { .ndm_flags = NTF_PROXY };
	const struct question both[] = { { .type = RTM_GETNEIGH, .size = sizeof(proxies) },
		{ .type = RTM_GETNEIGH, .body = &proxies, .size = sizeof(proxies) } };

	return ask_all(both, ARRAY_SIZE(both), tell_neighbour);
}

/* Each has a number of the last change, which a new one counts too. */
static void tell_address_label(FILE *out, const struct nlmsghdr *m)
{
	const size_t header = sizeof(struct ifaddrlblmsg), size = NLMSG_PAYLOAD(m, 0);

	tell_range(out, NLMSG_DATA(m), offsetof(struct ifaddrlblmsg, ifal_seq));
	if (size > header)
		tell_range(out, (const uint8_t *)NLMSG_DATA(m) + header, size - header);
	fputc('\n', out);
}

char *network_address_labels(void)
{
	const struct ifaddrlblmsg of = { .ifal_family = AF_INET6 };

	return ASK(tell_address_label, .type = RTM_GETADDRLABEL, .body = &of, .size = sizeof(of));
}

char *network_policy_rules(void)
{
	return ASK(tell_bytes, .type = RTM_GETRULE, .size = sizeof(struct fib_rule_hdr));
}

/* --- traffic control: without a discipline that was set there are no classes or filters --- */

/* Who has none is listed with handle 0. What they count differs. */
static void tell_discipline(FILE *out, const struct nlmsghdr *m)
{
	const struct tcmsg *t = NLMSG_DATA(m);

	if (t->tcm_handle)
		fprintf(out, "%d %x %x\n", t->tcm_ifindex, t->tcm_handle, t->tcm_parent);
}

char *network_disciplines(void)
{
	return ASK(tell_discipline, .type = RTM_GETQDISC, .size = sizeof(struct tcmsg));
}

struct action_question {
	struct tcamsg head;
	struct rtattr table, first, kind;
	char name[16];
};

char *network_actions(void)
{
	static const char *const kinds[] = { "bpf", "connmark", "csum", "ct", "ctinfo", "gact", "gate", "ife", "ipt",
		"mirred", "mpls", "nat", "pedit", "police", "sample", "simple", "skbedit", "skbmod", "tunnel_key",
		"vlan", "xt" };
	struct action_question bodies[ARRAY_SIZE(kinds)];
	struct question list[ARRAY_SIZE(kinds)];

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		unsigned short kind = (unsigned short)(sizeof(struct rtattr) + sizeof(bodies[i].name));

		bodies[i] = (struct action_question){
			.table = { (unsigned short)(kind + 2 * sizeof(struct rtattr)), TCA_ROOT_TAB },
			.first = { (unsigned short)(kind + sizeof(struct rtattr)), 1 },
			.kind = { kind, TCA_ACT_KIND },
		};
		snprintf(bodies[i].name, sizeof(bodies[i].name), "%s", kinds[i]);
		list[i] = (struct question){ .type = RTM_GETACTION, .body = &bodies[i], .size = sizeof(bodies[i]) };
	}
	return ask_all(list, ARRAY_SIZE(list), tell_that);
}

/* --- IPsec --- */

char *network_ipsec(void)
{
	static const struct question all[] = {
		{ .protocol = NETLINK_XFRM, .type = XFRM_MSG_GETSA },
		{ .protocol = NETLINK_XFRM, .type = XFRM_MSG_GETPOLICY },
	};
	char *text = ask_all(all, ARRAY_SIZE(all), tell_that);
	char *usual = ASK(tell_bytes, .protocol = NETLINK_XFRM, .type = XFRM_MSG_GETDEFAULT, .one = true,
		.size = sizeof(struct xfrm_userpolicy_default));
	char *both = NULL;

	if (text && usual && asprintf(&both, "%s\n%s", text, usual) < 0)
		both = NULL;
	free(text);
	free(usual);
	return both;
}

/* --- netfilter --- */

char *network_nft_tables(void)
{
	return ASK(tell_that, .protocol = NETLINK_NETFILTER, .type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE,
		.size = sizeof(struct nfgenmsg));
}

/* To ask would load the module. */
char *network_ip_sets(void)
{
	const struct {
		struct nfgenmsg head;
		struct rtattr protocol;
		uint8_t version, pad[3];
	} body = { .protocol = { RTA_LENGTH(1), IPSET_ATTR_PROTOCOL }, .version = IPSET_PROTOCOL_MIN };

	if (access("/sys/module/ip_set", F_OK) < 0)
		return NULL;
	return ASK(tell_that, .protocol = NETLINK_NETFILTER, .type = NFNL_SUBSYS_IPSET << 8 | IPSET_CMD_LIST,
		.body = &body, .size = sizeof(body));
}

/* --- MPTCP --- */

struct family_question {
	struct genlmsghdr head;
	struct rtattr name;
	char value[16];
};

static void tell_family(FILE *out, const struct nlmsghdr *m)
{
	size_t rest = NLMSG_PAYLOAD(m, sizeof(struct genlmsghdr));
	const struct rtattr *a = (const void *)((const char *)NLMSG_DATA(m) + NLMSG_ALIGN(sizeof(struct genlmsghdr)));

	for (; RTA_OK(a, rest); a = RTA_NEXT(a, rest))
		if (a->rta_type == CTRL_ATTR_FAMILY_ID)
			fprintf(out, "%u", *(const uint16_t *)RTA_DATA(a));
}

char *network_mptcp(void)
{
	static const struct family_question name = { { CTRL_CMD_GETFAMILY, 1, 0 },
		{ sizeof(struct rtattr) + sizeof(name.value), CTRL_ATTR_FAMILY_NAME }, MPTCP_PM_NAME };
	static const struct genlmsghdr ends = { MPTCP_PM_CMD_GET_ADDR, MPTCP_PM_VER, 0 },
				       limits = { MPTCP_PM_CMD_GET_LIMITS, MPTCP_PM_VER, 0 };
	_cleanup_free_ char *family = NULL;
	uint16_t type;

	if (access("/proc/sys/net/mptcp", F_OK) < 0)
		return NULL;
	family = ASK(tell_family, .protocol = NETLINK_GENERIC, .type = GENL_ID_CTRL, .one = true, .body = &name,
		.size = sizeof(name));
	type = family ? (uint16_t)strtoul(family, NULL, 10) : 0;
	if (!type)
		return NULL;
	return ask_all(
		(struct question[]){
			{ .protocol = NETLINK_GENERIC, .type = type, .body = &ends, .size = sizeof(ends) },
			{ .protocol = NETLINK_GENERIC,
				.type = type,
				.one = true,
				.body = &limits,
				.size = sizeof(limits) },
		},
		2, tell_bytes);
}
