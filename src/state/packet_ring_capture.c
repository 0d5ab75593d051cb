/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What rings of a packet socket hold, and where the kernel is in them. Frames go on coming while a tree is stopped: what is saved is the moment at which the kernel
 * was first looked at, and what came since is as if it had not.
 */
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "state/kernel_view.h"
#include "state/packet_ring.h"
#include "state/socket_base.h"
#include "state/socket_view.h"
#include "state/sockets.h"

#define TRIES		1000 /* of a millisecond each */
#define MOST_INTERFACES 64

struct reading {
	struct capture *c;
	int fd;
	uint64_t sk; /* its struct packet_sock */
	const struct packet_format *how;
	struct packet_rings *r;
	uint8_t *mapped, *copy;
	size_t size;
};

/* Where the kernel is. */
struct position {
	uint64_t rx, tx;	 /* the next frame */
	uint64_t closed, filled; /* TPACKET_V3: blocks; up to where the one is filled that is open, or 0: none is */
	bool busy;		 /* a frame is being written */
};

/* --- the kernel's side --- */

static int look(struct reading *g, const char *member, uint64_t *value)
{
	return kernel_peek_member(g->c->kernel, g->sk, "packet_sock", member, value);
}

/* A bit for each frame that is being written. */
static int find_written(struct reading *g, struct position *p)
{
	uint64_t map = 0, words[512];
	const uint64_t n = (g->r->rx.frame_nr + 63) / 64;
	int err = look(g, "rx_ring.rx_owner_map", &map);

	for (uint64_t i = 0; i < n && !err; i += ARRAY_SIZE(words)) {
		const uint64_t some = MIN(n - i, (uint64_t)ARRAY_SIZE(words));

		err = kernel_peek_bytes(g->c->kernel, map + i * sizeof(words[0]), words, some * sizeof(words[0]));
		for (uint64_t k = 0; k < some && !err; k++)
			p->busy |= words[k] != 0;
	}
	return err;
}

/* A block is opened with the next number, and has it; one that the program has not given back is not opened: the queue is frozen. */
static int find_block(struct reading *g, struct position *p)
{
	uint64_t number = 0, active = 0, at = 0, start = 0, frozen = 0, lock = 0, filling = 0;
	const struct {
		const char *member;
		uint64_t *value;
	} members[] = { { "rx_ring.prb_bdqc.nxt_offset", &at }, { "rx_ring.prb_bdqc.pkblk_start", &start },
		{ "rx_ring.prb_bdqc.knxt_seq_num", &number }, { "rx_ring.prb_bdqc.kactive_blk_num", &active },
		{ "rx_ring.prb_bdqc.reset_pending_on_curr_blk", &frozen },
		/* in this order: who writes a frame lets go of the first when he has the second */
		{ "sk.sk_receive_queue.lock", &lock }, { "rx_ring.prb_bdqc.blk_fill_in_prog_lock", &filling } };
	int err = 0;

	for (size_t i = 0; i < ARRAY_SIZE(members) && !err; i++)
		err = look(g, members[i].member, members[i].value);
	if (err)
		return err;
	p->closed = number - (frozen ? 1 : 2);
	p->filled = frozen ? 0 : at - start;
	p->busy = lock || filling;
	if (!p->busy &&
		(number < (frozen ? 1 : 2) || p->closed % g->r->rx.block_nr != active ||
			(!frozen && (p->filled < packet_block_head(&g->r->rx) || p->filled > g->r->rx.block_size))))
		return -EPROTO;
	return 0;
}

static int find_position(struct reading *g, struct position *p)
{
	int err = 0;

	*p = (struct position){ 0 };
	if (g->r->tx.block_nr)
		err = look(g, "tx_ring.head", &p->tx);
	if (err || !g->r->rx.block_nr)
		return err;
	if (packet_counts_blocks(g->how))
		return find_block(g, p);
	err = look(g, "rx_ring.head", &p->rx);
	if (!err)
		err = find_written(g, p);
	return err ? err : p->rx < g->r->rx.frame_nr && p->tx <= UINT32_MAX ? 0 : -EPROTO;
}

/* --- what came since --- */

/* Into frames that were free, from that one on: as the program gives none back meanwhile, at most once around. */
static void forget_frames(struct reading *g, const struct position *then, const struct position *now, bool was_free)
{
	const struct packet_ring *r = &g->r->rx;
	const uint8_t *first = packet_slot(r, g->mapped, then->rx);
	uint64_t n = (now->rx + r->frame_nr - then->rx) % r->frame_nr;

	if (!n && was_free && packet_slot_status(g->how->version, first) != TP_STATUS_KERNEL)
		n = r->frame_nr;
	for (uint64_t i = 0; i < n; i++)
		packet_slot_set(
			g->how->version, packet_slot(r, g->copy, (then->rx + i) % r->frame_nr), TP_STATUS_KERNEL);
}

