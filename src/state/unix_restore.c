/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How unix sockets come to be connected again. Two without names were a socketpair. An accepted one has its listener's name, and is made by a listener
 * for this purpose alone, bound out of sight to that name: so no two connections can be confused, and nobody else can come between. Only when
 * these are made do the sockets that are found by their names get them; connections that wait to be accepted are dialled then, in their order.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "state/credentials.h"
#include "state/descriptors.h"
#include "state/unix.h"

extern const struct component component_credentials;

#define WAVE 100 /* connections that wait at one listener at a time */

struct listener {
	const struct blob *name;
	const struct unix_identity *who; /* NULL: anybody */
	uint64_t type;
	unsigned int generation; /* of those of one abstract name, which cannot be there at once */
	int fd, dir;
};

struct dial {
	struct unix_made *client, *accepted; /* one of them may be NULL: it is not of the tree */
	const struct blob *name;	     /* of the listener */
	const struct unix_identity *listened, *connected;
	uint64_t type;
	size_t listener;
	int fd; /* of the client */
	bool called, done;
};

struct pairing {
	struct unix_made *a, *b; /* b NULL: not of the tree */
};

enum phase { PHASE_PAIRS, PHASE_LISTEN, PHASE_DIAL, PHASE_ACCEPT, PHASE_BIND, PHASE_KNOCK, PHASE_DONE };

struct connecting {
	struct unix_all all;
	enum phase phase;
	unsigned int generation, generations;
	struct listener *listeners;
	size_t n_listeners;
	struct dial *dials;
	size_t n_dials;
	struct pairing *pairs;
	size_t n_pairs;
	size_t knock, most_waiting;
	struct unix_call *calls; /* of the round under way */
	size_t n_calls;
	struct dial **called; /* whose calls they are */
};

struct unix_made *unix_made(struct restore *r, object_id id)
{
	struct record *rec = image_find(r->image, id);
	struct made *made = restore_made(r, id);
	struct unix_made *m;

	if (!made || !rec || rec->kind != &component_unix.kind)
		return NULL;
	if (!made->data) {
		m = made->data = calloc(1, sizeof(*m));
		if (m)
			*m = (struct unix_made){ .state = rec->state, .fd = -1, .other = -1, .dir = -1 };
	}
	return made->data;
}

static void free_all(struct connecting *c)
{
	for (size_t i = 0; i < c->n_listeners; i++) {
		close_fd(&c->listeners[i].fd);
		close_fd(&c->listeners[i].dir);
	}
	for (size_t i = 0; i < c->n_dials; i++)
		if (!c->dials[i].client)
			close_fd(&c->dials[i].fd);
	for (size_t i = 0; i < c->all.n; i++) {
		struct unix_made *m = restore_made(c->all.r, c->all.recs[i].id)->data;

		if (m) {
			close_fd(&m->other);
			close_fd(&m->dir);
		}
	}
	close_fd(&c->all.hidden);
	free(c->listeners);
	free(c->dials);
	free(c->pairs);
	free(c->calls);
	free(c->called);
	free(c);
}

/* --- what is to be made ------------------------------------------------------------------------------------------------------ */

static const struct unix_identity *known(const struct unix_identity *who)
{
	return who->known ? who : NULL;
}

static void add_dial(struct connecting *c, struct unix_made *client, struct unix_made *accepted)
{
	struct unix_made *m = client ? client : accepted;

	c->dials[c->n_dials++] = (struct dial){
		.client = client,
		.accepted = accepted,
		.name = accepted ? &accepted->state->name : &client->state->peer_name,
		.listened = client ? known(&client->state->identity) : NULL,
		.connected = accepted ? known(&accepted->state->identity) : NULL,
		.type = m->state->type,
		.fd = client ? client->fd : -1,
	};
}

static void plan_stream(struct connecting *c, struct unix_made *m, struct unix_made *peer)
{
	if (m->state->inherited)
		add_dial(c, peer, m);
	else if (peer ? peer->state->inherited : m->state->peer_name.size > 0)
		add_dial(c, m, peer);
	else
		c->pairs[c->n_pairs++] = (struct pairing){ m, peer };
	m->connected = true;
	if (peer)
		peer->connected = true;
}

