/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How TCP sockets come to be connected again. Listeners first. Then every connection, both ends at once, in repair mode (TCP_REPAIR), which sends
 * nothing and asks nobody: with the parameters that were agreed upon, and with what had come and was not read. What had not come yet is written
 * again, and closing is done again, by ordinary calls, so that the kernel brings the two to the state in which they were. An end that is nobody's
 * any more is made for this moment. Connections that wait to be accepted are dialled through their listener, in their order.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/sockios.h>

#include "base/cleanup.h"
#include "state/inet_diag.h"
#include "state/sock_diag.h"
#include "state/tcp.h"

#define DIAL_MS	    2000
#define MAX_BACKLOG 65535
#define ROOM	    (1 << 20) /* what the kernel takes for itself beside the bytes of a queue, at least */

/* One end of a connection. */
struct end {
	int fd;
	const struct tcp_state *s;
	union inet_sockaddr local, peer;
	uint32_t seq; /* of the next byte that it sends */
};

static int set(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

static int failed_at(struct restore *r, const struct end *e, int err, const char *what)
{
	struct inet_text local = inet_text(&e->local), peer = inet_text(&e->peer);

	return r->ps->first_error ? err
				  : failed(r->ps, BLAME(.object = local.s), err, "a TCP connection with %s %s: %s",
					    peer.s, what, strerror(-err));
}

static int set_level(struct restore *r, int fd, const struct tcp_state *s, enum option_when when)
{
	struct inet_text name = inet_name(&s->inet);
	const char *what = options_write(fd, tcp_level.list, tcp_level.n, &s->tcp, when);

	return what ? failed(r->ps, BLAME(.object = name.s), -errno, "a socket option cannot be set (%s): %m", what)
		    : 0;
}

static int set_early(struct restore *r, int fd, const struct tcp_state *s)
{
	struct inet_text name = inet_name(&s->inet);
	int err = inet_set_early(r, fd, &s->inet);

	if (!err && s->congestion &&
		setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, s->congestion, (socklen_t)strlen(s->congestion)) < 0)
		return failed(r->ps, BLAME(.object = name.s, .remedy = "load its module"), -errno,
			"there is no congestion control called %s here", s->congestion);
	return err ? err : set_level(r, fd, s, OPTION_EARLY);
}

/* --- in repair mode ------------------------------------------------------------------------------------------------------------- */

/* bind() asks for no port that is free. */
static int bind_shared(const struct end *e)
{
	union inet_sockaddr local = e->local;
	int err = set(e->fd, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_ON);

	inet_unbind_address(&e->s->inet, &local);
	return err ? err : bind(e->fd, &local.any, inet_size(&local)) < 0 ? -errno : 0;
}

static int connect_to(const struct end *e)
{
	union inet_sockaddr own;
	socklen_t size = sizeof(own);

	if (connect(e->fd, &e->peer.any, inet_size(&e->peer)) < 0)
		return -errno;
	return getsockname(e->fd, &own.any, &size) < 0 ? -errno : inet_same(&own, &e->local) ? 0 : -EADDRNOTAVAIL;
}

/* What a killed tree has left of this very connection is in the way. */
static int connect_end(struct restore *r, const struct end *e)
{
	int err = connect_to(e);

	if (err == -EADDRNOTAVAIL && inet_diag_clear(r->root_pid, &e->local, &e->peer) > 0)
		err = connect_to(e);
	return err;
}

static int set_parameters(const struct end *e)
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

static int set_room(const struct end *e, int option, size_t size)
{
	return set(e->fd, SOL_SOCKET, option, (int)MIN(4 * size + ROOM, INT32_MAX / 2ul));
}

/* From it the kernel derives the windows that it offers. */
static int set_receive_room(const struct end *e)
{
	int64_t size = e->s->inet.options.rcvbuf;

	return size > 0 ? set(e->fd, SOL_SOCKET, SO_RCVBUFFORCE, (int)MIN((size + 1) / 2, INT32_MAX / 2)) : 0;
}

/* With a byte out of band in it the other end sends it instead: see send_marked(). */
static size_t filled(const struct tcp_state *s)
{
	return s->mark ? 0 : s->unread.size;
}

static int fill_unread(const struct end *e)
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
static int set_window(const struct end *e, const struct end *other)
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

static int make_end(struct restore *r, const struct end *e, const struct end *other)
{
	const struct tcp_state *s = e->s;
	int err = bind_shared(e);

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
		err = connect_end(r, e);
	if (!err)
		err = set_parameters(e);
	if (!err)
		err = fill_unread(e);
	return err ? err : set_window(e, other);
}

