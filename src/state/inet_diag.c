/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/inet_diag.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "state/sock_diag.h"

#define STATE(s) (1u << (s))
enum { STATE_FIN_WAIT1 = 4, STATE_FIN_WAIT2, STATE_TIME_WAIT, STATE_LAST_ACK = 9, STATE_LISTEN, STATE_CLOSING };

_Static_assert(sizeof(struct inet_diag_sockid) == sizeof(((struct inet_diag *)0)->id), "as the kernel has it");

static union inet_sockaddr address(uint8_t family, const void *ip, uint16_t port)
{
	union inet_sockaddr a = { .any.sa_family = family };

	a.v4.sin_port = port;
	if (family == AF_INET6)
		memcpy(&a.v6.sin6_addr, ip, sizeof(a.v6.sin6_addr));
	else
		memcpy(&a.v4.sin_addr, ip, sizeof(a.v4.sin_addr));
	return a;
}

static int copy_keys(const struct rtattr *a, struct blob *out)
{
	out->data = malloc(RTA_PAYLOAD(a));
	if (!out->data)
		return -ENOMEM;
	memcpy(out->data, RTA_DATA(a), RTA_PAYLOAD(a));
	out->size = RTA_PAYLOAD(a);
	return 0;
}

static int add(void *arg, const struct nlmsghdr *h)
{
	struct inet_diags *all = arg;
	const struct inet_diag_msg *msg = NLMSG_DATA(h);
	unsigned int left = (unsigned int)(h->nlmsg_len - NLMSG_LENGTH(sizeof(*msg)));
	const struct rtattr *a = (const void *)(msg + 1);
	struct tcp_info info = { 0 };
	struct inet_diag *d;

	if (all->n == all->room) {
		size_t room = all->room ? 2 * all->room : 64;
		struct inet_diag *grown = reallocarray(all->list, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		all->list = grown;
		all->room = room;
	}
	d = &all->list[all->n++];
	*d = (struct inet_diag){
		.ino = msg->idiag_inode,
		.state = msg->idiag_state,
		.local = address(msg->idiag_family, msg->id.idiag_src, msg->id.idiag_sport),
		.peer = address(msg->idiag_family, msg->id.idiag_dst, msg->id.idiag_dport),
		.rqueue = msg->idiag_rqueue,
		.wqueue = msg->idiag_wqueue,
	};
	memcpy(d->id, &msg->id, sizeof(d->id));
	for (; RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		if (a->rta_type == INET_DIAG_SHUTDOWN)
			d->shutdown = *(const uint8_t *)RTA_DATA(a);
		if (a->rta_type == INET_DIAG_INFO)
			memcpy(&info, RTA_DATA(a), MIN(RTA_PAYLOAD(a), sizeof(info)));
		if (a->rta_type == INET_DIAG_MD5SIG && RTA_PAYLOAD(a) && copy_keys(a, &d->md5) < 0)
			return -ENOMEM;
	}
	d->idle_ms = info.tcpi_last_data_sent;
	return 0;
}

static int compare_ends(const union inet_sockaddr *a, const union inet_sockaddr *b)
{
	struct in6_addr x = inet_ip(a), y = inet_ip(b);

	return inet_port(a) != inet_port(b) ? (inet_port(a) < inet_port(b) ? -1 : 1) : memcmp(&x, &y, sizeof(x));
}

static int compare(const void *a, const void *b)
{
	const struct inet_diag *x = a, *y = b;
	int r = compare_ends(&x->local, &y->local);

	return r ? r : compare_ends(&x->peer, &y->peer);
}

static int dump(int pid, int family, struct inet_diags *out)
{
	struct {
		struct nlmsghdr h;
		struct inet_diag_req_v2 r;
	} ask = {
		.h = { .nlmsg_len = sizeof(ask),
			.nlmsg_type = SOCK_DIAG_BY_FAMILY,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.r = { .sdiag_family = (uint8_t)family,
			.sdiag_protocol = IPPROTO_TCP,
			.idiag_states = ~0u,
			.idiag_ext = 1u << (INET_DIAG_INFO - 1) | 1u << (INET_DIAG_SHUTDOWN - 1) },
	};

	return sock_diag_ask(pid, &ask, sizeof(ask), add, out);
}

int inet_diag_read(int pid, struct inet_diags *out)
{
	int err = dump(pid, AF_INET, out);

	if (!err)
		err = dump(pid, AF_INET6, out);
	if (!err && out->n)
		qsort(out->list, out->n, sizeof(*out->list), compare);
	for (size_t i = 0; i < out->n && !err; i++)
		if (out->list[i].ino)
			err = map_add(&out->inodes, &out->list[i].ino, sizeof(out->list[i].ino), &out->list[i]);
	return err;
}

void inet_diag_free(struct inet_diags *d)
{
	for (size_t i = 0; i < d->n; i++)
		free(d->list[i].md5.data);
	free(d->list);
	map_free(&d->inodes);
	*d = (struct inet_diags){ 0 };
}

const struct inet_diag *inet_diag_find(
	const struct inet_diags *d, const union inet_sockaddr *local, const union inet_sockaddr *peer)
{
	const struct inet_diag key = { .local = *local, .peer = *peer };

	return d->n ? bsearch(&key, d->list, d->n, sizeof(key), compare) : NULL;
}

const struct inet_diag *inet_diag_of(const struct inet_diags *d, uint64_t ino)
{
	const uint32_t key = (uint32_t)ino;

	return ino ? map_find(&d->inodes, &key, sizeof(key)) : NULL;
}

/* --- what a program has closed --- */

static int no_answer(void *arg, const struct nlmsghdr *h)
{
	return 0;
}

static int destroy(int pid, const struct inet_diag *d)
{
	struct {
		struct nlmsghdr h;
		struct inet_diag_req_v2 r;
	} ask = {
		.h = { .nlmsg_len = sizeof(ask), .nlmsg_type = SOCK_DESTROY, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK },
		.r = { .sdiag_family = (uint8_t)d->local.any.sa_family,
			.sdiag_protocol = IPPROTO_TCP,
			.idiag_states = ~0u },
	};

	memcpy(&ask.r.id, d->id, sizeof(d->id));
	return sock_diag_ask(pid, &ask, sizeof(ask), no_answer, NULL);
}

static void put_address(uint32_t ip[4], uint16_t *port, const union inet_sockaddr *a)
{
	*port = a->v4.sin_port;
	if (a->any.sa_family == AF_INET6)
		memcpy(ip, &a->v6.sin6_addr, sizeof(a->v6.sin6_addr));
	else
		memcpy(ip, &a->v4.sin_addr, sizeof(a->v4.sin_addr));
}

/* One connection, which the kernel finds by its addresses: nobody else's are gone through. It falls back on a listening socket. */
static int ask_for_one(
	int pid, const union inet_sockaddr *local, const union inet_sockaddr *peer, struct inet_diags *out)
{
	struct {
		struct nlmsghdr h;
		struct inet_diag_req_v2 r;
	} ask = {
		.h = { .nlmsg_len = sizeof(ask),
			.nlmsg_type = SOCK_DIAG_BY_FAMILY,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK },
		.r = { .sdiag_family = (uint8_t)local->any.sa_family,
			.sdiag_protocol = IPPROTO_TCP,
			.idiag_states = ~0u,
			.id.idiag_cookie = { INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE } },
	};
	int err;

	put_address(ask.r.id.idiag_src, &ask.r.id.idiag_sport, local);
	put_address(ask.r.id.idiag_dst, &ask.r.id.idiag_dport, peer);
	err = sock_diag_ask(pid, &ask, sizeof(ask), add, out);
	return err == -ENOENT ? 0 : err;
}

int inet_diag_clear(int pid, const union inet_sockaddr *local, const union inet_sockaddr *peer)
{
	const uint32_t left = peer ? STATE(STATE_FIN_WAIT1) | STATE(STATE_FIN_WAIT2) | STATE(STATE_TIME_WAIT) |
					      STATE(STATE_LAST_ACK) | STATE(STATE_CLOSING)
				   : STATE(STATE_TIME_WAIT);
	_cleanup_(inet_diag_free)
	struct inet_diags all = { 0 };
	int err = peer ? ask_for_one(pid, local, peer, &all) : inet_diag_read(pid, &all), n = 0;

	for (size_t i = 0; i < all.n && !err; i++) {
		const struct inet_diag *d = &all.list[i];

		if (d->ino || !(STATE(d->state) & left) || inet_port(&d->local) != inet_port(local) ||
			(peer && (!inet_same(&d->local, local) || !inet_same(&d->peer, peer))))
			continue;
		err = destroy(pid, d);
		n += !err;
	}
	return err ? err : n;
}
