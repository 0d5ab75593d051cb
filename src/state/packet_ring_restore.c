/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A new ring, brought to where the kernel was in the old one. Nothing sets that: the kernel goes on with every frame that it receives or sends, so it is given as many, by
 * the loopback interface and with a protocol that nobody takes. Their traces are then written over with what the ring held.
 *
 * TPACKET_V3: a block is closed when it is full, or by a timer that cannot be stopped, and the next is opened with the next number, unless the program has not given it
 * back. So one block ahead is always one that was not: there the kernel waits, whatever made it close the block before. At last the block that was open when the ring
 * was saved is given back, and the kernel opens it when its timer or a frame comes.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <net/if.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>

#include "base/cleanup.h"
#include "state/packet_ring.h"
#include "state/sock_diag.h"
#include "state/socket_base.h"

#define SOL_PACKET_ 263
#define LOOPBACK    1
#define RECEIVED    0x88b5 /* ETH_P_802_EX1: for experiments */
#define SENT	    0x88b6 /* ETH_P_802_EX2 */
#define SMALL	    60
#define LARGEST	    65000
#define PATIENCE_MS 2000
#define ASK_CLOCK   256 /* frames */

/* --- made --- */

static int make_ring(int fd, int option, const struct packet_ring *r, const struct packet_format *how)
{
	const struct tpacket_req3 q = {
		.tp_block_size = (unsigned int)r->block_size,
		.tp_block_nr = (unsigned int)r->block_nr,
		.tp_frame_size = (unsigned int)r->frame_size,
		.tp_frame_nr = (unsigned int)r->frame_nr,
		.tp_retire_blk_tov = (unsigned int)r->retire_tov,
		.tp_sizeof_priv = (unsigned int)r->sizeof_priv,
		.tp_feature_req_word = (unsigned int)r->features,
	};
	const socklen_t size = how->version == TPACKET_V3 ? sizeof(q) : sizeof(struct tpacket_req);

	return r->block_nr && setsockopt(fd, SOL_PACKET_, option, &q, size) < 0 ? -errno : 0;
}

int packet_rings_make(int fd, const struct packet_rings *r, const struct packet_format *how)
{
	int err = make_ring(fd, PACKET_RX_RING, &r->rx, how);

	return err ? err : make_ring(fd, PACKET_TX_RING, &r->tx, how);
}

/* --- moved on --- */

struct moving {
	int fd, sender;
	const struct packet_rings *r;
	const struct packet_format *how;
	uint8_t *mapped;
	size_t frame; /* bytes of one to be received */
};

static int bind_to(int fd, int protocol, int interface)
{
	const struct sockaddr_ll a = {
		.sll_family = AF_PACKET, .sll_protocol = htons((uint16_t)protocol), .sll_ifindex = interface
	};

	return bind(fd, (const struct sockaddr *)&a, sizeof(a)) < 0 ? -errno : 0;
}

static int open_sender(struct restore *r, struct moving *m)
{
	const uint32_t mark = socket_mark();
	const int on = 1;

	m->sender = socket_in(r->root_pid, AF_PACKET, SOCK_RAW, 0);
	if (m->sender < 0)
		return m->sender;
	if (setsockopt(m->sender, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) < 0)
		return -errno;
	setsockopt(m->sender, SOL_PACKET_, PACKET_QDISC_BYPASS, &on, sizeof(on)); /* then fewer see it */
	return 0;
}

static int send_one(struct moving *m)
{
	static const uint8_t nothing[LARGEST];
	uint8_t header[ETH_HLEN] = { [12] = RECEIVED >> 8, [13] = RECEIVED & 0xff };
	const struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_ifindex = LOOPBACK };
	struct iovec iov[] = { { header, sizeof(header) }, { (void *)nothing, m->frame - sizeof(header) } };
	const struct msghdr msg = {
		.msg_name = (void *)&to, .msg_namelen = sizeof(to), .msg_iov = iov, .msg_iovlen = ARRAY_SIZE(iov)
	};

	return sendmsg(m->sender, &msg, 0) < 0 && errno != ENOBUFS ? -errno : 0;
}

static bool has_come(struct moving *m, uint64_t i)
{
	return packet_slot_status(m->how->version, packet_slot(&m->r->rx, m->mapped, i)) & TP_STATUS_USER;
}

