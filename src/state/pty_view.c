/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/pty_view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RING	      4096 /* N_TTY_BUF_SIZE */
#define TTY_EXCLUSIVE 3	   /* a bit of tty_struct.flags */
#define MOST	      (1ul << 20)
#define PATIENCE_MS   1000

/* --- one queue: of what was received by a side, and has not been read --- */

struct queue {
	uint8_t *bytes;
	size_t n;
	uint64_t ring; /* struct n_tty_data; 0: it has none */
	uint64_t no_room;
	bool behind; /* some of it is still on its way into the ring */
};

static int make_room(struct queue *q, size_t size)
{
	uint8_t *grown = q->n + size <= MOST ? realloc(q->bytes, q->n + size) : NULL;

	if (!grown)
		return -ENOMEM;
	q->bytes = grown;
	return 0;
}

static int append_bytes(struct queue *q, const uint8_t *bytes, size_t size)
{
	int err = size ? make_room(q, size) : 0;

	if (!err && size)
		memcpy(q->bytes + q->n, bytes, size);
	q->n += err ? 0 : size;
	return err;
}

static int append(struct kernel_peek *k, struct queue *q, uint64_t at, size_t size)
{
	int room = make_room(q, size);

	if (room < 0)
		return room;
	for (size_t done = 0; done < size;) {
		size_t part = MIN(size - done, (size_t)RING);
		int err = kernel_peek_bytes(k, at + done, q->bytes + q->n, part);

		if (err)
			return err;
		done += part;
		q->n += part;
	}
	return 0;
}

static int read_ring(struct kernel_peek *k, struct queue *q)
{
	uint64_t head = 0, tail = 0, bytes = 0;
	size_t first;
	int err = kernel_peek_member(k, q->ring, "n_tty_data", "read_head", &head);

	if (!err)
		err = kernel_peek_member(k, q->ring, "n_tty_data", "read_tail", &tail);
	if (!err)
		err = kernel_peek_member(k, q->ring, "n_tty_data", "no_room", &q->no_room);
	if (!err)
		err = kernel_peek_address(k, q->ring, "n_tty_data", "read_buf", &bytes);
	if (err || head == tail)
		return err;
	if (head - tail > RING)
		return -EBADMSG;
	first = MIN((size_t)(head - tail), RING - tail % RING);
	err = append(k, q, bytes + tail % RING, first);
	return err || first == head - tail ? err : append(k, q, bytes, (size_t)(head - tail) - first);
}

static int read_buffer(struct kernel_peek *k, uint64_t buffer, struct queue *q)
{
	uint64_t from = 0, to = 0, data = 0;
	int err = kernel_peek_member(k, buffer, "tty_buffer", "read", &from);

	if (!err)
		err = kernel_peek_member(k, buffer, "tty_buffer", "used", &to);
	if (!err)
		err = kernel_peek_address(k, buffer, "tty_buffer", "data", &data);
	if (err || from >= to)
		return err;
	q->behind = true;
	return append(k, q, data + from, (size_t)(to - from));
}

/* What a worker of the kernel has not brought into the ring yet, or which has no room there. */
static int read_buffers(struct kernel_peek *k, uint64_t tty, struct queue *q)
{
	uint64_t port = 0, buffer = 0;
	int err = kernel_peek_member(k, tty, "tty_struct", "port", &port);

	if (!err)
		err = kernel_peek_member(k, port, "tty_port", "buf.head", &buffer);
	while (!err && buffer) {
		err = read_buffer(k, buffer, q);
		if (!err)
			err = kernel_peek_member(k, buffer, "tty_buffer", "next", &buffer);
	}
	return err;
}

/*
 * First what is on its way, for a worker may bring it into the ring between the looks: what is then not on its way any more is in the ring by the time that
 * this is read. In the queue it comes behind what is in the ring.
 */
static int read_once(struct kernel_peek *k, uint64_t tty, struct queue *q)
{
	struct queue coming = { 0 };
	int err = read_buffers(k, tty, &coming);

	q->n = 0;
	q->behind = coming.behind;
	if (!err)
		err = kernel_peek_member(k, tty, "tty_struct", "disc_data", &q->ring);
	if (!err && q->ring)
		err = read_ring(k, q);
	if (!err && coming.n)
		err = append_bytes(q, coming.bytes, coming.n);
	free(coming.bytes);
	return err;
}

