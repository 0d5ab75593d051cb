/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rings of packet sockets for what is received: packet(7), Documentation/networking/packet_mmap.rst. */

#include "packet_rings.h"

static struct ring second = { .fd = -1 };

/* --- receiving: so many sent, so many of them taken --- */

#define PACK(version, times, rest) ((version) | ((times) | (rest) << 4) << 4)

static int receive_make(struct maker_ctx *ctx)
{
	const int version = (int)ctx->arg & 3, how = (int)ctx->arg >> 4;

	TRY(packets_start());
	ring.blocks = 2;
	TRY(packets_open(&ring, version, SOCK_DGRAM, true, false, 10, 0));
	for (int i = 0; i < (how & 0xf); i++) {
		TRY(packets_send(3));
		TRY(packets_take(&ring, 3));
	}
	TRY(packets_send(how >> 4 & 0xf));
	return packets_settled(&ring);
}

static int receive_use(struct maker_ctx *ctx)
{
	return packets_goes_on(&ring);
}

/* Of a program that takes nothing any more: what has no room is lost. */
static int full_make(struct maker_ctx *ctx)
{
	TRY(packets_start());
	ring.blocks = 2;
	TRY(packets_open(&ring, (int)ctx->arg, SOCK_DGRAM, true, false, 10, 0));
	TRY(packets_send(7));
	TRY(packets_take(&ring, 7));
	while (packets_talk.sent < 200)
		TRY(packets_send(1));
	nap(60);
	return 0;
}

static int full_use(struct maker_ctx *ctx)
{
	const unsigned int room = ctx->arg == TPACKET_V3 ? (unsigned)ring.blocks : packets_slots(&ring);

	for (unsigned int i = 0; i < room; i++)
		TRY(ctx->arg == TPACKET_V3 ? packets_take_block(&ring) : packets_take_frame(&ring));
	CHECK(ring.taken > 7 && ring.taken < 200);
	ring.taken = packets_talk.sent;
	nap(60);
	return receive_use(ctx);
}

/* A block that is not closed by time, but when it is full; sometimes a restore closes it. */
static int filled_make(struct maker_ctx *ctx)
{
	TRY(packets_start());
	ring.blocks = 3;
	TRY(packets_open(&ring, TPACKET_V3, SOCK_DGRAM, true, false, LONG_MS, 0));
	TRY(packets_send(20));
	TRY(packets_take(&ring, 16));
	CHECK(ring.taken < 20 && !(*packets_block_status(&ring, ring.next) & TP_STATUS_USER));
	return 0;
}

static int filled_use(struct maker_ctx *ctx)
{
	for (int i = 0; i < 5; i++) {
		while (!(*packets_block_status(&ring, ring.next) & TP_STATUS_USER))
			TRY(packets_send(1));
		TRY(packets_take_block(&ring));
	}
	CHECK(packets_talk.sent - ring.taken < 2 * BLOCK / LENGTH);
	return 0;
}

/* The only one there is: what closes it is lost. */
static int fill_only(void)
{
	while (!(*packets_block_status(&ring, 0) & TP_STATUS_USER))
		TRY(packets_send(1));
	TRY(packets_take_block(&ring));
	CHECK(packets_talk.sent - ring.taken <= 1);
	ring.taken = packets_talk.sent;
	return 0;
}

static int only_make(struct maker_ctx *ctx)
{
	TRY(packets_start());
	ring.blocks = 1;
	TRY(packets_open(&ring, TPACKET_V3, SOCK_DGRAM, true, false, LONG_MS, 0));
	for (int i = 0; i < 3; i++)
		TRY(fill_only());
	return packets_send(3);
}

static int only_use(struct maker_ctx *ctx)
{
	for (int i = 0; i < 3; i++)
		TRY(fill_only());
	return 0;
}

/* What the program keeps in each block. */
static int private_make(struct maker_ctx *ctx)
{
	TRY(packets_start());
	ring.blocks = 4;
	TRY(packets_open(&ring, TPACKET_V3, SOCK_RAW, true, false, 10, 100));
	TRY(packets_send(15));
	TRY(packets_take(&ring, 15));
	for (unsigned int i = 0; i < 4; i++)
		fill((char *)packets_block(&ring, i) + packets_block(&ring, i)->offset_to_priv, 100, i);
	TRY(packets_send(2));
	return packets_settled(&ring);
}

