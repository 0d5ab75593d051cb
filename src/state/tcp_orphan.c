/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a program had written on a TCP connection before it closed it, and has not come to the other end: the kernel sends it on, from a socket that nobody has
 * a descriptor of. It is found where the kernel finds it, among the connections of its network namespace, and read from the kernel's memory:
 * include/net/inet_hashtables.h, include/net/tcp.h. Nothing stops such a socket: what is read of it counts only if it was at rest meanwhile.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "kernel/peek.h"
#include "state/tcp_look.h"

#define MOST_COMMON 512 /* bytes of struct sock_common */
#define MOST_ENDS   (1u << 20)
#define AT_ONCE	    512 /* buckets */
#define TRIES	    5

struct end_name {
	struct in6_addr local, peer;
	in_port_t ports[2];
};

struct closed_end {
	struct end_name name;
	uint64_t sock;
};

struct tcp_orphans {
	uint64_t net;
	struct closed_end *list;
	size_t n, room;
	struct map by_name;
	int error;
};

/* Where the members of struct sock_common lie. */
enum { FAMILY, STATE, NET, LOCAL_PORT, PEER_PORT, LOCAL_V4, PEER_V4, LOCAL_V6, PEER_V6, NODE, PLACES };

struct table {
	struct capture *c;
	struct tcp_orphans *all;
	uint64_t buckets, mask;
	struct member_place at[PLACES];
	size_t size; /* of what is read of each */
};

static bool sends_on(uint8_t state)
{
	return state == STATE_FIN_WAIT1 || state == STATE_LAST_ACK || state == STATE_CLOSING;
}

bool tcp_orphan_sends(const struct inet_diag *d)
{
	return d && !d->ino && d->wqueue && sends_on(d->state);
}

/* --- where they are --- */

static int find_places(struct table *t)
{
	static const char *const members[PLACES] = { [FAMILY] = "skc_family",
		[STATE] = "skc_state",
		[NET] = "skc_net",
		[LOCAL_PORT] = "skc_num",
		[PEER_PORT] = "skc_dport",
		[LOCAL_V4] = "skc_rcv_saddr",
		[PEER_V4] = "skc_daddr",
		[LOCAL_V6] = "skc_v6_rcv_saddr",
		[PEER_V6] = "skc_v6_daddr",
		[NODE] = "skc_nulls_node" };
	int err = 0;

	for (size_t i = 0; i < PLACES && !err; i++) {
		err = kernel_peek_place(t->c->kernel, "sock_common", members[i], &t->at[i]);
		t->size = MAX(t->size, (size_t)t->at[i].offset + t->at[i].size);
	}
	return err ? err : t->size > MOST_COMMON ? -ENODATA : 0;
}

/* Some kernels have a pointer there, others the structure itself. */
static int find_table(struct table *t)
{
	struct kernel_peek *k = t->c->kernel;
	struct member_place place;
	uint64_t at = 0;
	int err = kernel_peek_address(k, t->all->net, "net", "ipv4", &at);

	if (!err)
		err = kernel_peek_place(k, "netns_ipv4", "tcp_death_row", &place);
	if (!err)
		at += place.offset;
	if (!err && place.size == sizeof(at))
		err = kernel_peek_bytes(k, at, &at, sizeof(at));
	if (!err)
		err = kernel_peek_member(k, at, "inet_timewait_death_row", "hashinfo", &at);
	if (!err)
		err = kernel_peek_member(k, at, "inet_hashinfo", "ehash", &t->buckets);
	if (!err)
		err = kernel_peek_member(k, at, "inet_hashinfo", "ehash_mask", &t->mask);
	return err ? err : find_places(t);
}

static void take(const struct table *t, int which, const uint8_t *from, void *to)
{
	memcpy(to, from + t->at[which].offset, t->at[which].size);
}

static struct end_name name_of(const union inet_sockaddr *local, const union inet_sockaddr *peer)
{
	return (struct end_name){ inet_ip(local), inet_ip(peer), { inet_port(local), inet_port(peer) } };
}

static struct end_name read_name(const struct table *t, const uint8_t *common)
{
	union inet_sockaddr local = { 0 }, peer = { 0 };
	uint16_t family = 0, port = 0;

