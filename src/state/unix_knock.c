/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>
#include <sys/socket.h>

#include "state/credentials.h"
#include "state/descriptors.h"
#include "state/unix_connect.h"

extern const struct component component_credentials;

/* The first process that has each: it is who dials. */
void unix_find_holders(const struct connecting *c)
{
	const struct restore *r = c->all.r;

	for (size_t i = 0; i < r->n_processes; i++) {
		const struct descriptors_state *s = descriptors_of(r, r->processes[i]->id);

		for (size_t k = 0; s && k < s->n; k++) {
			const struct file_state *file = restore_state(r, s->list[k].file, "file");
			struct unix_made *m = file ? unix_made(c->all.r, file->backing) : NULL;

			if (m && !m->holder)
				m->holder = r->processes[i];
		}
	}
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
	const struct credentials_state *s = m->holder ? credentials_of(r, m->holder) : NULL;

	if (!s)
		return NULL;
	m->dialler = (struct unix_identity){ .known = true,
		.pid = m->holder->vpid,
		.uid = s->euid,
		.gid = s->egid,
		.groups = s->groups,
		.n_groups = s->n_groups };
	return &m->dialler;
}

/* One of those that wait at each listener. */
int unix_knock_all(struct connecting *c)
{
	for (size_t i = 0; i < c->all.n; i++) {
		const struct unix_state *s = c->all.recs[i].state;
		struct unix_made *m = c->all.made[i], *client;
		struct unix_call *call;

		if (s->state != UNIX_LISTENS || c->knock >= s->n_waiting)
			continue;
		client = unix_made(c->all.r, s->waiting[c->knock].socket);
		call = unix_add_call(c, UNIX_CALL_CONNECT, client ? dialler(c->all.r, client) : NULL);
		call->fd = client ? client->fd : socket_in(c->all.r->root_pid, AF_UNIX, (int)s->type, 0);
		call->for_a_moment = !client;
		call->waiting = client ? NULL : &s->waiting[c->knock];
		if (call->fd < 0)
			return call->fd;
		unix_set_target(call, m->dir, &s->name);
		if (s->path) { /* it may have been renamed since it was bound */
			call->name = strrchr(s->path, '/') + 1;
			call->name_size = strlen(call->name);
		}
	}
	c->knock++;
	return 0;
}