/* The same of blocks that were opened since. */
static void forget_blocks(struct reading *g, const struct position *then, const struct position *now)
{
	const uint64_t last = now->filled ? now->closed : now->closed - 1;

	for (uint64_t i = then->closed + 1; i <= last && i < then->closed + g->r->rx.block_nr; i++)
		packet_block(&g->r->rx, g->copy, i)->hdr.bh1.block_status = TP_STATUS_KERNEL;
}

/*
 * A block that is partly filled is closed as its timer would: that one runs in a restored socket too, from the moment at which it is made. What its frames
 * are the kernel has written; the program may have as well.
 */
static int close_block(struct reading *g, const struct position *p)
{
	struct tpacket_block_desc *block = packet_block(&g->r->rx, g->copy, p->closed);
	struct tpacket_hdr_v1 *h = &block->hdr.bh1;
	uint64_t at = packet_block_head(&g->r->rx), n = 0;
	struct tpacket3_hdr *frame = NULL;

	while (at < p->filled) {
		frame = (void *)((uint8_t *)block + at);
		if (p->filled - at < sizeof(*frame))
			return -EPROTO;
		n++;
		if (!frame->tp_next_offset || frame->tp_next_offset % 8 || frame->tp_next_offset > p->filled - at)
			break; /* the last, if it was closed meanwhile */
		at += frame->tp_next_offset;
	}
	if (!frame)
		return 0;
	if (at != p->filled && frame->tp_next_offset)
		return -EPROTO;
	frame->tp_next_offset = 0;
	h->num_pkts = (uint32_t)n;
	h->blk_len = (uint32_t)p->filled;
	h->ts_last_pkt.ts_sec = frame->tp_sec;
	h->ts_last_pkt.ts_nsec = frame->tp_nsec;
	h->block_status = TP_STATUS_USER | TP_STATUS_BLK_TMO;
	return 0;
}

static int settle_blocks(struct reading *g, const struct position *then, const struct position *now)
{
	int err;

	g->r->rx.head = then->closed;
	if (!then->filled)
		return 0;
	if (now->closed != then->closed)
		forget_blocks(g, then, now);
	if (then->filled == packet_block_head(&g->r->rx)) { /* open, and empty */
		struct tpacket_hdr_v1 *h = &packet_block(&g->r->rx, g->copy, then->closed)->hdr.bh1;

		h->block_status = TP_STATUS_KERNEL;
		h->num_pkts = 0;
		h->blk_len = (uint32_t)then->filled;
		return 0;
	}
	err = close_block(g, then);
	g->r->rx.head++;
	return err;
}

/* --- contents --- */

/* 1: it is being sent. */
static int is_sending(struct reading *g)
{
	uint8_t *ring = g->copy + packet_ring_size(&g->r->rx);

	for (uint64_t i = 0; i < g->r->tx.frame_nr; i++)
		if (packet_slot_status(g->how->version, packet_slot(&g->r->tx, ring, i)) & TP_STATUS_SENDING)
			return 1;
	return 0;
}

/* 1: not now. */
static int read_once(struct reading *g)
{
	const bool frames = g->r->rx.block_nr && !packet_counts_blocks(g->how);
	struct position then, now;
	bool was_free = false;
	int err = find_position(g, &then);

	if (err || then.busy)
		return err ? err : 1;
	if (frames)
		was_free = packet_slot_status(g->how->version, packet_slot(&g->r->rx, g->mapped, then.rx)) ==
			   TP_STATUS_KERNEL;
	memcpy(g->copy, g->mapped, g->size);
	err = find_position(g, &now);
	if (err)
		return err;
	if (is_sending(g) || now.tx != then.tx)
		return 1;
	g->r->tx.head = then.tx;
	if (!frames)
		return g->r->rx.block_nr ? settle_blocks(g, &then, &now) : 0;
	g->r->rx.head = then.rx;
	forget_frames(g, &then, &now, was_free);
	return 0;
}

/* --- whose numbers stand in it --- */

static int note_interface(struct reading *g, const uint8_t *frame)
{
	const struct sockaddr_ll *a = (const void *)(frame + packet_frame_head(g->how->version));
	const uint64_t index = a->sll_family == AF_PACKET && a->sll_ifindex > 0 ? (uint64_t)a->sll_ifindex : 0;
	struct packet_rings *r = g->r;
	int err;

	for (size_t i = 0; i < r->n_interfaces; i++)
		if (r->interfaces[i].index == index)
			return 0;
	if (!index)
		return 0;
	if (!r->interfaces)
		r->interfaces = calloc(MOST_INTERFACES, sizeof(*r->interfaces));
	if (!r->interfaces)
		return -ENOMEM;
	if (r->n_interfaces == MOST_INTERFACES)
		return -E2BIG;
	err = socket_interface_name(g->fd, (int)index, &r->interfaces[r->n_interfaces].name);
	if (err)
		return err == -ENODEV || err == -ENXIO ? 0 : err; /* gone: it tells nothing here either */
	r->interfaces[r->n_interfaces++].index = index;
	return 0;
}

