/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a socket was told and shows to nobody: ip(7), ipv6(7), socket(7). Each is known only by what it does. */

#include "inet.h"

#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/in6.h>
#include <linux/xfrm.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <sys/prctl.h>

/* By number: the kernel's headers and the C library's exclude each other. */
enum {
	SET_XFRM_POLICY = 17,
	SET_ROUTER_ALERT6 = 22,
	SET_MTU6 = 24,
	SET_JOIN_ANYCAST = 27,
	SET_LEAVE_ANYCAST = 28,
	SET_FLOWLABEL = 32,
	SET_INQ = 84,
	SET_MRT_INIT = 200,
	SET_MRT_DONE = 201,
};

static int fd = -1, fds[2] = { -1, -1 };

static int set(int at, int level, int option, int value)
{
	return setsockopt(at, level, option, &value, sizeof(value));
}

/* --- where it sends to --- */

/* An interface for multicast, by its index alone: there a member of the group hears it. */
static int multicast_make(struct maker_ctx *ctx)
{
	struct ip_mreqn out = { .imr_ifindex = (int)if_nametoindex("lo") };

	fd = socket(AF_INET, SOCK_DGRAM, 0);
	CHECK(!setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &out, sizeof(out)));
	return 0;
}

static int multicast_use(struct maker_ctx *ctx)
{
	union address group = { .v4 = { .sin_family = AF_INET } };
	struct ip_mreqn here = { .imr_ifindex = (int)if_nametoindex("lo") };
	socklen_t size = sizeof(group);
	int member = socket(AF_INET, SOCK_DGRAM, 0);

	inet_pton(AF_INET, "239.7.7.7", &group.v4.sin_addr);
	here.imr_multiaddr = group.v4.sin_addr;
	CHECK(!bind(member, &group.any, size_of(&group)));
	CHECK(!getsockname(member, &group.any, &size));
	CHECK(!setsockopt(member, IPPROTO_IP, IP_ADD_MEMBERSHIP, &here, sizeof(here)));
	SAME(level_option(fd, IPPROTO_IP, IP_MULTICAST_IF), 0);
	SAME(sendto(fd, "group", 5, 0, &group.any, size_of(&group)), 5);
	TRY(hears_soon(member, "group"));
	close(member);
	return 0;
}

/* IPV6_MTU (arg: the type): what would be cut in pieces is too long for one that cuts nothing. */
static int mtu_make(struct maker_ctx *ctx)
{
	fd = socket(AF_INET6, (int)ctx->arg, ctx->arg == SOCK_RAW ? IPPROTO_ICMPV6 : 0);
	NEED(fd >= 0);
	CHECK(!set(fd, IPPROTO_IPV6, SET_MTU6, 1300));
	CHECK(!set(fd, IPPROTO_IPV6, IPV6_DONTFRAG, 1));
	return 0;
}

static int mtu_use(struct maker_ctx *ctx)
{
	union address to = loopback(AF_INET6);
	char data[1400] = "";

	if (ctx->arg == SOCK_DGRAM)
		to.v6.sin6_port = htons(9);
	SAME(sendto(fd, data, 1200, 0, &to.any, size_of(&to)), 1200);
	SAME(sendto(fd, data, sizeof(data), 0, &to.any, size_of(&to)), -1);
	SAME(errno, EMSGSIZE);
	return 0;
}

/* --- what it is told of --- */

/* arg: 4 or 6; 7: set to another value than 0; 8: taken back. Who is told already cannot be added once more. */
static int alert_make(struct maker_ctx *ctx)
{
	fd = socket(ctx->arg == 4 ? AF_INET : AF_INET6, SOCK_RAW, ctx->arg == 4 ? IPPROTO_ICMP : IPPROTO_RAW);
	NEED(fd >= 0);
	if (ctx->arg == 4)
		CHECK(!set(fd, IPPROTO_IP, IP_ROUTER_ALERT, 1));
	else
		CHECK(!set(fd, IPPROTO_IPV6, SET_ROUTER_ALERT6, ctx->arg > 6));
	if (ctx->arg == 8)
		CHECK(!set(fd, IPPROTO_IPV6, SET_ROUTER_ALERT6, -1));
	return 0;
}

