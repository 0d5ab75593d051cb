/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What lies in the queues of a TCP connection, read without taking any of it: tcp(7), TCP_REPAIR; net/ipv4/tcp.c.
 *
 * What has come is seen by MSG_PEEK. What was sent and not acknowledged is seen only in repair mode, in which the program's own calls would fail: a
 * short-lived child switches it on and off, which lives on if spore is killed meanwhile. It is off again (without a probe being sent) before the child
 * does anything else, and SO_REUSEADDR, which it clears, is set again.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "state/inet_packet.h"
#include "state/tcp_look.h"

#define DRAW_ROOM  (1 << 29)
#define DRAW_STEPS 300 /* of a millisecond */

/* For the child: room is mapped before. */
struct reading {
	int fd;
	bool repair;
	char *room;
	size_t size;
	size_t got;
	int waiting; /* how much there is, if there was not room for it */
	int mark;
	bool mark_taken;
	/* in repair mode */
	uint32_t seq;
	int unacked;
	struct tcp_repair_window window;
};

static int get(int fd, int level, int option)
{
	int value = -1;
	socklen_t size = sizeof(value);

	return getsockopt(fd, level, option, &value, &size) < 0 ? INT32_MIN : value;
}

static void put(int fd, int level, int option, int value)
{
	if (value != INT32_MIN)
		setsockopt(fd, level, option, &value, sizeof(value));
}

/* --- in the child --- */

static int enter_repair(struct reading *r, int queue)
{
	socklen_t size = sizeof(r->window);
	int on = TCP_REPAIR_ON;

	if (setsockopt(r->fd, IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on)) < 0)
		return -errno;
	put(r->fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, queue);
	r->seq = (uint32_t)get(r->fd, IPPROTO_TCP, TCP_QUEUE_SEQ);
	return getsockopt(r->fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, &r->window, &size) < 0 ? -errno : 0;
}

static void leave_repair(struct reading *r, int reuseaddr)
{
	put(r->fd, IPPROTO_TCP, TCP_REPAIR_QUEUE,
		TCP_NO_QUEUE); /* it would be seen: of another, TCP_QUEUE_SEQ can be read */
	put(r->fd, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP);
	put(r->fd, SOL_SOCKET, SO_REUSEADDR, reuseaddr);
}

static ssize_t peek(struct reading *r, size_t from)
{
	ssize_t n = recv(r->fd, r->room + from, r->size - from, MSG_PEEK | MSG_DONTWAIT);

	r->got = from + (size_t)MAX(n, 0);
	return n;
}

/*
 * A look stops before a byte out of band, unless it begins there; with SO_OOBINLINE that byte is among the others, also when it was taken already.
 * -ENOBUFS: there is not room for it.
 */
static int peek_all(struct reading *r)
{
	int at_mark = 0, offset, reuseaddr, err = 0;
	struct pollfd p = { .fd = r->fd, .events = POLLPRI };

	poll(&p, 1, 0);
	r->mark_taken = !(p.revents & POLLPRI);
	ioctl(r->fd, SIOCINQ, &r->waiting);
	if ((size_t)r->waiting > r->size)
		return -ENOBUFS;
	ioctl(r->fd, SIOCATMARK, &at_mark);
	r->mark = at_mark ? 0 : -1;
	peek(r, 0);
	if (r->got && r->got < (size_t)r->waiting) {
		r->mark = offset = (int)r->got;
		if (setsockopt(r->fd, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof(offset)) < 0)
			return -ENOTSUP;
		peek(r, r->got);
	}
	if (!r->repair)
		return 0;
	reuseaddr = get(r->fd, SOL_SOCKET, SO_REUSEADDR);
	err = enter_repair(r, TCP_RECV_QUEUE);
	ioctl(r->fd, SIOCINQ, &r->waiting);
	leave_repair(r, reuseaddr);
	return err ? err : r->got != (size_t)r->waiting ? -ENOBUFS : 0;
}

static int read_receive_queue(void *arg)
{
	struct reading *r = arg;
	int oobinline = get(r->fd, SOL_SOCKET, SO_OOBINLINE), offset = get(r->fd, SOL_SOCKET, SO_PEEK_OFF), err;

	if (!oobinline)
		put(r->fd, SOL_SOCKET, SO_OOBINLINE, 1);
	if (offset >= 0)
		put(r->fd, SOL_SOCKET, SO_PEEK_OFF, -1);
	err = peek_all(r);
	if (get(r->fd, SOL_SOCKET, SO_PEEK_OFF) != offset)
		put(r->fd, SOL_SOCKET, SO_PEEK_OFF, offset);
	if (!oobinline)
		put(r->fd, SOL_SOCKET, SO_OOBINLINE, 0);
	return err;
}

