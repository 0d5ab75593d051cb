/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every option that a socket has, by number and not by name: whatever can be read and set is set to what a new socket has not, and is then to be the same.
 * So that an option of a kernel that nobody here has heard of is missed too. socket(7), ip(7), ipv6(7), tcp(7), udp(7), raw(7), packet(7), netlink(7).
 */
#include "inet.h"

#include <linux/netlink.h>
#include <net/if.h>
#include <netpacket/packet.h>

#ifndef SOL_UDPLITE
#define SOL_UDPLITE 136
#endif

enum { N_OPTIONS = 110, OPTION_SIZE = 64 };

static const int levels[] = { SOL_SOCKET, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP, IPPROTO_UDP, SOL_UDPLITE, SOL_RAW,
	IPPROTO_ICMPV6, SOL_PACKET, SOL_NETLINK };

enum { N_LEVELS = sizeof(levels) / sizeof(*levels) };

/* Left alone: what reading takes or makes, what is drawn by chance, counts or passes, and what has makers of its own. */
static const struct {
	int level, first, last;
} left_alone[] = {
	{ SOL_SOCKET, SO_ERROR, SO_ERROR },
	{ SOL_SOCKET, SO_PEERCRED, SO_PEERCRED },
	{ SOL_SOCKET, SO_ATTACH_FILTER, SO_DETACH_FILTER },
	{ SOL_SOCKET, SO_MEMINFO, SO_COOKIE }, /* and SO_INCOMING_NAPI_ID */
	{ SOL_SOCKET, SO_NETNS_COOKIE, SO_NETNS_COOKIE },
	{ SOL_SOCKET, 77 /* SO_PEERPIDFD */, 77 },
	{ IPPROTO_IP, 9 /* IP_PKTOPTIONS */, 9 },
	{ IPPROTO_IP, IP_MTU, IP_MTU },
	{ IPPROTO_IP, 64 /* iptables */, N_OPTIONS },
	{ IPPROTO_IPV6, IPV6_ADDRFORM, IPV6_ADDRFORM },
	{ IPPROTO_IPV6, 6 /* IPV6_2292PKTOPTIONS */, 6 },
	{ IPPROTO_IPV6, IPV6_MTU, IPV6_MTU },
	{ IPPROTO_IPV6, IPV6_PATHMTU, IPV6_PATHMTU },
	{ IPPROTO_IPV6, 64 /* ip6tables */, 65 },
	{ IPPROTO_TCP, 11 /* TCP_INFO */, 12 /* TCP_QUICKACK */ },
	{ IPPROTO_TCP, 19 /* TCP_REPAIR */, 22 /* TCP_REPAIR_OPTIONS */ },
	{ IPPROTO_TCP, 24 /* TCP_TIMESTAMP */, 24 },
	{ IPPROTO_TCP, 26 /* TCP_CC_INFO */, 26 },
	{ IPPROTO_TCP, 28 /* TCP_SAVED_SYN */, 29 /* TCP_REPAIR_WINDOW */ },
	{ IPPROTO_TCP, 35 /* TCP_ZEROCOPY_RECEIVE */, 35 },
	{ SOL_PACKET, PACKET_STATISTICS, PACKET_STATISTICS },
	{ SOL_PACKET, PACKET_FANOUT, PACKET_FANOUT },
	{ SOL_PACKET, 21 /* PACKET_ROLLOVER_STATS */, 21 },
};

static int socks[2];
static unsigned char values[N_LEVELS][N_OPTIONS][OPTION_SIZE];

static bool is_left_alone(int level, int name)
{
	if (socks[1] > 0 && level == IPPROTO_TCP && name == 2 /* TCP_MAXSEG: of a connection, what it has come to */)
		return true;
	for (size_t i = 0; i < sizeof(left_alone) / sizeof(*left_alone); i++)
		if (left_alone[i].level == level && left_alone[i].first <= name && name <= left_alone[i].last)
			return true;
	return false;
}

/* All zeros if there is no such option. */
static bool look(int level, int name, unsigned char value[OPTION_SIZE])
{
	socklen_t size = OPTION_SIZE - 1;

	memset(value, 0, OPTION_SIZE);
	if (is_left_alone(level, name) || getsockopt(socks[0], level, name, value, &size) < 0) {
		memset(value, 0, OPTION_SIZE);
		return false;
	}
	value[OPTION_SIZE - 1] = 1;
	return true;
}