static int alert_use(struct maker_ctx *ctx)
{
	if (ctx->arg == 4) {
		SAME(set(fd, IPPROTO_IP, IP_ROUTER_ALERT, 1), -1);
		SAME(errno, EADDRINUSE);
		return 0;
	}
	SAME(level_option(fd, IPPROTO_IPV6, SET_ROUTER_ALERT6), ctx->arg > 6);
	SAME(set(fd, IPPROTO_IPV6, SET_ROUTER_ALERT6, 0), ctx->arg == 8 ? 0 : -1);
	return 0;
}

/* Addresses of the interface's own network; the second twice. arg: the type. */
static int anycast_make(struct maker_ctx *ctx)
{
	struct ipv6_mreq m[2] = { 0 };
	FILE *list = fopen("/proc/net/if_inet6", "re");
	unsigned int index, length, any = 0;
	char hex[33], line[128];

	NEED(list);
	while (fgets(line, sizeof(line), list))
		if (sscanf(line, "%32s %x %x", hex, &index, &length) == 3 && length == 64)
			any = index;
	rewind(list);
	NEED(any);
	while (fgets(line, sizeof(line), list))
		if (sscanf(line, "%32s %x %x", hex, &index, &length) == 3 && length == 64 && index == any)
			for (int i = 0; i < 8; i++)
				sscanf(hex + 2 * i, "%2hhx", &m[0].ipv6mr_multiaddr.s6_addr[i]);
	fclose(list);
	fd = socket(AF_INET6, (int)ctx->arg, ctx->arg == SOCK_RAW ? 253 : 0);
	NEED(fd >= 0);
	m[0].ipv6mr_interface = any;
	m[0].ipv6mr_multiaddr.s6_addr[15] = 0x77;
	m[1] = m[0];
	m[1].ipv6mr_multiaddr.s6_addr[15] = 0x78;
	NEED(!setsockopt(fd, IPPROTO_IPV6, SET_JOIN_ANYCAST, &m[0], sizeof(m[0])));
	for (int i = 0; i < 2; i++)
		CHECK(!setsockopt(fd, IPPROTO_IPV6, SET_JOIN_ANYCAST, &m[1], sizeof(m[1])));
	memcpy(shared(ctx)->text, m, sizeof(m));
	return 0;
}

static int anycast_use(struct maker_ctx *ctx)
{
	struct ipv6_mreq m[2];

	memcpy(m, shared(ctx)->text, sizeof(m));
	memset(shared(ctx)->text, 0, sizeof(m));
	CHECK(!setsockopt(fd, IPPROTO_IPV6, SET_LEAVE_ANYCAST, &m[0], sizeof(m[0])));
	for (int i = 0; i < 2; i++)
		CHECK(!setsockopt(fd, IPPROTO_IPV6, SET_LEAVE_ANYCAST, &m[1], sizeof(m[1])));
	SAME(setsockopt(fd, IPPROTO_IPV6, SET_LEAVE_ANYCAST, &m[1], sizeof(m[1])), -1);
	return 0;
}

/* --- of every socket --- */

/* How much may be polled at once: who has no privileges may lower it, and no more. arg: the family, and the type << 8. */
static int budget_make(struct maker_ctx *ctx)
{
	fd = socket((int)(ctx->arg & 0xff), (int)(ctx->arg >> 8),
		ctx->arg >> 8 == SOCK_RAW && (ctx->arg & 0xff) == AF_INET ? 253 : 0);
	NEED(fd >= 0 && !set(fd, SOL_SOCKET, SO_BUSY_POLL_BUDGET, 77));
	return 0;
}

static int lower_budget(struct maker_ctx *ctx)
{
	CHECK(!seteuid(65534));
	SAME(set(fd, SOL_SOCKET, SO_BUSY_POLL_BUDGET, 78), -1);
	SAME(set(fd, SOL_SOCKET, SO_BUSY_POLL_BUDGET, 77), 0);
	return 0;
}

static int budget_use(struct maker_ctx *ctx)
{
	TRY(kid_start(ctx, NULL, lower_budget, NULL));
	return kids_finish(ctx);
}

/* SO_INQ: with what is read comes how much is left. */
static int inq_make(struct maker_ctx *ctx)
{
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
	NEED(!set(fds[1], SOL_SOCKET, SET_INQ, 1));
	return says(fds[0], "more than one");
}

