/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * TCP: tcp(7); net/ipv4/tcp.c, tools/testing/selftests/net/tcp_*. Sequence numbers are seen by nobody but the two ends, which come back together: they
 * get new ones. What is in a queue, and how the connection is being closed, is carried.
 */
#include "state/tcp.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "state/tcp_look.h"

#define TIMESTAMP_SIZE 12 /* in a header */
#define OPTION_AO_INFO 40 /* TCP_AO_INFO: since Linux 6.7 */

static const struct field waiting_fields[] = {
	FIELD_REF(struct tcp_waiting, socket, "socket", "tcp", REF_LATE, "who connected; absent: it was closed since"),
	FIELD_STRUCT(struct tcp_waiting, from, "from", inet_address_fields, "the address of one that was closed"),
	FIELD_BLOB(struct tcp_waiting, sent, "sent", "what one that was closed had sent"),
	FIELD_SINCE(3, UINT, struct tcp_waiting, sent_mark, "sent_mark",
		"1 + where in that the byte out of band is; 0: none"),
	FIELD_END,
};

static const struct field tcp_fields[] = {
	FIELD_STRUCT(struct tcp_state, inet, "inet", inet_fields, "what sockets of every protocol have"),
	FIELD_UINT(struct tcp_state, relation, "relation",
		"0 not connected, 1 listening, 2 connected, 3 connected and not yet accepted, 4 the peer was closed, 5 "
		"closed "
		"both ways, 6 connecting, 7 could not be connected"),
	FIELD_REF(struct tcp_state, peer, "peer", "tcp", REF_LATE, "with whom it is connected"),
	FIELD_UINT(struct tcp_state, backlog, "backlog", "of a listener, as the kernel has it"),
	FIELD_LIST(struct tcp_state, waiting, n_waiting, "waiting", waiting_fields, "not yet accepted, in their order"),
	FIELD_UINT(struct tcp_state, shutdown, "shutdown", "bit 0: receiving, bit 1: sending"),
	FIELD_BOOL(struct tcp_state, peer_shutdown, "peer_shutdown", "the peer's end of data has come"),
	FIELD_BLOB(struct tcp_state, unread, "unread", "what has come and was not read"),
	FIELD_UINT(struct tcp_state, mark, "mark", "1 + where in it the byte out of band is; 0: none"),
	FIELD_BOOL(struct tcp_state, mark_taken, "mark_taken", "that byte was read already"),
	FIELD_BLOB(struct tcp_state, unsent, "unsent", "what was written and has not come to the peer"),
	FIELD_SINCE(2, UINT, struct tcp_state, unsent_mark, "unsent_mark",
		"1 + where in it the byte out of band is; 0: none"),
	FIELD_SINCE(4, BLOB, struct tcp_state, rest, "rest",
		"what a peer that was closed had written and has not come, which the kernel sends on"),
	FIELD_SINCE(
		4, UINT, struct tcp_state, rest_mark, "rest_mark", "1 + where in it the byte out of band is; 0: none"),
	FIELD_SINCE(2, UINT, struct tcp_state, error, "error", "errno that SO_ERROR is to tell; 0: none"),
	FIELD_SINCE(5, UINT, struct tcp_state, soft_error, "soft_error",
		"errno that SO_ERROR is to tell, and poll() not; 0: none"),
	FIELD_UINT(struct tcp_state, mss, "mss",
		"the largest segment that the other end takes; not connected: TCP_MAXSEG"),
	FIELD_BOOL(struct tcp_state, timestamps, "timestamps", "agreed upon when it was connected"),
	FIELD_BOOL(struct tcp_state, sack, "sack", "selective acknowledgements: agreed upon"),
	FIELD_BOOL(struct tcp_state, wscale, "wscale", "windows are scaled: agreed upon"),
	FIELD_UINT(struct tcp_state, snd_wscale, "snd_wscale", "by how many bits the peer's"),
	FIELD_UINT(struct tcp_state, rcv_wscale, "rcv_wscale", "by how many bits its own"),
	FIELD_UINT(struct tcp_state, snd_wnd, "snd_wnd", "how much more it may send"),
	FIELD_UINT(struct tcp_state, rcv_wnd, "rcv_wnd", "how much more the peer may send"),
	FIELD_UINT(struct tcp_state, timestamp, "timestamp", "TCP_TIMESTAMP"),
	FIELD_STRING(struct tcp_state, congestion, "congestion", "TCP_CONGESTION"),
	FIELD_BLOB(struct tcp_state, fastopen_key, "fastopen_key",
		"TCP_FASTOPEN_KEY: its own, or its network namespace's"),
	FIELD_STRUCT(struct tcp_state, tcp, "tcp", tcp_level_fields, "of level SOL_TCP"),
	FIELD_SINCE(7, LIST, struct tcp_state, md5.keys, md5.n, "md5", tcp_md5_fields, "TCP_MD5SIG, TCP_MD5SIG_EXT"),
	FIELD_END,
};

