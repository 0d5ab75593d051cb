/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How TCP sockets come to be connected again. Listeners first. Then every connection, both ends at once, in repair mode (TCP_REPAIR), which sends
 * nothing and asks nobody: with the parameters that were agreed upon, and with what had come and was not read. What had not come yet is written
 * again, and closing is done again, by ordinary calls, so that the kernel brings the two to the state in which they were. An end that is nobody's
 * any more is made for this moment. Connections that wait to be accepted are dialled through their listener, in their order.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "state/inet_diag.h"
#include "state/inet_group.h"
#include "state/sock_diag.h"
#include "state/tcp_join.h"

#define DIAL_MS	    2000
#define MAX_BACKLOG 65535

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

static int end_of(const struct inet_made *m, struct tcp_end *e)
{
	const struct tcp_state *s = m->rec->state;

	*e = (struct tcp_end){ .fd = m->fd, .s = s };
	if (inet_from_text(s->inet.family, &s->inet.local, &e->local) < 0)
		return -EBADMSG;
	return s->inet.peer.ip ? inet_from_text(s->inet.family, &s->inet.peer, &e->peer) : 0;
}

/* --- the relations --- */

static int connect_pair(struct restore *r, struct inet_made *m)
{
	const struct tcp_state *s = m->rec->state;
	struct inet_made *other = inet_made(r, s->peer);
	struct tcp_end a, b;
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
	return err ? err : tcp_join(r, &a, &b);
}

static bool fails(int fd)
{
	struct pollfd p = { .fd = fd };

	return poll(&p, 1, 0) == 1 && p.revents & POLLERR;
}

/* The other end is closed so that this one is told of an error. */
static int reset_by(struct tcp_end *e, int *other)
{
	const struct linger at_once = { .l_onoff = 1 };

	if (setsockopt(*other, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)) < 0)
		return -errno;
	close_fd(other);
	for (int ms = 0; ms < DIAL_MS && !fails(e->fd); ms++)
		poll(NULL, 0, 1);
	return fails(e->fd) ? 0 : -ETIMEDOUT;
}

/* An end for this moment, which agrees with the one given, and has closed what its peer knows to be closed. What it has still to send the kernel sends on. */
static int join_nobody(struct restore *r, struct tcp_end *e)
{
	const struct tcp_state *s = e->s;
	const struct tcp_state nobody = { .inet.family = s->inet.family,
		.relation = RELATION_CONNECTED,
		.unsent = s->rest,
		.unsent_mark = s->rest_mark,
		.shutdown = s->peer_shutdown ? 2 : 0,
		.peer_shutdown = s->shutdown & 2 && s->relation != RELATION_ENDED, /* who closes first waits on */
		.mss = s->mss,
		.timestamps = s->timestamps,
		.sack = s->sack,
		.wscale = s->wscale,
		.snd_wscale = s->rcv_wscale,
		.rcv_wscale = s->snd_wscale,
		.snd_wnd = s->rcv_wnd,
		.rcv_wnd = MAX(s->snd_wnd, 1u) };
	_cleanup_fd_ int fd = socket_in(r->root_pid, (int)s->inet.family, SOCK_STREAM, 0);
	struct tcp_end other = { .fd = fd, .s = &nobody, .local = e->peer, .peer = e->local };
	socklen_t size = sizeof(other.local);
	int err;

	if (fd < 0)
		return fd;
	if (!inet_port(&e->peer)) {
		if (bind(fd, &other.local.any, inet_size(&other.local)) < 0 ||
			getsockname(fd, &other.local.any, &size) < 0)
			return tcp_end_failed(r, e, -errno, "cannot be made again");
		close_fd(&fd);
		other.fd = fd = socket_in(r->root_pid, (int)s->inet.family, SOCK_STREAM, 0);
		if (fd < 0)
			return fd;
		e->peer = other.local;
	}
	err = tcp_md5_answer(fd, &s->md5, &other.local, &e->local);
	if (err)
		return tcp_end_failed(r, e, err, "cannot be made again");
	err = tcp_join(r, e, &other);
	return err || !s->error ? err : reset_by(e, &fd);
}

