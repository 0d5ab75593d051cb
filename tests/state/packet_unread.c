/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Frames that packet sockets have got and nobody has read: packet(7). They speak over the loopback interface, by a protocol of this maker alone. A twin
 * that hears the same tells what is to be expected.
 */

#include "unix.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>

#ifndef SOL_PACKET
#define SOL_PACKET 263
#endif

enum { MOST = 16, LARGE = 4000, ALL_PROTOCOLS = 3, HEADER = 14 };

struct heard {
	ssize_t size;
	size_t control_size;
	struct sockaddr_ll from;
	char data[LARGE + 100];
	_Alignas(struct cmsghdr) char control[256];
};

static int fd = -1, twin = -1, sender = -1;
static struct heard expected[MOST], got;
static int n_expected, protocol, mark;

/* What is sent is marked, so that a filter may take nothing else of what goes over the interface. */
static int take_marked(int at, uint32_t size)
{
	struct sock_filter marked[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_MARK)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)mark, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, size),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog program = { 4, marked };

	CHECK(!setsockopt(at, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)));
	return 0;
}

static int hear(int at, struct heard *h)
{
	struct iovec iov = { h->data, sizeof(h->data) };
	struct msghdr msg = { .msg_name = &h->from,
		.msg_namelen = sizeof(h->from),
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = h->control,
		.msg_controllen = sizeof(h->control) };

	memset(h, 0, sizeof(*h));
	h->size = recvmsg(at, &msg, MSG_DONTWAIT | MSG_TRUNC);
	h->control_size = msg.msg_controllen;
	return h->size >= 0;
}

static int open_one(int type)
{
	int on = 1, at = socket(AF_PACKET, type | SOCK_CLOEXEC, 0);

	if (at >= 0)
		setsockopt(at, SOL_PACKET, PACKET_AUXDATA, &on, sizeof(on));
	return at;
}

static int bind_to(int at, int of)
{
	struct sockaddr_ll a = {
		.sll_family = AF_PACKET, .sll_protocol = htons((uint16_t)of), .sll_ifindex = (int)if_nametoindex("lo")
	};

	CHECK(!bind(at, (struct sockaddr *)&a, sizeof(a)));
	return 0;
}

static int pair_of(int type, int of, uint32_t size)
{
	mark = (int)(now_ns(CLOCK_MONOTONIC) >> 6) ^ getpid() << 20;
	fd = open_one(type);
	twin = open_one(type);
	sender = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	NEED(fd >= 0 && twin >= 0 && sender >= 0);
	CHECK(!setsockopt(sender, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)));
	TRY(take_marked(fd, size));
	TRY(take_marked(twin, size));
	TRY(bind_to(fd, of));
	return bind_to(twin, of);
}

static int send_frame(const char *to, const void *payload, size_t size)
{
	struct sockaddr_ll a = { .sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex("lo") };
	char frame[LARGE + HEADER] = { 0 };

	memcpy(frame, to, 6);
	memcpy(frame + 6, "\x02sende", 6);
	frame[12] = (char)(protocol >> 8);
	frame[13] = (char)protocol;
	memcpy(frame + HEADER, payload, size);
	SAME(sendto(sender, frame, HEADER + size, 0, (struct sockaddr *)&a, sizeof(a)), HEADER + size);
	return 0;
}

static int nobodys(void)
{
	return 0x9000 + (int)(now_ns(CLOCK_MONOTONIC) >> 12 & 0xfff);
}

static int send_all(void)
{
	static char large[LARGE];

	protocol = nobodys();
	fill(large, sizeof(large), 9);
	TRY(send_frame("\0\0\0\0\0\0", "for this machine", 16));
	TRY(send_frame("\x02other", large, sizeof(large)));
	TRY(send_frame("\xff\xff\xff\xff\xff\xff", "", 0));
	return send_frame("\x01group", "to a group", 10);
}

static int hear_all(int expect)
{
	CHECK(UNTIL(hear(twin, &expected[n_expected]) && ++n_expected == expect));
	return 0;
}

