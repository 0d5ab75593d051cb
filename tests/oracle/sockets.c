/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sockets: kind, names, options, and the beginning of what waits to be read. */

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "oracle.h"

enum { FIN_WAIT1 = 4, FIN_WAIT2 = 5 }; /* <net/tcp_states.h> */

#define N_OPTIONS 120

static int number(int dup, int option)
{
	int value = -1;
	socklen_t len = sizeof(value);

	getsockopt(dup, SOL_SOCKET, option, &value, &len);
	return value;
}

static void name_fact(
	struct oracle *o, const char *prefix, const char *key, const struct sockaddr_storage *addr, socklen_t len)
{
	const struct sockaddr_un *un = (const void *)addr;
	const struct sockaddr_in *in = (const void *)addr;
	const struct sockaddr_in6 *in6 = (const void *)addr;
	char text[INET6_ADDRSTRLEN] = "";
	_free_ char *path = NULL;

	switch (addr->ss_family) {
	case AF_UNIX:
		path = escape(un->sun_path, len - offsetof(struct sockaddr_un, sun_path));
		fact(o, prefix, key, "unix %s", *path ? path : "(none)");
		break;
	case AF_INET:
		inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text));
		fact(o, prefix, key, "%s port %u", text, ntohs(in->sin_port));
		break;
	case AF_INET6:
		inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof(text));
		fact(o, prefix, key, "%s port %u scope %u flow %u", text, ntohs(in6->sin6_port), in6->sin6_scope_id,
			in6->sin6_flowinfo);
		break;
	default:
		fact(o, prefix, key, "family %u %016lx", addr->ss_family, (unsigned long)hash_bytes(addr, len, 0));
		break;
	}
}

static void option_fact(struct oracle *o, const char *prefix, int dup, int level, int option)
{
	unsigned char value[256] = { 0 }; /* of some the kernel reads a question there */
	socklen_t len = sizeof(value);
	char key[40], hex[2 * sizeof(value) + 1] = "";

	if (getsockopt(dup, level, option, value, &len) < 0 || !len)
		return;
	if (level == IPPROTO_IPV6 && option == 32 /* IPV6_FLOWLABEL_MGR */ && len == 32)
		memset(value + 24, 0, 2); /* the seconds that are left */
	for (socklen_t i = 0; i < len; i++)
		sprintf(hex + 2 * i, "%02x", value[i]);
	snprintf(key, sizeof(key), "option %d/%d", level, option);
	fact(o, prefix, key, "%s", hex);
}

/*
 * Not asked: what reading changes or takes, what makes descriptors, what is drawn by chance, counts or passes; and, of more than a number, what is asked below.
 */