static int read_send_queue(void *arg)
{
	struct reading *r = arg;
	int reuseaddr = get(r->fd, SOL_SOCKET, SO_REUSEADDR), err = enter_repair(r, TCP_SEND_QUEUE);

	if (!err) {
		ioctl(r->fd, SIOCOUTQ, &r->unacked);
		peek(r, 0);
	}
	leave_repair(r, reuseaddr);
	return err;
}

/* --- here --- */

static int keep(struct blob *to, const void *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);

	if (!copy)
		return -ENOMEM;
	if (size)
		memcpy(copy, data, size);
	free(to->data);
	*to = (struct blob){ copy, size };
	return 0;
}

static int read_in_child(struct reading *r, size_t expected, int (*fn)(void *arg))
{
	int err = -ENOBUFS;

	for (int tries = 0; tries < 5 && err == -ENOBUFS; tries++) {
		if (r->room)
			munmap(r->room, r->size);
		r->size = ALIGN_UP(MAX(expected, (size_t)r->waiting) + 4096, 4096ul);
		r->room = mmap(NULL, r->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (r->room == MAP_FAILED) {
			r->room = NULL;
			return -ENOMEM;
		}
		err = call_in_child(fn, r);
	}
	return err;
}

static void end_reading(struct reading *r)
{
	if (r->room)
		munmap(r->room, r->size);
}

static int keep_unread(const struct reading *r, struct tcp_look *t)
{
	t->mark = r->mark;
	t->mark_taken = r->mark_taken;
	return keep(&t->unread, r->room, r->got);
}

int tcp_read_unread(int fd, struct tcp_look *t)
{
	_cleanup_(end_reading)
	struct reading r = { .fd = fd };
	struct pollfd p = { .fd = fd, .events = POLLPRI };
	int waiting = 0, at_mark = 0, err;

	poll(&p, 1, 0);
	ioctl(fd, SIOCINQ, &waiting);
	ioctl(fd, SIOCATMARK, &at_mark);
	if (!waiting && !at_mark && !(p.revents & POLLPRI))
		return 0;
	err = read_in_child(&r, (size_t)waiting, read_receive_queue);
	return err ? err : keep_unread(&r, t);
}

static bool fin_is_queued(const struct tcp_look *t)
{
	uint8_t state = t->info.tcpi_state;

	return state == STATE_FIN_WAIT1 || state == STATE_LAST_ACK || state == STATE_CLOSING;
}

int tcp_read_come(int fd, struct tcp_look *t, uint32_t *next)
{
	_cleanup_(end_reading)
	struct reading come = { .fd = fd, .repair = true };
	int err = read_in_child(&come, 1ul << 16, read_receive_queue);

	if (err)
		return err;
	*next = come.seq;
	t->rcv_wnd = (uint32_t)MAX((int32_t)(come.window.rcv_wup + come.window.rcv_wnd - come.seq), 0);
	return keep_unread(&come, t);
}

/* What the one has sent is looked at first: the other can only have got more by then, never less than what the first look begins with. */
int tcp_read_under_way(int from_fd, struct tcp_look *from, int to_fd, struct tcp_look *to)
{
	_cleanup_(end_reading)
	struct reading sent = { .fd = from_fd };
	int err = read_in_child(&sent, 2 * (size_t)from->unacked + (1ul << 16), read_send_queue);
	uint32_t begin, acked, end;
	int32_t missing, urgent_at;

	if (err)
		return err;
	acked = begin = sent.seq - (uint32_t)sent.unacked;
	err = to ? tcp_read_come(to_fd, to, &begin) : 0;
	if (err)
		return err;
	end = sent.seq - (fin_is_queued(from) ? 1 : 0);
	missing = MAX((int32_t)(end - begin), 0);
	urgent_at = (int32_t)(from->urgent_seq - begin);
	if ((size_t)missing > sent.got)
		return -EIO;
	from->snd_wnd = sent.window.snd_wnd > begin - acked ? sent.window.snd_wnd - (begin - acked) : 0;
	if (from->urgent && urgent_at >= 0 && urgent_at < missing)
		from->unsent_mark = (uint64_t)urgent_at + 1;
	from->unsent_seq = end - (uint32_t)missing;
	return keep(&from->unsent, sent.room + sent.got - missing, (size_t)missing);
}

/* --- what the kernel still sends for a program that has closed its end --- */

struct drawing {
	int fd, raw;
	const struct tcp_look *t;
};

static bool end_has_come(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLRDHUP };

	return poll(&p, 1, 0) == 1 && p.revents & (POLLRDHUP | POLLHUP);
}