static bool tcp_matches(const struct file_look *f)
{
	return f->description && (f->description->family == AF_INET || f->description->family == AF_INET6) &&
	       f->description->protocol == IPPROTO_TCP && f->description->type == SOCK_STREAM && !(f->flags & O_PATH);
}

/* --- whom it is connected with --- */

static struct socket_look *listener_of(const struct capture *c, const union inet_sockaddr *local)
{
	const struct sockets *all = c->descriptions->sockets;
	struct in6_addr wanted = inet_ip(local), any4 = { .s6_addr = { [10] = 0xff, [11] = 0xff } };

	for (size_t i = 0; i < all->n; i++) {
		const struct tcp_look *t = all->list[i].tcp;
		struct in6_addr ip;

		if (!t || t->info.tcpi_state != STATE_LISTEN || inet_port(&t->local) != inet_port(local))
			continue;
		ip = inet_ip(&t->local);
		if (!memcmp(&ip, &wanted, sizeof(ip)) || !memcmp(&ip, &in6addr_any, sizeof(ip)) ||
			!memcmp(&ip, &any4, sizeof(ip)))
			return &all->list[i];
	}
	return NULL;
}

static bool is_unaccepted(const struct inet_diag *d)
{
	return d && !d->ino &&
	       (d->state == STATE_ESTABLISHED || d->state == STATE_CLOSE_WAIT || d->state == STATE_SYN_RECV);
}

static bool fin_sent(uint8_t state)
{
	return state == STATE_FIN_WAIT1 || state == STATE_FIN_WAIT2 || state == STATE_LAST_ACK ||
	       state == STATE_CLOSING;
}

static int refuse_outside(struct capture *c, const struct file_look *f, const struct tcp_look *t)
{
	struct inet_text peer = inet_text(&t->peer);

	return refused(c->ps, BLAME_FILE(f, .remedy = "name a tree that holds both ends"),
		"a TCP connection with %s, which is outside of the tree", peer.s);
}

/* The other end belongs to nobody any more. What it had sent must be known, or have come. */
static int peer_gone(struct capture *c, const struct file_look *f, const struct tcp_look *t, struct tcp_state *s)
{
	if (!t->other_diag && !inet_is_local(tree_living(c->tree), &t->peer))
		return refuse_outside(c, f, t);
	if (tcp_peer_sends_on(t) ? c->writer && !image_is_trial(c->writer) && !t->rest_known
				 : !tcp_fin_received(t) && !t->other_diag)
		return refused(c->ps, BLAME_FILE(f, .passing = true, .remedy = "let the program read on"),
			"what its peer, which has been closed, had still to send has not come in time");
	s->relation = RELATION_PEER_GONE;
	return 0;
}

