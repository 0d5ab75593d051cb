/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rings of packet sockets: how large they are, by sock_diag(7), and what lies in them, by a mapping of the oracle's own. */

#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/packet_diag.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oracle.h"

struct rings {
	struct packet_diag_ring rx, tx;
};

static void take_answer(const struct nlmsghdr *h, ino_t ino, struct rings *r)
{
	const struct packet_diag_msg *m = NLMSG_DATA(h);
	int left = (int)(h->nlmsg_len - NLMSG_LENGTH(sizeof(*m)));

	for (const struct rtattr *a = (const void *)(m + 1); m->pdiag_ino == ino && RTA_OK(a, left);
		a = RTA_NEXT(a, left)) {
		if (a->rta_type == PACKET_DIAG_RX_RING)
			memcpy(&r->rx, RTA_DATA(a), sizeof(r->rx));
		if (a->rta_type == PACKET_DIAG_TX_RING)
			memcpy(&r->tx, RTA_DATA(a), sizeof(r->tx));
	}
}

static void ask(ino_t ino, struct rings *r)
{
	struct {
		struct nlmsghdr h;
		struct packet_diag_req r;
	} q = { .h = { sizeof(q), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 0, 0 },
		.r = { .sdiag_family = AF_PACKET, .pdiag_show = PACKET_SHOW_RING_CFG } };
	_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	static char answer[1 << 16];
	bool more = fd >= 0 && send(fd, &q, sizeof(q), 0) > 0;

	while (more) {
		ssize_t got = recv(fd, answer, sizeof(answer), 0);
		unsigned int n = got > 0 ? (unsigned int)got : 0;

		more = n > 0;
		for (const struct nlmsghdr *h = (void *)answer; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n))
			if (h->nlmsg_type == SOCK_DIAG_BY_FAMILY)
				take_answer(h, ino, r);
			else
				more = false;
	}
}

/* --- blocks of the third version --- */

static struct tpacket_block_desc *block_at(const struct packet_diag_ring *r, unsigned char *ring, unsigned int i)
{
	return (void *)(ring + (size_t)(i % r->pdr_block_nr) * r->pdr_block_size);
}

/* The block with the highest number is the one that was opened last. */
static unsigned int newest(const struct packet_diag_ring *r, unsigned char *ring)
{
	unsigned int found = 0;

	for (unsigned int i = 1; i < r->pdr_block_nr; i++)
		if (block_at(r, ring, i)->hdr.bh1.seq_num > block_at(r, ring, found)->hdr.bh1.seq_num)
			found = i;
	return found;
}

/* A timer may close a block that is partly filled at any time: it counts as closed. */
static void close_it(struct tpacket_block_desc *b, unsigned int size)
{
	struct tpacket_hdr_v1 *h = &b->hdr.bh1;
	unsigned int at = h->offset_to_first_pkt;
	struct tpacket3_hdr *frame = NULL;

	for (unsigned int i = 0; i < h->num_pkts && at <= size - sizeof(*frame); i++) {
		frame = (void *)((unsigned char *)b + at);
		at += frame->tp_next_offset;
	}
	if (!frame)
		return;
	frame->tp_next_offset = 0;
	h->ts_last_pkt.ts_sec = frame->tp_sec;
	h->ts_last_pkt.ts_nsec = frame->tp_nsec;
	h->block_status = TP_STATUS_USER | TP_STATUS_BLK_TMO;
}

/* Where the next frame comes, and the number of that block. What stands in its header is of the moment at which it is opened. */
static void settle(const struct packet_diag_ring *r, unsigned char *ring, unsigned int *next, uint64_t *number)
{
	unsigned int i = newest(r, ring);
	struct tpacket_block_desc *b = block_at(r, ring, i);

	*number = b->hdr.bh1.seq_num;
	if (b->hdr.bh1.block_status & TP_STATUS_USER || b->hdr.bh1.num_pkts) {
		if (!(b->hdr.bh1.block_status & TP_STATUS_USER))
			close_it(b, r->pdr_block_size);
		i = (i + 1) % r->pdr_block_nr;
		(*number)++;
	}
	*next = i;
	b = block_at(r, ring, i);
	if (!(b->hdr.bh1.block_status & TP_STATUS_USER))
		memset(b, 0, sizeof(*b));
}

/* --- facts --- */

static void size_fact(struct oracle *o, const char *prefix, const char *name, const struct packet_diag_ring *r)
{
	if (r->pdr_block_nr)
		fact(o, prefix, name, "%u blocks of %u, %u frames of %u, timeout %u, private %u, features %#x",
			r->pdr_block_nr, r->pdr_block_size, r->pdr_frame_nr, r->pdr_frame_size, r->pdr_retire_tmo,
			r->pdr_sizeof_priv, r->pdr_features);
}

static void contents_fact(struct oracle *o, const char *prefix, int dup, const struct rings *r, int version)
{
	const size_t rx = (size_t)r->rx.pdr_block_nr * r->rx.pdr_block_size,
		     size = rx + (size_t)r->tx.pdr_block_nr * r->tx.pdr_block_size;
	_free_ unsigned char *copy = malloc(size);
	void *mapped = mmap(NULL, size, PROT_READ, MAP_SHARED, dup, 0);
	unsigned int next = 0;
	uint64_t number = 0;

	if (!copy || mapped == MAP_FAILED) {
		fact(o, prefix, "ring", "cannot be mapped");
		return;
	}
	memcpy(copy, mapped, size);
	munmap(mapped, size);
	if (rx && version == TPACKET_V3) {
		settle(&r->rx, copy, &next, &number);
		fact(o, prefix, "ring goes on", "in block %u with number %lu", next, (unsigned long)number);
	}
	fact(o, prefix, "ring", "%016lx", (unsigned long)hash_bytes(copy, size, 0));
}

void ring_facts(struct oracle *o, const char *prefix, int dup)
{
	struct rings r = { 0 };
	socklen_t len = sizeof(int);
	int version = 0;
	struct stat st;

	if (fstat(dup, &st) < 0 || getsockopt(dup, 263 /* SOL_PACKET */, PACKET_VERSION, &version, &len) < 0)
		return;
	ask(st.st_ino, &r);
	size_fact(o, prefix, "receiving ring", &r.rx);
	size_fact(o, prefix, "sending ring", &r.tx);
	if (o->opt.memory && (r.rx.pdr_block_nr || r.tx.pdr_block_nr))
		contents_fact(o, prefix, dup, &r, version);
}
