/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/tcp_md5.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/tcp.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "kernel/peek.h"
#include "state/inet_packet.h"
#include "state/tcp_look.h"

#define MOST_KEYS	65536
#define FLAG_INTERFACE	2  /* TCP_MD5SIG_FLAG_IFINDEX */
#define SIGNATURE_SIZE	20 /* in a header, aligned */
#define WHOLE_PREFIX(a) ((a)->any.sa_family == AF_INET6 ? 128u : 32u)

const struct field tcp_md5_fields[] = {
	FIELD_STRING(struct tcp_md5_key, ip, "ip", "address of the peers"),
	FIELD_UINT(struct tcp_md5_key, prefix, "prefix", "how many bits of it count"),
	FIELD_BOOL(struct tcp_md5_key, of_interface, "of_interface", "not for peers behind a VRF"),
	FIELD_BLOB(struct tcp_md5_key, key, "key", "the key"),
	FIELD_END,
};

static void md5_free(struct tcp_md5 *m)
{
	for (size_t i = 0; i < m->n; i++) {
		free(m->keys[i].ip);
		free(m->keys[i].key.data);
	}
	free(m->keys);
	*m = (struct tcp_md5){ 0 };
}

/* --- which one is for whom --- */

static int parse(const char *ip, union inet_sockaddr *out)
{
	const struct inet_address address = { .ip = (char *)ip };

	return inet_from_text(ip && strchr(ip, ':') ? AF_INET6 : AF_INET, &address, out);
}

static bool is_for(const struct tcp_md5_key *k, const union inet_sockaddr *peer)
{
	union inet_sockaddr of;
	struct in6_addr a, b;
	size_t bits;

	if (parse(k->ip, &of) < 0 || of.any.sa_family != peer->any.sa_family)
		return false;
	bits = k->prefix + 128 - WHOLE_PREFIX(peer);
	a = inet_ip(&of);
	b = inet_ip(peer);
	if (memcmp(&a, &b, bits / 8) != 0)
		return false;
	return bits % 8 == 0 || (a.s6_addr[bits / 8] ^ b.s6_addr[bits / 8]) >> (8 - bits % 8) == 0;
}

/* As the kernel chooses: tcp_md5_do_lookup. */
static const struct tcp_md5_key *key_for(const struct tcp_md5 *m, const union inet_sockaddr *of)
{
	const union inet_sockaddr peer = inet_unmapped(of);
	const struct tcp_md5_key *best = NULL;

	for (size_t i = 0; i < m->n; i++) {
		const struct tcp_md5_key *k = &m->keys[i];

		if (is_for(k, &peer) && (!best || k->prefix > best->prefix))
			best = k;
	}
	return best;
}

static bool alike(const struct tcp_md5_key *a, const struct tcp_md5_key *b)
{
	return a && b ? a->key.size == b->key.size && !memcmp(a->key.data, b->key.data, a->key.size) : a == b;
}

/* Does an end with keys `a`, whose name is `at`, sign as the one with keys `b`, at `peer`, expects, and the other way round? */
static bool agree(const struct tcp_md5 *a, const union inet_sockaddr *at, const struct tcp_md5 *b,
	const union inet_sockaddr *peer)
{
	return alike(key_for(a, peer), key_for(b, at));
}

size_t tcp_md5_size(const struct tcp_md5 *m, const union inet_sockaddr *peer)
{
	return key_for(m, peer) ? SIGNATURE_SIZE : 0;
}

/* --- checkpoint --- */

static int fill(struct tcp_md5_key *k, int family, const void *ip, const void *key, size_t size)
{
	char text[INET6_ADDRSTRLEN];

	if ((family != AF_INET && family != AF_INET6) || !inet_ntop(family, ip, text, sizeof(text)))
		return -EBADMSG;
	k->ip = strdup(text);
	k->key.data = malloc(size);
	if (!k->ip || !k->key.data)
		return -ENOMEM;
	memcpy(k->key.data, key, size);
	k->key.size = size;
	return 0;
}

static int read_key(struct kernel_peek *p, uint64_t at, struct tcp_md5_key *k)
{
	uint64_t size = 0, family = 0, flags = 0, interface = 0, ip_at = 0, key_at = 0;
	uint8_t key[TCP_MD5SIG_MAXKEYLEN], ip[sizeof(struct in6_addr)];
	const struct {
		const char *member;
		uint64_t *value;
	} members[] = { { "keylen", &size }, { "family", &family }, { "prefixlen", &k->prefix }, { "flags", &flags },
		{ "l3index", &interface } };
	int err = 0;

	for (size_t i = 0; i < ARRAY_SIZE(members) && !err; i++)
		err = kernel_peek_member(p, at, "tcp_md5sig_key", members[i].member, members[i].value);
	if (!err)
		err = kernel_peek_address(p, at, "tcp_md5sig_key", "addr", &ip_at);
	if (!err)
		err = kernel_peek_address(p, at, "tcp_md5sig_key", "key", &key_at);
	if (!err && size > sizeof(key))
		err = -EBADMSG;
	if (!err)
		err = kernel_peek_bytes(p, ip_at, ip, sizeof(ip));
	if (!err)
		err = kernel_peek_bytes(p, key_at, key, size);
	k->of_interface = flags & FLAG_INTERFACE;
	return err ? err : interface ? -EXDEV : fill(k, (int)family, ip, key, size);
}