/* One after the other: none is sent before the last has come, so that none too many can. */
static int receive_frames(struct moving *m)
{
	int err = 0;

	m->frame = SMALL;
	for (uint64_t i = 0; i < m->r->rx.head && !err; i++) {
		err = send_one(m);
		for (int ms = 0; ms < PATIENCE_MS && !err && !has_come(m, i); ms++)
			poll(NULL, 0, 1);
		if (!err && !has_come(m, i))
			err = -ETIMEDOUT;
	}
	return err;
}

/* As large as fit in a block, but not quite: one of just its size does not fit in an empty one. */
static int size_of_frames(struct moving *m)
{
	struct ifreq r = { .ifr_name = "lo" };
	const uint64_t before = packet_frame_head(TPACKET_V3) + sizeof(struct sockaddr_ll) + 256;
	const uint64_t room = m->r->rx.block_size - packet_block_head(&m->r->rx);

	if (ioctl(m->sender, SIOCGIFMTU, &r) < 0)
		return -errno;
	m->frame = MIN((uint64_t)LARGEST, room > before + SMALL ? room - before : SMALL);
	m->frame = MAX(MIN(m->frame, (size_t)r.ifr_mtu), (size_t)SMALL);
	return 0;
}

static void give(struct moving *m, uint64_t i, uint32_t status)
{
	volatile uint32_t *at = &packet_block(&m->r->rx, m->mapped, i)->hdr.bh1.block_status;

	__atomic_store_n(at, status, __ATOMIC_SEQ_CST);
}

