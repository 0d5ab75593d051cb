/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rings of packet sockets: packet(7), Documentation/networking/packet_mmap.rst. Each frame has a number; it is looked for where the program expects it. They speak over
 * the loopback interface, by a protocol of this maker alone.
 */

#include "unix.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if.h>

#ifndef SOL_PACKET
#define SOL_PACKET 263
#endif

enum { BLOCK = 2 * PAGE, FRAME = 1024, LENGTH = 900, LONG_MS = 100000 };

struct ring {
	int fd, version, blocks;
	unsigned char *rx, *tx;
	unsigned int next, sending;
	int taken;	 /* frames */
	uint64_t opened; /* number of the last block that was taken */
	size_t size;
};

static struct ring ring = { .fd = -1 }, second = { .fd = -1 };
static int sender = -1, hearer = -1, protocol, sent, heard;

static int set(int at, int option, int value)
{
	CHECK(!setsockopt(at, SOL_PACKET, option, &value, sizeof(value)));
	return 0;
}

static struct sockaddr_ll loopback(void)
{
	return (struct sockaddr_ll){ .sll_family = AF_PACKET,
		.sll_protocol = htons((uint16_t)protocol),
		.sll_ifindex = (int)if_nametoindex("lo"),
		.sll_halen = 6 };
}

static int bind_it(int at)
{
	struct sockaddr_ll a = loopback();

	CHECK(!bind(at, (struct sockaddr *)&a, sizeof(a)));
	return 0;
}

/* Each is its number, again and again. */
static void number_it(unsigned char *data, int number)
{
	for (int i = 0; i < LENGTH; i += (int)sizeof(number))
		memcpy(data + i, &number, sizeof(number));
}

static int is_number(const unsigned char *data, int number)
{
	unsigned char expected[LENGTH];

	number_it(expected, number);
	CHECK(!memcmp(data, expected, LENGTH));
	return 0;
}

static int send_frames(int n)
{
	unsigned char data[LENGTH];
	struct sockaddr_ll a = loopback();

	while (n--) {
		number_it(data, sent++);
		SAME(sendto(sender, data, LENGTH, 0, (struct sockaddr *)&a, sizeof(a)), LENGTH);
	}
	return 0;
}

/* --- made --- */

static int start(void)
{
	protocol = 0x9000 + (int)(now_ns(CLOCK_MONOTONIC) >> 12 & 0xfff);
	sender = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	NEED(sender >= 0);
	return 0;
}

static int map_it(struct ring *r, bool rx, bool tx)
{
	unsigned char *at = mmap(NULL, r->size, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, 0);

	CHECK(at != MAP_FAILED);
	r->rx = rx ? at : NULL;
	r->tx = tx ? at + (rx ? r->blocks * BLOCK : 0) : NULL;
	return 0;
}

/* timeout: of a block, ms; private: of each block, bytes */
static int open_ring(struct ring *r, int version, int type, bool rx, bool tx, int timeout, int private)
{
	struct tpacket_req3 q = { .tp_block_size = BLOCK,
		.tp_block_nr = (unsigned)r->blocks,
		.tp_frame_size = FRAME,
		.tp_frame_nr = (unsigned)r->blocks * BLOCK / FRAME };
	const socklen_t size = version == TPACKET_V3 ? sizeof(q) : sizeof(struct tpacket_req);

	r->fd = socket(AF_PACKET, type | SOCK_CLOEXEC, 0);
	r->version = version;
	r->size = (size_t)r->blocks * BLOCK * (rx + tx);
	CHECK(r->fd >= 0);
	TRY(set(r->fd, PACKET_VERSION, version));
	if (private)
		TRY(set(r->fd, PACKET_RESERVE, 32));
	if (tx)
		CHECK(!setsockopt(r->fd, SOL_PACKET, PACKET_TX_RING, &q, size));
	if (version == TPACKET_V3) {
		q.tp_retire_blk_tov = (unsigned)timeout;
		q.tp_sizeof_priv = (unsigned)private;
		q.tp_feature_req_word = private ? TP_FT_REQ_FILL_RXHASH : 0;
	}
	if (rx)
		CHECK(!setsockopt(r->fd, SOL_PACKET, PACKET_RX_RING, &q, size));
	TRY(map_it(r, rx, tx));
	return rx ? bind_it(r->fd) : 0;
}