/* Of those that a connection which ended leaves behind. */
static uint64_t error_of(const struct socket_hidden *h, const struct tcp_look *t)
{
	bool known = h->known && t->info.tcpi_state == STATE_CLOSE && !h->errors_queued;

	return known && (h->error == ECONNREFUSED || h->error == ECONNRESET || h->error == EPIPE) ? h->error : 0;
}

/* recv() with nothing there and poll() tell apart what was never connected, was closed, and could not be connected. */
static uint64_t closed_relation(int fd, const struct tcp_look *t, uint64_t error)
{
	struct pollfd p = { .fd = fd, .events = POLLRDHUP };

	if (error)
		return error == ECONNREFUSED ? RELATION_FAILED : RELATION_ENDED;
	if (poll(&p, 1, 0) != 1 || !(p.revents & POLLRDHUP))
		return RELATION_ALONE;
	return t->info.tcpi_bytes_acked || t->info.tcpi_bytes_received ? RELATION_ENDED : RELATION_FAILED;
}

static int find_relation(
	struct capture *c, const struct file_look *f, int fd, const struct tcp_look *t, struct tcp_state *s)
{
	switch (t->info.tcpi_state) {
	case STATE_LISTEN:
		s->relation = RELATION_LISTENS;
		return 0;
	case STATE_CLOSE:
		s->relation = closed_relation(fd, t, s->error);
		return 0;
	case STATE_SYN_SENT:
		s->relation = RELATION_CONNECTING;
		return t->diag && listener_of(c, &t->peer) ? 0 : refuse_outside(c, f, t);
	case STATE_SYN_RECV:
		return refused(c->ps, BLAME_FILE(f), "a connection by fast open whose client has not answered yet");
	default:
		break;
	}
	if (t->other) {
		s->relation = RELATION_CONNECTED;
		s->peer = backing_id(c, t->other->description->look);
		return 0;
	}
	if (is_unaccepted(t->other_diag) && listener_of(c, &t->peer)) {
		s->relation = RELATION_WAITS;
		return 0;
	}
	if (t->other_diag && (t->other_diag->ino || is_unaccepted(t->other_diag)))
		return refuse_outside(c, f, t);
	return peer_gone(c, f, t, s);
}

/* --- not yet accepted --- */

static size_t place_of(const struct tcp_look *t, const struct inet_diag *d)
{
	size_t i = 0;

	while (i < t->n_queue && t->queue[i] != d)
		i++;
	return i;
}

/* As they stand in the queue; where that cannot be read, by age, of which the kernel tells no more than the tick. */
static int by_place(const void *a, const void *b, void *listener)
{
	const struct inet_diag *const *x = a, *const *y = b;
	size_t left = place_of(listener, *x), right = place_of(listener, *y);

	if (left != right)
		return left < right ? -1 : 1;
	return (*x)->idle_ms > (*y)->idle_ms ? -1 : (*x)->idle_ms < (*y)->idle_ms;
}

static void tell_ties(
	struct capture *c, const struct file_look *f, const struct tcp_look *t, const struct inet_diag **list, size_t n)
{
	for (size_t i = 1; i < n; i++)
		if (place_of(t, list[i]) == t->n_queue && list[i]->idle_ms == list[i - 1]->idle_ms) {
			changed(c->ps, BLAME_FILE(f),
				"connections that came within one tick may be accepted in another order");
			return;
		}
}

static struct socket_look *client_of(struct capture *c, const struct inet_diag *child)
{
	const struct inet_diag *d = inet_diag_find(&c->descriptions->sockets->inet, &child->peer, &child->local);

	return d && d->ino ? socket_find(c->descriptions, d->ino) : NULL;
}