static bool is_closed(struct moving *m, uint64_t i)
{
	volatile uint32_t *at = &packet_block(&m->r->rx, m->mapped, i)->hdr.bh1.block_status;

	return __atomic_load_n(at, __ATOMIC_SEQ_CST) & TP_STATUS_USER;
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* So many frames that it is; those that come when it was are dropped. */
static int close_up_to(struct moving *m, uint64_t last)
{
	int64_t began = now_ms();
	int err = 0;

	for (uint64_t n = 1; !err && !is_closed(m, last); n++) {
		err = send_one(m);
		if (!err && n % ASK_CLOCK == 0 && now_ms() - began > PATIENCE_MS)
			err = -ETIMEDOUT;
	}
	return err;
}

static int receive_blocks(struct moving *m)
{
	const uint64_t n = m->r->rx.block_nr, all = m->r->rx.head;
	int err = size_of_frames(m);

	for (uint64_t done = 0, step; done < all && !err; done += step) {
		step = MIN(MAX(n - 1, (uint64_t)1), all - done);
		give(m, done + step, TP_STATUS_USER);
		for (uint64_t i = 0; i < step; i++)
			give(m, done + i, TP_STATUS_KERNEL);
		err = close_up_to(m, done + step - 1);
	}
	return err;
}

static int receive(struct moving *m)
{
	uint8_t counts[64];
	socklen_t size = sizeof(counts);
	int err;

	if (!m->r->rx.head)
		return 0;
	err = socket_hear_marked(m->fd);
	if (!err)
		err = bind_to(m->fd, RECEIVED, LOOPBACK);
	if (!err)
		err = packet_counts_blocks(m->how) ? receive_blocks(m) : receive_frames(m);
	if (!err)
		err = socket_close_ears(m->fd);
	if (!err)
		err = bind_to(m->fd, SENT, LOOPBACK); /* which waits for frames that are under way to it */
	getsockopt(m->fd, SOL_PACKET_, PACKET_STATISTICS, counts, &size); /* they begin anew */
	return err;
}

/* --- sending --- */

static void fill_slot(struct moving *m, uint8_t *slot, uint32_t length)
{
	const uint16_t at = (uint16_t)packet_frame_head(m->how->version);
	const uint8_t protocol[] = { SENT >> 8, SENT & 0xff };

	if (m->how->version == TPACKET_V1) {
		struct tpacket_hdr *h = (void *)slot;

		h->tp_len = length;
		h->tp_mac = h->tp_net = at;
	} else if (m->how->version == TPACKET_V2) {
		struct tpacket2_hdr *h = (void *)slot;

		h->tp_len = length;
		h->tp_mac = h->tp_net = at;
	} else {
		struct tpacket3_hdr *h = (void *)slot;

		h->tp_len = length;
		h->tp_mac = h->tp_net = at;
	}
	if (length >= m->how->vnet_hdr + ETH_HLEN)
		memcpy(slot + at + m->how->vnet_hdr + ETH_HLEN - sizeof(protocol), protocol, sizeof(protocol));
}

static int transmit(struct moving *m)
{
	const struct packet_ring *r = &m->r->tx;
	const struct sockaddr_ll to = {
		.sll_family = AF_PACKET, .sll_protocol = htons(SENT), .sll_ifindex = LOOPBACK, .sll_halen = ETH_ALEN
	};
	const uint64_t room = r->frame_size - packet_frame_head(m->how->version);
	const uint32_t length = (uint32_t)MIN(room, m->how->vnet_hdr + SMALL);
	uint8_t *ring = m->mapped + packet_ring_size(&m->r->rx);

	for (uint64_t i = 0; i < r->head; i++) {
		uint8_t *slot = packet_slot(r, ring, i);

		fill_slot(m, slot, length);
		packet_slot_set(m->how->version, slot, TP_STATUS_SEND_REQUEST);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (sendto(m->fd, NULL, 0, 0, (const struct sockaddr *)&to, sizeof(to)) < 0)
			return -errno;
		for (int ms = 0; ms < PATIENCE_MS && packet_slot_status(m->how->version, slot) & TP_STATUS_SENDING;
			ms++)
			poll(NULL, 0, 1);
		if (packet_slot_status(m->how->version, slot) &
			(TP_STATUS_SEND_REQUEST | TP_STATUS_SENDING | TP_STATUS_WRONG_FORMAT))
			return -ETIMEDOUT;
	}
	return 0;
}

/* --- contents --- */

/* The block where the kernel waits last, and of that the word by which it is given back. */
static void write_contents(struct moving *m, const uint8_t *bytes)
{
	const struct packet_ring *r = &m->r->rx;
	const size_t size = packet_rings_size(m->r);
	const size_t at = packet_counts_blocks(m->how) && r->block_nr ? r->head % r->block_nr * r->block_size : size;
	const size_t status = at + offsetof(struct tpacket_block_desc, hdr.bh1.block_status);
	uint32_t last;

	if (at == size) {
		memcpy(m->mapped, bytes, size);
		return;
	}
	memcpy(m->mapped, bytes, status);
	memcpy(m->mapped + status + sizeof(last), bytes + status + sizeof(last), size - status - sizeof(last));
	memcpy(&last, bytes + status, sizeof(last));
	give(m, r->head, last);
}

static int put_contents(struct restore *r, struct moving *m)
{
	const size_t size = packet_rings_size(m->r);
	_cleanup_free_ uint8_t *bytes = calloc(1, size);
	int err = bytes ? contents_read(r, bytes, m->r->contents, m->r->n_contents, size) : -ENOMEM;

	if (!err)
		write_contents(m, bytes);
	return err;
}

static int move_on(struct restore *r, struct moving *m)
{
	int err = open_sender(r, m);

	if (!err)
		err = receive(m);
	return err ? err : transmit(m);
}

int packet_rings_fill(struct restore *r, int fd, const struct packet_rings *rings, const struct packet_format *how)
{
	struct moving m = { .fd = fd, .sender = -1, .r = rings, .how = how };
	const size_t size = packet_rings_size(rings);
	int err;

	m.mapped = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (m.mapped == MAP_FAILED)
		return failed(r->ps, BLAME(.object = "packet"), -errno, "a packet ring cannot be mapped: %m");
	err = rings->rx.head || rings->tx.head ? move_on(r, &m) : 0;
	close_fd(&m.sender);
	if (err)
		failed(r->ps, BLAME(.object = "packet"), err,
			"a packet ring cannot be brought to where it was by way of the loopback interface: %s",
			strerror(-err));
	else
		err = put_contents(r, &m);
	munmap(m.mapped, size);
	return err ? failed(r->ps, BLAME(.object = "packet"), err, "a packet ring cannot be filled: %s", strerror(-err))
		   : 0;
}

int packet_rings_check_interfaces(struct restore *r, int fd, const struct packet_rings *rings)
{
	for (size_t i = 0; i < rings->n_interfaces; i++) {
		const struct packet_ring_interface *f = &rings->interfaces[i];

		if (!f->name || socket_interface_index(fd, f->name) != (int)f->index)
			return failed(r->ps, BLAME(.object = f->name ? f->name : "packet"), -ENODEV,
				"unread frames of a packet ring name this interface by a number that it does not have "
				"here");
	}
	return 0;
}