/* --- frames --- */

static unsigned int slots(const struct ring *r)
{
	return (unsigned)r->blocks * BLOCK / FRAME;
}

static unsigned int slot_status(const struct ring *r, const unsigned char *slot)
{
	return r->version == TPACKET_V1	  ? (unsigned)((volatile struct tpacket_hdr *)slot)->tp_status
	       : r->version == TPACKET_V2 ? ((volatile struct tpacket2_hdr *)slot)->tp_status
					  : ((volatile struct tpacket3_hdr *)slot)->tp_status;
}

static void set_status(const struct ring *r, unsigned char *slot, unsigned int status)
{
	if (r->version == TPACKET_V1)
		((volatile struct tpacket_hdr *)slot)->tp_status = status;
	else if (r->version == TPACKET_V2)
		((volatile struct tpacket2_hdr *)slot)->tp_status = status;
	else
		((volatile struct tpacket3_hdr *)slot)->tp_status = status;
}

static int take_frame(struct ring *r)
{
	unsigned char *slot = r->rx + (size_t)r->next * FRAME;
	const struct tpacket_hdr *h1 = (void *)slot;
	const struct tpacket2_hdr *h2 = (void *)slot;

	CHECK(UNTIL(slot_status(r, slot) & TP_STATUS_USER));
	TRY(is_number(slot + (r->version == TPACKET_V1 ? h1->tp_net : h2->tp_net), r->taken++));
	set_status(r, slot, TP_STATUS_KERNEL);
	r->next = (r->next + 1) % slots(r);
	return 0;
}

static struct tpacket_block_desc *block(const struct ring *r, unsigned int i)
{
	return (void *)(r->rx + (size_t)i * BLOCK);
}

static volatile unsigned int *block_status(const struct ring *r, unsigned int i)
{
	return &block(r, i)->hdr.bh1.block_status;
}

static int take_block(struct ring *r)
{
	struct tpacket_hdr_v1 *h = &block(r, r->next)->hdr.bh1;
	unsigned char *at = (void *)block(r, r->next);

	CHECK(UNTIL(*block_status(r, r->next) & TP_STATUS_USER));
	SAME(h->seq_num, ++r->opened);
	at += h->offset_to_first_pkt;
	for (unsigned int i = 0; i < h->num_pkts; i++) {
		const struct tpacket3_hdr *f = (void *)at;

		SAME(!f->tp_next_offset, i + 1 == h->num_pkts);
		TRY(is_number(at + f->tp_net, r->taken++));
		at += f->tp_next_offset;
	}
	*block_status(r, r->next) = TP_STATUS_KERNEL;
	r->next = (r->next + 1) % (unsigned)r->blocks;
	return 0;
}

static int take(struct ring *r, int n)
{
	while (n > 0) {
		const int before = r->taken;

		TRY(r->version == TPACKET_V3 ? take_block(r) : take_frame(r));
		n -= r->taken - before;
	}
	return 0;
}

/* How many are there for the program. */
static int there(const struct ring *r)
{
	int n = 0;

	if (r->version == TPACKET_V3) {
		for (unsigned int i = 0; i < (unsigned)r->blocks; i++)
			n += *block_status(r, i) & TP_STATUS_USER ? (int)block(r, i)->hdr.bh1.num_pkts : 0;
		return n;
	}
	for (unsigned int i = 0; i < slots(r); i++)
		n += slot_status(r, r->rx + (size_t)i * FRAME) & TP_STATUS_USER;
	return n;
}

/* All has come, and the timer of blocks has been by. */
static int settled(const struct ring *r)
{
	CHECK(UNTIL(there(r) == sent - r->taken));
	nap(r->version == TPACKET_V3 ? 30 : 0);
	return 0;
}

