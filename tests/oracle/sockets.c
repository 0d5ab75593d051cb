/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sockets: kind, names, options, and the beginning of what waits to be read. */

#include <arpa/inet.h>
#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "oracle.h"

enum { FIN_WAIT1 = 4, FIN_WAIT2 = 5 }; /* <net/tcp_states.h> */

#define IP_LOCAL_PORT_RANGE_ 51 /* since 6.3 */

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
	unsigned char value[256];
	socklen_t len = sizeof(value);
	char key[40], hex[2 * sizeof(value) + 1] = "";

	if (getsockopt(dup, level, option, value, &len) < 0 || !len)
		return;
	for (socklen_t i = 0; i < len; i++)
		sprintf(hex + 2 * i, "%02x", value[i]);
	snprintf(key, sizeof(key), "option %d/%d", level, option);
	fact(o, prefix, key, "%s", hex);
}

/* Not asked: what reading changes (error), what makes descriptors (peer pidfd), what is drawn by chance or
 * passes. */
static bool unsteady_option(int option)
{
	static const int list[] = { SO_ERROR, SO_PEERCRED, SO_ATTACH_FILTER, SO_PEERSEC, SO_INCOMING_CPU,
		SO_INCOMING_NAPI_ID, SO_MEMINFO, SO_COOKIE, SO_NETNS_COOKIE, 77 /* SO_PEERPIDFD */ };

	for (size_t i = 0; i < ARRAY_SIZE(list); i++)
		if (list[i] == option)
			return true;
	return false;
}

