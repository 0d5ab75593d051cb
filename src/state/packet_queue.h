/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Frames that a packet socket has got and nobody has read: read from the kernel's memory (socket_view.h), and brought to it once more as if they came
 * in, by a way that ends behind the packet sockets (kernel/redirect.h). packet(7); net/packet/af_packet.c.
 */
#pragma once

#include "kernel/redirect.h"
#include "state/files.h"

struct packet_frame {
	struct blob data; /* with the header of Ethernet */
	char *interface;
	uint64_t type;	   /* PACKET_HOST and so on */
	uint64_t length;   /* of what came, of which a filter may have kept a part */
	uint64_t time;	   /* of arrival, nanoseconds; 0: it was not noted */
	uint64_t checksum; /* enum packet_checksum */
	uint64_t start, offset;
};

enum packet_checksum {
	CHECKSUM_UNKNOWN,
	CHECKSUM_CHECKED,
	CHECKSUM_TO_COME /* from start on, to stand behind offset bytes more */
};

struct packet_queue {
	struct packet_frame *list;
	size_t n;
};
extern const struct field packet_queue_fields[];

/* Refuses by name. */
int packet_queue_capture(struct capture *c, const struct file_look *f, int fd, int type, struct packet_queue *q);
bool packet_queue_valid(const struct packet_queue *q);

/* What is needed to fill queues; kept until all of them are. */
struct packet_filling {
	struct restore *r;
	struct redirect redirect;
	int sender; /* -1: not made yet */
};
void packet_filling_end(struct packet_filling *f);
/* Of a deaf socket, which is bound to everything by it. */
int packet_queue_put(struct packet_filling *f, int fd, int type, const struct packet_queue *q);