/* --- receiving: so many sent, so many of them taken --- */

#define PACK(version, times, rest) ((version) | ((times) | (rest) << 4) << 4)

static int receive_make(struct maker_ctx *ctx)
{
	const int version = (int)ctx->arg & 3, how = (int)ctx->arg >> 4;

	TRY(start());
	ring.blocks = 2;
	TRY(open_ring(&ring, version, SOCK_DGRAM, true, false, 10, 0));
	for (int i = 0; i < (how & 0xf); i++) {
		TRY(send_frames(3));
		TRY(take(&ring, 3));
	}
	TRY(send_frames(how >> 4 & 0xf));
	return settled(&ring);
}

/* More than there is room for, in three times. */
static int receive_use(struct maker_ctx *ctx)
{
	TRY(take(&ring, sent - ring.taken));
	for (int i = 0; i < 3; i++) {
		TRY(send_frames(7));
		TRY(take(&ring, 7));
	}
	SAME(poll_now(ring.fd, POLLIN), 0);
	return 0;
}

/* Of a program that takes nothing any more: what has no room is lost. */
static int full_make(struct maker_ctx *ctx)
{
	TRY(start());
	ring.blocks = 2;
	TRY(open_ring(&ring, (int)ctx->arg, SOCK_DGRAM, true, false, 10, 0));
	TRY(send_frames(7));
	TRY(take(&ring, 7));
	while (sent < 200)
		TRY(send_frames(1));
	nap(60);
	return 0;
}

static int full_use(struct maker_ctx *ctx)
{
	const unsigned int room = ctx->arg == TPACKET_V3 ? (unsigned)ring.blocks : slots(&ring);

	for (unsigned int i = 0; i < room; i++)
		TRY(ctx->arg == TPACKET_V3 ? take_block(&ring) : take_frame(&ring));
	CHECK(ring.taken > 7 && ring.taken < 200);
	ring.taken = sent;
	nap(60);
	return receive_use(ctx);
}

/* A block that is not closed by time, but when it is full; sometimes a restore closes it. */
static int filled_make(struct maker_ctx *ctx)
{
	TRY(start());
	ring.blocks = 3;
	TRY(open_ring(&ring, TPACKET_V3, SOCK_DGRAM, true, false, LONG_MS, 0));
	TRY(send_frames(20));
	TRY(take(&ring, 16));
	CHECK(ring.taken < 20 && !(*block_status(&ring, ring.next) & TP_STATUS_USER));
	return 0;
}

static int filled_use(struct maker_ctx *ctx)
{
	for (int i = 0; i < 5; i++) {
		while (!(*block_status(&ring, ring.next) & TP_STATUS_USER))
			TRY(send_frames(1));
		TRY(take_block(&ring));
	}
	CHECK(sent - ring.taken < 2 * BLOCK / LENGTH);
	return 0;
}

/* What the program keeps in each block. */
static int private_make(struct maker_ctx *ctx)
{
	TRY(start());
	ring.blocks = 4;
	TRY(open_ring(&ring, TPACKET_V3, SOCK_RAW, true, false, 10, 100));
	TRY(send_frames(15));
	TRY(take(&ring, 15));
	for (unsigned int i = 0; i < 4; i++)
		fill((char *)block(&ring, i) + block(&ring, i)->offset_to_priv, 100, i);
	TRY(send_frames(2));
	return settled(&ring);
}

static int private_use(struct maker_ctx *ctx)
{
	TRY(receive_use(ctx));
	for (unsigned int i = 0; i < 4; i++)
		TRY(check_fill((char *)block(&ring, i) + block(&ring, i)->offset_to_priv, 100, i));
	return 0;
}

/* With the header of the interface. */
static int header_make(struct maker_ctx *ctx)
{
	TRY(start());
	ring.blocks = 2;
	TRY(open_ring(&ring, (int)ctx->arg, SOCK_RAW, true, false, 10, 0));
	TRY(send_frames(5));
	TRY(take(&ring, 5));
	TRY(send_frames(2));
	return settled(&ring);
}

