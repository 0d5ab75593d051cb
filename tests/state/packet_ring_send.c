/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rings of packet sockets for what is sent, alone and beside one for what is received: packet(7), Documentation/networking/packet_mmap.rst. */

#include "packet_rings.h"

static int hearer = -1, heard;

static int hear(int number)
{
	unsigned char data[2 * LENGTH];

	CHECK(UNTIL(poll_now(hearer, POLLIN)));
	SAME(recv(hearer, data, sizeof(data), MSG_DONTWAIT), LENGTH);
	return packets_is_number(data, number);
}

static int ask_for(int number)
{
	unsigned char *slot = ring.tx + (size_t)ring.sending * FRAME;
	const size_t at = ring.version == TPACKET_V3 ? TPACKET_ALIGN(sizeof(struct tpacket3_hdr)) : 32;

	SAME(packets_status(&ring, slot) & 7, TP_STATUS_AVAILABLE);
	if (packets_talk.header_size) { /* the header of virtio, all zeros, then that of Ethernet */
		slot[at + packets_talk.header_size - 2] = (unsigned char)(packets_talk.protocol >> 8);
		slot[at + packets_talk.header_size - 1] = (unsigned char)packets_talk.protocol;
	}
	packets_number(slot + at + packets_talk.header_size, number);
	if (ring.version == TPACKET_V1)
		((struct tpacket_hdr *)slot)->tp_len = (unsigned)packets_talk.header_size + LENGTH;
	else if (ring.version == TPACKET_V2)
		((struct tpacket2_hdr *)slot)->tp_len = (unsigned)packets_talk.header_size + LENGTH;
	else
		((struct tpacket3_hdr *)slot)->tp_len = (unsigned)packets_talk.header_size + LENGTH;
	packets_set_status(&ring, slot, TP_STATUS_SEND_REQUEST);
	ring.sending = (ring.sending + 1) % packets_slots(&ring);
	return 0;
}

static int flush(int n)
{
	struct sockaddr_ll a = packets_loopback();

	SAME(sendto(ring.fd, NULL, 0, 0, (struct sockaddr *)&a, sizeof(a)),
		n * (packets_talk.header_size ? LENGTH + 14 : LENGTH));
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
	return packets_bind(hearer);
}

/* arg: version, and how many were sent */
static int transmit_make(struct maker_ctx *ctx)
{
	TRY(packets_start());
	TRY(open_hearer());
	ring.blocks = 2;
	TRY(packets_open(&ring, (int)ctx->arg & 3, SOCK_DGRAM, false, true, 0, 0));
	return send_by_ring((int)ctx->arg >> 4);
}

static int transmit_use(struct maker_ctx *ctx)
{
	return send_by_ring(20);
}

/* With a header of virtio before each frame (PACKET_VNET_HDR). */
static int virtio_make(struct maker_ctx *ctx)
{
	packets_talk.header_size = 10 + 14;
	TRY(packets_start());
	TRY(open_hearer());
	ring.blocks = 2;
	TRY(packets_open(&ring, (int)ctx->arg & 3, SOCK_RAW, false, true, 0, 0));
	return send_by_ring(5);
}

#define virtio_use transmit_use

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
	TRY(packets_start());
	ring.blocks = 2;
	TRY(packets_open(&ring, (int)ctx->arg & 3, SOCK_DGRAM, true, true, 10, 0));
	TRY(packets_send(7));
	TRY(packets_take(&ring, 7));
	TRY(open_hearer());
	packets_talk.protocol ^= 1; /* which the ring does not hear */
	TRY(packets_bind(hearer));
	TRY(send_by_ring(5));
	packets_talk.protocol ^= 1;
	TRY(packets_send(2));
	return packets_settled(&ring);
}

static int both_use(struct maker_ctx *ctx)
{
	packets_talk.protocol ^= 1;
	TRY(transmit_use(ctx));
	packets_talk.protocol ^= 1;
	return packets_goes_on(&ring);
}

#define SENDING(name, what, version, n)                                                                                \
	{                                                                                                              \
		name, what, transmit_make, transmit_use, 0, (version) | (n) << 4, NULL                                 \
	}

const struct maker makers_packet_ring_send[] = {
	SENDING("v1-idle", "a ring that has sent nothing", TPACKET_V1, 0),
	SENDING("v1-midst", "in the midst of it", TPACKET_V1, 5),
	SENDING("v2-midst", "of the second version", TPACKET_V2, 5),
	SENDING("v2-wrapped", "once around", TPACKET_V2, 21),
	SENDING("v3-idle", "of the third version", TPACKET_V3, 0),
	SENDING("v3-midst", "in the midst of it", TPACKET_V3, 7),
	ROW_ARG("asked", "with frames that are to be sent", asked, TPACKET_V2 | 5 << 4),
	ROW_ARG("virtio", "with a header of virtio before each frame", virtio, TPACKET_V2),
	ROW_ARG("both", "a ring for each way", both, TPACKET_V2),
	ROW_ARG("v3-both", "a ring for each way, with blocks", both, TPACKET_V3),
	{ 0 },
};