static int private_use(struct maker_ctx *ctx)
{
	TRY(receive_use(ctx));
	for (unsigned int i = 0; i < 4; i++)
		TRY(check_fill((char *)packets_block(&ring, i) + packets_block(&ring, i)->offset_to_priv, 100, i));
	return 0;
}

/* With the header of the interface. */
static int header_make(struct maker_ctx *ctx)
{
	TRY(packets_start());
	ring.blocks = 2;
	TRY(packets_open(&ring, (int)ctx->arg, SOCK_RAW, true, false, 10, 0));
	TRY(packets_send(5));
	TRY(packets_take(&ring, 5));
	TRY(packets_send(2));
	return packets_settled(&ring);
}

#define header_use receive_use

/* With a header of virtio before each frame (PACKET_VNET_HDR). */
static int virtio_heard_make(struct maker_ctx *ctx)
{
	packets_talk.header_size = 10 + 14;
	return header_make(ctx);
}

#define virtio_heard_use receive_use

/* --- whose mapping it is --- */

static int unmapped_make(struct maker_ctx *ctx)
{
	TRY(receive_make(ctx));
	CHECK(!munmap(ring.rx, ring.size));
	return 0;
}

static int unmapped_use(struct maker_ctx *ctx)
{
	TRY(packets_map(&ring, true, false));
	return receive_use(ctx);
}

static int kid_takes(struct maker_ctx *ctx)
{
	return packets_take(&ring, 5);
}

static int kid_maps(struct maker_ctx *ctx)
{
	CHECK(!munmap(ring.rx, ring.size));
	return packets_map(&ring, true, false);
}

/* The child goes on where its parent was. */
static int forked_make(struct maker_ctx *ctx)
{
	TRY(receive_make(ctx));
	return kid_start(ctx, NULL, kid_takes, NULL);
}

static int forked_use(struct maker_ctx *ctx)
{
	TRY(packets_send(5 - (packets_talk.sent - ring.taken)));
	TRY(kids_finish(ctx));
	for (unsigned int i = 0; i < packets_slots(&ring); i++)
		SAME(packets_status(&ring, ring.rx + (size_t)i * FRAME), TP_STATUS_KERNEL);
	ring.next = (ring.next + 5) % packets_slots(&ring);
	ring.taken += 5;
	return receive_use(ctx);
}

static int twice_make(struct maker_ctx *ctx)
{
	TRY(receive_make(ctx));
	return kid_start(ctx, kid_maps, kid_takes, NULL);
}

#define twice_use forked_use

/* Parts that are protected otherwise. */
static int divided_make(struct maker_ctx *ctx)
{
	TRY(receive_make(ctx));
	CHECK(!mprotect(ring.rx + PAGE, PAGE, PROT_READ));
	CHECK(!mprotect(ring.rx + 3 * PAGE, PAGE, PROT_NONE));
	return 0;
}

static int divided_use(struct maker_ctx *ctx)
{
	CHECK(!mprotect(ring.rx + PAGE, 3 * PAGE, PROT_READ | PROT_WRITE));
	return receive_use(ctx);
}

static int fanout_make(struct maker_ctx *ctx)
{
	const int group = (getpid() & 0xffff) | PACKET_FANOUT_LB << 16;

	TRY(receive_make(ctx));
	second.blocks = 2;
	TRY(packets_open(&second, ring.version, SOCK_DGRAM, true, false, 10, 0));
	TRY(packets_set(ring.fd, PACKET_FANOUT, group));
	return packets_set(second.fd, PACKET_FANOUT, group);
}

/* They take turns: each has one of two. */
static int fanout_use(struct maker_ctx *ctx)
{
	TRY(packets_take(&ring, packets_talk.sent - ring.taken));
	TRY(packets_send(2));
	CHECK(UNTIL(packets_status(&ring, ring.rx + (size_t)ring.next * FRAME) & TP_STATUS_USER));
	CHECK(UNTIL(packets_status(&second, second.rx) & TP_STATUS_USER));
	return 0;
}

/* --- refused --- */

/* arg: 0 unmapped, 1 given up */
static int part_make(struct maker_ctx *ctx)
{
	const long how = ctx->arg;

	ctx->arg = TPACKET_V2;
	TRY(receive_make(ctx));
	CHECK(!(how ? madvise(ring.rx + PAGE, PAGE, MADV_DONTNEED) : munmap(ring.rx + PAGE, PAGE)));
	return 0;
}

static int alive_use(struct maker_ctx *ctx)
{
	CHECK(ring.rx != NULL);
	return 0;
}

