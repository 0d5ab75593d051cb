/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What raw sockets, and those that ping, have got and nobody has read: raw(7), icmp(7). A twin that hears the same tells what is to be expected. Both
 * hear all of the machine: a filter takes what is meant for them.
 */

#include "inet.h"

#include <linux/filter.h>
#include <linux/icmp.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>

enum { MOST = 16, LARGE = 3000 };

/* Where numbers stand in a packet. */
enum { IP = sizeof(struct iphdr), PORT = IP + 2, ICMP_ID = IP + 4, QUOTED_PORT = IP + 8 + PORT };

struct heard {
	ssize_t size;
	size_t control_size;
	union address from;
	char data[LARGE + 100], control[256];
};

static int fd = -1, twin = -1, other = -1;
static struct heard expected[MOST], got;
static int n_expected, protocol;
static union address name;

static ssize_t hear(int from, struct heard *h)
{
	struct iovec iov = { h->data, sizeof(h->data) };
	struct msghdr msg = { .msg_name = &h->from,
		.msg_namelen = sizeof(h->from),
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = h->control,
		.msg_controllen = sizeof(h->control) };

	memset(h, 0, sizeof(*h));
	h->size = recvmsg(from, &msg, MSG_DONTWAIT);
	h->control_size = msg.msg_controllen;
	return h->size;
}

static int hear_all(int expect)
{
	while (n_expected < MOST && hear(twin, &expected[n_expected]) >= 0)
		n_expected++;
	SAME(n_expected, expect);
	return 0;
}

static int unread_use(struct maker_ctx *ctx)
{
	for (int i = 0; i < n_expected; i++) {
		SAME(hear(fd, &got), expected[i].size);
		CHECK(!memcmp(got.data, expected[i].data, (size_t)got.size));
		CHECK(!memcmp(&got.from, &expected[i].from, sizeof(got.from)));
		SAME(got.control_size, expected[i].control_size);
		CHECK(!memcmp(got.control, expected[i].control, got.control_size));
	}
	SAME(recv(fd, got.data, sizeof(got.data), MSG_DONTWAIT), -1);
	SAME(recv(twin, got.data, sizeof(got.data), MSG_DONTWAIT), -1);
	return 0;
}

static int pair_takes_only(int at, int or_at, int number)
{
	TRY(take_only(fd, at, or_at, number));
	return take_only(twin, at, or_at, number);
}

static int pair_of(int family, int number)
{
	int on = 1;

	fd = socket(family, SOCK_RAW | SOCK_CLOEXEC, number);
	twin = socket(family, SOCK_RAW | SOCK_CLOEXEC, number);
	NEED(fd >= 0 && twin >= 0);
	for (int i = 0; i < 2; i++)
		if (family == AF_INET6) {
			CHECK(!setsockopt(i ? twin : fd, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, &on, sizeof(on)));
			CHECK(!setsockopt(i ? twin : fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on)));
		} else {
			CHECK(!setsockopt(i ? twin : fd, IPPROTO_IP, IP_RECVTTL, &on, sizeof(on)));
			CHECK(!setsockopt(i ? twin : fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on)));
		}
	return 0;
}

static int unassigned(void)
{
	return 150 + nobodys() % 100;
}

/* Of a protocol of nobody's: small, large and empty ones. */

static int raw_make(struct maker_ctx *ctx)
{
	union address a = loopback((int)ctx->arg);
	int ttl = 9;

	protocol = unassigned();
	TRY(pair_of((int)ctx->arg, protocol));
	CHECK(!bind(fd, &a.any, size_of(&a)));
	other = socket((int)ctx->arg, SOCK_RAW | SOCK_CLOEXEC, protocol);
	CHECK(!connect(other, &a.any, size_of(&a)));
	SAME(send(other, "abcdef", 6, 0), 6);
	fill(got.data, LARGE, 4);
	SAME(send(other, got.data, LARGE, 0), LARGE);
	SAME(send(other, "", 0, 0), 0);
	CHECK(!setsockopt(other, ctx->arg == AF_INET ? IPPROTO_IP : IPPROTO_IPV6,
		ctx->arg == AF_INET ? IP_TTL : IPV6_UNICAST_HOPS, &ttl, sizeof(ttl)));
	SAME(send(other, "last", 4, 0), 4);
	return hear_all(4);
}