static bool unsteady_option(int level, int option)
{
	static const struct {
		int level, first, last;
	} list[] = {
		{ SOL_SOCKET, SO_ERROR, SO_ERROR },
		{ SOL_SOCKET, SO_PEERCRED, SO_PEERCRED },
		{ SOL_SOCKET, SO_ATTACH_FILTER, SO_ATTACH_FILTER },
		{ SOL_SOCKET, SO_PEERSEC, SO_PEERSEC },
		{ SOL_SOCKET, SO_INCOMING_CPU, SO_INCOMING_CPU },
		{ SOL_SOCKET, SO_MEMINFO, SO_COOKIE }, /* and SO_INCOMING_NAPI_ID */
		{ SOL_SOCKET, SO_NETNS_COOKIE, SO_NETNS_COOKIE },
		{ SOL_SOCKET, 77 /* SO_PEERPIDFD */, 77 },
		{ IPPROTO_IP, 9 /* IP_PKTOPTIONS */, 9 },
		{ IPPROTO_IP, IP_MTU, IP_MTU },
		{ IPPROTO_IP, 64 /* iptables */, N_OPTIONS },
		{ IPPROTO_IPV6, 6 /* IPV6_2292PKTOPTIONS */, 6 },
		{ IPPROTO_IPV6, IPV6_MTU, IPV6_MTU },
		{ IPPROTO_IPV6, IPV6_PATHMTU, IPV6_PATHMTU },
		{ IPPROTO_IPV6, 64 /* ip6tables */, 65 },
		{ IPPROTO_TCP, TCP_INFO, TCP_INFO },
		{ IPPROTO_TCP, TCP_TIMESTAMP, TCP_TIMESTAMP },
		{ IPPROTO_TCP, TCP_CC_INFO, TCP_CC_INFO },
		{ IPPROTO_TCP, TCP_SAVED_SYN, TCP_REPAIR_WINDOW },
		{ IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE, TCP_ZEROCOPY_RECEIVE },
		{ SOL_PACKET, 6 /* PACKET_STATISTICS */, 6 },
		{ SOL_PACKET, 21 /* PACKET_ROLLOVER_STATS */, 21 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(list); i++)
		if (list[i].level == level && list[i].first <= option && option <= list[i].last)
			return true;
	return false;
}

/* Of a stream: what the kernel finds out by itself, or notes without a use. */
static bool unsteady_stream_option(int dup, int level, int option)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	/* One that has ended keeps the port that it had no part in choosing, or does not: docs/coverage.md, tcp. */
	if (level == IPPROTO_IP && option == 52 /* IP_PROTOCOL */)
		return getsockopt(dup, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 && info.tcpi_state == 7;
	if (level == IPPROTO_IP)
		return option == IP_MULTICAST_TTL;
	if (level == IPPROTO_IPV6)
		return option == IPV6_MULTICAST_HOPS || option == IPV6_MULTICAST_IF;
	if (level != IPPROTO_TCP || getsockopt(dup, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		return false;
	if (option ==
		TCP_QUICKACK) /* tcp(7): not permanent; a delayed acknowledgement that is sent by its timer changes it */
		return info.tcpi_state != 10 && info.tcpi_state != 7;
	return option == TCP_MAXSEG && info.tcpi_state != 10 /* listening */ &&
	       (info.tcpi_bytes_acked || info.tcpi_rcv_mss);
}

/* A FIN that is all that waits to be acknowledged is, within the 40 ms of a delayed acknowledgement. */
static unsigned int steady_state(const struct tcp_info *info)
{
	return info->tcpi_state == FIN_WAIT1 && info->tcpi_unacked <= 1 && !info->tcpi_notsent_bytes ? FIN_WAIT2
												     : info->tcpi_state;
}

/* Probes change what is known of it while something waits for room. */
static int steady_window(const struct tcp_info *info)
{
	bool fin_only = info->tcpi_state == FIN_WAIT1 && info->tcpi_unacked <= 1;

	return (info->tcpi_unacked && !fin_only) || info->tcpi_notsent_bytes ? -1 : (int)info->tcpi_snd_wnd;
}

/* What was sent a moment ago is acknowledged a moment later, by delayed acknowledgements after 40 ms at the most, or not before the program does something. */
static int read_info(int dup, struct tcp_info *info)
{
	socklen_t len = sizeof(*info);

	for (int ms = 0; ms < 60; ms += 5) {
		if (getsockopt(dup, IPPROTO_TCP, TCP_INFO, info, &len) < 0)
			return -1;
		if (info->tcpi_state == 10 /* listening */ || !info->tcpi_unacked || info->tcpi_notsent_bytes)
			return 0;
		usleep(5000);
	}
	return 0;
}

static void tcp_facts(struct oracle *o, const char *prefix, int dup)
{
	struct tcp_info info = { 0 };

	if (read_info(dup, &info) < 0)
		return;
	fact(o, prefix, "tcp", "state %u", steady_state(&info));
	if (info.tcpi_state == 10)
		fact(o, prefix, "tcp backlog", "%u of %u", info.tcpi_unacked, info.tcpi_sacked);
	else if (info.tcpi_state != 7)
		fact(o, prefix, "tcp agreed", "options %#x scales %u %u window %d", info.tcpi_options & 7,
			info.tcpi_snd_wscale, info.tcpi_rcv_wscale, steady_window(&info));
}

/* SO_GET_FILTER counts instructions, not bytes. */
static void filter_fact(struct oracle *o, const char *prefix, int dup)
{
	struct sock_filter program[BPF_MAXINSNS];
	socklen_t n = BPF_MAXINSNS;

	if (getsockopt(dup, SOL_SOCKET, SO_GET_FILTER, program, &n) == 0 && n)
		fact(o, prefix, "filter", "%u instructions %016lx", n,
			(unsigned long)hash_bytes(program, n * sizeof(*program), 0));
}

/* Of each level all that can be read, whether anybody has a name for it or not. */
static void option_facts(struct oracle *o, const char *prefix, int dup, int protocol)
{
	static const int levels[] = { SOL_SOCKET, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE,
		SOL_RAW, IPPROTO_ICMPV6, SOL_PACKET, SOL_NETLINK };
	bool stream = number(dup, SO_TYPE) == SOCK_STREAM;

	for (size_t i = 0; i < ARRAY_SIZE(levels); i++)
		for (int option = 1; option < N_OPTIONS; option++)
			if (!unsteady_option(levels[i], option) &&
				!(stream && unsteady_stream_option(dup, levels[i], option)))
				option_fact(o, prefix, dup, levels[i], option);
	filter_fact(o, prefix, dup);
	if (protocol == IPPROTO_TCP) {
		tcp_facts(o, prefix, dup);
		signature_facts(o, prefix, dup);
	}
}

static void credentials_fact(struct oracle *o, const char *prefix, int dup)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);
	char name[32];

	if (getsockopt(dup, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 && cred.pid)
		fact(o, prefix, "peer", "%s uid %u gid %u", name_of(o, cred.pid, name), cred.uid, cred.gid);
}

/* SO_PEERPIDFD makes a descriptor of the oracle's. */
static void peer_pidfd_fact(struct oracle *o, const char *prefix, int dup)
{
	_close_ int pidfd = -1;
	socklen_t len = sizeof(pidfd);
	_free_ char *info = NULL;
	char pid[16], name[32];

	if (getsockopt(dup, SOL_SOCKET, 77, &pidfd, &len) < 0)
		return;
	info = slurpf(NULL, "/proc/self/fdinfo/%d", pidfd);
	if (info && line_value(info, "Pid", pid, sizeof(pid)))
		fact(o, prefix, "peer pidfd", "%s", name_of(o, atoi(pid), name));
}

/* How much there is to read, of a datagram socket in the first message; and whether the next byte is that behind a mark. */
static void amount_facts(struct oracle *o, const char *prefix, int dup)
{
	int amount = 0, mark = 0, divides = 0;
	socklen_t len = sizeof(divides);

	if (number(dup, SO_PROTOCOL) == IPPROTO_UDP &&
		getsockopt(dup, IPPROTO_UDP, 104 /* UDP_GRO */, &divides, &len) == 0 && divides)
		return; /* several may wait as one */
	if (ioctl(dup, FIONREAD, &amount) == 0)
		fact(o, prefix, "readable bytes", "%d", amount);
	if (ioctl(dup, SIOCATMARK, &mark) == 0)
		fact(o, prefix, "at mark", "%d", mark);
}

/* Of datagrams that wait as one, the first. */
static ssize_t first_of(struct msghdr *msg, ssize_t n)
{
	int size = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c && n > 0; c = CMSG_NXTHDR(msg, c))
		if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == 104 /* UDP_GRO */)
			memcpy(&size, CMSG_DATA(c), sizeof(size));
	return size > 0 && size < n ? size : n;
}