static int connect_nobody(struct restore *r, struct inet_made *m)
{
	const struct tcp_state *s = m->rec->state;
	struct tcp_state copy = *s;
	struct tcp_end e;
	int err = end_of(m, &e);

	copy.unsent.size = 0; /* nobody would get it */
	if (s->relation == RELATION_ENDED) {
		copy.shutdown = s->error ? 0 : 2;
		copy.peer_shutdown = !s->error || s->error == EPIPE;
		copy.md5.n = 0; /* nothing is sent any more: they are set at the end */
		copy.timestamps = copy.sack = true;
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
	struct pollfd p = { .fd = m->fd, .events = POLLOUT };
	socklen_t size = sizeof(union inet_sockaddr), small = sizeof(int);
	int flags = fcntl(m->fd, F_GETFL), error = 0, err;
	struct tcp_end e;

	if (end_of(m, &e) < 0 || deaf < 0)
		return deaf < 0 ? deaf : -EBADMSG;
	e.peer = e.local;
	e.peer.v4.sin_port = 0;
	if (bind(deaf, &e.peer.any, inet_size(&e.peer)) < 0 || getsockname(deaf, &e.peer.any, &size) < 0)
		return -errno;
	err = tcp_end_bind(r, &e);
	if (!err)
		err = tcp_end_leave_repair(&e);
	if (!err && fcntl(m->fd, F_SETFL, flags | O_NONBLOCK) < 0)
		err = -errno;
	if (!err)
		err = tcp_end_connect(r, &e);
	if (err != -EINPROGRESS)
		return err ? err : -EPROTO;
	if (poll(&p, 1, DIAL_MS) != 1)
		return -ETIMEDOUT;
	if (s->error) /* not told yet */
		return p.revents & POLLERR ? 0 : -EPROTO;
	return getsockopt(m->fd, SOL_SOCKET, SO_ERROR, &error, &small) < 0 ? -errno
	       : error == ECONNREFUSED					   ? 0
									   : -EPROTO;
}

/* --- listeners --- */

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
static int dial(struct restore *r, struct tcp_end *e, bool wait)
{
	struct pollfd p = { .fd = e->fd, .events = POLLOUT };
	int flags = fcntl(e->fd, F_GETFL), err = tcp_end_bind(r, e), error = 0;
	socklen_t size = sizeof(error);

	if (!err)
		err = tcp_end_leave_repair(e);
	if (!err && fcntl(e->fd, F_SETFL, flags | O_NONBLOCK) < 0)
		err = -errno;
	if (!err)
		err = tcp_end_connect(r, e);
	if (err == -EINPROGRESS)
		err = 0;
	if (!err && wait &&
		(poll(&p, 1, DIAL_MS) != 1 || getsockopt(e->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0 || error))
		err = error ? -error : -ETIMEDOUT;
	return err ? tcp_end_failed(r, e, err, "cannot be dialled again") : 0;
}

static int dial_waiting(struct restore *r, const struct tcp_end *listener, const struct tcp_waiting *w)
{
	struct inet_made *m = w->socket ? inet_made(r, w->socket) : NULL;
	const struct tcp_state closed = { .unsent = w->sent, .unsent_mark = w->sent_mark };
	_cleanup_fd_ int own = -1;
	struct tcp_end e;
	int err;

	if (w->socket && !m)
		return -EBADMSG;
	if (m) {
		err = end_of(m, &e);
	} else {
		own = socket_in(
			r->root_pid, strchr(w->from.ip ? w->from.ip : "", ':') ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
		e = (struct tcp_end){ .fd = own, .s = listener->s };
		err = own < 0 ? own
			      : inet_from_text(strchr(w->from.ip ? w->from.ip : "", ':') ? AF_INET6 : AF_INET, &w->from,
					&e.local);
		e.peer = e.local;
		e.peer.v4.sin_port = listener->local.v4.sin_port;
		if (!err)
			err = tcp_md5_answer(own, &listener->s->md5, &e.local, &e.peer);
	}
	if (!err)
		err = dial(r, &e, true);
	if (!err && !m)
		e.s = &closed;
	if (!err)
		err = tcp_end_send_unsent(&e);
	if (!err && m)
		err = tcp_end_shut(&e, true);
	return err;
}

/* Of several of one port the kernel would choose one. */
static int dial_all(struct restore *r, struct inet_made *m)
{
	const struct tcp_state *s = m->rec->state;
	const uint64_t group = s->inet.hidden.group;
	struct tcp_end e;
	int err = end_of(m, &e);

	if (!err && s->n_waiting)
		err = inet_group_choose_one(m->fd, group);
	for (size_t i = 0; i < s->n_waiting && !err; i++)
		err = dial_waiting(r, &e, &s->waiting[i]);
	if (!err && s->n_waiting)
		err = inet_group_choose_none(m->fd, group);
	if (!err && s->n_waiting && listen(m->fd, (int)MIN(s->backlog, (uint64_t)INT32_MAX)) < 0)
		err = -errno;
	return err;
}

/* --- all --- */

static int set_segment(int fd, int size)
{
	return setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &size, sizeof(size)) < 0 ? -errno : 0;
}

/* One that has none of its own shows that of its network namespace. */
static int set_fastopen_key(int fd, const struct blob *key)
{
	uint8_t now[TCP_FASTOPEN_KEY_MAX];
	socklen_t size = sizeof(now);

	if (!key->size || (getsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_KEY, now, &size) == 0 && size == key->size &&
				  !memcmp(now, key->data, size)))
		return 0;
	return setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_KEY, key->data, (socklen_t)key->size) < 0 ? -errno : 0;
}