/* --- by ordinary calls ------------------------------------------------------------------------------------------------------------ */

/* A byte out of band is so only if it was sent so; one that was read already is read again. */
static int send_marked(const struct end *to, const struct end *from)
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
	for (int ms = 0; !err && ms < DIAL_MS; ms++) {
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

static int send_unsent(const struct end *e)
{
	int err = e->s->unsent.size ? set_room(e, SO_SNDBUFFORCE, e->s->unsent.size) : 0;

	return err ? err : write_all(e->fd, e->s->unsent.data, e->s->unsent.size, MSG_DONTWAIT);
}

static int shut_sending(const struct end *e, bool now)
{
	return now && e->s->shutdown & 2 && shutdown(e->fd, SHUT_WR) < 0 ? -errno : 0;
}

static int leave_repair(const struct end *e)
{
	return set(e->fd, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP);
}

static int draw(uint32_t *number)
{
	return getrandom(number, sizeof(*number), 0) == sizeof(*number) ? 0 : -EIO;
}

/* Who has closed first closes first. */
static int join(struct restore *r, struct end *a, struct end *b)
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
		err = leave_repair(a);
	if (!err)
		err = leave_repair(b);
	if (!err)
		err = send_marked(a, b);
	if (!err)
		err = send_marked(b, a);
	if (!err)
		err = send_unsent(a);
	if (!err && a->fd != b->fd)
		err = send_unsent(b);
	if (!err)
		err = shut_sending(a, !a->s->peer_shutdown);
	if (!err)
		err = shut_sending(b, !b->s->peer_shutdown);
	if (!err)
		err = shut_sending(a, a->s->peer_shutdown);
	if (!err)
		err = shut_sending(b, b->s->peer_shutdown);
	return err ? failed_at(r, a, err, "cannot be made again") : 0;
}

static int end_of(const struct inet_made *m, struct end *e)
{
	const struct tcp_state *s = m->rec->state;

	*e = (struct end){ .fd = m->fd, .s = s };
	if (inet_from_text(s->inet.family, &s->inet.local, &e->local) < 0)
		return -EBADMSG;
	return s->inet.peer.ip ? inet_from_text(s->inet.family, &s->inet.peer, &e->peer) : 0;
}

/* --- the relations ------------------------------------------------------------------------------------------------------------------ */

static int connect_pair(struct restore *r, struct inet_made *m)
{
	const struct tcp_state *s = m->rec->state;
	struct inet_made *other = inet_made(r, s->peer);
	struct end a, b;
	int err;

	if (!other)
		return -EBADMSG;
	if (m->rec->id > s->peer)
		return 0; /* made by the other */
	err = end_of(m, &a);
	if (!err)
		err = end_of(other, &b);
	if (!err && (!inet_same(&a.local, &b.peer) || !inet_same(&a.peer, &b.local)))
		err = -EBADMSG;
	return err ? err : join(r, &a, &b);
}

/* An end for this moment, which agrees with the one given, and has closed what its peer knows to be closed. */
static int join_nobody(struct restore *r, struct end *e)
{
	const struct tcp_state *s = e->s;
	const struct tcp_state nobody = { .inet.family = s->inet.family,
		.relation = RELATION_CONNECTED,
		.shutdown = s->peer_shutdown ? 2 : 0,
		.peer_shutdown = s->shutdown & 2,
		.mss = s->mss,
		.timestamps = s->timestamps,
		.sack = s->sack,
		.wscale = s->wscale,
		.snd_wscale = s->rcv_wscale,
		.rcv_wscale = s->snd_wscale,
		.snd_wnd = s->rcv_wnd,
		.rcv_wnd = MAX(s->snd_wnd, 1u) };
	_cleanup_fd_ int fd = socket_in(r->root_pid, (int)s->inet.family, SOCK_STREAM, 0);
	struct end other = { .fd = fd, .s = &nobody, .local = e->peer, .peer = e->local };
	socklen_t size = sizeof(other.local);

	if (fd < 0)
		return fd;
	if (!inet_port(&e->peer)) {
		if (bind(fd, &other.local.any, inet_size(&other.local)) < 0 ||
			getsockname(fd, &other.local.any, &size) < 0)
			return failed_at(r, e, -errno, "cannot be made again");
		close_fd(&fd);
		other.fd = fd = socket_in(r->root_pid, (int)s->inet.family, SOCK_STREAM, 0);
		if (fd < 0)
			return fd;
		e->peer = other.local;
	}
	return join(r, e, &other);
}

