/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <assert.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "state/unix_connect.h"

#define WAVE 100 /* connections that wait at one listener at a time */

/* --- listeners --- */

static int listen_by_name(struct connecting *c, struct listener *l)
{
	struct restore *r = c->all.r;
	struct unix_call *call;
	int err;

	l->fd = socket_in(r->root_pid, AF_UNIX, (int)l->type | SOCK_NONBLOCK, 0);
	err = l->fd < 0 ? l->fd : unix_bind(r, l->fd, l->name, NULL, c->all.hidden, &l->dir);
	if (err)
		return err;
	call = unix_add_call(c, UNIX_CALL_LISTEN, l->who);
	call->fd = l->fd;
	call->backlog = WAVE;
	return 0;
}

/* Those that are there at once. */
static int each_listener(struct connecting *c, int (*fn)(struct connecting *c, struct listener *l))
{
	int err = 0;

	for (size_t i = 0; i < c->n_listeners && !err; i++)
		if (c->listeners[i].generation == c->generation)
			err = fn(c, &c->listeners[i]);
	return err;
}

int unix_listen_all(struct connecting *c)
{
	return each_listener(c, listen_by_name);
}

/* --- dials --- */

static int open_client(struct connecting *c, struct dial *d)
{
	const struct blob *name;

	assert(d->accepted); /* a dial without a client has the other end */
	name = &d->accepted->state->peer_name;
	d->fd = socket_in(c->all.r->root_pid, AF_UNIX, (int)d->type, 0);
	return d->fd < 0 ? d->fd : name->size ? unix_bind(c->all.r, d->fd, name, NULL, c->all.hidden, NULL) : 0;
}

static int dial(struct connecting *c, struct listener *l)
{
	l->dialled = l->next;
	l->first_call = c->n_calls;
	for (; l->next < l->end && l->next - l->dialled < WAVE; l->next++) {
		struct dial *d = &c->dials[l->next];
		int err = d->client ? 0 : open_client(c, d);
		struct unix_call *call;

		if (err)
			return err;
		call = unix_add_call(c, UNIX_CALL_CONNECT, d->connected);
		call->fd = d->fd;
		unix_set_target(call, l->dir, l->name);
		c->called[c->n_calls - 1] = (struct called){ d, l };
	}
	l->n_calls = c->n_calls - l->first_call;
	return 0;
}

int unix_dial_wave(struct connecting *c)
{
	return each_listener(c, dial);
}

/* --- accepting --- */

/* An accepted socket is told by the process that connected: of one process, by their order. */
static int settle_accepted(struct dial *d, int accepted)
{
	d->done = true;
	if (d->accepted) {
		if (!d->client) {
			d->accepted->other = d->fd;
			d->fd = -1;
		}
		return unix_replace(d->accepted->fd, accepted);
	}
	d->client->other = accepted;
	return 0;
}

int unix_accept_one(struct connecting *c, const struct called *called)
{
	int fd = accept4(called->listener->fd, NULL, NULL, SOCK_CLOEXEC);

	return fd < 0 ? -errno : settle_accepted(called->dial, fd);
}

static struct dial *dialled_by(const struct connecting *c, const struct listener *l, pid_t pid)
{
	for (size_t i = l->first_call; i < l->first_call + l->n_calls; i++)
		if (!c->called[i].dial->done && c->calls[i].by && c->calls[i].by->pid == pid)
			return c->called[i].dial;
	return NULL;
}

static int accept_waiting(struct connecting *c, struct listener *l)
{
	for (;;) {
		int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC), err;
		struct ucred creds = { 0 };
		socklen_t size = sizeof(creds);
		struct dial *d;

		if (fd < 0)
			return errno == EAGAIN ? 0 : -errno;
		getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &creds, &size);
		d = dialled_by(c, l, creds.pid);
		err = d ? settle_accepted(d, fd) : -EBADMSG;
		if (err)
			return err;
	}
}

static int finish_wave(struct connecting *c, struct listener *l)
{
	int err = accept_waiting(c, l);

	for (size_t i = l->dialled; i < l->next && !err; i++)
		err = c->dials[i].done ? 0 : -EPROTO;
	return err;
}

static int has_more(struct connecting *c, struct listener *l)
{
	return l->next < l->end;
}

static int stop_listening(struct connecting *c, struct listener *l)
{
	close_fd(&l->fd);
	close_fd(&l->dir);
	return 0;
}

int unix_accept_wave(struct connecting *c)
{
	int err = each_listener(c, finish_wave);

	if (err)
		return err;
	if (each_listener(c, has_more)) {
		c->phase = PHASE_DIAL;
		return 0;
	}
	each_listener(c, stop_listening);
	c->phase = ++c->generation < c->generations ? PHASE_LISTEN : PHASE_BIND;
	return 0;
}