static int raw_use(struct maker_ctx *ctx)
{
	SAME(poll_now(other, POLLIN), POLLIN); /* it hears itself */
	TRY(unread_use(ctx));
	SAME(send(other, "again", 5, 0), 5);
	SAME(recv(fd, got.data, sizeof(got.data), MSG_DONTWAIT), 5 + (ctx->arg == AF_INET ? IP : 0));
	return 0;
}

/* To a group. */
static int group_make(struct maker_ctx *ctx)
{
	union address to = { .v4 = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0xe0000005) } };
	struct ip_mreqn m = { .imr_multiaddr = to.v4.sin_addr, .imr_ifindex = 1 };

	TRY(pair_of(AF_INET, unassigned()));
	for (int i = 0; i < 2; i++)
		CHECK(!setsockopt(i ? twin : fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof(m)));
	CHECK(!setsockopt(twin, IPPROTO_IP, IP_MULTICAST_IF, &m, sizeof(m)));
	SAME(sendto(twin, "hello", 5, 0, &to.any, size_of(&to)), 5);
	return hear_all(1);
}

/* One that came in fragments. */
static int fragments_make(struct maker_ctx *ctx)
{
	enum { PART = 1480 };
	union address to = loopback(AF_INET);
	char packet[IP + PART];
	struct iphdr h = { .version = 4,
		.ihl = 5,
		.ttl = 64,
		.id = htons((uint16_t)(nobodys() | 1)),
		.protocol = (uint8_t)unassigned(),
		.saddr = to.v4.sin_addr.s_addr,
		.daddr = to.v4.sin_addr.s_addr };

	TRY(pair_of(AF_INET, h.protocol));
	other = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	CHECK(other >= 0);
	fill(got.data, LARGE, 4);
	for (int at = 0; at < LARGE; at += PART) {
		int size = LARGE - at < PART ? LARGE - at : PART;

		h.frag_off = htons((uint16_t)(at / 8 | (at + size < LARGE ? IP_MF : 0)));
		memcpy(packet, &h, sizeof(h));
		memcpy(packet + IP, got.data + at, (size_t)size);
		SAME(sendto(other, packet, IP + (size_t)size, 0, &to.any, size_of(&to)), IP + size);
	}
	CHECK(UNTIL(poll_now(twin, POLLIN)));
	TRY(hear_all(1));
	SAME(expected[0].size, IP + LARGE);
	return 0;
}

/* A ping to itself: the question that the kernel has answered, and the answer. It is not answered again. */

static uint16_t checksum(const void *data, size_t size)
{
	const uint16_t *p = data;
	uint32_t sum = 0;

	for (; size > 1; size -= 2)
		sum += *p++;
	sum = (sum >> 16) + (sum & 0xffff);
	return (uint16_t) ~(sum + (sum >> 16));
}

static int ask(int from, int id)
{
	struct icmphdr h = { .type = ICMP_ECHO, .un.echo.id = htons((uint16_t)id) };
	union address a = loopback(AF_INET);

	h.checksum = checksum(&h, sizeof(h));
	SAME(sendto(from, &h, sizeof(h), 0, &a.any, size_of(&a)), sizeof(h));
	return 0;
}

static int ask6(int from, int id)
{
	struct icmp6_hdr h = { .icmp6_type = ICMP6_ECHO_REQUEST, .icmp6_id = htons((uint16_t)id) };
	union address a = loopback(AF_INET6);

	SAME(sendto(from, &h, sizeof(h), 0, &a.any, size_of(&a)), sizeof(h));
	return 0;
}

static int icmp_make(struct maker_ctx *ctx)
{
	const int id = nobodys();

	TRY(pair_of((int)ctx->arg, ctx->arg == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6));
	TRY(pair_takes_only(ctx->arg == AF_INET ? ICMP_ID : ICMP_ID - IP, 0, id));
	for (int i = 0; i < 3; i++)
		TRY(ctx->arg == AF_INET ? ask(twin, id) : ask6(twin, id));
	return hear_all(6);
}

