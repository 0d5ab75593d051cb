/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What was sent on TCP connections that are not accepted yet. It lies in sockets that nobody has a descriptor of; they hang on their listener, and are read from the
 * kernel's memory: include/net/inet_connection_sock.h, include/net/request_sock.h, include/net/tcp.h. The client sends it again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "kernel/peek.h"
#include "state/tcp_look.h"

#define MOST_WAITING 65536

/* The end of data counts as a byte. */
static size_t sent_on(const struct inet_diag *child)
{
	return child->rqueue - (child->state == STATE_CLOSE_WAIT && child->rqueue);
}

/* The client's address, as the connection that it made has it. */
static int read_peer(struct capture *c, uint64_t sock, union inet_sockaddr *peer)
{
	uint64_t family = 0, port = 0, ip = 0, at = 0;
	int err = kernel_peek_member(c->kernel, sock, "sock_common", "skc_family", &family);

	*peer = (union inet_sockaddr){ .any.sa_family = (sa_family_t)family };
	if (!err)
		err = kernel_peek_member(c->kernel, sock, "sock_common", "skc_dport", &port);
	peer->v4.sin_port = (in_port_t)port;
	if (!err && family == AF_INET6) {
		err = kernel_peek_address(c->kernel, sock, "sock_common", "skc_v6_daddr", &at);
		return err ? err : kernel_peek_bytes(c->kernel, at, &peer->v6.sin6_addr, sizeof(peer->v6.sin6_addr));
	}
	if (!err)
		err = kernel_peek_member(c->kernel, sock, "sock_common", "skc_daddr", &ip);
	peer->v4.sin_addr.s_addr = (in_addr_t)ip;
	return err;
}

/* Buffers may lie over each other. */
int tcp_lay_out(struct capture *c, uint32_t from, const struct socket_buffers *b, struct blob *out)
{
	uint64_t offset = 0;
	uint32_t at = from, seq, skipped;
	size_t size = 1;
	int err = kernel_peek_address(c->kernel, 0, "tcp_skb_cb", "seq", &offset);

	for (size_t i = 0; i < b->n; i++)
		size += b->list[i].size;
	out->data = err ? NULL : malloc(size);
	if (err || !out->data)
		return err ? err : -ENOMEM;
	for (size_t i = 0; i < b->n; i++) {
		memcpy(&seq, b->list[i].cb + offset, sizeof(seq));
		skipped = at - seq;
		if ((int32_t)skipped < 0)
			return -ENOTSUP;
		if (skipped >= b->list[i].size)
			continue;
		memcpy(out->data + out->size, b->list[i].data + skipped, b->list[i].size - skipped);
		out->size += b->list[i].size - skipped;
		at = seq + (uint32_t)b->list[i].size;
	}
	return 0;
}

/* A byte out of band is among the others. */
static int find_mark(struct capture *c, uint64_t sock, struct tcp_early *e)
{
	uint64_t urgent = 0, at = 0, copied = 0;
	int err = kernel_peek_member(c->kernel, sock, "tcp_sock", "urg_data", &urgent);

	if (!err)
		err = kernel_peek_member(c->kernel, sock, "tcp_sock", "urg_seq", &at);
	if (!err)
		err = kernel_peek_member(c->kernel, sock, "tcp_sock", "copied_seq", &copied);
	at = (uint32_t)at - (uint32_t)copied;
	if (!err && urgent && at < e->data.size)
		e->mark = at + 1;
	return err;
}

static int read_data(struct capture *c, struct socket_view *v, uint64_t sock, size_t at_least, struct tcp_early *e)
{
	struct socket_buffers b = { 0 };
	uint64_t copied = 0;
	int err = kernel_peek_member(c->kernel, sock, "tcp_sock", "copied_seq", &copied);

	if (!err)
		err = socket_view_queue(v, sock, QUEUE_RECEIVED, false, &b);
	if (!err)
		err = tcp_lay_out(c, (uint32_t)copied, &b, &e->data);
	if (!err)
		err = find_mark(c, sock, e);
	socket_buffers_free(&b);
	return err ? err : e->data.size >= at_least ? 0 : -EAGAIN;
}