static int note_of_block(struct reading *g, uint64_t i)
{
	const uint8_t *block = (const void *)packet_block(&g->r->rx, g->copy, i);
	const struct tpacket_hdr_v1 *h = &((const struct tpacket_block_desc *)block)->hdr.bh1;
	const uint64_t room = packet_frame_head(TPACKET_V3) + sizeof(struct sockaddr_ll);
	uint64_t at = h->offset_to_first_pkt;
	int err = 0;

	for (uint32_t k = 0; k < h->num_pkts && h->block_status & TP_STATUS_USER && !err; k++) {
		if (at > g->r->rx.block_size || g->r->rx.block_size - at < room || at % 8)
			break;
		err = note_interface(g, block + at);
		at += ((const struct tpacket3_hdr *)(block + at))->tp_next_offset;
	}
	return err;
}

static int note_interfaces(struct reading *g)
{
	const struct packet_ring *r = &g->r->rx;
	int err = 0;

	if (packet_counts_blocks(g->how))
		for (uint64_t i = 0; i < r->block_nr && !err; i++)
			err = note_of_block(g, i);
	else
		for (uint64_t i = 0; i < r->frame_nr && !err; i++) {
			const uint8_t *slot = packet_slot(r, g->copy, i);

			if (packet_slot_status(g->how->version, slot) & TP_STATUS_USER)
				err = note_interface(g, slot);
		}
	return err;
}

/* --- all --- */

static int find_socket(struct reading *g)
{
	uint64_t file, socket = 0;
	int err = kernel_peek_file(g->c->kernel, g->fd, &file, &socket);

	return err ? err : kernel_peek_member(g->c->kernel, socket, "socket", "sk", &g->sk);
}

static int read_contents(struct reading *g)
{
	int err = 1;

	for (int i = 0; i < TRIES && err > 0; i++) {
		if (i)
			poll(NULL, 0, 1);
		err = read_once(g);
	}
	if (err > 0)
		return -EBUSY;
	if (!err)
		err = note_interfaces(g);
	return err ? err : contents_save_bytes(g->c, g->copy, g->size, &g->r->contents, &g->r->n_contents);
}

static int read_mapped(struct reading *g)
{
	int err;

	g->size = packet_rings_size(g->r);
	g->copy = malloc(g->size);
	if (!g->copy)
		return -ENOMEM;
	g->mapped = mmap(NULL, g->size, PROT_READ, MAP_SHARED, g->fd, 0);
	if (g->mapped == MAP_FAILED)
		return -errno;
	err = read_contents(g);
	munmap(g->mapped, g->size);
	return err;
}

static bool loopback_is_up(int fd)
{
	struct ifreq r = { .ifr_name = "lo" };

	return ioctl(fd, SIOCGIFFLAGS, &r) == 0 && r.ifr_flags & IFF_UP;
}

/* Frames that had no room in the ring, or were wanted whole (PACKET_COPY_THRESH), lie in the queue. */
static bool has_queued(struct capture *c, int fd)
{
	struct socket_buffers b = { 0 };
	bool any = sockets_view_received(c, fd, false, &b) != 0 || b.n;

	socket_buffers_free(&b);
	return any;
}

#define ABOUT_A_SECOND 25000 /* blocks closed */

static int judge(struct reading *g, const struct file_look *f, int err)
{
	const struct packet_rings *r = g->r;

	if (err == -ENOMEM)
		return err;
	if (err == -EBUSY)
		return refused(g->c->ps, BLAME_FILE(f, .passing = true), "a packet ring whose frames are being sent");
	if (err)
		return refused(g->c->ps, BLAME_FILE(f, .remedy = KERNEL_VIEW_REMEDY),
			"it cannot be told where the kernel is in a packet ring (PACKET_RX_RING, PACKET_TX_RING): %s",
			strerror(-err));
	if ((r->rx.head || r->tx.head) && !loopback_is_up(g->fd))
		return refused(g->c->ps, BLAME_FILE(f, .remedy = "ip link set lo up"),
			"a packet ring that was used, in a network whose loopback interface is down");
	if (!packet_rings_valid(r, g->how))
		return refused(g->c->ps, BLAME_FILE(f), "a packet ring of a kind that spore does not know");
	if (packet_counts_blocks(g->how) && r->rx.head > 10 * ABOUT_A_SECOND)
		changed(g->c->ps, BLAME_FILE(f),
			"the kernel has closed %lu blocks of the packet ring, which a restored one repeats: that takes "
			"some %lu "
			"seconds",
			r->rx.head, r->rx.head / ABOUT_A_SECOND);
	return 0;
}

int packet_rings_capture(
	struct capture *c, const struct file_look *f, int fd, const struct packet_format *how, struct packet_rings *r)
{
	struct reading g = { .c = c, .fd = fd, .how = how, .r = r };
	int err;

	if (!c->writer || !c->kernel)
		return 0;
	if (has_queued(c, fd))
		return refused(c->ps, BLAME_FILE(f, .passing = true, .remedy = "let the program read them"),
			"unread frames beside a packet ring (PACKET_COPY_THRESH), or a kernel that does not tell of "
			"them");
	err = find_socket(&g);
	if (!err)
		err = read_mapped(&g);
	free(g.copy);
	return judge(&g, f, err);
}