#define header_use receive_use

/* --- whose mapping it is --- */

static int unmapped_make(struct maker_ctx *ctx)
{
	TRY(receive_make(ctx));
	CHECK(!munmap(ring.rx, ring.size));
	return 0;
}

static int unmapped_use(struct maker_ctx *ctx)
{
	TRY(map_it(&ring, true, false));
	return receive_use(ctx);
}

static int kid_takes(struct maker_ctx *ctx)
{
	return take(&ring, 5);
}

static int kid_maps(struct maker_ctx *ctx)
{
	CHECK(!munmap(ring.rx, ring.size));
	return map_it(&ring, true, false);
}

/* The child goes on where its parent was. */
static int forked_make(struct maker_ctx *ctx)
{
	TRY(receive_make(ctx));
	return kid_start(ctx, NULL, kid_takes, NULL);
}

static int forked_use(struct maker_ctx *ctx)
{
	TRY(send_frames(5 - (sent - ring.taken)));
	TRY(kids_finish(ctx));
	for (unsigned int i = 0; i < slots(&ring); i++)
		SAME(slot_status(&ring, ring.rx + (size_t)i * FRAME), TP_STATUS_KERNEL);
	ring.next = (ring.next + 5) % slots(&ring);
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
	TRY(open_ring(&second, ring.version, SOCK_DGRAM, true, false, 10, 0));
	TRY(set(ring.fd, PACKET_FANOUT, group));
	return set(second.fd, PACKET_FANOUT, group);
}

/* They take turns: each has one of two. */
static int fanout_use(struct maker_ctx *ctx)
{
	TRY(take(&ring, sent - ring.taken));
	TRY(send_frames(2));
	CHECK(UNTIL(slot_status(&ring, ring.rx + (size_t)ring.next * FRAME) & TP_STATUS_USER));
	CHECK(UNTIL(slot_status(&second, second.rx) & TP_STATUS_USER));
	return 0;
}

/* --- sending --- */

static int hear(int number)
{
	unsigned char data[2 * LENGTH];

	CHECK(UNTIL(poll_now(hearer, POLLIN)));
	SAME(recv(hearer, data, sizeof(data), MSG_DONTWAIT), LENGTH);
	return is_number(data, number);
}

static int ask_for(int number)
{
	unsigned char *slot = ring.tx + (size_t)ring.sending * FRAME;
	const size_t at = ring.version == TPACKET_V3 ? TPACKET_ALIGN(sizeof(struct tpacket3_hdr)) : 32;

	SAME(slot_status(&ring, slot) & 7, TP_STATUS_AVAILABLE);
	number_it(slot + at, number);
	if (ring.version == TPACKET_V1)
		((struct tpacket_hdr *)slot)->tp_len = LENGTH;
	else if (ring.version == TPACKET_V2)
		((struct tpacket2_hdr *)slot)->tp_len = LENGTH;
	else
		((struct tpacket3_hdr *)slot)->tp_len = LENGTH;
	set_status(&ring, slot, TP_STATUS_SEND_REQUEST);
	ring.sending = (ring.sending + 1) % slots(&ring);
	return 0;
}

static int flush(int n)
{
	struct sockaddr_ll a = loopback();

	SAME(sendto(ring.fd, NULL, 0, 0, (struct sockaddr *)&a, sizeof(a)), n * LENGTH);
	while (n--)
		TRY(hear(heard++));
	return 0;
}

static int send_by_ring(int n)
{
	for (int i = 0; i < n; i++) {
		TRY(ask_for(heard));
		TRY(flush(1));
	}
	return 0;
}

static int open_hearer(void)
{
	hearer = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	CHECK(hearer >= 0);
	return bind_it(hearer);
}

/* arg: version, and how many were sent */
static int transmit_make(struct maker_ctx *ctx)
{
	TRY(start());
	TRY(open_hearer());
	ring.blocks = 2;
	TRY(open_ring(&ring, (int)ctx->arg & 3, SOCK_DGRAM, false, true, 0, 0));
	return send_by_ring((int)ctx->arg >> 4);
}