/* A port where nobody is: who sent there has been told already. */

static int refusal_make(struct maker_ctx *ctx)
{
	union address a, there;
	int nobody = bound_here(OVER_V4, SOCK_DGRAM, 0, &a);

	CHECK(nobody >= 0);
	other = client_of(OVER_V4, SOCK_DGRAM, 0, &a, &there);
	CHECK(!connect(other, &there.any, size_of(&there)));
	close(nobody);
	TRY(pair_of(AF_INET, IPPROTO_ICMP));
	TRY(pair_takes_only(QUOTED_PORT, QUOTED_PORT, ntohs(a.v4.sin_port)));
	TRY(says(other, "anybody?"));
	SAME(option_of(other, SO_ERROR), ECONNREFUSED);
	return hear_all(1);
}

static int refusal_use(struct maker_ctx *ctx)
{
	SAME(option_of(other, SO_ERROR), 0);
	return unread_use(ctx);
}

static int take_ports(int from, uint16_t a, uint16_t b)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, IP),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)a << 16 | b, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)b << 16 | a, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog program = { sizeof(filter) / sizeof(*filter), filter };

	CHECK(!setsockopt(from, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)));
	return 0;
}

/* Somebody else's connection, as it is heard by who listens to all of TCP. */

static int conversation[2];

static int overhears_make(struct maker_ctx *ctx)
{
	union address there;
	socklen_t size = sizeof(name);

	TRY(connected_here(OVER_V4, conversation));
	CHECK(!getsockname(conversation[0], &name.any, &size));
	CHECK(!getpeername(conversation[0], &there.any, &size));
	TRY(pair_of(AF_INET, IPPROTO_TCP));
	for (int i = 0; i < 2; i++)
		TRY(take_ports(i ? twin : fd, ntohs(name.v4.sin_port), ntohs(there.v4.sin_port)));
	TRY(converse(conversation));
	nap(200); /* until all of it is acknowledged */
	while (n_expected < MOST && hear(twin, &expected[n_expected]) >= 0)
		n_expected++;
	CHECK(n_expected >= 4 && n_expected < MOST);
	return 0;
}

static int overhears_use(struct maker_ctx *ctx)
{
	TRY(unread_use(ctx));
	return converse(conversation);
}

/* Without a privilege: answers to two questions. */

static int ping_make(struct maker_ctx *ctx)
{
	int on = 1;
	socklen_t size = sizeof(name);

	fd = socket((int)ctx->arg, SOCK_DGRAM | SOCK_CLOEXEC, ctx->arg == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6);
	NEED(fd >= 0); /* net.ipv4.ping_group_range */
	if (ctx->arg == AF_INET)
		CHECK(!setsockopt(fd, IPPROTO_IP, IP_RECVTTL, &on, sizeof(on)));
	for (int i = 0; i < 2; i++)
		TRY(ctx->arg == AF_INET ? ask(fd, 0) : ask6(fd, 0));
	CHECK(!getsockname(fd, &name.any, &size));
	return 0;
}

static int ping_use(struct maker_ctx *ctx)
{
	const union address a = loopback((int)ctx->arg);

	TRY(is_called(fd, false, &name));
	for (int i = 0; i < 3; i++) {
		if (i == 2)
			TRY(ctx->arg == AF_INET ? ask(fd, 0) : ask6(fd, 0));
		SAME(hear(fd, &got), sizeof(struct icmphdr));
		SAME(got.data[0] & 0xff, ctx->arg == AF_INET ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY);
		CHECK(!memcmp(got.data + 4, &name.v4.sin_port, 2));
		if (ctx->arg == AF_INET)
			SAME(got.from.v4.sin_addr.s_addr, a.v4.sin_addr.s_addr);
		else
			CHECK(IN6_IS_ADDR_LOOPBACK(&got.from.v6.sin6_addr));
		if (ctx->arg == AF_INET)
			SAME(got.control_size, CMSG_SPACE(sizeof(int)));
	}
	SAME(hear(fd, &got), -1);
	return 0;
}