static int inq_use(struct maker_ctx *ctx)
{
	char byte, control[64];
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
	};
	struct cmsghdr *c;
	int left = 0;

	SAME(recvmsg(fds[1], &msg, 0), 1);
	c = CMSG_FIRSTHDR(&msg);
	CHECK(c && c->cmsg_type == SET_INQ);
	memcpy(&left, CMSG_DATA(c), sizeof(left));
	SAME(left, strlen("ore than one"));
	return 0;
}

/* Shut for sending, or as ctx->arg >> 8 says, which poll does not show. */
static int shut_make(struct maker_ctx *ctx)
{
	int how = (int)(ctx->arg >> 8), kind = (int)(ctx->arg & 3);

	if (kind == 0)
		fd = socket(AF_INET, SOCK_DGRAM, 0);
	else
		fd = kind == 1 ? socket(AF_INET, SOCK_RAW, IPPROTO_RAW) /* with headers of its own */
			       : socket(AF_INET6, SOCK_RAW, 253);
	NEED(fd >= 0);
	SAME(shutdown(fd, how), -1);
	SAME(errno, ENOTCONN);
	return 0;
}

static int shut_use(struct maker_ctx *ctx)
{
	int how = (int)(ctx->arg >> 8), kind = (int)(ctx->arg & 3);
	union address to = loopback(kind == 2 ? AF_INET6 : AF_INET);

	const struct iphdr packet = {
		.version = 4, .ihl = 5, .ttl = 1, .protocol = 253, .daddr = htonl(INADDR_LOOPBACK)
	};

	if (!kind)
		to.v4.sin_port = htons(9);
	SAME(sendto(fd, &packet, sizeof(packet), MSG_NOSIGNAL, &to.any, size_of(&to)),
		how == SHUT_RD ? (ssize_t)sizeof(packet) : -1);
	if (how != SHUT_RD)
		SAME(errno, EPIPE);
	SAME(!!(poll_now(fd, POLLRDHUP) & POLLRDHUP), how != SHUT_WR);
	return 0;
}

/* --- refused --- */

static int policy_make(struct maker_ctx *ctx)
{
	struct xfrm_userpolicy_info p = { .sel.family = AF_INET,
		.lft = { .soft_byte_limit = XFRM_INF,
			.hard_byte_limit = XFRM_INF,
			.soft_packet_limit = XFRM_INF,
			.hard_packet_limit = XFRM_INF },
		.dir = XFRM_POLICY_OUT,
		.action = XFRM_POLICY_BLOCK };

	fd = socket(AF_INET, SOCK_DGRAM, 0);
	NEED(!setsockopt(fd, IPPROTO_IP, SET_XFRM_POLICY, &p, sizeof(p)));
	return 0;
}

static int policy_use(struct maker_ctx *ctx)
{
	union address to = loopback(AF_INET);

	to.v4.sin_port = htons(9);
	SAME(sendto(fd, "x", 1, 0, &to.any, size_of(&to)), -1);
	return 0;
}

/* arg: who may have it, too; bit 9: a second socket has; bit 10: it is connected, and sends by it; from bit 12 on:
 * the type of the socket. */
enum { LINGER = 7 /* the least is 6 */, NOBODY = 65534 };

static int label_request(int of, int action, long share, uint32_t *label)
{
	struct in6_flowlabel_req lease = { .flr_action = (uint8_t)action,
		.flr_share = (uint8_t)share,
		.flr_flags = IPV6_FL_F_CREATE,
		.flr_label = *label,
		.flr_linger = LINGER,
		.flr_expires = LINGER };
	struct in6_addr to = IN6ADDR_LOOPBACK_INIT;

	memcpy(&lease.flr_dst, &to, sizeof(to));
	if (setsockopt(of, IPPROTO_IPV6, SET_FLOWLABEL, &lease, sizeof(lease)) < 0)
		return -1;
	*label = lease.flr_label;
	return 0;
}