static int privately_make(struct maker_ctx *ctx)
{
	ctx->arg = TPACKET_V2;
	TRY(receive_make(ctx));
	CHECK(mmap(NULL, ring.size, PROT_READ, MAP_PRIVATE, ring.fd, 0) != MAP_FAILED);
	return 0;
}

static int closed_make(struct maker_ctx *ctx)
{
	ctx->arg = TPACKET_V2;
	TRY(receive_make(ctx));
	return close(ring.fd);
}

/* Those that are larger than the place for them are in the queue, whole. */
static int queued_make(struct maker_ctx *ctx)
{
	static char large[FRAME + 1];
	struct sockaddr_ll a;

	ctx->arg = TPACKET_V2;
	TRY(receive_make(ctx));
	TRY(packets_set(ring.fd, PACKET_COPY_THRESH, 10));
	a = packets_loopback();
	SAME(sendto(packets_talk.sender, large, sizeof(large), 0, (struct sockaddr *)&a, sizeof(a)), sizeof(large));
	return 0;
}

#define RECEIVING(name, what, version, times, rest)                                                                    \
	{                                                                                                              \
		name, what, receive_make, receive_use, 0, PACK(version, times, rest), NULL                             \
	}

const struct maker makers_packet_ring[] = {
	RECEIVING("v1-idle", "a ring that has received nothing", TPACKET_V1, 0, 0),
	RECEIVING("v1-unread", "that holds frames", TPACKET_V1, 0, 4),
	RECEIVING("v1-midst", "in the midst of it", TPACKET_V1, 2, 3),
	RECEIVING("v1-wrapped", "once around", TPACKET_V1, 7, 3),
	ROW_ARG("v1-full", "with more than it has room for", full, TPACKET_V1),
	RECEIVING("v2-idle", "the same of the second version", TPACKET_V2, 0, 0),
	RECEIVING("v2-unread", "that holds frames", TPACKET_V2, 0, 4),
	RECEIVING("v2-midst", "in the midst of it", TPACKET_V2, 2, 3),
	RECEIVING("v2-wrapped", "once around", TPACKET_V2, 7, 3),
	ROW_ARG("v2-full", "with more than it has room for", full, TPACKET_V2),
	ROW_ARG("v2-header", "with the header of the interface", header, TPACKET_V2),
	RECEIVING("v3-idle", "the same of the third version, which has blocks", TPACKET_V3, 0, 0),
	RECEIVING("v3-unread", "that holds frames", TPACKET_V3, 0, 4),
	RECEIVING("v3-midst", "some blocks on", TPACKET_V3, 3, 3),
	RECEIVING("v3-wrapped", "several times around, with nothing in it", TPACKET_V3, 12, 0),
	ROW_ARG("v3-full", "with more than it has room for", full, TPACKET_V3),
	ROW_ARG("v3-header", "with the header of the interface", header, TPACKET_V3),
	ROW("v3-filled", "a block that is being filled", filled),
	ROW("v3-only", "of one block", only),
	ROW("v3-private", "with room for the program in each block", private),
	ROW_ARG("unmapped", "that nobody has mapped", unmapped, PACK(TPACKET_V2, 2, 3)),
	ROW_ARG("v3-unmapped", "the same with blocks", unmapped, PACK(TPACKET_V3, 2, 3)),
	ROW_ARG("forked", "shared by fork", forked, PACK(TPACKET_V2, 2, 3)),
	ROW_ARG("twice", "mapped by two processes", twice, PACK(TPACKET_V1, 2, 3)),
	ROW_ARG("divided", "whose parts are protected otherwise", divided, PACK(TPACKET_V2, 2, 0)),
	ROW_ARG("fanout", "two of one group", fanout, PACK(TPACKET_V2, 2, 3)),
	ROW_ARG("v2-virtio", "the same in one that receives", virtio_heard, TPACKET_V2),
	ROW_ARG("v3-virtio", "the same in one that receives", virtio_heard, TPACKET_V3),
	REFUSED("part", "of which a part was unmapped", part_make, alive_use, 0, "part"),
	REFUSED("given-up", "of which a part was given up", part_make, alive_use, 1, "MADV_DONTNEED"),
	REFUSED("privately", "mapped privately", privately_make, alive_use, 0, "privately"),
	REFUSED("closed", "that is only mapped", closed_make, alive_use, 0, "no process"),
	REFUSED("queued", "with unread frames beside it", queued_make, alive_use, 0, "PACKET_COPY_THRESH"),
	{ 0 },
};