static bool is_same(const struct queue *a, const struct queue *b)
{
	return a->n == b->n && a->no_room == b->no_room && (!a->n || !memcmp(a->bytes, b->bytes, a->n));
}

/* Nobody writes and nobody reads: what does not wait for room is soon in the ring. What waits for room waits still at a second look. */
static int read_queue(struct kernel_peek *k, uint64_t tty, struct queue *q)
{
	struct queue before = { 0 };
	int err = -EAGAIN;

	for (int ms = 0; ms < PATIENCE_MS && err == -EAGAIN; ms++) {
		err = read_once(k, tty, q);
		if (err || !q->behind)
			break;
		err = q->no_room && is_same(&before, q) ? 0 : -EAGAIN;
		before.n = 0;
		before.no_room = q->no_room;
		if (err && append_bytes(&before, q->bytes, q->n) < 0)
			err = -ENOMEM;
		if (err == -EAGAIN)
			usleep(1000);
	}
	free(before.bytes);
	return err == -EAGAIN ? -ETIMEDOUT : err;
}

/* --- all --- */

static int read_flags(struct kernel_peek *k, uint64_t master, uint64_t slave, struct pty_state *s)
{
	uint64_t flags = 0, status = 0, stopped = 0, held = 0, master_held = 0;
	int err = kernel_peek_member(k, slave, "tty_struct", "flags", &flags);

	if (!err)
		err = kernel_peek_member(k, slave, "tty_struct", "ctrl.pktstatus", &status);
	if (!err)
		err = kernel_peek_member(k, slave, "tty_struct", "flow.stopped", &stopped);
	if (!err)
		err = kernel_peek_member(k, slave, "tty_struct", "flow.tco_stopped", &held);
	if (!err)
		err = kernel_peek_member(k, master, "tty_struct", "flow.tco_stopped", &master_held);
	if (err)
		return err;
	s->exclusive = flags >> TTY_EXCLUSIVE & 1;
	s->status = s->packet ? status : 0;
	s->stopped = stopped;
	s->held = held;
	s->master_held = master_held;
	return 0;
}

static int read_columns(struct kernel_peek *k, uint64_t ring, struct pty_state *s)
{
	int err = ring ? kernel_peek_member(k, ring, "n_tty_data", "column", &s->column) : 0;

	return err || !ring ? err : kernel_peek_member(k, ring, "n_tty_data", "canon_column", &s->line_column);
}

static int read_hindrances(struct kernel_peek *k, const struct queue *typed, struct pty_view *v)
{
	uint64_t committed = 0, echoed = 0, quoting = 0;
	int err = 0;

	if (typed->ring)
		err = kernel_peek_member(k, typed->ring, "n_tty_data", "echo_commit", &committed);
	if (typed->ring && !err)
		err = kernel_peek_member(k, typed->ring, "n_tty_data", "echo_tail", &echoed);
	if (typed->ring && !err)
		err = kernel_peek_member(k, typed->ring, "n_tty_data", "lnext", &quoting);
	v->echoes = committed != echoed;
	v->quotes = quoting;
	return err;
}

int pty_view_read(struct kernel_peek *kernel, int master, struct pty_state *s, struct pty_view *v)
{
	struct queue printed = { 0 }, typed = { 0 };
	uint64_t file, private = 0, tty = 0, slave = 0;
	int err = kernel ? kernel_peek_file(kernel, master, &file, &private) : -ENODATA;

	*v = (struct pty_view){ 0 };
	if (!err)
		err = kernel_peek_member(kernel, private, "tty_file_private", "tty", &tty);
	if (!err)
		err = kernel_peek_member(kernel, tty, "tty_struct", "link", &slave);
	if (!err)
		err = read_queue(kernel, tty, &printed);
	if (!err)
		err = read_queue(kernel, slave, &typed);
	if (!err)
		err = read_hindrances(kernel, &typed, v);
	if (!err)
		err = read_columns(kernel, typed.ring, s);
	if (!err)
		err = read_flags(kernel, tty, slave, s);
	if (err) {
		free(printed.bytes);
		free(typed.bytes);
		return err;
	}
	s->output = (struct blob){ .data = printed.bytes, .size = printed.n };
	s->input = (struct blob){ .data = typed.bytes, .size = typed.n };
	return 0;
}
