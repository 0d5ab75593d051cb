/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The two ends of a TCP connection, made at once in repair mode (TCP_REPAIR): tcp_restore.c says what for. */
#pragma once

#include "state/tcp.h"

struct tcp_end {
	int fd;
	const struct tcp_state *s;
	union inet_sockaddr local, peer;
	uint32_t seq; /* of the next byte that it sends */
	bool chosen;  /* its port is offered to the kernel, which takes it when it is connected */
};

int tcp_end_failed(struct restore *r, const struct tcp_end *e, int err, const char *what);
/* In repair mode: bind() asks for no port that is free. Where the program had not bound it, it is left to be chosen by tcp_end_connect. */
int tcp_end_bind(struct restore *r, struct tcp_end *e);
/* What a killed tree has left of this very connection is cleared away. */
int tcp_end_connect(struct restore *r, struct tcp_end *e);
int tcp_end_leave_repair(const struct tcp_end *e);
int tcp_end_send_unsent(const struct tcp_end *e);
/* Closes it for sending, if the program had and it is to be done now. */
int tcp_end_shut(const struct tcp_end *e, bool now);
/* tcp_soft.c: tells it of its soft error. */
int tcp_soft_error_make(struct restore *r, const struct tcp_end *e);
/* Both, with what is in their queues, and closed as they were. */
int tcp_join(struct restore *r, struct tcp_end *a, struct tcp_end *b);
