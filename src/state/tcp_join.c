/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/tcp_join.h"

#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>

#include "state/inet_diag.h"

#define COME_MS 2000
#define ROOM	(1 << 20) /* what the kernel takes for itself beside the bytes of a queue, at least */

static int set(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

int tcp_end_failed(struct restore *r, const struct tcp_end *e, int err, const char *what)
{
	struct inet_text local = inet_text(&e->local), peer = inet_text(&e->peer);

	return r->ps->first_error ? err
				  : failed(r->ps, BLAME(.object = local.s), err, "a TCP connection with %s %s: %s",
					    peer.s, what, strerror(-err));
}

/* --- in repair mode --- */

static union inet_sockaddr bound_name(const struct tcp_end *e)
{
	union inet_sockaddr local = e->local;

	inet_unbind_address(&e->s->inet, &e->peer, &local);
	return local;
}

static int bind_now(const struct tcp_end *e)
{
	union inet_sockaddr local = bound_name(e);

	return bind(e->fd, &local.any, inet_size(&local)) < 0 ? -errno : 0;
}

/* One that a listener of the tree has, too, was taken over from it, which cannot be done again. */
static bool port_was_chosen(struct restore *r, const struct tcp_end *e)
{
	uint64_t bound = e->s->inet.hidden.bound;
	in_port_t port = inet_port(&e->local);

	return bound & BOUND_KNOWN && !(bound & BOUND_PORT) && inet_may_choose(r, port) &&
	       !(r->own.listening[port / 64] >> port % 64 & 1);
}

static bool same_address(const union inet_sockaddr *a, const union inet_sockaddr *b)
{
	struct in6_addr x = inet_ip(a), y = inet_ip(b);

	return !memcmp(&x, &y, sizeof(x));
}

static int bind_chosen(struct restore *r, const struct tcp_end *e)
{
	const union inet_sockaddr local = bound_name(e);
	const union inet_sockaddr *peer = e->s->relation == RELATION_ENDED ? NULL /* it is known no more */ : &e->peer;
	int err = inet_bind_chosen(e->fd, &local);

	if (err == -EADDRINUSE && inet_diag_clear(r->root_pid, &e->local, peer) > 0)
		err = inet_bind_chosen(e->fd, &local);
	return err;
}

/* Without an address too it is connect() that chose both. Of two addresses of one machine each goes to itself: so the address will be chosen as it was. */
int tcp_end_bind(struct restore *r, struct tcp_end *e)
{
	int err = set(e->fd, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_ON);

	e->chosen = false;
	if (err || !port_was_chosen(r, e))
		return err ? err : bind_now(e);
	if (e->s->inet.hidden.bound & BOUND_ADDRESS)
		return bind_chosen(r, e) == 0 ? 0 : bind_now(e);
	e->chosen = same_address(&e->local, &e->peer) && inet_offer_port(e->fd, inet_port(&e->local)) == 0;
	return e->chosen ? 0 : bind_now(e);
}

/* In repair mode or not. */
static int bind_after_all(struct tcp_end *e)
{
	int repair = TCP_REPAIR_ON, err;
	socklen_t size = sizeof(repair);

	e->chosen = false;
	getsockopt(e->fd, IPPROTO_TCP, TCP_REPAIR, &repair, &size);
	err = inet_offer_port(e->fd, 0);
	if (!err && !repair)
		err = set(e->fd, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_ON);
	if (!err)
		err = bind_now(e);
	return err || repair ? err : set(e->fd, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP);
}

static int connect_to(const struct tcp_end *e)
{
	union inet_sockaddr own;
	socklen_t size = sizeof(own);

	if (connect(e->fd, &e->peer.any, inet_size(&e->peer)) < 0)
		return -errno;
	return getsockname(e->fd, &own.any, &size) < 0 ? -errno : inet_same(&own, &e->local) ? 0 : -EADDRNOTAVAIL;
}

/* What a killed tree has left of this very connection is in the way. */
int tcp_end_connect(struct restore *r, struct tcp_end *e)
{
	int err = connect_to(e);

	if (err == -EADDRNOTAVAIL && inet_diag_clear(r->root_pid, &e->local, &e->peer) > 0)
		err = connect_to(e);
	if (err == -EADDRNOTAVAIL && e->chosen) {
		err = bind_after_all(e);
		if (!err)
			err = connect_to(e);
	}
	if (e->chosen)
		inet_offer_port(e->fd, 0);
	return err;
}

static int set_parameters(const struct tcp_end *e)
{
	const struct tcp_state *s = e->s;
	struct tcp_repair_opt list[4];
	size_t n = 0;
	int err;

	list[n++] = (struct tcp_repair_opt){ 2 /* TCPOPT_MSS */, (uint32_t)s->mss };
	if (s->wscale)
		list[n++] = (struct tcp_repair_opt){ 3 /* TCPOPT_WINDOW */,
			(uint32_t)(s->snd_wscale | s->rcv_wscale << 16) };
	if (s->sack)
		list[n++] = (struct tcp_repair_opt){ 4 /* TCPOPT_SACK_PERM */, 0 };
	if (s->timestamps)
		list[n++] = (struct tcp_repair_opt){ 8 /* TCPOPT_TIMESTAMP */, 0 };
	if (setsockopt(e->fd, IPPROTO_TCP, TCP_REPAIR_OPTIONS, list, (socklen_t)(n * sizeof(*list))) < 0)
		return -errno;
	err = s->timestamps ? set(e->fd, IPPROTO_TCP, TCP_TIMESTAMP, (int)(uint32_t)s->timestamp) : 0;
	return err ? err : set(e->fd, IPPROTO_TCP, TCP_MAXSEG, 0); /* that it was set is not seen while connected */
}

static int write_all(int fd, const void *data, size_t size, int flags)
{
	for (size_t done = 0; done < size;) {
		ssize_t n = send(fd, (const char *)data + done, size - done, flags | MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			return -errno;
		done += (size_t)MAX(n, 0);
	}
	return 0;
}

static int set_room(const struct tcp_end *e, int option, size_t size)
{
	return set(e->fd, SOL_SOCKET, option, (int)MIN(4 * size + ROOM, INT32_MAX / 2ul));
}

/* From it the kernel derives the windows that it offers. */
static int set_receive_room(const struct tcp_end *e)
{
	int64_t size = e->s->inet.options.rcvbuf;

	return size > 0 ? set(e->fd, SOL_SOCKET, SO_RCVBUFFORCE, (int)MIN((size + 1) / 2, INT32_MAX / 2)) : 0;
}

/* With a byte out of band in it the other end sends it instead: see send_marked(). */
static size_t filled(const struct tcp_state *s)
{
	return s->mark ? 0 : s->unread.size;
}

static int fill_unread(const struct tcp_end *e)
{
	int err = 0;

	if (!filled(e->s))
		return 0;
	err = set_room(e, SO_RCVBUFFORCE, filled(e->s));
	if (!err)
		err = set(e->fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, TCP_RECV_QUEUE);
	if (!err)
		err = write_all(e->fd, e->s->unread.data, filled(e->s), 0);
	return err ? err : set_receive_room(e);
}

/* Who sends may not send more than the other end takes. */
static int set_window(const struct tcp_end *e, const struct tcp_end *other)
{
	struct tcp_repair_window w;
	socklen_t size = sizeof(w);

	if (getsockopt(e->fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, &w, &size) < 0)
		return -errno;
	w.rcv_wnd = (uint32_t)e->s->rcv_wnd;
	w.rcv_wup = other->seq;
	w.snd_wl1 = other->seq;
	w.snd_wnd = (uint32_t)e->s->snd_wnd;
	w.max_window = MAX(w.snd_wnd, 65535u);
	if (setsockopt(e->fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, &w, sizeof(w)) < 0)
		return -errno;
	return e->s->tcp.window_clamp > 0 ? set(e->fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, (int)e->s->tcp.window_clamp) : 0;
}

static int make_end(struct restore *r, struct tcp_end *e, const struct tcp_end *other)
{
	const struct tcp_state *s = e->s;
	int err = tcp_end_bind(r, e);

	if (!err)
		err = set_receive_room(e);
	if (!err && s->mss)
		err = set(e->fd, IPPROTO_TCP, TCP_MAXSEG, (int)MIN(s->mss, 32767ul));
	if (!err)
		err = set(e->fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, TCP_SEND_QUEUE);
	if (!err)
		err = set(e->fd, IPPROTO_TCP, TCP_QUEUE_SEQ, (int)e->seq);
	if (!err)
		err = set(e->fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, TCP_RECV_QUEUE);
	if (!err)
		err = set(e->fd, IPPROTO_TCP, TCP_QUEUE_SEQ, (int)(other->seq - (uint32_t)filled(s)));
	if (!err)
		err = tcp_end_connect(r, e);
	if (!err)
		err = set_parameters(e);
	if (!err)
		err = fill_unread(e);
	return err ? err : set_window(e, other);
}

/* --- by ordinary calls --- */

/* A byte out of band is so only if it was sent so; one that was read already is read again. */
static int send_marked(const struct tcp_end *to, const struct tcp_end *from)
{
	const struct tcp_state *s = to->s;
	size_t at = (size_t)s->mark - 1;
	int waiting = 0, err;
	uint8_t byte;

	if (!s->mark)
		return 0;
	err = set_room(from, SO_SNDBUFFORCE, s->unread.size);
	if (!err)
		err = set(to->fd, SOL_SOCKET, SO_OOBINLINE, 1);
	if (!err)
		err = write_all(from->fd, s->unread.data, at, MSG_DONTWAIT);
	if (!err)
		err = write_all(from->fd, s->unread.data + at, 1, MSG_DONTWAIT | MSG_OOB);
	if (!err)
		err = write_all(from->fd, s->unread.data + at + 1, s->unread.size - at - 1, MSG_DONTWAIT);
	for (int ms = 0; !err && ms < COME_MS; ms++) {
		ioctl(to->fd, SIOCINQ, &waiting);
		if ((size_t)waiting == s->unread.size)
			break;
		poll(NULL, 0, 1);
	}
	if (!err && (size_t)waiting != s->unread.size)
		err = -ETIMEDOUT;
	if (!err)
		err = set(to->fd, SOL_SOCKET, SO_OOBINLINE, 0);
	if (!err && s->mark_taken && recv(to->fd, &byte, 1, MSG_OOB | MSG_DONTWAIT) != 1)
		err = -errno;
	return err;
}

int tcp_end_send_unsent(const struct tcp_end *e)
{
	const struct blob *b = &e->s->unsent;
	size_t mark = (size_t)e->s->unsent_mark;
	int err = b->size ? set_room(e, SO_SNDBUFFORCE, b->size) : 0;

	if (!err && mark)
		err = write_all(e->fd, b->data, mark - 1, MSG_DONTWAIT);
	if (!err && mark)
		err = write_all(e->fd, b->data + mark - 1, 1, MSG_DONTWAIT | MSG_OOB);
	return err ? err : write_all(e->fd, b->data + mark, b->size - mark, MSG_DONTWAIT);
}

int tcp_end_shut(const struct tcp_end *e, bool now)
{
	return now && e->s->shutdown & 2 && shutdown(e->fd, SHUT_WR) < 0 ? -errno : 0;
}

int tcp_end_leave_repair(const struct tcp_end *e)
{
	set(e->fd, IPPROTO_TCP, TCP_REPAIR_QUEUE,
		TCP_NO_QUEUE); /* it would be seen: of another, TCP_QUEUE_SEQ can be read */
	return set(e->fd, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP);
}

static int draw(uint32_t *number)
{
	return getrandom(number, sizeof(*number), 0) == sizeof(*number) ? 0 : -EIO;
}

/* Who has closed first closes first. */
int tcp_join(struct restore *r, struct tcp_end *a, struct tcp_end *b)
{
	int err = draw(&a->seq);

	if (!err)
		err = draw(&b->seq);
	if (a->fd == b->fd)
		b->seq = a->seq;
	if (!err)
		err = make_end(r, a, b);
	if (!err && a->fd != b->fd)
		err = make_end(r, b, a);
	if (!err)
		err = tcp_end_leave_repair(a);
	if (!err)
		err = tcp_end_leave_repair(b);
	if (!err)
		err = send_marked(a, b);
	if (!err)
		err = send_marked(b, a);
	if (!err)
		err = tcp_end_send_unsent(a);
	if (!err && a->fd != b->fd)
		err = tcp_end_send_unsent(b);
	if (!err)
		err = tcp_end_shut(a, !a->s->peer_shutdown);
	if (!err)
		err = tcp_end_shut(b, !b->s->peer_shutdown);
	if (!err)
		err = tcp_end_shut(a, a->s->peer_shutdown);
	if (!err)
		err = tcp_end_shut(b, b->s->peer_shutdown);
	return err ? tcp_end_failed(r, a, err, "cannot be made again") : 0;
}