/* Of a stream: what the kernel finds out by itself, or notes without a use. */
static bool unsteady_stream_option(int dup, int level, int option)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	if (level == IPPROTO_IP)
		return option == IP_MULTICAST_TTL;
	if (level == IPPROTO_IPV6)
		return option == IPV6_MULTICAST_HOPS || option == IPV6_MULTICAST_IF;
	if (getsockopt(dup, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
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

static void tcp_facts(struct oracle *o, const char *prefix, int dup)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);
	int unread = -1;

	if (getsockopt(dup, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		return;
	fact(o, prefix, "tcp", "state %u", steady_state(&info));
	if (info.tcpi_state == 10)
		fact(o, prefix, "tcp backlog", "%u of %u", info.tcpi_unacked, info.tcpi_sacked);
	else if (info.tcpi_state != 7)
		fact(o, prefix, "tcp agreed", "options %#x scales %u %u window %d", info.tcpi_options & 7,
			info.tcpi_snd_wscale, info.tcpi_rcv_wscale, steady_window(&info));
	if (ioctl(dup, FIONREAD, &unread) == 0)
		fact(o, prefix, "unread", "%d", unread);
}

static void level_facts(struct oracle *o, const char *prefix, int dup, int level, const int *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (number(dup, SO_TYPE) != SOCK_STREAM || !unsteady_stream_option(dup, level, list[i]))
			option_fact(o, prefix, dup, level, list[i]);
}

static void option_facts(struct oracle *o, const char *prefix, int dup, int domain, int protocol)
{
	static const int ip[] = { IP_TOS, IP_TTL, IP_HDRINCL, IP_OPTIONS, IP_RETOPTS, IP_PKTINFO, IP_MTU_DISCOVER,
		IP_RECVERR, IP_RECVTTL, IP_RECVTOS, IP_FREEBIND, IP_PASSSEC, IP_TRANSPARENT, IP_ORIGDSTADDR, IP_MINTTL,
		IP_NODEFRAG, IP_CHECKSUM, IP_BIND_ADDRESS_NO_PORT, IP_RECVFRAGSIZE, IP_MULTICAST_IF, IP_MULTICAST_TTL,
		IP_MULTICAST_LOOP, IP_MULTICAST_ALL, IP_UNICAST_IF, 26 /* IP_RECVERR_RFC4884 */, IP_LOCAL_PORT_RANGE_ };
	static const int ipv6[] = { 2, 3, 4, 5, 8 /* those of RFC 2292 */, IPV6_CHECKSUM, 11 /* FLOWINFO */,
		IPV6_UNICAST_HOPS, IPV6_MULTICAST_IF, IPV6_MULTICAST_HOPS, IPV6_MULTICAST_LOOP, IPV6_MTU_DISCOVER,
		IPV6_RECVERR, IPV6_V6ONLY, 29 /* MULTICAST_ALL */, 31 /* RECVERR_RFC4884 */, 33 /* FLOWINFO_SEND */,
		IPV6_HDRINCL, IPV6_RECVPKTINFO, IPV6_RECVHOPLIMIT, IPV6_RECVHOPOPTS, IPV6_HOPOPTS, IPV6_RTHDRDSTOPTS,
		IPV6_RECVRTHDR, IPV6_RTHDR, IPV6_RECVDSTOPTS, IPV6_DSTOPTS, IPV6_RECVPATHMTU, IPV6_DONTFRAG,
		IPV6_RECVTCLASS, IPV6_TCLASS, IPV6_AUTOFLOWLABEL, IPV6_ADDR_PREFERENCES, IPV6_MINHOPCOUNT,
		IPV6_ORIGDSTADDR, IPV6_TRANSPARENT, IPV6_UNICAST_IF, IPV6_RECVFRAGSIZE, IPV6_FREEBIND };
	static const int tcp[] = { TCP_NODELAY, TCP_MAXSEG, TCP_CORK, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT,
		TCP_SYNCNT, TCP_LINGER2, TCP_DEFER_ACCEPT, TCP_WINDOW_CLAMP, TCP_QUICKACK, TCP_CONGESTION,
		TCP_THIN_LINEAR_TIMEOUTS, TCP_USER_TIMEOUT, TCP_FASTOPEN, TCP_FASTOPEN_CONNECT, TCP_FASTOPEN_NO_COOKIE,
		TCP_NOTSENT_LOWAT, TCP_SAVE_SYN, TCP_INQ, TCP_TX_DELAY, TCP_ULP, 44, 45, 46 /* RTO_MAX_MS and on */ };
	static const int udp[] = { 1 /* CORK */, 10, 11 /* coverage */, 100 /* ENCAP */, 101, 102, 103 /* SEGMENT */,
		104 };
	static const int packet[] = { 8 /* AUXDATA */, 9, 10 /* VERSION */, 12, 14, 15, 17, 18 /* FANOUT */, 19, 20,
		23 /* IGNORE_OUTGOING */ };

	for (int option = 1; option < 90; option++)
		if (!unsteady_option(option))
			option_fact(o, prefix, dup, SOL_SOCKET, option);
	if (domain == AF_INET || domain == AF_INET6)
		level_facts(o, prefix, dup, IPPROTO_IP, ip, ARRAY_SIZE(ip));
	if (domain == AF_INET6)
		level_facts(o, prefix, dup, IPPROTO_IPV6, ipv6, ARRAY_SIZE(ipv6));
	if (domain == AF_PACKET)
		level_facts(o, prefix, dup, 263 /* SOL_PACKET */, packet, ARRAY_SIZE(packet));
	if (protocol == IPPROTO_TCP)
		level_facts(o, prefix, dup, IPPROTO_TCP, tcp, ARRAY_SIZE(tcp));
	if (protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE)
		level_facts(o, prefix, dup, IPPROTO_UDP, udp, ARRAY_SIZE(udp));
	if (protocol == IPPROTO_TCP)
		tcp_facts(o, prefix, dup);
}

static void credentials_fact(struct oracle *o, const char *prefix, int dup)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);
	char name[32];

	if (getsockopt(dup, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 && cred.pid)
		fact(o, prefix, "peer", "%s uid %u gid %u", name_of(o, cred.pid, name), cred.uid, cred.gid);
}

/* A look at the first message or bytes; without room for control data no descriptor comes along. */
static void queue_fact(struct oracle *o, const char *prefix, int dup)
{
	_free_ char *buf = malloc(1 << 16);
	ssize_t n = recv(dup, buf, 1 << 16, MSG_PEEK | MSG_DONTWAIT);

	if (n >= 0)
		fact(o, prefix, "waiting", "%zd bytes %016lx", n, (unsigned long)hash_bytes(buf, n, 0));
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
	option_facts(o, prefix, dup, domain, protocol);
	credentials_fact(o, prefix, dup);
	/* Peeking moves a peek offset that the program has set, and makes a netlink dump go on. */
	if ((domain == AF_UNIX || domain == AF_INET || domain == AF_INET6) && number(dup, SO_PEEK_OFF) < 0 &&
		!number(dup, SO_ACCEPTCONN) && o->opt.memory && !error_fact(o, prefix, dup))
		queue_fact(o, prefix, dup);
}
