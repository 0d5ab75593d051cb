/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Packet rings as programs use them: packet(7), Documentation/networking/packet_mmap.rst. */

#include "packet_rings.h"

struct ring ring = { .fd = -1 };
struct packets_talk packets_talk = { .sender = -1 };

int packets_set(int at, int option, int value)
{
	CHECK(!setsockopt(at, SOL_PACKET, option, &value, sizeof(value)));
	return 0;
}

struct sockaddr_ll packets_loopback(void)
{
	return (struct sockaddr_ll){ .sll_family = AF_PACKET,
		.sll_protocol = htons((uint16_t)packets_talk.protocol),
		.sll_ifindex = (int)if_nametoindex("lo"),
		.sll_halen = 6 };
}

int packets_bind(int at)
{
	struct sockaddr_ll a = packets_loopback();

	CHECK(!bind(at, (struct sockaddr *)&a, sizeof(a)));
	return 0;
}

/* Each is its number, again and again. */
void packets_number(unsigned char *data, int number)
{
	for (int i = 0; i < LENGTH; i += (int)sizeof(number))
		memcpy(data + i, &number, sizeof(number));
}

int packets_is_number(const unsigned char *data, int number)
{
	unsigned char expected[LENGTH];

	packets_number(expected, number);
	CHECK(!memcmp(data, expected, LENGTH));
	return 0;
}

int packets_send(int n)
{
	unsigned char data[LENGTH];
	struct sockaddr_ll a = packets_loopback();

	while (n--) {
		packets_number(data, packets_talk.sent++);
		SAME(sendto(packets_talk.sender, data, LENGTH, 0, (struct sockaddr *)&a, sizeof(a)), LENGTH);
	}
	return 0;
}

/* --- made --- */

int packets_start(void)
{
	struct stat st;

	packets_talk.sender = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	NEED(packets_talk.sender >= 0);
	CHECK(!fstat(packets_talk.sender, &st));
	packets_talk.protocol =
		0xa000 + (int)(2 * st.st_ino % 0x5000); /* makers that run at the same time have other inodes */
	return 0;
}

int packets_map(struct ring *r, bool rx, bool tx)
{
	unsigned char *at = mmap(NULL, r->size, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, 0);

	CHECK(at != MAP_FAILED);
	r->rx = rx ? at : NULL;
	r->tx = tx ? at + (rx ? r->blocks * BLOCK : 0) : NULL;
	return 0;
}

/* timeout: of a block, ms; private: of each block, bytes */
int packets_open(struct ring *r, int version, int type, bool rx, bool tx, int timeout, int private)
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
	TRY(packets_set(r->fd, PACKET_VERSION, version));
	if (private)
		TRY(packets_set(r->fd, PACKET_RESERVE, 32));
	if (packets_talk.header_size)
		TRY(packets_set(r->fd, PACKET_VNET_HDR, 1));
	if (tx)
		CHECK(!setsockopt(r->fd, SOL_PACKET, PACKET_TX_RING, &q, size));
	if (version == TPACKET_V3) {
		q.tp_retire_blk_tov = (unsigned)timeout;
		q.tp_sizeof_priv = (unsigned)private;
		q.tp_feature_req_word = private ? TP_FT_REQ_FILL_RXHASH : 0;
	}
	if (rx)
		CHECK(!setsockopt(r->fd, SOL_PACKET, PACKET_RX_RING, &q, size));
	TRY(packets_map(r, rx, tx));
	return rx ? packets_bind(r->fd) : 0;
}

/* --- frames --- */

unsigned int packets_slots(const struct ring *r)
{
	return (unsigned)r->blocks * BLOCK / FRAME;
}

unsigned int packets_status(const struct ring *r, const unsigned char *slot)
{
	return r->version == TPACKET_V1	  ? (unsigned)((volatile struct tpacket_hdr *)slot)->tp_status
	       : r->version == TPACKET_V2 ? ((volatile struct tpacket2_hdr *)slot)->tp_status
					  : ((volatile struct tpacket3_hdr *)slot)->tp_status;
}

