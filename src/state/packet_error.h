/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* That the interface of a packet socket is down (ENETDOWN), told once: when it goes down, or when one that is down is bound to. packet(7); net/packet/af_packet.c. */
#pragma once

#include "state/files.h"

enum { PACKET_IS_UP /* what comes later is news */, PACKET_IS_DOWN /* not told yet */, PACKET_KNOWS_DOWN };

/* Refuses by name what would not be told again by binding to that interface. */
int packet_error_capture(struct capture *c, const struct file_look *f, int fd, const char *interface, uint64_t *down);
/* Once it is bound. */
int packet_error_settle(struct restore *r, int fd, const char *interface, uint64_t down);