/* The widest window: what the kernel offers it does not take back. */
static int widen_window(int fd, uint32_t window, uint32_t *seq, uint32_t *ack)
{
	struct reading r = { .fd = fd };
	int reuseaddr = get(fd, SOL_SOCKET, SO_REUSEADDR), err = enter_repair(&r, TCP_SEND_QUEUE);

	*seq = r.seq;
	put(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, TCP_RECV_QUEUE);
	*ack = (uint32_t)get(fd, IPPROTO_TCP, TCP_QUEUE_SEQ);
	r.window.rcv_wnd = MAX(r.window.rcv_wnd, window);
	if (!err && setsockopt(fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, &r.window, sizeof(r.window)) < 0)
		err = -errno;
	leave_repair(&r, reuseaddr);
	return err;
}

/* The kernel would tell of the wider window when the program reads. In its name: */
static int tell_window(const struct drawing *d, uint32_t seq, uint32_t ack)
{
	struct {
		struct tcphdr h;
		uint8_t nop[2], kind, length;
		uint32_t timestamp, echo;
	} __attribute__((packed)) segment = {
		.h = { .source = d->t->local.v4.sin_port,
			.dest = d->t->peer.v4.sin_port,
			.seq = htonl(seq),
			.ack_seq = htonl(ack),
			.doff = sizeof(struct tcphdr) / 4,
			.ack = 1,
			.window = htons(65535) },
		.nop = { 1, 1 },
		.kind = 8,
		.length = 10,
		.timestamp = htonl((uint32_t)get(d->fd, IPPROTO_TCP, TCP_TIMESTAMP)),
	};
	struct inet_packet p = { .from = d->t->local,
		.to = d->t->peer,
		.protocol = IPPROTO_TCP,
		.ttl = 64,
		.data = (void *)&segment,
		.size = sizeof(segment.h),
		.checksum = offsetof(struct tcphdr, check) };

	if (d->t->info.tcpi_options & TCPI_OPT_TIMESTAMPS) {
		segment.h.doff = sizeof(segment) / 4;
		p.size = sizeof(segment);
	}
	return inet_packet_send(d->raw, &p);
}

static int draw(void *arg)
{
	struct drawing *d = arg;
	int rcvbuf = get(d->fd, SOL_SOCKET, SO_RCVBUF), lock = get(d->fd, SOL_SOCKET, SO_BUF_LOCK), err = 0;
	int clamp = get(d->fd, IPPROTO_TCP, TCP_WINDOW_CLAMP);
	uint32_t seq = 0, ack = 0;

	put(d->fd, SOL_SOCKET, SO_RCVBUFFORCE, DRAW_ROOM);
	for (int i = 0; i < DRAW_STEPS && !err && !end_has_come(d->fd); i++) {
		if (i % 8 == 0)
			err = widen_window(d->fd, 65535u << d->t->info.tcpi_rcv_wscale, &seq, &ack);
		if (!err && i % 8 == 0)
			err = tell_window(d, seq, ack);
		if (!err && !end_has_come(d->fd))
			poll(NULL, 0, 1);
	}
	put(d->fd, SOL_SOCKET, SO_RCVBUFFORCE, (rcvbuf + 1) / 2);
	put(d->fd, SOL_SOCKET, SO_BUF_LOCK, lock);
	put(d->fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, clamp); /* it follows the size of the buffer */
	return err;
}

int tcp_draw(int pid, int fd, const struct tcp_look *t)
{
	_cleanup_fd_ int raw = inet_packet_socket(pid, &t->peer);
	struct drawing d = { .fd = fd, .raw = raw, .t = t };

	return raw < 0 ? raw : call_in_child(draw, &d);
}