void packets_set_status(const struct ring *r, unsigned char *slot, unsigned int status)
{
	if (r->version == TPACKET_V1)
		((volatile struct tpacket_hdr *)slot)->tp_status = status;
	else if (r->version == TPACKET_V2)
		((volatile struct tpacket2_hdr *)slot)->tp_status = status;
	else
		((volatile struct tpacket3_hdr *)slot)->tp_status = status;
}

int packets_take_frame(struct ring *r)
{
	unsigned char *slot = r->rx + (size_t)r->next * FRAME;
	const struct tpacket_hdr *h1 = (void *)slot;
	const struct tpacket2_hdr *h2 = (void *)slot;

	CHECK(UNTIL(packets_status(r, slot) & TP_STATUS_USER));
	TRY(packets_is_number(slot + (r->version == TPACKET_V1 ? h1->tp_net : h2->tp_net), r->taken++));
	packets_set_status(r, slot, TP_STATUS_KERNEL);
	r->next = (r->next + 1) % packets_slots(r);
	return 0;
}

struct tpacket_block_desc *packets_block(const struct ring *r, unsigned int i)
{
	return (void *)(r->rx + (size_t)i * BLOCK);
}

volatile unsigned int *packets_block_status(const struct ring *r, unsigned int i)
{
	return &packets_block(r, i)->hdr.bh1.block_status;
}

int packets_take_block(struct ring *r)
{
	struct tpacket_hdr_v1 *h = &packets_block(r, r->next)->hdr.bh1;
	unsigned char *at = (void *)packets_block(r, r->next);

	CHECK(UNTIL(*packets_block_status(r, r->next) & TP_STATUS_USER));
	SAME(h->seq_num, ++r->opened);
	at += h->offset_to_first_pkt;
	for (unsigned int i = 0; i < h->num_pkts; i++) {
		const struct tpacket3_hdr *f = (void *)at;

		SAME(!f->tp_next_offset, i + 1 == h->num_pkts);
		TRY(packets_is_number(at + f->tp_net, r->taken++));
		at += f->tp_next_offset;
	}
	*packets_block_status(r, r->next) = TP_STATUS_KERNEL;
	r->next = (r->next + 1) % (unsigned)r->blocks;
	return 0;
}

int packets_take(struct ring *r, int n)
{
	while (n > 0) {
		const int taken = r->taken;

		TRY(r->version == TPACKET_V3 ? packets_take_block(r) : packets_take_frame(r));
		n -= r->taken - taken;
	}
	return 0;
}

/* How many are there for the program. */
static int there(const struct ring *r)
{
	int n = 0;

	if (r->version == TPACKET_V3) {
		for (unsigned int i = 0; i < (unsigned)r->blocks; i++)
			n += *packets_block_status(r, i) & TP_STATUS_USER ? (int)packets_block(r, i)->hdr.bh1.num_pkts
									  : 0;
		return n;
	}
	for (unsigned int i = 0; i < packets_slots(r); i++)
		n += packets_status(r, r->rx + (size_t)i * FRAME) & TP_STATUS_USER;
	return n;
}

/* All has come, and the timer of blocks has been by. */
int packets_settled(const struct ring *r)
{
	CHECK(UNTIL(there(r) == packets_talk.sent - r->taken));
	nap(r->version == TPACKET_V3 ? 30 : 0);
	return 0;
}

/* More than there is room for, in three times. */
int packets_goes_on(struct ring *r)
{
	TRY(packets_take(r, packets_talk.sent - r->taken));
	for (int i = 0; i < 3; i++) {
		TRY(packets_send(7));
		TRY(packets_take(r, 7));
	}
	SAME(poll_now(r->fd, POLLIN), 0);
	return 0;
}