static int add_waiting(struct capture *c, const struct file_look *f, const struct tcp_look *t,
	const struct inet_diag *child, struct tcp_state *s)
{
	struct tcp_early *early = tcp_early_of(t, child);
	struct socket_look *client = client_of(c, child);
	struct tcp_waiting *w = &s->waiting[s->n_waiting];
	struct inet_text from = inet_text(&child->peer);
	const struct inet_diag *other = inet_diag_find(&c->descriptions->sockets->inet, &child->peer, &child->local);
	int err;

	if ((!client && other && other->ino) || (!client && !inet_is_local(tree_living(c->tree), &child->peer)))
		return changed(c->ps, BLAME_FILE(f),
			"a connection from %s, outside the tree, that it has not accepted yet will be gone", from.s);
	if (tcp_sent_early(&c->descriptions->sockets->inet, child) &&
		(!early || (!client && child->state != STATE_CLOSE_WAIT && !early->whole)))
		return refused(c->ps, BLAME_FILE(f, .passing = true, .remedy = "let the program accept it"),
			"what was sent on a connection from %s that is not accepted yet cannot be read", from.s);
	err = tcp_md5_capture_waiting(c, f, &s->md5, child, client);
	if (err)
		return err;
	if (client)
		w->socket = backing_id(c, client->description->look);
	else if (inet_to_text(&child->peer, &w->from) < 0)
		return -ENOMEM;
	if (!client && early) {
		w->sent = early->data;
		w->sent_mark = early->mark;
		early->data = (struct blob){ 0 };
	}
	s->n_waiting++;
	return 0;
}

static int capture_waiting(struct capture *c, const struct file_look *f, const struct tcp_look *t, struct tcp_state *s)
{
	const struct sockets *all = c->descriptions->sockets;
	_cleanup_free_ const struct inet_diag **list = calloc(all->inet.n + 1, sizeof(*list));
	size_t n = 0;
	int err = 0;

	s->backlog = t->info.tcpi_sacked;
	s->waiting = calloc(all->inet.n + 1, sizeof(*s->waiting));
	if (!list || !s->waiting)
		return -ENOMEM;
	if (!t->info.tcpi_unacked)
		return 0;
	for (size_t i = 0; i < all->inet.n; i++) {
		const struct inet_diag *d = &all->inet.list[i];
		const struct socket_look *listener = is_unaccepted(d) ? listener_of(c, &d->local) : NULL;

		if (listener && listener->tcp == t)
			list[n++] = d;
	}
	qsort_r(list, n, sizeof(*list), by_place, (void *)t);
	tell_ties(c, f, t, list, n);
	for (size_t i = 0; i < n && !err; i++)
		err = add_waiting(c, f, t, list[i], s);
	return err;
}

/* --- all --- */

static int check_protocols(
	struct capture *c, const struct file_look *f, int fd, const struct tcp_look *t, const struct tcp_state *s)
{
	struct pollfd p = { .fd = fd };
	char ulp[16] = "";
	uint64_t ao[16] = { 0 }; /* struct tcp_ao_info_opt */
	socklen_t size = sizeof(ulp), size_ao = sizeof(ao);

	if (getsockopt(fd, IPPROTO_TCP, TCP_ULP, ulp, &size) == 0 && size && ulp[0])
		return refused(
			c->ps, BLAME_FILE(f), "a protocol above TCP that the kernel speaks (TCP_ULP: %.15s)", ulp);
	if (getsockopt(fd, IPPROTO_TCP, OPTION_AO_INFO, &ao, &size_ao) == 0 ||
		(errno != ENOENT && errno != ENOPROTOOPT))
		return refused(c->ps, BLAME_FILE(f), "segments signed by TCP-AO (TCP_AO_ADD_KEY)");
	if (!s->error && poll(&p, 1, 0) == 1 && p.revents & POLLERR)
		return refused(c->ps, BLAME_FILE(f, .passing = true, .remedy = "let the program see it"),
			"an error (SO_ERROR, or in its error queue) that was not told yet");
	return 0;
}

