/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the makers of rings of packet sockets have in common: packet_ring.c, packet_ring_send.c. Each frame has a number; it is looked for where the program expects
 * it. They speak over the loopback interface, by a protocol of this maker alone.
 */
#pragma once

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

extern struct ring ring;
extern struct packets_talk {
	int sender, protocol;
	int sent;	 /* to the ring */
	int header_size; /* bytes in front of what is to be sent */
} packets_talk;

int packets_set(int at, int option, int value);
struct sockaddr_ll packets_loopback(void);
int packets_bind(int at);
void packets_number(unsigned char *data, int number);
int packets_is_number(const unsigned char *data, int number);
int packets_send(int n);
/* The first that is called. */
int packets_start(void);
int packets_map(struct ring *r, bool rx, bool tx);
/* timeout: of a block, ms; private: of each block, bytes */
int packets_open(struct ring *r, int version, int type, bool rx, bool tx, int timeout, int private);
unsigned int packets_slots(const struct ring *r);
unsigned int packets_status(const struct ring *r, const unsigned char *slot);
void packets_set_status(const struct ring *r, unsigned char *slot, unsigned int status);
int packets_take_frame(struct ring *r);
struct tpacket_block_desc *packets_block(const struct ring *r, unsigned int i);
volatile unsigned int *packets_block_status(const struct ring *r, unsigned int i);
int packets_take_block(struct ring *r);
/* Those that come next are the next numbers. */
int packets_take(struct ring *r, int n);
/* All has come, and the timer of blocks has been by. */
int packets_settled(const struct ring *r);
/* What is unread is taken, and what comes then. */
int packets_goes_on(struct ring *r);