static int grow(struct tcp_md5 *m)
{
	struct tcp_md5_key *grown = reallocarray(m->keys, m->n + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	m->keys = grown;
	m->keys[m->n++] = (struct tcp_md5_key){ 0 };
	return 0;
}

static int read_kernel(struct kernel_peek *p, uint64_t info, struct tcp_md5 *m)
{
	uint64_t at = 0, node = 0;
	int err = kernel_peek_address(p, 0, "tcp_md5sig_key", "node", &node);

	if (!err)
		err = kernel_peek_member(p, info, "tcp_md5sig_info", "head", &at);
	while (at && !err) {
		err = m->n < MOST_KEYS ? grow(m) : -E2BIG;
		if (!err)
			err = read_key(p, at - node, &m->keys[m->n - 1]);
		if (!err)
			err = kernel_peek_member(p, at, "hlist_node", "next", &at);
	}
	return err;
}

/* It does not tell which are for an interface. */
static int read_diag(const struct inet_diag *d, struct tcp_md5 *m)
{
	struct tcp_diag_md5sig sig;
	int err = 0;

	for (size_t i = 0; d && (i + 1) * sizeof(sig) <= d->md5.size && !err; i++) {
		memcpy(&sig, d->md5.data + i * sizeof(sig), sizeof(sig));
		err = grow(m);
		if (err)
			break;
		m->keys[m->n - 1].prefix = sig.tcpm_prefixlen;
		err = fill(&m->keys[m->n - 1], sig.tcpm_family, sig.tcpm_addr, sig.tcpm_key,
			MIN(sig.tcpm_keylen, sizeof(sig.tcpm_key)));
	}
	return err;
}

static int read_keys(struct capture *c, const struct socket_look *s, struct tcp_md5 *m)
{
	if (s->hidden.known)
		return s->hidden.md5 ? read_kernel(c->kernel, s->hidden.md5, m) : 0;
	return read_diag(inet_diag_of(&c->descriptions->sockets->inet, s->ino), m);
}

static int refuse_other(struct capture *c, const struct file_look *f, const char *whose)
{
	return refused(c->ps, BLAME_FILE(f, .passing = true, .remedy = "let both ends have the same key"),
		"a key for signing segments (TCP_MD5SIG) that is not, or cannot be seen to be, that of %s", whose);
}

/* Of two ends that do not agree nothing comes to the other: it would, while they are connected again. */
static int check_pair(struct capture *c, const struct file_look *f, const struct tcp_look *t, const struct tcp_md5 *own)
{
	_cleanup_(md5_free)
	struct tcp_md5 theirs = { 0 };
	int err = read_keys(c, t->other, &theirs);

	if (err || agree(own, &t->local, &theirs, &t->peer) || (!t->unacked && !t->other->tcp->unacked))
		return err == -EXDEV ? 0 /* refused there */ : err;
	return refuse_other(c, f, "the other end, to which something is under way");
}

/* An end that its program has closed is a whole socket for as long as it sends. */
static int check_gone(struct capture *c, const struct file_look *f, const struct tcp_look *t, const struct tcp_md5 *own)
{
	_cleanup_(md5_free)
	struct tcp_md5 theirs = { 0 };
	int err = tcp_orphan_sends(t->other_diag) ? read_diag(t->other_diag, &theirs) : 0;

	if (err || !tcp_orphan_sends(t->other_diag) || agree(own, &t->local, &theirs, &t->peer))
		return err;
	return refuse_other(c, f, "its peer, which has been closed");
}

int tcp_md5_capture_waiting(struct capture *c, const struct file_look *f, const struct tcp_md5 *listener,
	const struct inet_diag *child, const struct socket_look *client)
{
	_cleanup_(md5_free)
	struct tcp_md5 taken = { 0 }, theirs = { 0 };
	int err = read_diag(child, &taken);
	bool same;

	if (!err && client)
		err = read_keys(c, client, &theirs);
	if (err)
		return err == -EXDEV ? 0 : err;
	same = alike(key_for(listener, &child->peer), key_for(&taken, &child->peer)) &&
	       (!client || agree(&theirs, &child->peer, listener, &child->local));
	return same ? 0 : refuse_other(c, f, "a connection that it has not accepted yet");
}

int tcp_md5_capture(struct capture *c, const struct file_look *f, const struct socket_look *own, struct tcp_state *s)
{
	const struct tcp_look *t = own->tcp;
	int err = read_keys(c, own, &s->md5);

	if (err == -EXDEV)
		return refused(c->ps, BLAME_FILE(f),
			"a key for signing segments to peers behind an interface (TCP_MD5SIG_FLAG_IFINDEX)");
	if (err && err != -ENOMEM)
		return refused(c->ps, BLAME_FILE(f), "its keys for signing segments (TCP_MD5SIG) cannot be read: %s",
			strerror(-err));
	if (!err && s->relation == RELATION_CONNECTED && t->other != own)
		err = check_pair(c, f, t, &s->md5);
	if (!err && s->relation == RELATION_PEER_GONE)
		err = check_gone(c, f, t, &s->md5);
	return err;
}

/* --- restore --- */

bool tcp_md5_is_possible(const struct tcp_md5 *m)
{
	union inet_sockaddr at;

	for (size_t i = 0; i < m->n; i++)
		if (parse(m->keys[i].ip, &at) < 0 || m->keys[i].prefix > WHOLE_PREFIX(&at) || !m->keys[i].key.size ||
			m->keys[i].key.size > TCP_MD5SIG_MAXKEYLEN)
			return false;
	return true;
}

bool tcp_md5_goes_first(struct restore *r, const struct tcp_state *s)
{
	const struct tcp_state *other = s->relation == RELATION_CONNECTED ? restore_state(r, s->peer, "tcp") : NULL;
	union inet_sockaddr local, peer;

	if (!s->md5.n && (!other || !other->md5.n))
		return true;
	if (s->relation == RELATION_ALONE || s->relation == RELATION_ENDED || s->relation == RELATION_FAILED)
		return false;
	if (!other || inet_from_text(s->inet.family, &s->inet.local, &local) < 0 ||
		inet_from_text(s->inet.family, &s->inet.peer, &peer) < 0)
		return true;
	return agree(&s->md5, &local, &other->md5, &peer);
}

static int set(int fd, const union inet_sockaddr *of, uint64_t prefix, bool of_interface, const struct blob *key)
{
	struct tcp_md5sig sig = { .tcpm_flags = (uint8_t)(TCP_MD5SIG_FLAG_PREFIX | (of_interface ? FLAG_INTERFACE : 0)),
		.tcpm_prefixlen = (uint8_t)prefix,
		.tcpm_keylen = (uint16_t)key->size };
	union inet_sockaddr at = *of;
	socklen_t size = sizeof(int);
	int family = AF_UNSPEC;

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) < 0)
		return -errno;
	if (family == AF_INET6)
		at.v6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_addr = inet_ip(of) };
	memcpy(&sig.tcpm_addr, &at, inet_size(&at));
	memcpy(sig.tcpm_key, key->data, MIN(key->size, sizeof(sig.tcpm_key)));
	return setsockopt(fd, IPPROTO_TCP, TCP_MD5SIG_EXT, &sig, sizeof(sig)) < 0 ? -errno : 0;
}

