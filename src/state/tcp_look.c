/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/tcp_look.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"
#include "kernel/peek.h"
#include "state/kernel_view.h"

#define REST_TRIES 3

/* Before Linux 6.2 no call tells it. */
static uint32_t untold_rcv_wnd(struct capture *c, const struct socket_hidden *h)
{
	uint64_t window = 0;
	bool known = h->known && kernel_peek_member(c->kernel, h->sock, "tcp_sock", "rcv_wnd", &window) == 0;

	return known ? (uint32_t)window : 65535;
}

static int read_info(struct capture *c, const struct socket_hidden *h, int fd, struct tcp_look *t)
{
	socklen_t size = sizeof(t->info) + sizeof(t->info_rcv_wnd);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &t->info, &size) < 0)
		return -errno;
	if (size < sizeof(t->info) + sizeof(t->info_rcv_wnd))
		t->info_rcv_wnd = untold_rcv_wnd(c, h);
	if (ioctl(fd, SIOCOUTQ, &t->unacked) < 0)
		t->unacked = 0; /* it listens */
	t->snd_wnd = t->info.tcpi_snd_wnd;
	t->rcv_wnd = t->info_rcv_wnd;
	return 0;
}

static int look_at(struct capture *c, struct socket_look *s)
{
	_cleanup_fd_ int fd = description_dup(s->description);
	socklen_t size = sizeof(union inet_sockaddr);
	struct tcp_look *t;

	if (fd < 0)
		return 0; /* it went away */
	t = s->tcp = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->mark = -1;
	t->urgent = (uint32_t)s->hidden.urgent != (uint32_t)s->hidden.unacked;
	t->urgent_seq = (uint32_t)s->hidden.urgent - 1;
	if (getsockname(fd, &t->local.any, &size) < 0)
		return -errno;
	size = sizeof(t->peer);
	if (getpeername(fd, &t->peer.any, &size) < 0)
		t->peer = (union inet_sockaddr){ 0 };
	return read_info(c, &s->hidden, fd, t);
}

static bool is_connected(const struct tcp_look *t)
{
	return t->peer.any.sa_family && t->info.tcpi_state != STATE_CLOSE && t->info.tcpi_state != STATE_LISTEN &&
	       t->info.tcpi_state != STATE_SYN_SENT;
}

/* Addresses without port, scope and flow, which the dump does not have. */
static void find_ends(struct capture *c, struct socket_look *s)
{
	const struct inet_diags *all = &c->descriptions->sockets->inet;
	struct tcp_look *t = s->tcp;

	if (t->info.tcpi_state == STATE_LISTEN || t->info.tcpi_state == STATE_SYN_SENT)
		t->diag = inet_diag_of(all, s->ino);
	if (t->info.tcpi_state == STATE_SYN_SENT && t->diag) {
		t->peer = t->diag->peer;
		t->other_diag = inet_diag_find(all, &t->peer, &t->local);
	}
	if (!is_connected(t))
		return;
	t->diag = inet_diag_find(all, &t->local, &t->peer);
	t->other_diag = inet_diag_find(all, &t->peer, &t->local);
	if (t->other_diag && t->other_diag->ino)
		t->other = socket_find(c->descriptions, t->other_diag->ino);
	if (t->other && !t->other->tcp)
		t->other = NULL;
}

bool tcp_fin_received(const struct tcp_look *t)
{
	uint8_t state = t->info.tcpi_state;

	return state == STATE_CLOSE_WAIT || state == STATE_LAST_ACK || state == STATE_CLOSING ||
	       state == STATE_TIME_WAIT || state == STATE_CLOSE;
}

bool tcp_peer_sends_on(const struct tcp_look *t)
{
	return is_connected(t) && !tcp_fin_received(t) && tcp_orphan_sends(t->other_diag);
}

/* What it has sent is looked at first, as in tcp_read_under_way(). -EAGAIN: its end came between the looks at where this one stands. */
static int read_rest_once(struct capture *c, struct socket_look *s, int fd)
{
	struct tcp_look *t = s->tcp;
	uint32_t next = 0, window;
	int err = tcp_orphan_read(c, s->hidden.net, t->other_diag, &t->rest);

	if (!err)
		err = tcp_read_come(fd, t, &next);
	window = t->rcv_wnd;
	if (!err)
		err = tcp_orphan_pass_over(&t->rest, next);
	if (!err)
		err = read_info(c, &s->hidden, fd, t);
	t->rcv_wnd = window;
	return err ? err : tcp_fin_received(t) && t->rest.data.size ? -EAGAIN : 0;
}