/* Of what was not acknowledged, the part behind what the other end has follows. */
static int add_under_way(struct capture *c, uint64_t sock, const struct tcp_look *t, struct tcp_early *e)
{
	struct blob *data = &e->data;
	uint64_t copied = 0;
	uint32_t overlap;
	uint8_t *all;
	int err = kernel_peek_member(c->kernel, sock, "tcp_sock", "copied_seq", &copied);

	overlap = (uint32_t)copied + (uint32_t)data->size - t->unsent_seq;
	if (err || overlap > t->unsent.size)
		return err ? err : -EAGAIN;
	if (t->unsent_mark > overlap && e->mark)
		return -ENOTSUP; /* one can be sent again */
	if (t->unsent_mark > overlap)
		e->mark = data->size + t->unsent_mark - overlap;
	all = realloc(data->data, data->size + t->unsent.size + 1);
	if (!all)
		return -ENOMEM;
	data->data = all;
	memcpy(all + data->size, t->unsent.data + overlap, t->unsent.size - overlap);
	data->size += t->unsent.size - overlap;
	return 0;
}

static void give_to_client(struct tcp_look *client, struct tcp_early *e)
{
	free(client->unsent.data);
	client->unsent = e->data;
	client->unsent_mark = e->mark;
	e->data = (struct blob){ 0 };
}

/* Or, if it has closed its end, of what it had written and the kernel still sends. */
static int add_rest(struct capture *c, uint64_t sock, struct tcp_orphan *rest, struct tcp_early *e)
{
	struct blob *data = &e->data;
	uint64_t copied = 0;
	int err = kernel_peek_member(c->kernel, sock, "tcp_sock", "copied_seq", &copied);
	uint8_t *all;

	if (!err)
		err = tcp_orphan_pass_over(rest, (uint32_t)copied + (uint32_t)data->size);
	if (!err && rest->mark && e->mark)
		err = -ENOTSUP; /* one can be sent again */
	if (err)
		return err;
	all = realloc(data->data, data->size + rest->data.size + 1);
	if (!all)
		return -ENOMEM;
	if (rest->mark)
		e->mark = data->size + rest->mark;
	if (rest->data.size)
		memcpy(all + data->size, rest->data.data, rest->data.size);
	*data = (struct blob){ all, data->size + rest->data.size };
	e->whole = true;
	return 0;
}

static const struct inet_diag *child_of(
	const struct inet_diags *all, const struct tcp_look *listener, const union inet_sockaddr *peer)
{
	for (size_t i = 0; i < all->n; i++) {
		const struct inet_diag *d = &all->list[i];

		if (!d->ino && inet_same(&d->peer, peer) && inet_port(&d->local) == inet_port(&listener->local))
			return d;
	}
	return NULL;
}

static int read_sent(struct socket_look *client)
{
	_cleanup_fd_ int fd = description_dup(client->description);

	return fd < 0 ? fd : tcp_read_under_way(fd, client->tcp, -1, NULL);
}

/* What it has sent is looked at first: what comes meanwhile is in both. */
static int read_of_client(
	struct capture *c, struct socket_view *v, uint64_t sock, struct socket_look *client, struct tcp_early *e)
{
	const struct inet_diag *child = e->child;
	const bool kept = client && client->tcp && !image_is_trial(c->writer),
		   under_way = kept && child->state != STATE_CLOSE_WAIT && client->tcp->unacked;
	int err = under_way ? read_sent(client) : 0;

	if (!err)
		err = read_data(c, v, sock, sent_on(child), e);
	if (!err && under_way)
		err = add_under_way(c, sock, client->tcp, e);
	if (!err && kept)
		give_to_client(client->tcp, e);
	return err;
}

/* What the kernel sends is looked at first: what comes meanwhile is in both. */
static int read_of_closed(struct capture *c, struct socket_view *v, const struct socket_look *listener, uint64_t sock,
	const struct inet_diag *client, struct tcp_early *e)
{
	struct tcp_orphan rest = { 0 };
	int err = 0;

	e->whole = image_is_trial(c->writer); /* it is not kept */
	if (!e->whole)
		err = tcp_orphan_read(c, listener->hidden.net, client, &rest);
	if (!err)
		err = read_data(c, v, sock, sent_on(e->child), e);
	if (!err && !e->whole)
		err = add_rest(c, sock, &rest, e);
	tcp_orphan_free(&rest);
	return err;
}