int tcp_md5_set(struct restore *r, int fd, const struct tcp_state *s)
{
	struct inet_text name = inet_name(&s->inet);
	union inet_sockaddr at;
	int err = 0;

	for (size_t i = s->md5.n; i-- && !err;) {
		const struct tcp_md5_key *k = &s->md5.keys[i];

		err = parse(k->ip, &at);
		if (!err)
			err = set(fd, &at, k->prefix, k->of_interface, &k->key);
	}
	if (err == -ENOPROTOOPT)
		return failed(r->ps, BLAME(.object = name.s, .remedy = "use a kernel with CONFIG_TCP_MD5SIG"), err,
			"this kernel does not sign segments (TCP_MD5SIG)");
	return err ? failed(r->ps,
			     BLAME(.object = name.s,
				     .remedy = err == -ENOMEM ? "let net.core.optmem_max be larger" : NULL),
			     err, "a key for signing segments (TCP_MD5SIG) cannot be set: %s", strerror(-err))
		   : 0;
}

int tcp_md5_answer(int fd, const struct tcp_md5 *m, const union inet_sockaddr *own, const union inet_sockaddr *other)
{
	const struct tcp_md5_key *k = key_for(m, own);
	const union inet_sockaddr at = inet_unmapped(other);

	return k ? set(fd, &at, WHOLE_PREFIX(&at), false, &k->key) : 0;
}
