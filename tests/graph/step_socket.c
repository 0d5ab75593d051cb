/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Steps on sockets: descriptors in messages, connections. */
#include <poll.h>
#include <sys/socket.h>

#include "world.h"

static int post(int socket, int fd)
{
	char byte = 'p', room[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec data = { &byte, 1 };
	struct msghdr m = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	SAME(sendmsg(socket, &m, 0), 1);
	return 0;
}

static int take_post(int socket, int to)
{
	char byte = 0, room[CMSG_SPACE(sizeof(int))];
	struct iovec data = { &byte, 1 };
	struct msghdr m = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room) };
	int fd;

	SAME(recvmsg(socket, &m, MSG_CMSG_CLOEXEC), 1);
	SAME(byte, 'p');
	CHECK(CMSG_FIRSTHDR(&m));
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
	return move_fd(fd, to, true);
}

/* A descriptor goes into a message, or comes out of one. Of these sockets only later ones go through earlier ones, so that none holds itself. */
int step_post(struct world *w, int process)
{
	int socket = any_of_kind(w, process, K_POST), fd = any_fd(w, process), to = any_free_fd(w, process), end,
	    description;
	bool send = draw(w, 2);
	struct object *o;

	if (socket < 0)
		return 0;
	description = table_of(w, process)->fd[socket].description;
	end = w->descriptions[description].end;
	o = &w->objects[w->descriptions[description].object];
	if (!end_is_held(w, object_index(w, o), !end)) /* a hang-up, or a reset, by what that end had not read */
		return 0;
	if (send) {
		int sent = table_of(w, process)->fd[fd].description;
		const struct object *what = &w->objects[w->descriptions[sent].object];

		if (o->n_posted[!end] == MAX_POSTED || (what->kind == K_POST && what <= o))
			return 0;
		if (is_real(w, process))
			TRY(post(socket, fd));
		o->posted[!end][o->n_posted[!end]++] = sent;
		w->descriptions[sent].holders++;
		return 0;
	}
	if (!o->n_posted[end] || to < 0)
		return 0;
	if (is_real(w, process))
		TRY(take_post(socket, to));
	description = o->posted[end][0];
	memmove(&o->posted[end][0], &o->posted[end][1], sizeof(int) * (size_t)--o->n_posted[end]);
	drop_posix_locks(w, table_of(w, process), w->descriptions[description].object);
	hold(w, table_of(w, process), to, description, true);
	w->descriptions[description].holders--;
	w->descriptions[description].passed = true;
	return 0;
}

static struct object *any_listener(struct world *w)
{
	int start = (int)draw(w, MAX_OBJECTS);

	for (int i = 0; i < MAX_OBJECTS; i++) {
		int index = (start + i) % MAX_OBJECTS;
		struct object *o = &w->objects[index];

		if (index < w->n_objects && (o->kind == K_LISTENER || o->kind == K_TCP_LISTENER) &&
			end_is_held(w, index, 0))
			return o;
	}
	return NULL;
}

/* A connection to a listener that anybody has. */
static int connect_it(struct world *w, int process)
{
	struct object *listener = any_listener(w), *o;
	int to = any_free_fd(w, process);

	if (!listener || to < 0 || listener->n_waiting == MAX_WAITING || !room_for_descriptions(w, 2))
		return 0;
	o = new_object(w, listener->kind == K_LISTENER ? K_STREAM : K_TCP);
	if (!o)
		return 0;
	w->n_objects++;
	listener->waiting[listener->n_waiting++] = object_index(w, o);
	hold(w, table_of(w, process), to, new_description(w, object_index(w, o), 1, O_NONBLOCK), true);
	return is_real(w, process) ? move_fd(dial(w, listener), to, true) : 0;
}

static int accept_soon(int listener)
{
	struct pollfd p = { .fd = listener, .events = POLLIN };

	SAME(poll(&p, 1, 10000), 1);
	return accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

/* The next of those that wait, by a process that has the listener. */
int step_accept(struct world *w, int process)
{
	int fd = any_of_kind(w, process, draw(w, 2) ? K_LISTENER : K_TCP_LISTENER), to = any_free_fd(w, process), index;
	struct table *t = table_of(w, process);
	struct object *o;

	if (draw(w, 2))
		return connect_it(w, process);
	if (fd < 0 || to < 0 || !room_for_descriptions(w, 1))
		return 0;
	o = &w->objects[w->descriptions[t->fd[fd].description].object];
	if (!o->n_waiting)
		return 0;
	index = o->waiting[0];
	memmove(&o->waiting[0], &o->waiting[1], sizeof(int) * (size_t)--o->n_waiting);
	hold(w, t, to, new_description(w, index, 0, O_NONBLOCK), true);
	return is_real(w, process) ? move_fd(accept_soon(fd), to, true) : 0;
}

/* One end of a connection says no more. */
int step_shut(struct world *w, int process)
{
	static const enum kind can[] = { K_STREAM, K_SEQPACKET, K_TCP };
	int fd = any_of_kind(w, process, can[draw(w, 3)]);
	const struct description *d;

	if (fd < 0)
		return 0;
	d = &w->descriptions[table_of(w, process)->fd[fd].description];
	if (w->objects[d->object].shut[d->end] || !end_is_held(w, d->object, !d->end))
		return 0;
	if (is_real(w, process))
		SAME(shutdown(fd, SHUT_WR), 0);
	w->objects[d->object].shut[d->end] = true;
	return 0;
}