static bool change(int level, int name, const unsigned char before[OPTION_SIZE])
{
	static const int numbers[] = { 1, 2, 12, 0, 3, 9, 40, 1000, 100000 };
	static const int pairs[][2] = { { 0x04010000 /* padding, of a header of IPv6 */, 0 }, { 1, 17 }, { 0, 2 } };
	const struct timeval time = { 3, 500000 };
	unsigned char now[OPTION_SIZE];

	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
		if (!setsockopt(socks[0], level, name, &numbers[i], sizeof(int)) && look(level, name, now) &&
			memcmp(now, before, sizeof(now)))
			return true;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++)
		if (!setsockopt(socks[0], level, name, pairs[i], sizeof(pairs[i])) && look(level, name, now) &&
			memcmp(now, before, sizeof(now)))
			return true;
	return !setsockopt(socks[0], level, name, &time, sizeof(time)) && look(level, name, now) &&
	       memcmp(now, before, sizeof(now));
}

static const struct kind {
	int domain, type, protocol;
	int at_least; /* so many can be changed */
} kinds[] = {
	{ AF_UNIX, SOCK_STREAM, 0, 20 },
	{ AF_UNIX, SOCK_DGRAM, 0, 20 },
	{ AF_INET, SOCK_STREAM, 0, 45 },
	{ AF_INET6, SOCK_STREAM, 0, 70 },
	{ AF_INET, SOCK_DGRAM, 0, 40 },
	{ AF_INET6, SOCK_DGRAM, 0, 65 },
	{ AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE, 40 },
	{ AF_INET, SOCK_RAW, 253 /* for experiments */, 35 },
	{ AF_INET6, SOCK_RAW, 253, 60 },
	{ AF_PACKET, SOCK_RAW, 0, 25 },
	{ AF_NETLINK, SOCK_RAW, NETLINK_USERSOCK, 20 },
};

enum { CONNECTED = 100, LISTENING = 200 };

static int socket_make(const struct kind *k, long how)
{
	union address a;

	if (how == CONNECTED)
		return connected_here(k->domain == AF_INET6 ? OVER_V6 : OVER_V4, socks);
	if (how == LISTENING)
		socks[0] = listening_here(k->domain == AF_INET6 ? OVER_V6 : OVER_V4, 4, &a);
	else if (k->domain == AF_UNIX)
		CHECK(!socketpair(AF_UNIX, k->type | SOCK_CLOEXEC, 0, socks));
	else
		socks[0] = socket(k->domain, k->type | SOCK_CLOEXEC, k->protocol);
	NEED(socks[0] >= 0);
	return 0;
}

static int every_make(struct maker_ctx *ctx)
{
	const struct kind *k = &kinds[ctx->arg % 100];
	unsigned char value[OPTION_SIZE];
	int changed = 0;

	TRY(socket_make(k, ctx->arg - ctx->arg % 100));
	for (int i = 0; i < N_LEVELS; i++)
		for (int name = 1; name < N_OPTIONS; name++)
			if (look(levels[i], name, value))
				changed += change(levels[i], name, value);
	if (changed < k->at_least)
		SAME(changed, k->at_least);
	for (int i = 0; i < N_LEVELS; i++)
		for (int name = 1; name < N_OPTIONS; name++)
			look(levels[i], name, values[i][name]);
	return 0;
}

static int every_use(struct maker_ctx *ctx)
{
	unsigned char value[OPTION_SIZE];
	char what[100];

	(void)ctx;
	for (int i = 0; i < N_LEVELS; i++)
		for (int name = 1; name < N_OPTIONS; name++) {
			look(levels[i], name, value);
			if (!memcmp(value, values[i][name], sizeof(value)))
				continue;
			snprintf(what, sizeof(what), "option %d of level %d as before", name, levels[i]);
			return maker_fail(__FILE__, __LINE__, what);
		}
	return 0;
}

#define OF(name, what, which)                                                                                          \
	{                                                                                                              \
		name, "every option of " what, every_make, every_use, 0, which, NULL                                   \
	}

const struct maker makers_every_option[] = {
	OF("unix-stream", "a unix stream socket", 0),
	OF("unix-datagram", "a unix datagram socket", 1),
	OF("tcp", "a TCP socket", 2),
	OF("tcp-v6", "a TCP socket of IPv6", 3),
	OF("tcp-connected", "a TCP socket that is connected", CONNECTED + 2),
	OF("tcp-connected-v6", "one that is connected over IPv6", CONNECTED + 3),
	OF("tcp-listening", "a TCP socket that listens", LISTENING + 2),
	OF("udp", "a UDP socket", 4),
	OF("udp-v6", "a UDP socket of IPv6", 5),
	OF("udplite", "a UDP-Lite socket", 6),
	OF("raw", "a raw socket", 7),
	OF("raw-v6", "a raw socket of IPv6", 8),
	OF("packet", "a packet socket", 9),
	OF("netlink", "a netlink socket", 10),
	{ 0 },
};