/* arg: SOCK_RAW, with the header of the interface; SOCK_DGRAM, without. */
static int frames_make(struct maker_ctx *ctx)
{
	TRY(pair_of((int)ctx->arg, ALL_PROTOCOLS, UINT32_MAX));
	TRY(send_all());
	return hear_all(8); /* as they leave, and as they come */
}

static int frames_use(struct maker_ctx *ctx)
{
	for (int i = 0; i < n_expected; i++) {
		CHECK(hear(fd, &got));
		SAME(got.size, expected[i].size);
		CHECK(!memcmp(got.data, expected[i].data, sizeof(got.data)));
		CHECK(!memcmp(&got.from, &expected[i].from, sizeof(got.from)));
		SAME(got.control_size, expected[i].control_size);
		CHECK(!memcmp(got.control, expected[i].control, got.control_size));
	}
	CHECK(!hear(fd, &got));
	CHECK(!hear(twin, &got));
	TRY(send_frame("\0\0\0\0\0\0", "again", 5));
	CHECK(UNTIL(hear(fd, &got)));
	SAME(got.from.sll_protocol, htons((uint16_t)protocol));
	return 0;
}

/* The first was looked at; after that the kernel does not tell any more how long it was. */
static int peeked_make(struct maker_ctx *ctx)
{
	int off = 0;

	ctx->arg = SOCK_RAW;
	TRY(frames_make(ctx));
	CHECK(!setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &off, sizeof(off)));
	for (int i = 0; i < n_expected; i++)
		expected[i].control_size = 0;
	SAME(recv(fd, got.data, sizeof(got.data), MSG_PEEK), expected[0].size);
	return 0;
}

/* Of one protocol; cut by a filter; with the time of arrival. */
static int one_make(struct maker_ctx *ctx)
{
	int on = 1;

	protocol = nobodys();
	TRY(pair_of(SOCK_DGRAM, protocol, 9));
	for (int i = 0; i < 2; i++)
		CHECK(!setsockopt(i ? twin : fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)));
	nap(100); /* the kernel begins to note times a little later */
	TRY(send_frame("\0\0\0\0\0\0", "for this machine", 16));
	nap(30);
	TRY(send_frame("\0\0\0\0\0\0", "short", 5));
	return hear_all(2);
}

/* What the machine sends itself: a checksum is still to come. arg: with the header for offloading. */
static int datagram_make(struct maker_ctx *ctx)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int on = 1, server = socket(AF_INET, SOCK_DGRAM, 0), client = socket(AF_INET, SOCK_DGRAM, 0);
	socklen_t size = sizeof(a);

	TRY(pair_of(SOCK_RAW, 0x0800, UINT32_MAX));
	protocol = 0x0800;
	for (int i = 0; i < 2 && ctx->arg; i++)
		CHECK(!setsockopt(i ? twin : fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)));
	CHECK(!bind(server, (struct sockaddr *)&a, size));
	CHECK(!getsockname(server, (struct sockaddr *)&a, &size));
	CHECK(!setsockopt(client, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)));
	SAME(sendto(client, "datagram", 8, 0, (struct sockaddr *)&a, size), 8);
	return hear_all(1);
}

const struct maker makers_packet_unread[] = {
	{ "raw", "with the header of the interface, as they leave and come", frames_make, frames_use, 0, SOCK_RAW,
		NULL },
	{ "cooked", "without", frames_make, frames_use, 0, SOCK_DGRAM, NULL },
	{ "peeked", "one was looked at", peeked_make, frames_use, 0, 0, NULL },
	{ "protocol", "of one protocol, cut by a filter, with their times", one_make, frames_use, 0, 0, NULL },
	{ "checksum", "a datagram whose checksum is still to be written", datagram_make, frames_use, 0, 0, NULL },
	{ "offload", "the same with the header for offloading", datagram_make, frames_use, 0, 1, NULL },
	{ 0 },
};