/* Where one socket that connects sends by the label. */
static int label_connect(uint32_t label)
{
	struct sockaddr_in6 to = { .sin6_family = AF_INET6,
		.sin6_port = htons(9),
		.sin6_flowinfo = label,
		.sin6_addr = IN6ADDR_LOOPBACK_INIT };

	CHECK(!set(fd, IPPROTO_IPV6, IPV6_FLOWINFO_SEND, 1));
	CHECK(!connect(fd, (struct sockaddr *)&to, sizeof(to)));
	return 0;
}

static int label_make(struct maker_ctx *ctx)
{
	const int type = ctx->arg >> 12 ? (int)ctx->arg >> 12 : SOCK_DGRAM;
	const bool of_user = (ctx->arg & 255) == IPV6_FL_S_USER;
	uint32_t label = 0;

	fd = socket(AF_INET6, type, type == SOCK_RAW ? 150 : 0);
	NEED(!of_user || !syscall(SYS_setresuid, -1, NOBODY, -1));
	NEED(!label_request(fd, IPV6_FL_A_GET, ctx->arg & 255, &label));
	CHECK(label);
	shared(ctx)->value[0] = label;
	if (ctx->arg & 512) {
		fds[0] = socket(AF_INET6, SOCK_STREAM, 0);
		CHECK(!label_request(fds[0], IPV6_FL_A_GET, ctx->arg & 255, &label));
	}
	if (of_user) {
		CHECK(!syscall(SYS_setresuid, -1, getuid(), -1));
		CHECK(!prctl(PR_SET_DUMPABLE, 1));
	}
	return ctx->arg & 1024 ? label_connect(label) : 0;
}

static long label_linger(uint32_t label, long *owner)
{
	FILE *f = fopen("/proc/net/ip6_flowlabel", "re");
	long linger = -1, value;
	char line[256];
	unsigned int at;

	while (f && linger < 0 && fgets(line, sizeof(line), f))
		if (sscanf(line, "%x %*u %ld %*u %ld", &at, owner, &value) == 3 && at == ntohl(label))
			linger = value;
	if (f)
		fclose(f);
	return linger;
}

/* Who has it to itself cannot be joined; and what is not given back a second time was had once. */
static int label_use(struct maker_ctx *ctx)
{
	uint32_t label = (uint32_t)shared(ctx)->value[0];
	long owner = -1;
	int third = socket(AF_INET6, SOCK_DGRAM, 0);

	if (ctx->arg & 1024) {
		struct sockaddr_in6 to = { 0 };
		socklen_t size = sizeof(to);

		CHECK(!getpeername(fd, (struct sockaddr *)&to, &size));
		SAME(to.sin6_flowinfo, label);
	}
	SAME(label_linger(label, &owner), LINGER);
	if ((ctx->arg & 255) == IPV6_FL_S_USER) {
		SAME(owner, NOBODY);
		CHECK(!syscall(SYS_setresuid, -1, NOBODY, -1));
	}
	SAME(label_request(third, IPV6_FL_A_GET, ctx->arg & 255, &label), (ctx->arg & 255) == IPV6_FL_S_EXCL ? -1 : 0);
	for (int i = 0; i < 2; i++) {
		SAME(label_request(fd, IPV6_FL_A_PUT, 0, &label), i ? -1 : 0);
		if (ctx->arg & 512)
			SAME(label_request(fds[0], IPV6_FL_A_PUT, 0, &label), i ? -1 : 0);
	}
	return 0;
}

/* It keeps tables of its own. */
static int routing_make(struct maker_ctx *ctx)
{
	const int six = ctx->arg == 6;

	fd = socket(six ? AF_INET6 : AF_INET, SOCK_RAW, six ? IPPROTO_ICMPV6 : IPPROTO_IGMP);
	NEED(fd >= 0);
	NEED(!set(fd, six ? IPPROTO_IPV6 : IPPROTO_IP, SET_MRT_INIT, 1));
	return 0;
}

static int routing_use(struct maker_ctx *ctx)
{
	CHECK(!set(fd, ctx->arg == 6 ? IPPROTO_IPV6 : IPPROTO_IP, SET_MRT_DONE, 1));
	return 0;
}

/* A program that takes one of three, by its place: the order in which they were bound, or listen. arg: the type of the sockets; bit 8: it is gone again. */
enum { IN_GROUP = 3, CHOSEN = 2 /* place */ };
static int group[IN_GROUP];