static int capture_parameters(int fd, const struct tcp_look *t, struct tcp_state *s)
{
	const struct tcp_info *i = &t->info;
	char name[16] = "";
	uint8_t key[TCP_FASTOPEN_KEY_MAX];
	uint32_t timestamp = 0, mss = 0;
	socklen_t size = sizeof(name);

	options_read(fd, tcp_level.list, tcp_level.n, &s->tcp);
	if (getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &size) == 0) {
		s->congestion = strndup(name, sizeof(name));
		if (!s->congestion)
			return -ENOMEM;
	}
	size = sizeof(key);
	if (getsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_KEY, key, &size) == 0 && size) {
		s->fastopen_key.data = malloc(size);
		if (!s->fastopen_key.data)
			return -ENOMEM;
		memcpy(s->fastopen_key.data, key, size);
		s->fastopen_key.size = size;
	}
	size = sizeof(timestamp);
	getsockopt(fd, IPPROTO_TCP, TCP_TIMESTAMP, &timestamp, &size);
	s->timestamp = timestamp;
	/* what it announces itself is, without a limit set by either, what the other does; a segment of the size now in use was taken */
	s->mss = i->tcpi_snd_mss + (i->tcpi_options & TCPI_OPT_TIMESTAMPS ? TIMESTAMP_SIZE : 0);
	s->mss = t->other ? MAX(s->mss, MIN(i->tcpi_advmss, t->other->tcp->info.tcpi_advmss))
			  : s->mss + tcp_md5_size(&s->md5, &t->peer);
	size = sizeof(mss);
	if ((s->relation == RELATION_ALONE || s->relation == RELATION_LISTENS) &&
		getsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &mss, &size) == 0)
		s->mss = mss;
	s->timestamps = i->tcpi_options & TCPI_OPT_TIMESTAMPS;
	s->sack = i->tcpi_options & TCPI_OPT_SACK;
	s->wscale = i->tcpi_options & TCPI_OPT_WSCALE;
	s->snd_wscale = i->tcpi_snd_wscale;
	s->rcv_wscale = i->tcpi_rcv_wscale;
	s->snd_wnd = t->snd_wnd;
	s->rcv_wnd = t->rcv_wnd;
	return 0;
}

static void capture_shutdown(int fd, const struct tcp_look *t, struct tcp_state *s)
{
	struct pollfd p = { .fd = fd, .events = POLLRDHUP };

	s->peer_shutdown = t->info.tcpi_state != STATE_CLOSE && tcp_fin_received(t);
	if (fin_sent(t->info.tcpi_state))
		s->shutdown |= 2;
	if (!s->peer_shutdown && s->relation != RELATION_ENDED && s->relation != RELATION_FAILED &&
		poll(&p, 1, 0) == 1 && p.revents & POLLRDHUP)
		s->shutdown |= 1;
}

static int copy_queues(struct tcp_look *t, struct tcp_state *s)
{
	s->unread = t->unread;
	s->unsent = t->unsent;
	s->rest = t->rest.data;
	s->rest_mark = t->rest.mark;
	t->unread = t->unsent = t->rest.data = (struct blob){ 0 };
	s->mark = (uint64_t)t->mark + 1;
	s->mark_taken = t->mark_taken;
	s->unsent_mark = t->unsent_mark;
	return 0;
}

static int capture_soft_error(struct capture *c, const struct file_look *f, uint64_t error, struct tcp_state *s)
{
	s->soft_error = error;
	return !error || tcp_soft_error_is_carried(s)
		       ? 0
		       : refused(c->ps, BLAME_FILE(f, .passing = true, .remedy = "let the program ask for it"),
				 "an error (SO_ERROR: %s) that was not told yet, and which no message from the net "
				 "makes",
				 strerror((int)error));
}