static bool same_identity(const struct unix_identity *a, const struct unix_identity *b)
{
	if (!a || !b)
		return a == b;
	return a->pid == b->pid && a->uid == b->uid && a->gid == b->gid && a->n_groups == b->n_groups &&
	       (!a->n_groups || !memcmp(a->groups, b->groups, a->n_groups * sizeof(*a->groups)));
}

/* A datagram socket with credentials was made by socketpair, whatever it has been connected to since. */
static void plan_datagram(struct connecting *c, struct unix_made *m, struct unix_made *peer)
{
	bool twin = peer && !peer->connected && known(&peer->state->identity) &&
		    same_identity(&m->state->identity, &peer->state->identity) &&
		    (!peer->state->name.size || unix_made(c->all.r, peer->state->peer) == m);

	if (!known(&m->state->identity))
		return;
	c->pairs[c->n_pairs++] = (struct pairing){ m, twin ? peer : NULL };
	m->connected = true;
	if (twin)
		peer->connected = true;
}

static bool is_connected(const struct unix_state *s)
{
	return s->state == UNIX_CONNECTED || s->state == UNIX_PEER_GONE || s->state == UNIX_PEER_OUTSIDE;
}

/* Datagram sockets whose peer leads back to them first: the others may have been connected elsewhere since. */
static void plan_all(struct connecting *c, bool mutual)
{
	for (size_t i = 0; i < c->all.n; i++) {
		struct unix_made *m = unix_made(c->all.r, c->all.recs[i].id);
		struct unix_made *peer = m && m->state->peer ? unix_made(c->all.r, m->state->peer) : NULL;
		bool back = peer && peer->state->peer == c->all.recs[i].id;

		if (!m || m->connected || back != mutual)
			continue;
		if (m->state->type == SOCK_DGRAM)
			plan_datagram(c, m, peer);
		else if (is_connected(m->state))
			plan_stream(c, m, back ? peer : NULL);
	}
}

static int compare_dials(const void *a, const void *b)
{
	const struct dial *x = a, *y = b;
	int r;

	if (x->type != y->type)
		return x->type < y->type ? -1 : 1;
	if (x->name->size != y->name->size)
		return x->name->size < y->name->size ? -1 : 1;
	r = memcmp(x->name->data, y->name->data, x->name->size);
	if (r || same_identity(x->listened, y->listened))
		return r;
	if (!x->listened || !y->listened)
		return x->listened ? 1 : -1;
	if (x->listened->pid != y->listened->pid)
		return x->listened->pid < y->listened->pid ? -1 : 1;
	return x->listened->uid < y->listened->uid ? -1 : x->listened->uid > y->listened->uid;
}

static void find_listeners(struct connecting *c)
{
	qsort(c->dials, c->n_dials, sizeof(*c->dials), compare_dials);
	for (size_t i = 0; i < c->n_dials; i++) {
		struct dial *d = &c->dials[i];
		struct listener *last = c->n_listeners ? &c->listeners[c->n_listeners - 1] : NULL;
		bool same_name = last && last->type == d->type && unix_same_name(last->name, d->name);

		if (!same_name || !same_identity(last->who, d->listened)) {
			c->listeners[c->n_listeners++] = (struct listener){
				.name = d->name,
				.who = d->listened,
				.type = d->type,
				.generation = same_name && !d->name->data[0] ? last->generation + 1 : 0,
				.fd = -1,
				.dir = -1,
			};
			if (c->listeners[c->n_listeners - 1].generation >= c->generations)
				c->generations = c->listeners[c->n_listeners - 1].generation + 1;
		}
		d->listener = c->n_listeners - 1;
	}
}

