/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An error of a datagram socket of unix(7) that was not told yet: what was connected with it both ways is so no more, and has lost what was unread (ECONNRESET). It
 * is made again in that way (unix_fill.c), before what is unread now is put back: who has it can send nothing then.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "state/unix.h"

static bool is_connected_to(const struct socket_look *s, uint64_t ino)
{
	return s->type == SOCK_DGRAM && s->diag && s->diag->peer == ino;
}

/* The one that it is connected with both ways, or that is connected to it since it is not, would have to be there twice. */
static bool has_found_another(struct capture *c, const struct socket_look *own, uint64_t state)
{
	const struct sockets *all = c->descriptions->sockets;
	const struct socket_look *peer = state == UNIX_CONNECTED ? socket_find(c->descriptions, own->diag->peer) : NULL;
	bool any = peer && is_connected_to(peer, own->ino);

	for (size_t i = 0; i < all->n && state == UNIX_ALONE; i++)
		any |= all->list[i].family == AF_UNIX && is_connected_to(&all->list[i], own->ino);
	return any;
}

static bool is_from(const struct queue_message *m, const struct sockaddr_un *a, size_t size)
{
	return m->from_size == size && !memcmp(m->from, a->sun_path, size);
}

/* 1: something that it has sent is not read yet. */
static int has_sent(struct capture *c, int fd)
{
	const struct sockets *all = c->descriptions->sockets;
	struct sockaddr_un a = { 0 };
	socklen_t size = sizeof(a);

	if (getsockname(fd, (struct sockaddr *)&a, &size) < 0)
		return -errno;
	size -= (socklen_t)offsetof(struct sockaddr_un, sun_path);
	for (size_t i = 0; i < all->n && size; i++) {
		struct socket_look *s = &all->list[i];
		int err = s->family == AF_UNIX && s->type == SOCK_DGRAM ? socket_read_queue(c, s) : 0;

		if (err)
			return err;
		for (size_t k = 0; s->family == AF_UNIX && k < s->queue.n; k++)
			if (is_from(&s->queue.list[k], &a, size))
				return 1;
	}
	return 0;
}

int unix_reset_is_carried(struct capture *c, const struct socket_look *own, int fd, uint64_t state)
{
	int sent;

	if (own->hidden.known && (own->hidden.error != ECONNRESET || own->hidden.errors_queued))
		return 0;
	if (state == UNIX_PEER_GONE || state == UNIX_PEER_OUTSIDE)
		return 1;
	if (has_found_another(c, own, state))
		return 0;
	sent = c->writer && !image_is_trial(c->writer) ? has_sent(c, fd) : 0;
	return sent < 0 ? sent : !sent;
}