/* Where that cannot be read, the kernel is let send it, for a while. */
static int read_rest(struct capture *c, struct socket_look *s, int fd)
{
	int err = -EAGAIN;

	for (int i = 0; i < REST_TRIES && err == -EAGAIN; i++) {
		tcp_orphan_free(&s->tcp->rest);
		err = read_rest_once(c, s, fd);
	}
	s->tcp->rest_known = !err;
	if (!err || err == -ENOMEM)
		return err;
	tcp_orphan_free(&s->tcp->rest);
	err = tcp_draw(tree_living(c->tree), fd, s->tcp);
	if (!err)
		err = read_info(c, &s->hidden, fd, s->tcp);
	if (!err && tcp_fin_received(s->tcp))
		changed(c->ps, BLAME_FILE(s->description->look),
			"what its peer, which has been closed, had still to send has come to it at once");
	if (!err)
		err = tcp_read_unread(fd, s->tcp);
	if (!err && s->tcp->mark >= 0)
		return refused(c->ps, BLAME_FILE(s->description->look, .remedy = KERNEL_VIEW_REMEDY),
			"a byte out of band that a peer had still to send when it was closed");
	return err;
}

/*
 * What has been acknowledged has come to the other end, and lies there if it was not read: most often that is all. Where something has not been,
 * both ends are asked where they stand, each direction by itself.
 */
static int read_queues(struct capture *c, struct socket_look *s)
{
	_cleanup_fd_ int fd = description_dup(s->description), other = -1;
	struct tcp_look *t = s->tcp;
	int err = 0;

	if (fd < 0)
		return fd;
	if (t->info.tcpi_state == STATE_LISTEN || t->info.tcpi_state == STATE_SYN_SENT)
		return 0;
	if (tcp_peer_sends_on(t))
		return read_rest(c, s, fd);
	if (!err && (!t->other || !t->other->tcp->unacked))
		err = tcp_read_unread(fd, t);
	if (err || !is_connected(t) || !t->unacked || !t->other_diag ||
		(!t->other && t->other_diag->state != STATE_SYN_RECV))
		return err;
	if (t->other) {
		other = description_dup(t->other->description);
		if (other < 0)
			return other;
	}
	return tcp_read_under_way(fd, t, other, t->other ? t->other->tcp : NULL);
}

static int each(struct capture *c, const char *what, int (*fn)(struct capture *c, struct socket_look *s))
{
	struct sockets *all = c->descriptions->sockets;
	struct process *before = c->process;

	for (size_t i = 0; i < all->n; i++) {
		struct socket_look *s = &all->list[i];
		const struct file_look *f = s->description->look;
		int err;

		if ((s->family != AF_INET && s->family != AF_INET6) || s->type != SOCK_STREAM ||
			s->description->protocol != IPPROTO_TCP)
			continue;
		c->process = f->process;
		err = fn(c, s);
		c->process = before;
		if (err == -ENOTSUP)
			return refused(c->ps, BLAME_FILE(f),
				"what is behind a byte out of band cannot be read (Linux 6.9 and "
				"later can)");
		if (err)
			return failed(c->ps, BLAME_FILE(f), err, "%s: %s", what, strerror(-err));
	}
	return 0;
}

static int find(struct capture *c, struct socket_look *s)
{
	if (s->tcp)
		find_ends(c, s);
	return 0;
}

static int queues(struct capture *c, struct socket_look *s)
{
	return s->tcp ? read_queues(c, s) : 0;
}

int tcp_look(struct capture *c)
{
	struct sockets *all = c->descriptions->sockets;
	bool any = false;
	int err;

	for (size_t i = 0; i < all->n; i++)
		any |= all->list[i].family != AF_UNIX && all->list[i].type == SOCK_STREAM &&
		       all->list[i].description->protocol == IPPROTO_TCP;
	if (!any)
		return 0;
	err = each(c, "its state cannot be read", look_at);
	if (!err)
		err = inet_diag_read(tree_living(c->tree), &all->inet);
	if (!err)
		err = each(c, "", find);
	if (!err && c->writer && !image_is_trial(c->writer))
		err = each(c, "its queues cannot be read", queues);
	if (!err && c->writer)
		err = each(c, "", tcp_read_early);
	return err;
}

void tcp_look_free(struct tcp_look *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->n_early; i++)
		free(t->early[i].data.data);
	free(t->early);
	free(t->queue);
	free(t->unread.data);
	free(t->unsent.data);
	tcp_orphan_free(&t->rest);
	free(t);
}