	take(t, FAMILY, common, &family);
	take(t, LOCAL_PORT, common, &port);
	take(t, PEER_PORT, common, &peer.v4.sin_port);
	local.any.sa_family = peer.any.sa_family = (sa_family_t)family;
	local.v4.sin_port = htons(port);
	take(t, family == AF_INET6 ? LOCAL_V6 : LOCAL_V4, common,
		family == AF_INET6 ? (void *)&local.v6.sin6_addr : &local.v4.sin_addr);
	take(t, family == AF_INET6 ? PEER_V6 : PEER_V4, common,
		family == AF_INET6 ? (void *)&peer.v6.sin6_addr : &peer.v4.sin_addr);
	return name_of(&local, &peer);
}

/* The kernel has all network namespaces in one table. */
static int add(struct table *t, uint64_t sock, const uint8_t *common)
{
	struct tcp_orphans *all = t->all;
	uint64_t net = 0;
	uint8_t state = 0;

	take(t, NET, common, &net);
	take(t, STATE, common, &state);
	if (net != all->net || !sends_on(state))
		return 0;
	if (all->n == all->room) {
		size_t room = all->room ? 2 * all->room : 16;
		struct closed_end *grown = reallocarray(all->list, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		all->list = grown;
		all->room = room;
	}
	all->list[all->n++] = (struct closed_end){ read_name(t, common), sock };
	return 0;
}

/* A list ends with the number of its bucket: with another, one that was on the way has moved to another list. */
static int walk(struct table *t, uint64_t bucket, uint64_t first)
{
	uint8_t common[MOST_COMMON];
	uint64_t at = first;
	int err = 0;

	for (size_t n = 0; !(at & 1) && !err; n++) {
		if (n == MOST_ENDS)
			return -EAGAIN;
		err = kernel_peek_bytes(t->c->kernel, at - t->at[NODE].offset, common, t->size);
		if (!err)
			err = add(t, at - t->at[NODE].offset, common);
		memcpy(&at, common + t->at[NODE].offset, sizeof(at));
	}
	return err ? err : at >> 1 == bucket ? 0 : -EAGAIN;
}

static int walk_again(struct table *t, uint64_t bucket, uint64_t first)
{
	const size_t before = t->all->n;
	int err = walk(t, bucket, first);

	for (int i = 0; i < TRIES && (err == -EAGAIN || err == -EFAULT); i++) {
		t->all->n = before;
		err = kernel_peek_bytes(t->c->kernel, t->buckets + bucket * sizeof(first), &first, sizeof(first));
		if (!err)
			err = walk(t, bucket, first);
	}
	return err;
}

static int walk_table(struct table *t)
{
	uint64_t first[AT_ONCE];
	int err = find_table(t);

	for (uint64_t i = 0; i <= t->mask && !err; i += AT_ONCE) {
		size_t n = (size_t)MIN(t->mask + 1 - i, (uint64_t)AT_ONCE);

		err = kernel_peek_bytes(t->c->kernel, t->buckets + i * sizeof(*first), first, n * sizeof(*first));
		for (size_t k = 0; k < n && !err; k++)
			err = first[k] & 1 ? 0 : walk_again(t, i + k, first[k]);
	}
	for (size_t i = 0; i < t->all->n && !err; i++)
		if (!map_find(&t->all->by_name, &t->all->list[i].name, sizeof(t->all->list[i].name)))
			err = map_add(&t->all->by_name, &t->all->list[i].name, sizeof(t->all->list[i].name),
				&t->all->list[i]);
	return err;
}

void tcp_orphans_free(struct tcp_orphans *o)
{
	if (!o)
		return;
	map_free(&o->by_name);
	free(o->list);
	free(o);
}

/* All of them are looked for at once, when the first is asked for. */
static int find(struct capture *c, uint64_t net, const struct inet_diag *d, uint64_t *sock)
{
	struct sockets *s = c->descriptions->sockets;
	const struct end_name name = name_of(&d->local, &d->peer);
	const struct closed_end *found;

	if (!net)
		return -ENODATA;
	if (!s->orphans || s->orphans->net != net) {
		tcp_orphans_free(s->orphans);
		s->orphans = calloc(1, sizeof(*s->orphans));
		if (!s->orphans)
			return -ENOMEM;
		s->orphans->net = net;
		s->orphans->error = walk_table(&(struct table){ .c = c, .all = s->orphans });
	}
	found = s->orphans->error ? NULL : map_find(&s->orphans->by_name, &name, sizeof(name));
	*sock = found ? found->sock : 0;
	return s->orphans->error ? s->orphans->error : found ? 0 : -ENOENT;
}

/* --- what they have --- */

/* Every segment that comes or goes is counted: with the same numbers before and after, the queues were not touched. */
struct stand {
	uint64_t state, port, family, acked, sent, written, urgent, segments_in, segments_out;
};

static int read_stand(struct capture *c, uint64_t sock, struct stand *s)
{
	const struct {
		const char *type, *member;
		uint64_t *value;
	} members[] = { { "sock_common", "skc_state", &s->state }, { "sock_common", "skc_num", &s->port },
		{ "sock_common", "skc_family", &s->family }, { "tcp_sock", "snd_una", &s->acked },
		{ "tcp_sock", "snd_nxt", &s->sent }, { "tcp_sock", "write_seq", &s->written },
		{ "tcp_sock", "snd_up", &s->urgent }, { "tcp_sock", "segs_in", &s->segments_in },
		{ "tcp_sock", "segs_out", &s->segments_out } };
	int err = 0;

	for (size_t i = 0; i < ARRAY_SIZE(members) && !err; i++)
		err = kernel_peek_member(c->kernel, sock, members[i].type, members[i].member, members[i].value);
	return err;
}

/* The end of data counts as a byte, and was written last. */
static int read_once(struct capture *c, struct socket_view *v, uint64_t sock, struct tcp_orphan *out)
{
	struct socket_buffers b = { 0 };
	struct stand before, after;
	uint32_t urgent, size;
	int err = read_stand(c, sock, &before);

	if (!err)
		err = socket_view_unsent(v, sock, &b);
	if (!err)
		err = tcp_lay_out(c, (uint32_t)before.acked, &b, &out->data);
	socket_buffers_free(&b);
	if (!err)
		err = read_stand(c, sock, &after);
	size = (uint32_t)before.written - (uint32_t)before.acked - 1;
	if (!err && (memcmp(&before, &after, sizeof(before)) != 0 || !sends_on((uint8_t)before.state) ||
			    size != out->data.size))
		err = -EAGAIN;
	urgent = (uint32_t)before.urgent - (uint32_t)before.acked;
	out->acked = (uint32_t)before.acked;
	out->mark = !err && urgent && urgent <= size ? urgent : 0;
	return err;
}

int tcp_orphan_read(struct capture *c, uint64_t net, const struct inet_diag *d, struct tcp_orphan *out)
{
	struct socket_view *v = NULL;
	uint64_t sock = 0;
	int err = sockets_view(c, &v);

	*out = (struct tcp_orphan){ 0 };
	if (!err)
		err = find(c, net, d, &sock);
	if (err)
		return err;
	err = -EAGAIN;
	for (int i = 0; i < TRIES && (err == -EAGAIN || err == -EFAULT); i++) {
		tcp_orphan_free(out);
		err = read_once(c, v, sock, out);
	}
	if (err)
		tcp_orphan_free(out);
	return err;
}

int tcp_orphan_pass_over(struct tcp_orphan *o, uint32_t come)
{
	const uint32_t skipped = come - o->acked;

	if ((int32_t)skipped < 0)
		return -EAGAIN;
	if (skipped > o->data.size) { /* the end, too */
		o->data.size = 0;
		o->mark = 0;
		return 0;
	}
	memmove(o->data.data, o->data.data + skipped, o->data.size - skipped);
	o->data.size -= skipped;
	o->mark = o->mark > skipped ? o->mark - skipped : 0;
	o->acked = come;
	return 0;
}

void tcp_orphan_free(struct tcp_orphan *o)
{
	free(o->data.data);
	*o = (struct tcp_orphan){ 0 };
}
