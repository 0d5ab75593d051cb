/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* net/unix/af_unix.c; include/net/af_unix.h (struct unix_skb_parms). */
#include "state/unix_unseen.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "kernel/peek.h"
#include "state/unix_early.h"

static void put(struct socket_queue *q, struct queue_message *m)
{
	q->list[q->n++] = *m;
	*m = (struct queue_message){ 0 };
}

/* Of each message: it is empty, and stands in `all` whole; or what the look has brought of it, which comes in the same order. */
static int merge(struct socket_queue *all, struct socket_queue *seen)
{
	struct socket_queue q = { .list = calloc(all->n + seen->n + 1, sizeof(*q.list)) };
	size_t next = 0;
	int err = q.list ? 0 : -ENOMEM;

	for (size_t i = 0; i < all->n && !err; i++) {
		if (!all->list[i].size) {
			put(&q, &all->list[i]);
			continue;
		}
		while (next < seen->n && !seen->list[next].size)
			next++;
		if (next < seen->n)
			put(&q, &seen->list[next++]);
		else
			err = -EAGAIN;
	}
	socket_queue_free(seen);
	*seen = q;
	return err;
}

int unix_add_empty(struct capture *c, const struct socket_hidden *h, struct socket_queue *q)
{
	struct socket_queue all = { 0 };
	int err;

	if (!h->known || h->queued <= q->n)
		return 0;
	err = unix_own_read(c, h->sock, true, &all);
	if (!err)
		err = merge(&all, q);
	socket_queue_free(&all);
	return err;
}

bool unix_ends_at_mark(struct capture *c, const struct socket_hidden *h)
{
	uint64_t queue = 0, last = 0, at = 0, offset = 0, length = 0, data = 0;
	uint32_t consumed = 0;

	if (!h->known || !h->queued ||
		kernel_peek_address(c->kernel, h->sock, "sock", "sk_receive_queue", &queue) < 0 ||
		kernel_peek_member(c->kernel, queue, "sk_buff_head", "prev", &last) < 0 || last == queue ||
		kernel_peek_member(c->kernel, last, "sk_buff", "len", &length) < 0 ||
		kernel_peek_address(c->kernel, last, "sk_buff", "cb", &at) < 0 ||
		kernel_peek_address(c->kernel, 0, "unix_skb_parms", "consumed", &offset) < 0 ||
		kernel_peek_bytes(c->kernel, at + offset, &consumed, sizeof(consumed)) < 0 ||
		kernel_peek_member(c->kernel, h->sock, "unix_sock", "oob_skb", &data) < 0)
		return false;
	return length && consumed == length && data != last;
}

int unix_read_behind_error(struct capture *c, const struct socket_hidden *h, struct socket_queue *q)
{
	return h->known ? unix_own_read(c, h->sock, false, q) : -ENODATA;
}

/* How many bytes a buffer had, and how many of them were not read yet. */
static int bytes_of(struct capture *c, uint64_t at, uint64_t *length, uint64_t *left)
{
	uint64_t cb = 0, offset = 0;
	uint32_t consumed = 0;
	int err = kernel_peek_address(c->kernel, 0, "unix_skb_parms", "consumed", &offset);

	if (!err)
		err = kernel_peek_member(c->kernel, at, "sk_buff", "len", length);
	if (!err)
		err = kernel_peek_address(c->kernel, at, "sk_buff", "cb", &cb);
	if (!err)
		err = kernel_peek_bytes(c->kernel, cb + offset, &consumed, sizeof(consumed));
	*left = err ? 0 : *length - consumed;
	return err;
}

/* The buffer behind that one; 0: the first; at the end, the queue itself. */
static int next_buffer(struct capture *c, uint64_t sock, uint64_t *queue, uint64_t *at)
{
	int err = kernel_peek_address(c->kernel, sock, "sock", "sk_receive_queue", queue);

	if (err)
		return err;
	return *at ? kernel_peek_member(c->kernel, *at, "sk_buff", "next", at)
		   : kernel_peek_member(c->kernel, *queue, "sk_buff_head", "next", at);
}

/* How many bytes are to be read before that buffer. */
static int bytes_before(struct capture *c, uint64_t sock, uint64_t buffer, uint64_t *bytes)
{
	uint64_t queue = 0, at = 0, length, left = 0;
	int err = next_buffer(c, sock, &queue, &at);

	while (!err && at != buffer) {
		if (at == queue)
			return -EAGAIN;
		err = bytes_of(c, at, &length, &left);
		*bytes += left;
		if (!err)
			err = next_buffer(c, sock, &queue, &at);
	}
	return err;
}

/* Does a message begin there, or is all before? */
static bool is_between_messages(const struct socket_queue *q, uint64_t bytes)
{
	for (size_t i = 0; i < q->n && bytes; i++) {
		if (q->list[i].size > bytes)
			return false;
		bytes -= q->list[i].size;
	}
	return true;
}

bool unix_hides_mark(struct capture *c, const struct socket_hidden *h, const struct socket_queue *q)
{
	uint64_t queue = 0, at = 0, length = 0, left = 0, before = 0;
	int err = h->known && h->queued > 2 ? next_buffer(c, h->sock, &queue, &at) : -EOPNOTSUPP;

	while (!err && at != queue) {
		err = bytes_of(c, at, &length, &left);
		if (!err && length && !left && !is_between_messages(q, before))
			return true;
		before += left;
		if (!err)
			err = next_buffer(c, h->sock, &queue, &at);
	}
	return false;
}

int unix_place_mark(struct capture *c, const struct socket_hidden *h, struct socket_queue *q)
{
	uint64_t buffer = 0, bytes = 0;
	int err = h->known ? kernel_peek_member(c->kernel, h->sock, "unix_sock", "oob_skb", &buffer) : -ENODATA;

	if (err || !buffer)
		return err;
	err = bytes_before(c, h->sock, buffer, &bytes);
	for (size_t i = 0; i < q->n && !err; i++) {
		if (q->list[i].mark == MARK_OUT_OF_BAND)
			q->list[i].mark = MARK_NONE;
		if (!bytes && q->list[i].size) {
			q->list[i].mark = MARK_OUT_OF_BAND;
			return 0;
		}
		if (q->list[i].size > bytes)
			return -ENOTSUP;
		bytes -= q->list[i].size;
	}
	return err ? err : -ENOTSUP;
}
