/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Empty datagrams that somebody has looked at (MSG_PEEK; a checkpoint does that too) are shown to no look any more that has an offset, as those of a
 * checkpoint have: they are read from the kernel's memory, with the headers by which they came.
 */
#include <errno.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "kernel/peek.h"
#include "state/inet_queue.h"
#include "state/socket_view.h"
#include "state/sockets.h"

#define UDP_HEADER 8

/* What the headers say; *payload: how much is behind them. -ENOTSUP: another header stands between. */
static int parse(const struct socket_buffer *b, struct inet_message *m, size_t *payload)
{
	const struct iphdr *h4 = (const void *)b->data;
	const struct ip6_hdr *h6 = (const void *)b->data;
	const bool six = b->size >= sizeof(*h4) && h4->version == 6;
	const size_t header = six ? sizeof(*h6) : h4->ihl * 4ul;
	union inet_sockaddr from = { .any.sa_family = six ? AF_INET6 : AF_INET }, to = from;
	struct inet_address address = { 0 };
	int err;

	if (b->size < sizeof(*h4) || b->size < header + UDP_HEADER ||
		(six && h6->ip6_nxt != IPPROTO_UDP && h6->ip6_nxt != IPPROTO_UDPLITE))
		return -ENOTSUP;
	*payload = b->size - header - UDP_HEADER;
	memcpy(&from.v4.sin_port, b->data + header, sizeof(in_port_t));
	if (six) {
		from.v6.sin6_addr = h6->ip6_src;
		to.v6.sin6_addr = h6->ip6_dst;
	} else {
		from.v4.sin_addr.s_addr = h4->saddr;
		to.v4.sin_addr.s_addr = h4->daddr;
	}
	m->ttl = six ? h6->ip6_hlim : h4->ttl;
	m->tos = six ? ntohl(h6->ip6_flow) >> 20 & 0xff : h4->tos;
	err = inet_to_text(&from, &m->from);
	if (!err)
		err = inet_to_text(&to, &address);
	m->to = address.ip;
	return err;
}

static void drop(struct inet_message *m)
{
	free(m->data.data);
	free(m->from.ip);
	free(m->to);
	*m = (struct inet_message){ 0 };
}

/* As a socket of IPv6 shows a sender of IPv4. */
static int as_shown(int family, struct inet_address *a)
{
	char *mapped;

	if (family != AF_INET6 || strchr(a->ip, ':'))
		return 0;
	if (asprintf(&mapped, "::ffff:%s", a->ip) < 0)
		return -ENOMEM;
	free(a->ip);
	a->ip = mapped;
	return 0;
}

/* Of each buffer: it is empty, and stands there now; or what the look has brought of it, which comes in the same order. */
static int merge(int family, const struct socket_buffers *b, struct inet_queue *q)
{
	struct inet_message *all = calloc(b->n + q->n + 1, sizeof(*all));
	size_t n = 0, seen = 0, payload = 0;
	int err = 0;

	if (!all)
		return -ENOMEM;
	for (size_t i = 0; i < b->n && !err; i++) {
		err = parse(&b->list[i], &all[n], &payload);
		if (!err)
			err = as_shown(family, &all[n].from);
		if (!err && !payload) {
			n++;
			continue;
		}
		drop(&all[n]);
		while (seen < q->n && !q->list[seen].data.size)
			drop(&q->list[seen++]);
		if (seen == q->n)
			err = err ? err : -EAGAIN;
		else
			do
				all[n++] = q->list[seen++];
			while (seen < q->n && !q->list[seen].begins);
	}
	for (; seen < q->n; seen++)
		drop(&q->list[seen]);
	free(q->list);
	q->list = all;
	q->n = n;
	return err;
}

int inet_queue_add_empty(struct capture *c, int family, const struct socket_hidden *h, struct inet_queue *q)
{
	struct socket_buffers b = { 0 };
	struct socket_view *v = NULL;
	size_t aside;
	int err;

	if (!h->known || h->queued + h->queued_aside <= q->buffers)
		return 0;
	err = sockets_view(c, &v);
	if (!err)
		err = socket_view_queue(v, h->sock, QUEUE_ASIDE, true, &b);
	aside = b.n;
	if (!err)
		err = socket_view_queue(v, h->sock, QUEUE_RECEIVED, true, &b);
	if (!err)
		err = b.n == aside + h->queued ? merge(family, &b, q) : -EAGAIN;
	socket_buffers_free(&b);
	return err;
}