/* A look at the first message or bytes; without room for control data no descriptor comes along. */
static void queue_fact(struct oracle *o, const char *prefix, int dup)
{
	_free_ char *buf = malloc(1 << 16);
	union {
		char bytes[512];
		struct cmsghdr align;
	} control;
	struct iovec iov = { buf, 1 << 16 };
	struct sockaddr_storage from = { 0 };
	struct msghdr msg = { .msg_name = &from,
		.msg_namelen = sizeof(from),
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = number(dup, SO_PROTOCOL) == IPPROTO_UDP ? sizeof(control) : 0 };
	ssize_t n = first_of(&msg, recvmsg(dup, &msg, MSG_PEEK | MSG_DONTWAIT));

	if (n >= 0)
		fact(o, prefix, "waiting", "%zd bytes %016lx", n, (unsigned long)hash_bytes(buf, n, 0));
	if (n >= 0 && msg.msg_namelen)
		name_fact(o, prefix, "waiting from", &from, msg.msg_namelen);
}

/* Peeking moves a peek offset that the program has set, makes a netlink dump go on, and has a packet socket forget how long a frame was. */
static bool may_be_peeked(int dup, int domain, int protocol)
{
	if (domain == AF_UNIX || domain == AF_INET || domain == AF_INET6)
		return number(dup, SO_PEEK_OFF) < 0 && !number(dup, SO_ACCEPTCONN);
	return domain == AF_NETLINK && protocol == 2 /* NETLINK_USERSOCK: without dumps */;
}

/* An error that waits to be told is told once, to whoever reads or asks for it: it can only be seen. */
static bool error_fact(struct oracle *o, const char *prefix, int dup)
{
	struct pollfd p = { .fd = dup };

	poll(&p, 1, 0);
	fact(o, prefix, "polled", "%#x", p.revents & (POLLERR | POLLHUP));
	return p.revents & POLLERR;
}

void socket_facts(struct oracle *o, const char *prefix, int dup)
{
	struct sockaddr_storage addr = { 0 };
	socklen_t len = sizeof(addr);
	int domain = number(dup, SO_DOMAIN), protocol = number(dup, SO_PROTOCOL);

	fact(o, prefix, "socket", "domain %d type %d protocol %d listening %d", domain, number(dup, SO_TYPE), protocol,
		number(dup, SO_ACCEPTCONN));
	if (getsockname(dup, (struct sockaddr *)&addr, &len) == 0)
		name_fact(o, prefix, "name", &addr, len);
	memset(&addr, 0, sizeof(addr));
	len = sizeof(addr);
	if (getpeername(dup, (struct sockaddr *)&addr, &len) == 0)
		name_fact(o, prefix, "peer name", &addr, len);
	option_facts(o, prefix, dup, protocol);
	credentials_fact(o, prefix, dup);
	peer_pidfd_fact(o, prefix, dup);
	if (!number(dup, SO_ACCEPTCONN))
		amount_facts(o, prefix, dup);
	if (domain == AF_PACKET)
		ring_facts(o, prefix, dup);
	if (may_be_peeked(dup, domain, protocol) && o->opt.memory && !error_fact(o, prefix, dup))
		queue_fact(o, prefix, dup);
	if (domain == AF_PACKET)
		error_fact(o, prefix, dup);
}