static int begin(struct restore *r, struct connecting **out)
{
	struct connecting *c = calloc(1, sizeof(*c));
	size_t n;

	if (!c)
		return -ENOMEM;
	c->all = (struct unix_all){ .r = r, .hidden = -1 };
	c->all.recs = image_records(r->image, &component_unix.kind, &c->all.n);
	n = c->all.n + 1;
	*out = c;
	c->dials = calloc(n, sizeof(*c->dials));
	c->pairs = calloc(n, sizeof(*c->pairs));
	c->listeners = calloc(n, sizeof(*c->listeners));
	c->calls = calloc(2 * n, sizeof(*c->calls));
	c->called = calloc(2 * n, sizeof(struct dial *));
	if (!c->dials || !c->pairs || !c->listeners || !c->calls || !c->called)
		return -ENOMEM;
	for (size_t i = 0; i < c->all.n; i++) {
		const struct unix_state *s = c->all.recs[i].state;
		struct unix_made *m = unix_made(r, c->all.recs[i].id);

		if (!m || m->fd < 0)
			return failed(
				r->ps, BLAME(.object = "unix"), -EBADMSG, "the image has a socket that is not open");
		if ((s->name.size && s->name.size <= UNIX_NAME_MAX && s->inherited) != s->inherited)
			return failed(r->ps, BLAME(.object = "unix"), -EBADMSG,
				"the image has an accepted socket without a name");
		if (s->n_waiting > c->most_waiting)
			c->most_waiting = s->n_waiting;
	}
	plan_all(c, true);
	plan_all(c, false);
	find_listeners(c);
	c->all.hidden = unix_hidden_directory();
	return c->all.hidden < 0
		       ? failed(r->ps, BLAME(.object = "unix"), c->all.hidden,
				 "no place for names out of sight can be made (tmpfs): %s", strerror(-c->all.hidden))
		       : 0;
}

/* --- rounds ------------------------------------------------------------------------------------------------------------------------ */

static struct unix_call *add_call(struct connecting *c, enum unix_call_kind kind, const struct unix_identity *who)
{
	struct unix_call *call = &c->calls[c->n_calls];

	*call = (struct unix_call){ .kind = kind, .who = who, .fd = -1, .dir = -1, .pair = { -1, -1 } };
	c->called[c->n_calls++] = NULL;
	return call;
}

static int replace(int fd, int by)
{
	int err = dup3(by, fd, O_CLOEXEC) < 0 ? -errno : 0;

	close(by);
	return err;
}

static int settle_pair(struct connecting *c, struct pairing *p, struct unix_call *call)
{
	int err = unix_call_fetch(call);

	assert(p->a);
	if (!err)
		err = replace(p->a->fd, call->pair[0]);
	if (!err && p->b)
		err = replace(p->b->fd, call->pair[1]);
	else if (!err)
		p->a->other = call->pair[1];
	if (!err && !p->b && p->a->state->peer_name.size)
		err = unix_bind(c->all.r, p->a->other, &p->a->state->peer_name, NULL, c->all.hidden, NULL);
	return err;
}

/* An accepted socket is told by the process that connected: of one process, by their order. */
static int settle_accepted(struct connecting *c, struct dial *d, int accepted)
{
	d->done = true;
	if (d->accepted) {
		if (!d->client) {
			d->accepted->other = d->fd;
			d->fd = -1;
		}
		return replace(d->accepted->fd, accepted);
	}
	d->client->other = accepted;
	return 0;
}

static int accept_one(struct connecting *c, struct dial *d)
{
	int fd = accept4(c->listeners[d->listener].fd, NULL, NULL, SOCK_CLOEXEC);

	return fd < 0 ? -errno : settle_accepted(c, d, fd);
}

static int accept_waiting(struct connecting *c, size_t listener)
{
	for (;;) {
		int fd = accept4(c->listeners[listener].fd, NULL, NULL, SOCK_CLOEXEC), err = -EBADMSG;
		struct ucred creds = { 0 };
		socklen_t size = sizeof(creds);

		if (fd < 0)
			return errno == EAGAIN ? 0 : -errno;
		getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &creds, &size);
		for (size_t i = 0; i < c->n_calls && err == -EBADMSG; i++) {
			struct dial *d = c->called[i];

			if (d && !d->done && d->listener == listener && c->calls[i].by &&
				c->calls[i].by->pid == creds.pid)
				err = settle_accepted(c, d, fd);
		}
		if (err)
			return err;
	}
}

static int made_at_once(void *arg, struct unix_call *call)
{
	struct connecting *c = arg;
	struct dial *d = c->called[call - c->calls];

	if (call->for_a_moment)
		close_fd(&call->fd);
	return d ? accept_one(c, d) : 0;
}

static int run(struct connecting *c, struct callers *callers)
{
	return unix_calls_run(c->all.r, callers, c->calls, c->n_calls, made_at_once, c);
}

