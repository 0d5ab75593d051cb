/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Errors of a datagram or raw socket that were not told yet: SO_ERROR, and its error queue (IP_RECVERR). The kernel shows them by taking them away, so they are read
 * from its memory; they are made again by the ICMP messages that they came with, or that come for such an error. ip(7), icmp(7); net/ipv4/icmp.c.
 */
#pragma once

#include "state/inet.h"

struct inet_error_packet {
	struct blob packet;
};

struct inet_errors {
	uint64_t error; /* errno */
	struct inet_error_packet *queue;
	size_t n_queue;
};
extern const struct field inet_errors_fields[];

/* The message of ICMP that tells of that error; softly: TCP, which goes on. False: there is none. */
bool inet_errors_message(uint64_t error, bool six, bool softly, uint8_t *type, uint8_t *code);

/* Refuses by name what cannot be made again. 1: there are errors, and to look at its queue by reading would take one. */
int inet_errors_capture(
	struct capture *c, const struct file_look *f, int fd, const struct inet_state *s, struct inet_errors *e);
int inet_errors_validate(struct restore *r, const struct inet_state *s, const struct inet_errors *e);
/* Once it is bound and connected, and before its other options are set. */
int inet_errors_make(struct restore *r, int fd, const struct inet_state *s, const struct inet_errors *e);
/* Once all its options are set. */
int inet_errors_queue(struct restore *r, int fd, const struct inet_errors *e);
