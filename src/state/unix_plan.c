/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/macro.h"
#include "state/unix_connect.h"

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

enum order { MUTUAL, OF_PAIR, ANY_OTHER };

/* Who is connected with a datagram socket without a name was made as a pair with it. */
static enum order order_of(const struct connecting *c, size_t i, const struct unix_made *peer)
{
	const struct unix_made *m = c->all.made[i];

	if (peer && peer->state->peer == c->all.recs[i].id)
		return MUTUAL;
	return m->state->type == SOCK_DGRAM && peer && !peer->state->name.size ? OF_PAIR : ANY_OTHER;
}

/* Datagram sockets whose peer leads back to them first, and then those whose peer is connected elsewhere since. */
static void plan_all(struct connecting *c, enum order order)
{
	for (size_t i = 0; i < c->all.n; i++) {
		struct unix_made *m = c->all.made[i];
		struct unix_made *peer = m->state->peer ? unix_made(c->all.r, m->state->peer) : NULL;

		if (m->connected || order_of(c, i, peer) != order)
			continue;
		if (m->state->type == SOCK_DGRAM)
			plan_datagram(c, m, peer);
		else if (is_connected(m->state))
			plan_stream(c, m, order == MUTUAL ? peer : NULL);
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

/* That of the dial before, or one more. */
static struct listener *add_listener(struct connecting *c, const struct dial *d, size_t first)
{
	struct listener *last = c->n_listeners ? &c->listeners[c->n_listeners - 1] : NULL;
	bool same_name = last && last->type == d->type && unix_same_name(last->name, d->name);
	unsigned int generation = 0;

	if (same_name && same_identity(last->who, d->listened))
		return last;
	if (same_name && !d->name->data[0])
		generation = last->generation + 1;
	c->generations = MAX(c->generations, generation + 1);
	c->listeners[c->n_listeners] = (struct listener){ .name = d->name,
		.who = d->listened,
		.type = d->type,
		.generation = generation,
		.fd = -1,
		.dir = -1,
		.next = first };
	return &c->listeners[c->n_listeners++];
}

int unix_plan(struct connecting *c)
{
	size_t n = c->all.n + 1;

	c->dials = calloc(n, sizeof(*c->dials));
	c->pairs = calloc(n, sizeof(*c->pairs));
	c->listeners = calloc(n, sizeof(*c->listeners));
	if (!c->dials || !c->pairs || !c->listeners)
		return -ENOMEM;
	for (enum order order = MUTUAL; order <= ANY_OTHER; order++)
		plan_all(c, order);
	qsort(c->dials, c->n_dials, sizeof(*c->dials), compare_dials);
	for (size_t i = 0; i < c->n_dials; i++)
		add_listener(c, &c->dials[i], i)->end = i + 1;
	return 0;
}