static int connect_nobody(struct restore *r, struct inet_made *m)
{
	const struct tcp_state *s = m->rec->state;
	struct tcp_state copy = *s;
	struct end e;
	int err = end_of(m, &e);

	copy.unsent.size = 0; /* nobody would get it */
	if (s->relation == RELATION_ENDED) {
		copy.shutdown = 2;
		copy.peer_shutdown = copy.timestamps = copy.sack = true;
		copy.wscale = false;
		copy.snd_wnd = copy.rcv_wnd = 65535;
		copy.mss = 1460;
		e.peer = e.local;
		e.peer.v4.sin_port = 0;
	}
	e.s = &copy;
	return err ? err : join_nobody(r, &e);
}

/* Refused by a port that somebody has, but nobody listens at. */
static int connect_in_vain(struct restore *r, struct inet_made *m)
{
	const struct tcp_state *s = m->rec->state;
	_cleanup_fd_ int deaf = socket_in(r->root_pid, (int)s->inet.family, SOCK_STREAM, 0);
	union inet_sockaddr a;
	struct pollfd p = { .fd = m->fd, .events = POLLOUT };
	socklen_t size = sizeof(a), small = sizeof(int);
	int flags = fcntl(m->fd, F_GETFL), error = 0;
	struct end e;

	if (end_of(m, &e) < 0 || deaf < 0)
		return deaf < 0 ? deaf : -EBADMSG;
	a = e.local;
	a.v4.sin_port = 0;
	if (bind(deaf, &a.any, inet_size(&a)) < 0 || getsockname(deaf, &a.any, &size) < 0 || bind_shared(&e) < 0 ||
		leave_repair(&e) < 0 || fcntl(m->fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	if (connect(m->fd, &a.any, inet_size(&a)) == 0 || errno != EINPROGRESS)
		return -EPROTO;
	if (poll(&p, 1, DIAL_MS) != 1 || getsockopt(m->fd, SOL_SOCKET, SO_ERROR, &error, &small) < 0)
		return -ETIMEDOUT;
	return error == ECONNREFUSED ? 0 : -error;
}

/* --- listeners ----------------------------------------------------------------------------------------------------------------------- */

static int listen_again(struct restore *r, struct inet_made *m)
{
	const struct tcp_state *s = m->rec->state;
	struct inet_text name = inet_name(&s->inet);

	if (listen(m->fd, s->n_waiting ? MAX_BACKLOG : (int)MIN(s->backlog, (uint64_t)INT32_MAX)) < 0)
		return failed(r->ps, BLAME(.object = name.s, .remedy = "end the program that has it"), -errno,
			"this address cannot be listened at: %m");
	return 0;
}

/* wait: until it is connected. */
static int dial(struct restore *r, const struct end *e, bool wait)
{
	struct pollfd p = { .fd = e->fd, .events = POLLOUT };
	int flags = fcntl(e->fd, F_GETFL), err = bind_shared(e), error = 0;
	socklen_t size = sizeof(error);

	if (!err)
		err = leave_repair(e);
	if (!err && fcntl(e->fd, F_SETFL, flags | O_NONBLOCK) < 0)
		err = -errno;
	if (!err)
		err = connect_end(r, e);
	if (err == -EINPROGRESS)
		err = 0;
	if (!err && wait &&
		(poll(&p, 1, DIAL_MS) != 1 || getsockopt(e->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0 || error))
		err = error ? -error : -ETIMEDOUT;
	return err ? failed_at(r, e, err, "cannot be dialled again") : 0;
}

static int dial_waiting(struct restore *r, const struct end *listener, const struct tcp_waiting *w)
{
	struct inet_made *m = w->socket ? inet_made(r, w->socket) : NULL;
	_cleanup_fd_ int own = -1;
	struct end e;
	int err;

	if (w->socket && !m)
		return -EBADMSG;
	if (m) {
		err = end_of(m, &e);
	} else {
		own = socket_in(
			r->root_pid, strchr(w->from.ip ? w->from.ip : "", ':') ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
		e = (struct end){ .fd = own, .s = listener->s };
		err = own < 0 ? own
			      : inet_from_text(strchr(w->from.ip ? w->from.ip : "", ':') ? AF_INET6 : AF_INET, &w->from,
					&e.local);
		e.peer = e.local;
		e.peer.v4.sin_port = listener->local.v4.sin_port;
	}
	if (!err)
		err = dial(r, &e, true);
	if (!err && m)
		err = send_unsent(&e);
	if (!err && m)
		err = shut_sending(&e, true);
	return err;
}

static int dial_all(struct restore *r, struct inet_made *m)
{
	const struct tcp_state *s = m->rec->state;
	struct end e;
	int err = end_of(m, &e);

	for (size_t i = 0; i < s->n_waiting && !err; i++)
		err = dial_waiting(r, &e, &s->waiting[i]);
	if (!err && s->n_waiting && listen(m->fd, (int)MIN(s->backlog, (uint64_t)INT32_MAX)) < 0)
		err = -errno;
	return err;
}

/* --- all ------------------------------------------------------------------------------------------------------------------------------- */

static int settle(struct restore *r, struct inet_made *m)
{
	const struct tcp_state *s = m->rec->state;
	struct inet_text name = inet_name(&s->inet);
	int err = 0, mss = 0;
	socklen_t size = sizeof(mss);

	if (s->relation == RELATION_ALONE || s->relation == RELATION_LISTENS) {
		getsockopt(m->fd, IPPROTO_TCP, TCP_MAXSEG, &mss, &size);
		if ((uint64_t)mss != s->mss && s->mss <= 32767)
			err = set(m->fd, IPPROTO_TCP, TCP_MAXSEG, (int)s->mss);
	}
	if (!err && s->shutdown & 1 && shutdown(m->fd, SHUT_RD) < 0)
		err = -errno;
	if (!err && s->fastopen_key.size &&
		setsockopt(m->fd, IPPROTO_TCP, TCP_FASTOPEN_KEY, s->fastopen_key.data,
			(socklen_t)s->fastopen_key.size) < 0)
		err = -errno;
	if (err)
		return failed(r->ps, BLAME(.object = name.s), err, "cannot be left as it was: %s", strerror(-err));
	err = set_early(r, m->fd, s);
	if (!err)
		err = set_level(r, m->fd, s, OPTION_LATE);
	return err ? err : inet_settle(r, m->fd, &s->inet, m->file);
}

static int early(struct restore *r, struct inet_made *m)
{
	return set_early(r, m->fd, m->rec->state);
}

static int bind_again(struct restore *r, struct inet_made *m)
{
	return inet_bind(r, m->fd, &((const struct tcp_state *)m->rec->state)->inet);
}

static int redial(struct restore *r, struct inet_made *m)
{
	struct end e;
	int err = end_of(m, &e);

	return err ? err : dial(r, &e, false);
}

#define ANY_RELATION ((1u << RELATIONS) - 1)
static const struct {
	unsigned int relations;
	int (*fn)(struct restore *r, struct inet_made *m);
} steps[] = {
	{ ANY_RELATION, early },
	{ 1u << RELATION_ALONE | 1u << RELATION_LISTENS, bind_again },
	{ 1u << RELATION_LISTENS, listen_again },
	{ 1u << RELATION_CONNECTED, connect_pair },
	{ 1u << RELATION_PEER_GONE | 1u << RELATION_ENDED, connect_nobody },
	{ 1u << RELATION_FAILED, connect_in_vain },
	{ 1u << RELATION_LISTENS, dial_all },
	{ 1u << RELATION_CONNECTING, redial },
	{ ANY_RELATION, settle },
};

static int by_order(const void *a, const void *b)
{
	const struct inet_made *const *x = a, *const *y = b;
	const struct tcp_state *s = (*x)->rec->state, *t = (*y)->rec->state;

	return s->inet.order < t->inet.order ? -1 : s->inet.order > t->inet.order;
}

int tcp_round(struct restore *r, struct callers *callers, unsigned int n)
{
	size_t all;
	const struct record *recs = image_records(r->image, &component_tcp.kind, &all);
	_cleanup_free_ struct inet_made **list = n == ROUND_ABANDON ? NULL : calloc(all + 1, sizeof(*list));
	int err = 0;

	if (n == ROUND_ABANDON)
		return 0;
	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < all; i++) {
		list[i] = inet_made(r, recs[i].id);
		if (!list[i] || list[i]->fd < 0)
			return failed(
				r->ps, BLAME(.object = "tcp"), -EBADMSG, "the image has a socket that is not open");
	}
	qsort(list, all, sizeof(*list), by_order);
	for (size_t k = 0; k < ARRAY_SIZE(steps) && !err; k++)
		for (size_t i = 0; i < all && !err; i++) {
			const struct tcp_state *s = list[i]->rec->state;

			if (steps[k].relations & 1u << s->relation)
				err = steps[k].fn(r, list[i]);
		}
	return err;
}