static int settle(struct restore *r, struct inet_made *m)
{
	const struct tcp_state *s = m->rec->state;
	struct inet_text name = inet_name(&s->inet);
	int err = 0, mss = 0;
	socklen_t size = sizeof(mss);

	if (s->relation == RELATION_ALONE || s->relation == RELATION_LISTENS) {
		getsockopt(m->fd, IPPROTO_TCP, TCP_MAXSEG, &mss, &size);
		if ((uint64_t)mss != s->mss && s->mss <= 32767)
			err = set_segment(m->fd, (int)s->mss);
	}
	if (!err && s->shutdown & 1 && shutdown(m->fd, SHUT_RD) < 0)
		err = -errno;
	if (!err)
		err = set_fastopen_key(m->fd, &s->fastopen_key);
	if (err)
		return failed(r->ps, BLAME(.object = name.s), err, "cannot be left as it was: %s", strerror(-err));
	err = set_early(r, m->fd, s);
	if (!err)
		err = set_level(r, m->fd, s, OPTION_LATE);
	if (!err && !tcp_md5_goes_first(r, s))
		err = tcp_md5_set(r, m->fd, s);
	return err ? err : inet_settle(r, m->fd, &s->inet, m->file);
}

static int early(struct restore *r, struct inet_made *m)
{
	const struct tcp_state *s = m->rec->state;
	int err = set_early(r, m->fd, s);

	return err || !tcp_md5_goes_first(r, s) ? err : tcp_md5_set(r, m->fd, s);
}

static int bind_again(struct restore *r, struct inet_made *m)
{
	return inet_bind(r, m->fd, &((const struct tcp_state *)m->rec->state)->inet);
}

static int redial(struct restore *r, struct inet_made *m)
{
	struct tcp_end e;
	int err = end_of(m, &e);

	return err ? err : dial(r, &e, false);
}

/* Nothing that was sent without a signature may be under way any more when keys are set at the end. */
static int await_acknowledgements(struct restore *r, struct inet_made *m)
{
	const struct tcp_state *s = m->rec->state;
	struct inet_text name = inet_name(&s->inet);
	int unacked = 1;

	if (s->error || tcp_md5_goes_first(r, s))
		return 0;
	for (int ms = 0; ms < DIAL_MS && unacked; ms++) {
		if (ioctl(m->fd, SIOCOUTQ, &unacked) < 0)
			return -errno;
		poll(NULL, 0, unacked ? 1 : 0);
	}
	return unacked ? failed(r->ps, BLAME(.object = name.s), -ETIMEDOUT, "it does not come to rest") : 0;
}

static int tell_softly(struct restore *r, struct inet_made *m)
{
	struct tcp_end e;
	int err = end_of(m, &e);

	return err || !e.s->soft_error ? err : tcp_soft_error_make(r, &e);
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
	{ 1u << RELATION_CONNECTED | 1u << RELATION_ENDED, await_acknowledgements },
	{ ANY_RELATION, tell_softly },
	{ ANY_RELATION, settle },
};

static void note_listening(struct restore *r, struct inet_made *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct tcp_state *s = list[i]->rec->state;
		uint64_t port = s->inet.local.port & UINT16_MAX;

		if (s->relation == RELATION_LISTENS)
			r->own.listening[port / 64] |= 1ull << port % 64;
	}
}

int tcp_round(struct restore *r, struct callers *callers, unsigned int n)
{
	_cleanup_free_ struct inet_made **list = NULL;
	size_t all = 0;
	int err;

	if (n == ROUND_ABANDON)
		return 0;
	err = inet_made_list(r, &component_tcp.kind, &list, &all);
	if (!err)
		note_listening(r, list, all);
	for (size_t k = 0; k < ARRAY_SIZE(steps) && !err; k++)
		for (size_t i = 0; i < all && !err; i++) {
			const struct tcp_state *s = list[i]->rec->state;

			if (steps[k].relations & 1u << s->relation)
				err = steps[k].fn(r, list[i]);
		}
	return err;
}
