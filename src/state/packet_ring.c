/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What an image holds of the rings of a packet socket, and how frames lie in one: struct tpacket_hdr and its successors, linux/if_packet.h. */
#include "state/packet_ring.h"

#include <linux/packet_diag.h>
#include <sys/socket.h>

#define MOST_CLOSED (1ull << 32) /* blocks: days of restoring */

static const struct field receiving_fields[] = {
	FIELD_UINT(struct packet_ring, block_size, "block_size", "bytes of a block"),
	FIELD_UINT(struct packet_ring, block_nr, "block_nr", "blocks; 0: there is no such ring"),
	FIELD_UINT(struct packet_ring, frame_size, "frame_size", "bytes for a frame"),
	FIELD_UINT(struct packet_ring, frame_nr, "frame_nr", "frames"),
	FIELD_UINT(struct packet_ring, retire_tov, "retire_tov", "milliseconds, after which a block is closed"),
	FIELD_UINT(struct packet_ring, sizeof_priv, "sizeof_priv", "bytes of each block that are the program's"),
	FIELD_HEX(struct packet_ring, features, "features", "TP_FT_REQ_*"),
	FIELD_UINT(struct packet_ring, head, "head",
		"the frame at which the kernel goes on; of a receiving one of TPACKET_V3: blocks that it has closed"),
	FIELD_END,
};

static const struct field sending_fields[] = {
	FIELD_UINT(struct packet_ring, block_size, "block_size", "bytes of a block"),
	FIELD_UINT(struct packet_ring, block_nr, "block_nr", "blocks; 0: there is no such ring"),
	FIELD_UINT(struct packet_ring, frame_size, "frame_size", "bytes for a frame"),
	FIELD_UINT(struct packet_ring, frame_nr, "frame_nr", "frames"),
	FIELD_UINT(struct packet_ring, head, "head", "the frame at which the kernel goes on"),
	FIELD_END,
};

static const struct field interface_fields[] = {
	FIELD_UINT(struct packet_ring_interface, index, "index", "its number"),
	FIELD_STRING(struct packet_ring_interface, name, "name", "its name"),
	FIELD_END,
};

const struct field packet_rings_fields[] = {
	FIELD_STRUCT(struct packet_rings, rx, "rx", receiving_fields, "PACKET_RX_RING"),
	FIELD_STRUCT(struct packet_rings, tx, "tx", sending_fields, "PACKET_TX_RING"),
	FIELD_LIST(struct packet_rings, contents, n_contents, "contents", extent_fields,
		"what lies in them, the receiving one first"),
	FIELD_LIST(struct packet_rings, interfaces, n_interfaces, "interfaces", interface_fields,
		"that frames name which were not taken"),
	FIELD_END,
};

void packet_ring_told(const struct packet_diag_ring *told, struct packet_ring *out)
{
	*out = (struct packet_ring){
		.block_size = told->pdr_block_size,
		.block_nr = told->pdr_block_nr,
		.frame_size = told->pdr_frame_size,
		.frame_nr = told->pdr_frame_nr,
		.retire_tov = told->pdr_retire_tmo,
		.sizeof_priv = told->pdr_sizeof_priv,
		.features = told->pdr_features,
	};
}

/* --- how frames lie in it */

uint64_t packet_frame_head(uint64_t version)
{
	return version == TPACKET_V1   ? TPACKET_ALIGN(sizeof(struct tpacket_hdr))
	       : version == TPACKET_V2 ? TPACKET_ALIGN(sizeof(struct tpacket2_hdr))
	       : version == TPACKET_V3 ? TPACKET_ALIGN(sizeof(struct tpacket3_hdr))
				       : 0;
}

uint32_t packet_slot_status(uint64_t version, const uint8_t *slot)
{
	return version == TPACKET_V1   ? (uint32_t)((const volatile struct tpacket_hdr *)slot)->tp_status
	       : version == TPACKET_V2 ? ((const volatile struct tpacket2_hdr *)slot)->tp_status
				       : ((const volatile struct tpacket3_hdr *)slot)->tp_status;
}

void packet_slot_set(uint64_t version, uint8_t *slot, uint32_t status)
{
	if (version == TPACKET_V1)
		((volatile struct tpacket_hdr *)slot)->tp_status = status;
	else if (version == TPACKET_V2)
		((volatile struct tpacket2_hdr *)slot)->tp_status = status;
	else
		((volatile struct tpacket3_hdr *)slot)->tp_status = status;
}

/* No frame lies across two blocks. */
uint8_t *packet_slot(const struct packet_ring *r, uint8_t *ring, uint64_t i)
{
	const uint64_t in_block = r->block_size / r->frame_size;

	return ring + i / in_block * r->block_size + i % in_block * r->frame_size;
}

struct tpacket_block_desc *packet_block(const struct packet_ring *r, uint8_t *ring, uint64_t i)
{
	return (void *)(ring + i % r->block_nr * r->block_size);
}

/* --- is it one that can be? */

static bool is_possible(const struct packet_ring *r, const struct packet_format *how, bool blocks)
{
	if (!r->block_nr)
		return !r->block_size && !r->head;
	return r->block_size && r->block_size <= UINT32_MAX && r->block_size % PAGE_SIZE == 0 &&
	       r->block_nr <= UINT32_MAX / sizeof(void *) && r->frame_size && r->frame_size <= r->block_size &&
	       r->frame_size >= packet_frame_head(how->version) + sizeof(struct sockaddr_ll) &&
	       r->frame_nr == r->block_size / r->frame_size * r->block_nr && r->retire_tov <= UINT32_MAX &&
	       r->sizeof_priv < r->block_size && packet_block_head(r) <= r->block_size && r->features <= UINT32_MAX &&
	       r->head < (blocks ? MOST_CLOSED : r->frame_nr);
}

bool packet_rings_valid(const struct packet_rings *r, const struct packet_format *how)
{
	if (!packet_has_ring(r))
		return !r->n_contents;
	return (how->type == SOCK_RAW || how->type == SOCK_DGRAM) && packet_frame_head(how->version) &&
	       how->vnet_hdr <= 64 && is_possible(&r->rx, how, packet_counts_blocks(how)) &&
	       is_possible(&r->tx, how, false);
}