static int phase_pairs(struct connecting *c)
{
	for (size_t i = 0; i < c->n_pairs; i++) {
		assert(c->pairs[i].a);
		add_call(c, UNIX_CALL_PAIR, known(&c->pairs[i].a->state->identity))->type =
			(int)c->pairs[i].a->state->type;
	}
	return 0;
}

static int phase_listen(struct connecting *c)
{
	struct restore *r = c->all.r;

	if (c->generation == 0)
		for (size_t i = 0; i < c->n_pairs; i++) {
			int err = settle_pair(c, &c->pairs[i], &c->calls[i]);

			if (err)
				return err;
		}
	c->n_calls = 0;
	for (size_t i = 0; i < c->n_listeners; i++) {
		struct listener *l = &c->listeners[i];
		struct unix_call *call;
		int err;

		if (l->generation != c->generation)
			continue;
		l->fd = socket_in(r->root_pid, AF_UNIX, (int)l->type | SOCK_NONBLOCK, 0);
		err = l->fd < 0 ? l->fd : unix_bind(r, l->fd, l->name, NULL, c->all.hidden, &l->dir);
		if (err)
			return err;
		call = add_call(c, UNIX_CALL_LISTEN, l->who);
		call->fd = l->fd;
		call->backlog = WAVE;
	}
	return 0;
}

static void set_target(struct unix_call *call, int dir, const struct blob *name)
{
	const char *slash = name->data[0] ? memrchr(name->data, '/', name->size) : NULL;

	call->dir = dir;
	call->name = slash ? slash + 1 : (const char *)name->data;
	call->name_size = name->size - (size_t)(call->name - (const char *)name->data);
}

static int open_client(struct connecting *c, struct dial *d)
{
	const struct blob *name;

	assert(d->accepted); /* a dial without a client has the other end */
	name = &d->accepted->state->peer_name;
	d->fd = socket_in(c->all.r->root_pid, AF_UNIX, (int)d->type, 0);
	return d->fd < 0 ? d->fd : name->size ? unix_bind(c->all.r, d->fd, name, NULL, c->all.hidden, NULL) : 0;
}

static int phase_dial(struct connecting *c)
{
	size_t in_wave = 0, last = SIZE_MAX;

	c->n_calls = 0;
	for (size_t i = 0; i < c->n_dials; i++) {
		struct dial *d = &c->dials[i];
		struct listener *l = &c->listeners[d->listener];
		struct unix_call *call;
		int err = 0;

		if (l->generation != c->generation || d->called)
			continue;
		in_wave = d->listener == last ? in_wave + 1 : 1;
		last = d->listener;
		if (in_wave > WAVE)
			continue;
		d->called = true;
		if (!d->client)
			err = open_client(c, d);
		if (err)
			return err;
		call = add_call(c, UNIX_CALL_CONNECT, d->connected);
		call->fd = d->fd;
		set_target(call, l->dir, l->name);
		c->called[c->n_calls - 1] = d;
	}
	return 0;
}

static int phase_accept(struct connecting *c)
{
	bool more = false;

	for (size_t i = 0; i < c->n_listeners; i++) {
		int err = c->listeners[i].generation == c->generation ? accept_waiting(c, i) : 0;

		if (err)
			return err;
	}
	for (size_t i = 0; i < c->n_dials; i++) {
		bool now = c->listeners[c->dials[i].listener].generation == c->generation;

		if (now && c->dials[i].called && !c->dials[i].done)
			return -EPROTO;
		more |= now && !c->dials[i].called;
	}
	c->n_calls = 0;
	if (more) {
		c->phase = PHASE_DIAL;
		return 0;
	}
	for (size_t i = 0; i < c->n_listeners; i++)
		if (c->listeners[i].generation == c->generation) {
			close_fd(&c->listeners[i].fd);
			close_fd(&c->listeners[i].dir);
		}
	c->phase = ++c->generation < c->generations ? PHASE_LISTEN : PHASE_BIND;
	return 0;
}

static int phase_bind(struct connecting *c)
{
	for (size_t i = 0; i < c->all.n; i++) {
		const struct unix_state *s = c->all.recs[i].state;
		struct unix_made *m = unix_made(c->all.r, c->all.recs[i].id);
		struct unix_call *call;
		int err = 0;

		if (s->name.size && !s->inherited)
			err = unix_bind(c->all.r, m->fd, &s->name, s, c->all.hidden, s->n_waiting ? &m->dir : NULL);
		if (err)
			return err;
		if (s->state != UNIX_LISTENS)
			continue;
		call = add_call(c, UNIX_CALL_LISTEN, known(&s->identity));
		call->fd = m->fd;
		call->backlog = (int)MIN(s->backlog, (uint64_t)INT32_MAX);
	}
	return 0;
}

