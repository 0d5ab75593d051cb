/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rings of a packet socket: memory that the kernel shares with the program, in which it leaves frames and from which it takes them. packet(7),
 * Documentation/networking/packet_mmap.rst; net/packet/af_packet.c. Where the kernel goes on in it nobody tells: it is read from its memory (kernel/peek.h), and a
 * new ring is brought there by frames of spore's own, over the loopback interface.
 */
#pragma once

#include <linux/if_packet.h>

#include "state/contents.h"

struct packet_ring {
	uint64_t block_size, block_nr, frame_size, frame_nr; /* struct tpacket_req; block_nr is 0 if there is none */
	uint64_t retire_tov, sizeof_priv, features;	     /* of a receiving one of TPACKET_V3 */
	uint64_t
		head; /* the frame at which the kernel goes on; of a receiving one of TPACKET_V3: the blocks that it has closed */
};

/* That stands in frames which the program has not taken yet. */
struct packet_ring_interface {
	uint64_t index;
	char *name;
};

struct packet_rings {
	struct packet_ring rx, tx;
	struct extent *contents; /* of both, one behind the other, as they are mapped */
	size_t n_contents;
	struct packet_ring_interface *interfaces;
	size_t n_interfaces;
};
extern const struct field packet_rings_fields[];

/* What of the socket decides how frames lie in a ring. */
struct packet_format {
	int type;	   /* SOCK_* */
	uint64_t version;  /* TPACKET_V* */
	uint64_t vnet_hdr; /* bytes of a virtio header before each */
};

static inline uint64_t packet_ring_size(const struct packet_ring *r)
{
	return r->block_size * r->block_nr;
}

static inline uint64_t packet_rings_size(const struct packet_rings *r)
{
	return packet_ring_size(&r->rx) + packet_ring_size(&r->tx);
}

static inline bool packet_has_ring(const struct packet_rings *r)
{
	return r->rx.block_nr || r->tx.block_nr;
}

static inline bool packet_counts_blocks(const struct packet_format *f)
{
	return f->version == TPACKET_V3;
}

/* Of a block of TPACKET_V3, before its first frame: the header, and what the program has to itself. */
static inline uint64_t packet_block_head(const struct packet_ring *r)
{
	return ALIGN_UP(sizeof(struct tpacket_block_desc), 8) + ALIGN_UP(r->sizeof_priv, 8);
}

/* The header of a frame in a ring; behind it stands the address. 0: no such version. */
uint64_t packet_frame_head(uint64_t version);
uint32_t packet_slot_status(uint64_t version, const uint8_t *slot);
void packet_slot_set(uint64_t version, uint8_t *slot, uint32_t status);
uint8_t *packet_slot(const struct packet_ring *r, uint8_t *ring, uint64_t i);
struct tpacket_block_desc *packet_block(const struct packet_ring *r, uint8_t *ring, uint64_t i);

/* What sock_diag tells of one (PACKET_DIAG_RX_RING, PACKET_DIAG_TX_RING). */
struct packet_diag_ring;
void packet_ring_told(const struct packet_diag_ring *told, struct packet_ring *out);
/* Where the kernel is in them, and what they hold. Refuses by name. fd: of the socket. */
int packet_rings_capture(
	struct capture *c, const struct file_look *f, int fd, const struct packet_format *how, struct packet_rings *r);

bool packet_rings_valid(const struct packet_rings *r, const struct packet_format *how);
/* Of a socket that has its options and is not mapped. */
int packet_rings_make(int fd, const struct packet_rings *r, const struct packet_format *how);
/* Brings the kernel to where it was, and the contents back. The socket is deaf, before and after. Told. */
int packet_rings_fill(struct restore *r, int fd, const struct packet_rings *rings, const struct packet_format *how);
/* Do the numbers of interfaces in unread frames still mean the same? Told. */
int packet_rings_check_interfaces(struct restore *r, int fd, const struct packet_rings *rings);

/* packet.c: what a mapping of this socket's rings takes. 0 or negative errno. */
int packet_mapped_size(struct capture *c, uint64_t ino, uint64_t *size);
/* packet_mapped.c: refuses mappings of a ring that are not all of it. */
int packet_look_at_mappings(struct capture *c);