static int transmit_use(struct maker_ctx *ctx)
{
	return send_by_ring(20);
}

/* Asked for, and not sent. */
static int asked_make(struct maker_ctx *ctx)
{
	TRY(transmit_make(ctx));
	TRY(ask_for(heard));
	return ask_for(heard + 1);
}

static int asked_use(struct maker_ctx *ctx)
{
	TRY(flush(2));
	return transmit_use(ctx);
}

/* Both ways, which are mapped as one. */
static int both_make(struct maker_ctx *ctx)
{
	TRY(start());
	ring.blocks = 2;
	TRY(open_ring(&ring, (int)ctx->arg & 3, SOCK_DGRAM, true, true, 10, 0));
	TRY(send_frames(7));
	TRY(take(&ring, 7));
	TRY(open_hearer());
	protocol ^= 0x1000; /* which the ring does not hear */
	TRY(bind_it(hearer));
	TRY(send_by_ring(5));
	protocol ^= 0x1000;
	TRY(send_frames(2));
	return settled(&ring);
}

static int both_use(struct maker_ctx *ctx)
{
	protocol ^= 0x1000;
	TRY(transmit_use(ctx));
	protocol ^= 0x1000;
	return receive_use(ctx);
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
	TRY(set(ring.fd, PACKET_COPY_THRESH, 10));
	a = loopback();
	SAME(sendto(sender, large, sizeof(large), 0, (struct sockaddr *)&a, sizeof(a)), sizeof(large));
	return 0;
}

#define RECEIVING(name, what, version, times, rest)                                                                    \
	{                                                                                                              \
		name, what, receive_make, receive_use, 0, PACK(version, times, rest), NULL                             \
	}
#define SENDING(name, what, version, n)                                                                                \
	{                                                                                                              \
		name, what, transmit_make, transmit_use, 0, (version) | (n) << 4, NULL                                 \
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
	ROW("v3-private", "with room for the program in each block", private),
	ROW_ARG("unmapped", "that nobody has mapped", unmapped, PACK(TPACKET_V2, 2, 3)),
	ROW_ARG("v3-unmapped", "the same with blocks", unmapped, PACK(TPACKET_V3, 2, 3)),
	ROW_ARG("forked", "shared by fork", forked, PACK(TPACKET_V2, 2, 3)),
	ROW_ARG("twice", "mapped by two processes", twice, PACK(TPACKET_V1, 2, 3)),
	ROW_ARG("divided", "whose parts are protected otherwise", divided, PACK(TPACKET_V2, 2, 0)),
	ROW_ARG("fanout", "two of one group", fanout, PACK(TPACKET_V2, 2, 3)),
	SENDING("send-v1-idle", "a ring that has sent nothing", TPACKET_V1, 0),
	SENDING("send-v1-midst", "in the midst of it", TPACKET_V1, 5),
	SENDING("send-v2-midst", "of the second version", TPACKET_V2, 5),
	SENDING("send-v2-wrapped", "once around", TPACKET_V2, 21),
	SENDING("send-v3-idle", "of the third version", TPACKET_V3, 0),
	SENDING("send-v3-midst", "in the midst of it", TPACKET_V3, 7),
	ROW_ARG("send-asked", "with frames that are to be sent", asked, TPACKET_V2 | 5 << 4),
	ROW_ARG("both", "a ring for each way", both, TPACKET_V2),
	ROW_ARG("v3-both", "a ring for each way, with blocks", both, TPACKET_V3),
	REFUSED("part", "of which a part was unmapped", part_make, alive_use, 0, "part"),
	REFUSED("given-up", "of which a part was given up", part_make, alive_use, 1, "MADV_DONTNEED"),
	REFUSED("privately", "mapped privately", privately_make, alive_use, 0, "privately"),
	REFUSED("closed", "that is only mapped", closed_make, alive_use, 0, "no process"),
	REFUSED("queued", "with unread frames beside it", queued_make, alive_use, 0, "PACKET_COPY_THRESH"),
	{ 0 },
};
