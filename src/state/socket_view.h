/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What lies in a socket and cannot be asked for without taking it, read from the kernel's memory: errors that wait (sk_err), the error queue, messages behind
 * the first one, and what was sent on connections that are not accepted yet. include/net/sock.h, include/linux/skbuff.h. Only where the kernel and
 * the keeper's capabilities allow (kernel/peek.h): without it these are refused by name.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <linux/errqueue.h> /* needs the one before */

struct kernel_peek;
struct socket_view;

/* Negative errno where it cannot be had. */
int socket_view_open(struct kernel_peek *kernel, struct socket_view **out);
void socket_view_free(struct socket_view *v); /* takes NULL */

/* The address of the socket behind a descriptor of the calling process. */
int socket_view_find(struct socket_view *v, int fd, uint64_t *sock);

struct socket_errors {
	uint32_t now, soft; /* what SO_ERROR would tell: now, or, if that is 0, soft */
	uint32_t queued;    /* entries of the error queue */
};
int socket_view_errors(struct socket_view *v, uint64_t sock, struct socket_errors *out);

enum socket_view_queue {
	QUEUE_RECEIVED,
	QUEUE_ERRORS,
	QUEUE_ASIDE, /* of UDP: what is read before the first */
	QUEUE_WRITTEN,
};

/* One buffer of a queue (struct sk_buff). */
struct socket_buffer {
	uint64_t address, sock; /* sock: of a unix listener: the end that waits to be accepted */
	uint8_t cb[48];
	uint8_t *data; /* from the network header on, if asked for it; else what is to be read */
	size_t size;
};

struct socket_buffers {
	struct socket_buffer *list;
	size_t n;
};

/* headers: of packets, from the network header on. -EAGAIN: it changed meanwhile. */
int socket_view_queue(
	struct socket_view *v, uint64_t sock, enum socket_view_queue which, bool headers, struct socket_buffers *out);
/* Of TCP: what was written and is not acknowledged, in order. */
int socket_view_unsent(struct socket_view *v, uint64_t sock, struct socket_buffers *out);
struct sock_extended_err socket_view_error_of(struct socket_view *v, const struct socket_buffer *b);
void socket_buffers_free(struct socket_buffers *b);
/* Where the kernel sees what is in a page (struct page). */
uint64_t socket_view_page(const struct socket_view *v, uint64_t page);
