/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An error of a raw socket, or of one that pings, that was not told yet (SO_ERROR). It is told again by a message of ICMP: raw(7), icmp(7); net/ipv4/raw.c, raw_err(),
 * net/ipv6/raw.c, rawv6_err(), net/ipv4/ping.c, ping_err().
 */
#pragma once

#include "state/inet.h"

/* Refuses by name what no such message makes. */
int raw_error_capture(
	struct capture *c, const struct file_look *f, int fd, const struct inet_state *s, uint64_t *error);
bool raw_error_is_possible(const struct inet_state *s, uint64_t error);
/* Before it has its own options; one that pings once it has its number, another before it has its address. */
int raw_error_make(struct restore *r, int fd, const struct inet_state *s, uint64_t error);