static int tcp_capture(struct capture *c, const struct file_look *f, void *state)
{
	struct socket_look *own = socket_find(c->descriptions, f->ino);
	struct tcp_look *t = own ? own->tcp : NULL;
	struct tcp_state *s = state;
	int fd = file_dup(c, f), err;

	if (fd < 0 || !t)
		return fd < 0 ? fd : -ENOENT;
	s->error = error_of(&own->hidden, t);
	err = find_relation(c, f, fd, t, s);
	if (!err)
		err = check_protocols(c, f, fd, t, s);
	if (!err)
		err = tcp_md5_capture(c, f, own, s);
	if (!err && own->hidden.saved_syn)
		changed(c->ps, BLAME_FILE(f), "the segment by which it was connected (TCP_SAVED_SYN) will be gone");
	if (!err && s->relation == RELATION_LISTENS)
		err = capture_waiting(c, f, t, s);
	if (!err)
		err = inet_capture(c, f, fd, &s->inet);
	if (!err)
		err = capture_soft_error(c, f, own->hidden.soft_error, s);
	if (!err)
		err = capture_parameters(fd, t, s);
	if (err)
		return err;
	if (s->relation == RELATION_CONNECTING && inet_to_text(&t->peer, &s->inet.peer) < 0)
		return -ENOMEM;
	capture_shutdown(fd, t, s);
	return copy_queues(t, s);
}

/* --- restore: see tcp_restore.c --- */

static bool needs_peer_name(const struct tcp_state *s)
{
	return s->relation == RELATION_CONNECTED || s->relation == RELATION_WAITS ||
	       s->relation == RELATION_PEER_GONE || s->relation == RELATION_CONNECTING;
}

static bool is_error(const struct tcp_state *s)
{
	if (s->soft_error && !tcp_soft_error_is_carried(s))
		return false;
	return !s->error || (s->relation == RELATION_FAILED && s->error == ECONNREFUSED) ||
	       (s->relation == RELATION_ENDED && (s->error == ECONNRESET || s->error == EPIPE));
}

static bool waits_well(const struct tcp_state *s)
{
	for (size_t i = 0; i < s->n_waiting; i++)
		if (s->waiting[i].sent_mark > s->waiting[i].sent.size)
			return false;
	return true;
}

static bool rests_well(const struct tcp_state *s)
{
	return s->rest_mark <= s->rest.size && s->rest.size <= INT32_MAX &&
	       (!s->rest.size || (s->relation == RELATION_PEER_GONE && !s->peer_shutdown));
}

static int tcp_validate(struct restore *r, const struct record *rec)
{
	const struct tcp_state *s = rec->state;
	const struct tcp_state *peer = s->peer ? restore_state(r, s->peer, "tcp") : NULL;

	if (s->relation >= RELATIONS || s->inet.type != SOCK_STREAM || s->inet.protocol != IPPROTO_TCP ||
		!s->inet.local.ip || (needs_peer_name(s) && !s->inet.peer.ip) || s->mark > s->unread.size ||
		s->unsent_mark > s->unsent.size || !rests_well(s) || !waits_well(s) || !is_error(s) ||
		!tcp_md5_is_possible(&s->md5) || s->unread.size > INT32_MAX || s->unsent.size > INT32_MAX ||
		(s->relation == RELATION_CONNECTED &&
			(!peer || peer->peer != rec->id || peer->relation != s->relation)))
		return failed(r->ps, BLAME(.object = "tcp"), -EBADMSG, "the image has an impossible TCP socket");
	return inet_validate(r, &s->inet);
}

static int tcp_open(struct restore *r, const struct record *rec, const struct file_state *file)
{
	const struct tcp_state *s = rec->state;

	return inet_made_open(r, rec, &s->inet, file);
}

const struct component component_tcp = {
	.kind = { .name = "tcp",
		.version = 7,
		.size = sizeof(struct tcp_state),
		.fields = tcp_fields,
		.doc = "a TCP socket, with what is in its queues",
		.sources = "tcp(7), ip(7), ipv6(7), sock_diag(7); net/ipv4/tcp.c, net/ipv4/tcp_diag.c; "
			   "tools/testing/selftests/net" },
	.scope = SCOPE_BACKING,
	.matches = tcp_matches,
	.capture_file = tcp_capture,
	.validate = tcp_validate,
	.open = tcp_open,
	.round = tcp_round,
};