static int add_early(struct capture *c, struct socket_view *v, struct socket_look *s, uint64_t sock,
	const struct inet_diag *child, const struct inet_diag *client)
{
	struct tcp_look *listener = s->tcp;
	struct tcp_early *grown = reallocarray(listener->early, listener->n_early + 1, sizeof(*grown));
	struct tcp_early e = { .child = child };
	int err;

	if (!grown)
		return -ENOMEM;
	listener->early = grown;
	if (child->state != STATE_CLOSE_WAIT && tcp_orphan_sends(client))
		err = read_of_closed(c, v, s, sock, client, &e);
	else
		err = read_of_client(
			c, v, sock, client && client->ino ? socket_find(c->descriptions, client->ino) : NULL, &e);
	if (err)
		free(e.data.data);
	else
		grown[listener->n_early++] = e;
	return err;
}

static const struct inet_diag *client_of(const struct inet_diags *all, const struct inet_diag *child)
{
	return inet_diag_find(all, &child->peer, &child->local);
}

bool tcp_sent_early(const struct inet_diags *all, const struct inet_diag *child)
{
	return sent_on(child) || (child->state != STATE_CLOSE_WAIT && tcp_orphan_sends(client_of(all, child)));
}

static int add_queued(struct capture *c, struct socket_view *v, struct socket_look *s, uint64_t sock)
{
	const struct inet_diags *all = &c->descriptions->sockets->inet;
	struct tcp_look *listener = s->tcp;
	const struct inet_diag **grown = reallocarray(listener->queue, listener->n_queue + 1, sizeof(*grown)), *child;
	union inet_sockaddr peer;
	int err = grown ? read_peer(c, sock, &peer) : -ENOMEM;

	if (grown)
		listener->queue = grown;
	child = err ? NULL : child_of(all, listener, &peer);
	if (!child)
		return err;
	grown[listener->n_queue++] = child;
	return tcp_sent_early(all, child) ? add_early(c, v, s, sock, child, client_of(all, child)) : 0;
}

/* 0 where it cannot be read, too: then it is refused where it is missed. */
static int read_listener(struct capture *c, struct socket_look *s)
{
	_cleanup_fd_ int fd = description_dup(s->description);
	struct socket_view *v = NULL;
	uint64_t at = 0, sock = 0;
	int err = fd < 0 ? fd : sockets_view(c, &v);

	if (!err)
		err = socket_view_find(v, fd, &sock);
	if (!err)
		err = kernel_peek_address(c->kernel, sock, "inet_connection_sock", "icsk_accept_queue", &at);
	if (!err)
		err = kernel_peek_member(c->kernel, at, "request_sock_queue", "rskq_accept_head", &at);
	for (int n = 0; !err && at && n < MOST_WAITING; n++) {
		err = kernel_peek_member(c->kernel, at, "request_sock", "sk", &sock);
		if (!err)
			add_queued(c, v, s, sock);
		if (!err)
			err = kernel_peek_member(c->kernel, at, "request_sock", "dl_next", &at);
	}
	return 0;
}

int tcp_read_early(struct capture *c, struct socket_look *s)
{
	const struct inet_diags *all = &c->descriptions->sockets->inet;
	bool any = s->tcp && s->tcp->info.tcpi_unacked > 1;

	if (!s->tcp || s->tcp->info.tcpi_state != STATE_LISTEN || !s->tcp->info.tcpi_unacked)
		return 0;
	for (size_t i = 0; i < all->n; i++)
		any |= !all->list[i].ino && inet_port(&all->list[i].local) == inet_port(&s->tcp->local) &&
		       tcp_sent_early(all, &all->list[i]);
	return any ? read_listener(c, s) : 0;
}

struct tcp_early *tcp_early_of(const struct tcp_look *listener, const struct inet_diag *child)
{
	for (size_t i = 0; i < listener->n_early; i++)
		if (listener->early[i].child == child)
			return &listener->early[i];
	return NULL;
}