static int chooses(int of, uint32_t place)
{
	struct sock_filter some = { BPF_RET | BPF_K, 0, 0, place };
	struct sock_fprog program = { 1, &some };

	CHECK(!setsockopt(of, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof(program)));
	return 0;
}

static int group_name(union address *here)
{
	socklen_t size = sizeof(*here);

	CHECK(!getsockname(group[0], &here->any, &size));
	return 0;
}

static int call(long arg, const union address *here)
{
	int client = socket(AF_INET, (int)arg & 255, 0);

	CHECK(client >= 0);
	CHECK(!connect(client, &here->any, size_of(here)));
	if ((arg & 255) == SOCK_DGRAM)
		SAME(send(client, "x", 1, 0), 1);
	return client;
}

static int calls(long arg, int n)
{
	union address here;

	TRY(group_name(&here));
	for (int i = 0; i < n; i++) {
		int client = call(arg, &here);

		CHECK(client >= 0);
		if ((arg & 255) == SOCK_DGRAM)
			close(client);
	}
	return 0;
}

/* The last that was made is the first. */
static int chosen_make(struct maker_ctx *ctx)
{
	const int type = ctx->arg & 255;
	union address here = loopback(AF_INET);

	for (int i = 0; i < IN_GROUP; i++) {
		group[i] = socket(AF_INET, type, 0);
		CHECK(!set(group[i], SOL_SOCKET, SO_REUSEPORT, 1));
	}
	for (int i = IN_GROUP; i--;) {
		socklen_t size = sizeof(here);

		CHECK(!bind(group[i], &here.any, size_of(&here)));
		CHECK(!getsockname(group[i], &here.any, &size));
		if (type == SOCK_STREAM)
			CHECK(!listen(group[i], 50));
	}
	TRY(chooses(group[1], CHOSEN));
	if (ctx->arg & 256) {
		TRY(calls(ctx->arg, 8));
		CHECK(!set(group[1], SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, 0));
	}
	return 0;
}

static int come_to(int at, long arg, int n)
{
	for (int i = 0; i < n; i++) {
		if ((arg & 255) == SOCK_DGRAM) {
			TRY(hears_soon(at, "x"));
		} else {
			CHECK(UNTIL(poll_now(at, POLLIN)));
			CHECK(!close(accept(at, NULL, NULL)));
		}
	}
	CHECK(!poll_now(at, POLLIN));
	return 0;
}

static int chosen_use(struct maker_ctx *ctx)
{
	if (ctx->arg & 256) {
		TRY(come_to(group[IN_GROUP - 1 - CHOSEN], ctx->arg, 8));
		SAME(set(group[0], SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, 0), -1);
		SAME(errno, ENOENT);
	} else {
		TRY(calls(ctx->arg, 8));
		TRY(come_to(group[IN_GROUP - 1 - CHOSEN], ctx->arg, 8));
		CHECK(!set(group[0], SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, 0));
	}
	TRY(chooses(group[2], 0));
	TRY(calls(ctx->arg, 4));
	return come_to(group[IN_GROUP - 1], ctx->arg, 4);
}

/* One that has the program before it has a port. */
static int chosen_early_make(struct maker_ctx *ctx)
{
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	CHECK(!set(fd, SOL_SOCKET, SO_REUSEPORT, 1));
	return chooses(fd, 0);
}

static int chosen_early_use(struct maker_ctx *ctx)
{
	CHECK(!set(fd, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, 0));
	SAME(set(fd, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, 0), -1);
	return 0;
}

static int chosen_ebpf_make(struct maker_ctx *ctx)
{
	static const struct bpf_insn first[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr load = { .prog_type = BPF_PROG_TYPE_SOCKET_FILTER,
		.insns = (uintptr_t)first,
		.insn_cnt = 2,
		.license = (uintptr_t) "GPL" };
	int program = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof(load));

	NEED(program >= 0);
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	CHECK(!set(fd, SOL_SOCKET, SO_REUSEPORT, 1));
	CHECK(!set(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, program));
	return close(program);
}