/* Datagrams of UDP that are overheard. arg: the family; bit 8: somebody gets them, and has not read them; else they are refused, and their sender is told. */

static int server = -1;

static int free_port(int family, union address *a)
{
	socklen_t size = sizeof(*a);

	*a = loopback(family);
	server = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	CHECK(!bind(server, &a->any, size_of(a)));
	return getsockname(server, &a->any, &size);
}

static int datagram_make(struct maker_ctx *ctx)
{
	const int family = (int)ctx->arg & 255, at = family == AF_INET ? PORT : PORT - IP;
	union address a;

	CHECK(!free_port(family, &a));
	if (!(ctx->arg & 256))
		close(server);
	TRY(pair_of(family, IPPROTO_UDP));
	TRY(pair_takes_only(at, at, ntohs(a.v4.sin_port)));
	other = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	CHECK(!connect(other, &a.any, size_of(&a)));
	SAME(send(other, "heard", 5, 0), 5);
	if (!(ctx->arg & 256))
		CHECK(level_option(other, SOL_SOCKET, SO_ERROR) == ECONNREFUSED);
	else
		SAME(send(other, "twice", 5, 0), 5);
	return hear_all(ctx->arg & 256 ? 2 : 1);
}

static int datagram_use(struct maker_ctx *ctx)
{
	char text[16];

	TRY(unread_use(ctx));
	if (!(ctx->arg & 256)) {
		SAME(level_option(other, SOL_SOCKET, SO_ERROR), 0);
		return 0;
	}
	TRY(hears(server, "heard"));
	TRY(hears(server, "twice"));
	SAME(recv(server, text, sizeof(text), MSG_DONTWAIT), -1);
	SAME(send(other, "again", 5, 0), 5);
	return hears_soon(server, "again");
}

/* What the kernel would act on again. */

static int remote_make(struct maker_ctx *ctx)
{
	struct icmp6_hdr h = { .icmp6_type = ICMP6_DST_UNREACH, .icmp6_id = htons((uint16_t)nobodys()) };
	union address a = loopback(AF_INET6);

	TRY(pair_of(AF_INET6, IPPROTO_ICMPV6));
	TRY(pair_takes_only(ICMP_ID - IP, ICMP_ID - IP, ntohs(h.icmp6_id)));
	SAME(sendto(twin, &h, sizeof(h), 0, &a.any, size_of(&a)), sizeof(h));
	return hear_all(1);
}

#define MADE(name, what, of, arg)                                                                                      \
	{                                                                                                              \
		name, what, of##_make, of##_use, 0, arg, NULL                                                          \
	}

const struct maker makers_unread[] = {
	MADE("raw", "packets that a raw socket has not read", raw, AF_INET),
	MADE("raw-v6", "the same of IPv6", raw, AF_INET6),
	{ "raw-group", "one to a group", group_make, unread_use, 0, 0, NULL },
	{ "raw-fragments", "one that came in fragments", fragments_make, unread_use, 0, 0, NULL },
	{ "icmp", "questions and answers of ping", icmp_make, unread_use, 0, AF_INET, NULL },
	{ "icmp6", "the same of IPv6", icmp_make, unread_use, 0, AF_INET6, NULL },
	MADE("icmp-refusal", "that a port is not there, of which its sender has been told", refusal, 0),
	MADE("raw-tcp", "a connection that is overheard", overhears, 0),
	MADE("ping", "answers that a socket without privilege has not read", ping, AF_INET),
	MADE("ping-v6", "the same of IPv6", ping, AF_INET6),
	MADE("raw-udp", "a datagram that is overheard", datagram, AF_INET),
	MADE("raw-udp-v6", "the same of IPv6", datagram, AF_INET6),
	MADE("raw-udp-served", "such as others of the tree have not read", datagram, AF_INET | 256),
	MADE("raw-udp-served-v6", "the same of IPv6", datagram, AF_INET6 | 256),
	REFUSED("icmp6-error", "an error of IPv6", remote_make, unread_use, 0, "act again"),
	{ 0 },
};