static bool has_socket(const struct restore *r, const struct new_process *p, const struct unix_made *m)
{
	const struct descriptors_state *s = descriptors_of(r, p->id);

	for (size_t i = 0; s && i < s->n; i++)
		if (restore_state(r, s->list[i].file, "file") == m->file)
			return true;
	return false;
}

static const struct credentials_state *credentials_of(const struct restore *r, const struct new_process *p)
{
	size_t n;
	const struct record *recs = image_records(r->image, &component_credentials.kind, &n);

	for (size_t i = 0; i < n; i++) {
		const struct credentials_state *s = recs[i].state;

		if (s->of == p->threads[0].id)
			return s;
	}
	return NULL;
}

/* Who dialled the kernel tells only of what is accepted: whoever has the socket now, as it is now. */
static const struct unix_identity *dialler(const struct restore *r, struct unix_made *m)
{
	for (size_t i = 0; i < r->n_processes; i++) {
		const struct credentials_state *s;

		if (!has_socket(r, r->processes[i], m))
			continue;
		s = credentials_of(r, r->processes[i]);
		if (!s)
			break;
		m->dialler = (struct unix_identity){ .known = true,
			.pid = r->processes[i]->vpid,
			.uid = s->euid,
			.gid = s->egid,
			.groups = s->groups,
			.n_groups = s->n_groups };
		return &m->dialler;
	}
	return NULL;
}

static int phase_knock(struct connecting *c)
{
	for (size_t i = 0; i < c->all.n; i++) {
		const struct unix_state *s = c->all.recs[i].state;
		struct unix_made *m = unix_made(c->all.r, c->all.recs[i].id), *client;
		struct unix_call *call;

		if (s->state != UNIX_LISTENS || c->knock >= s->n_waiting)
			continue;
		client = unix_made(c->all.r, s->waiting[c->knock].socket);
		call = add_call(c, UNIX_CALL_CONNECT, client ? dialler(c->all.r, client) : NULL);
		call->fd = client ? client->fd : socket_in(c->all.r->root_pid, AF_UNIX, (int)s->type, 0);
		call->for_a_moment = !client;
		if (call->fd < 0)
			return call->fd;
		set_target(call, m->dir, &s->name);
		if (s->path) { /* it may have been renamed since it was bound */
			call->name = strrchr(s->path, '/') + 1;
			call->name_size = strlen(call->name);
		}
	}
	c->knock++;
	return 0;
}

static int finish(struct connecting *c)
{
	int err = unix_fill_all(&c->all);

	return err ? err : unix_finish_all(&c->all);
}

static int step(struct connecting *c)
{
	switch (c->phase) {
	case PHASE_PAIRS:
		c->phase = PHASE_LISTEN;
		return phase_pairs(c);
	case PHASE_LISTEN:
		c->phase = PHASE_DIAL;
		return phase_listen(c);
	case PHASE_DIAL:
		c->phase = PHASE_ACCEPT;
		return phase_dial(c);
	case PHASE_ACCEPT:
		return phase_accept(c);
	case PHASE_BIND:
		c->phase = PHASE_KNOCK;
		return phase_bind(c);
	default:
		c->n_calls = 0;
		if (c->knock < c->most_waiting)
			return phase_knock(c);
		c->phase = PHASE_DONE;
		return finish(c);
	}
}

int unix_round(struct restore *r, struct callers *callers, unsigned int n)
{
	struct connecting *c = callers->state;
	size_t records;
	int err = 0;

	if (n == ROUND_ABANDON) {
		if (c)
			free_all(c);
		return 0;
	}
	image_records(r->image, &component_unix.kind, &records);
	if (!records)
		return 0;
	if (!c) {
		err = begin(r, &c);
		callers->state = c;
	}
	while (!err && c->phase != PHASE_DONE) {
		err = step(c);
		if (!err && c->n_calls)
			err = run(c, callers);
	}
	if (err == 1)
		return 1;
	if (c)
		free_all(c);
	callers->state = NULL;
	return err;
}