const struct maker makers_socket_hidden[] = {
	ROW("multicast-if", "an interface for multicast by its index alone", multicast),
	ROW_ARG("mtu", "IPV6_MTU", mtu, SOCK_DGRAM),
	ROW_ARG("mtu-raw", "IPV6_MTU of a raw socket", mtu, SOCK_RAW),
	ROW_ARG("router-alert", "a raw socket that router alerts come to", alert, 4),
	ROW_ARG("router-alert-v6", "one of IPv6", alert, 6),
	ROW_ARG("router-alert-taken-back", "one that they do not come to any more", alert, 8),
	REFUSED("router-alert-value", "one of IPv6, with a value that nobody tells", alert_make, alert_use, 7,
		"IPV6_ROUTER_ALERT"),
	ROW_ARG("anycast", "anycast addresses, one of them twice", anycast, SOCK_DGRAM),
	ROW_ARG("anycast-tcp", "of a TCP socket", anycast, SOCK_STREAM),
	ROW_ARG("anycast-raw", "of a raw socket", anycast, SOCK_RAW),
	ROW_ARG("budget", "SO_BUSY_POLL_BUDGET of UDP", budget, AF_INET | SOCK_DGRAM << 8),
	ROW_ARG("budget-tcp", "SO_BUSY_POLL_BUDGET of TCP", budget, AF_INET | SOCK_STREAM << 8),
	ROW_ARG("budget-raw", "SO_BUSY_POLL_BUDGET of a raw socket", budget, AF_INET | SOCK_RAW << 8),
	ROW_ARG("budget-unix", "SO_BUSY_POLL_BUDGET of a unix socket", budget, AF_UNIX | SOCK_DGRAM << 8),
	ROW_ARG("budget-netlink", "SO_BUSY_POLL_BUDGET of a netlink socket", budget, AF_NETLINK | SOCK_RAW << 8),
	ROW_ARG("budget-packet", "SO_BUSY_POLL_BUDGET of a packet socket", budget, AF_PACKET | SOCK_RAW << 8),
	ROW("inq", "SO_INQ of a unix socket", inq),
	ROW_ARG("shut", "UDP, not connected, shut for sending", shut, SHUT_WR << 8),
	ROW_ARG("shut-raw", "a raw socket, shut for sending", shut, 1 | SHUT_WR << 8),
	ROW_ARG("shut-raw-reading", "one of IPv6, shut for reading", shut, 2 | SHUT_RD << 8),
	ROW_ARG("shut-raw-both", "one that is shut both ways", shut, 1 | SHUT_RDWR << 8),
	REFUSED("ipsec", "an IPsec policy of its own", policy_make, policy_use, 0, "IPsec"),
	ROW_ARG("flow-label", "a leased flow label", label, IPV6_FL_S_EXCL),
	ROW_ARG("flow-label-tcp", "of TCP", label, IPV6_FL_S_EXCL | SOCK_STREAM << 12),
	ROW_ARG("flow-label-raw", "of a raw socket", label, IPV6_FL_S_EXCL | SOCK_RAW << 12),
	ROW_ARG("flow-label-connected", "one that a connection sends by", label, IPV6_FL_S_EXCL | 1024),
	ROW_ARG("flow-label-any", "one that anybody may have", label, IPV6_FL_S_ANY | 512),
	ROW_ARG("flow-label-user", "one that those of a user may have", label, IPV6_FL_S_USER | 512),
	REFUSED("flow-label-process", "one of a process", label_make, label_use, IPV6_FL_S_PROCESS, "flow label"),
	REFUSED("routing", "multicast routing", routing_make, routing_use, 4, "MRT_INIT"),
	REFUSED("routing-v6", "multicast routing over IPv6", routing_make, routing_use, 6, "MRT_INIT"),
	ROW_ARG("reuseport-program", "a program that chooses among sockets of one port", chosen, SOCK_DGRAM),
	ROW_ARG("reuseport-program-tcp", "among listeners", chosen, SOCK_STREAM),
	ROW_ARG("reuseport-waiting", "of several listeners, one with connections that are not accepted", chosen,
		SOCK_STREAM | 256),
	ROW("reuseport-early", "a program of a socket that is not bound", chosen_early),
	REFUSED("reuseport-ebpf", "a program in eBPF", chosen_ebpf_make, chosen_early_use, 0, "REUSEPORT"),
	{ 0 },
};
