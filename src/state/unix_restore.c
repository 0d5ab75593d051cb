/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "state/unix_connect.h"

struct unix_made *unix_made(struct restore *r, object_id id)
{
	const struct unix_state *state = restore_state(r, id, component_unix.kind.name);
	struct made *made = state ? restore_made(r, id) : NULL;
	struct unix_made *m;

	if (!made)
		return NULL;
	if (!made->data) {
		m = made->data = calloc(1, sizeof(*m));
		if (m)
			*m = (struct unix_made){ .state = state, .fd = -1, .other = -1, .dir = -1 };
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
	for (size_t i = 0; c->all.made && i < c->all.n && c->all.made[i]; i++) {
		close_fd(&c->all.made[i]->other);
		close_fd(&c->all.made[i]->dir);
	}
	close_fd(&c->all.hidden);
	free(c->all.made);
	map_free(&c->all.names);
	free(c->listeners);
	free(c->dials);
	free(c->pairs);
	free(c->calls);
	free(c->called);
	free(c);
}

static int find_made(struct connecting *c)
{
	struct restore *r = c->all.r;

	c->all.made = calloc(c->all.n + 1, sizeof(*c->all.made));
	if (!c->all.made)
		return -ENOMEM;
	for (size_t i = 0; i < c->all.n; i++) {
		const struct unix_state *s = c->all.recs[i].state;
		struct unix_made *m = c->all.made[i] = unix_made(r, c->all.recs[i].id);

		if (!m || m->fd < 0)
			return failed(
				r->ps, BLAME(.object = "unix"), -EBADMSG, "the image has a socket that is not open");
		if ((s->name.size && s->name.size <= UNIX_NAME_MAX && s->inherited) != s->inherited)
			return failed(r->ps, BLAME(.object = "unix"), -EBADMSG,
				"the image has an accepted socket without a name");
		c->most_waiting = MAX(c->most_waiting, s->n_waiting);
	}
	return 0;
}

static int begin(struct restore *r, struct connecting **out)
{
	struct connecting *c = calloc(1, sizeof(*c));
	int err;

	if (!c)
		return -ENOMEM;
	*out = c;
	c->all = (struct unix_all){ .r = r, .hidden = -1 };
	c->all.recs = image_records(r->image, &component_unix.kind, &c->all.n);
	c->calls = calloc(2 * (c->all.n + 1), sizeof(*c->calls));
	c->called = calloc(2 * (c->all.n + 1), sizeof(*c->called));
	if (!c->calls || !c->called)
		return -ENOMEM;
	err = find_made(c);
	if (!err)
		err = unix_plan(c);
	if (err)
		return err;
	if (c->most_waiting)
		unix_find_holders(c);
	c->all.hidden = unix_hidden_directory();
	return c->all.hidden < 0
		       ? failed(r->ps, BLAME(.object = "unix"), c->all.hidden,
				 "no place for names out of sight can be made (tmpfs): %s", strerror(-c->all.hidden))
		       : 0;
}

/* --- calls --- */

struct unix_call *unix_add_call(struct connecting *c, enum unix_call_kind kind, const struct unix_identity *who)
{
	struct unix_call *call = &c->calls[c->n_calls];

	*call = (struct unix_call){ .kind = kind, .who = who, .fd = -1, .dir = -1, .pair = { -1, -1 } };
	c->called[c->n_calls++] = (struct called){ 0 };
	return call;
}

void unix_set_target(struct unix_call *call, int dir, const struct blob *name)
{
	const char *slash = name->data[0] ? memrchr(name->data, '/', name->size) : NULL;

	call->dir = dir;
	call->name = slash ? slash + 1 : (const char *)name->data;
	call->name_size = name->size - (size_t)(call->name - (const char *)name->data);
}

int unix_replace(int fd, int by)
{
	int err = dup3(by, fd, O_CLOEXEC) < 0 ? -errno : 0;

	close(by);
	return err;
}

static int made_at_once(void *arg, struct unix_call *call)
{
	struct connecting *c = arg;
	const struct called *called = &c->called[call - c->calls];
	int err = 0, type = 0;
	socklen_t size = sizeof(type);

	if (call->waiting && !getsockopt(call->fd, SOL_SOCKET, SO_TYPE, &type, &size))
		err = unix_send_early(
			&c->all, call->fd, type == SOCK_STREAM, call->waiting->sent, call->waiting->n_sent);
	if (call->for_a_moment)
		close_fd(&call->fd);
	return err ? err : called->dial ? unix_accept_one(c, called) : 0;
}

static int run(struct connecting *c, struct callers *callers)
{
	return unix_calls_run(c->all.r, callers, c->calls, c->n_calls, made_at_once, c);
}

/* --- phases --- */

static int phase_pairs(struct connecting *c)
{
	for (size_t i = 0; i < c->n_pairs; i++) {
		assert(c->pairs[i].a);
		unix_add_call(c, UNIX_CALL_PAIR, known(&c->pairs[i].a->state->identity))->type =
			(int)c->pairs[i].a->state->type;
	}
	return 0;
}

static int settle_pair(struct connecting *c, struct pairing *p, struct unix_call *call)
{
	int err = unix_call_fetch(call);

	assert(p->a);
	if (!err)
		err = unix_replace(p->a->fd, call->pair[0]);
	p->a->half = p->b;
	if (p->b)
		p->b->half = p->a;
	if (!err && p->b)
		err = unix_replace(p->b->fd, call->pair[1]);
	else if (!err)
		p->a->other = call->pair[1];
	if (!err && !p->b && p->a->state->peer_name.size)
		err = unix_bind(c->all.r, p->a->other, &p->a->state->peer_name, NULL, c->all.hidden, NULL);
	return err;
}

static int settle_pairs(struct connecting *c)
{
	int err = 0;

	for (size_t i = 0; i < c->n_pairs && !err; i++)
		err = settle_pair(c, &c->pairs[i], &c->calls[i]);
	return err;
}

static int phase_listen(struct connecting *c)
{
	int err = c->generation ? 0 : settle_pairs(c);

	c->n_calls = 0;
	return err ? err : unix_listen_all(c);
}

static int phase_accept(struct connecting *c)
{
	int err = unix_accept_wave(c);

	c->n_calls = 0;
	return err;
}

static int phase_bind(struct connecting *c)
{
	for (size_t i = 0; i < c->all.n; i++) {
		const struct unix_state *s = c->all.recs[i].state;
		struct unix_made *m = c->all.made[i];
		struct unix_call *call;
		int err = 0;

		if (s->name.size && !s->inherited)
			err = unix_bind(c->all.r, m->fd, &s->name, s, c->all.hidden, s->n_waiting ? &m->dir : NULL);
		if (err)
			return err;
		if (s->state != UNIX_LISTENS)
			continue;
		call = unix_add_call(c, UNIX_CALL_LISTEN, known(&s->identity));
		call->fd = m->fd;
		call->backlog = (int)MIN(s->backlog, (uint64_t)INT32_MAX);
	}
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
		c->n_calls = 0;
		return unix_dial_wave(c);
	case PHASE_ACCEPT:
		return phase_accept(c);
	case PHASE_BIND:
		c->phase = PHASE_KNOCK;
		return phase_bind(c);
	default:
		c->n_calls = 0;
		if (c->knock < c->most_waiting)
			return unix_knock_all(c);
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
