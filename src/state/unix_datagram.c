/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/unix_datagram.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/un.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "state/sock_diag.h"

int unix_address_of(const struct unix_made *m, struct sockaddr_un *a, socklen_t *size, int *file)
{
	const struct blob *name = &m->state->name;

	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	*file = -1;
	if (!name->size)
		return -EDESTADDRREQ;
	if (!name->data[0]) {
		memcpy(a->sun_path, name->data, MIN(name->size, sizeof(a->sun_path)));
		*size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + name->size);
		return 0;
	}
	*file = ioctl(m->fd, SIOCUNIXFILE, 0);
	if (*file < 0)
		return -errno;
	snprintf(a->sun_path, sizeof(a->sun_path), "/proc/self/fd/%d", *file);
	*size = sizeof(*a);
	return 0;
}

bool unix_is_twin(const struct unix_all *all, const struct unix_made *m, const struct unix_made *of)
{
	return m->connected && of->connected && m->state->peer && of->state->peer &&
	       unix_made(all->r, m->state->peer) == of && unix_made(all->r, of->state->peer) == m;
}

struct unix_made *unix_peer_of(const struct unix_all *all, const struct unix_made *m)
{
	return m->state->peer ? unix_made(all->r, m->state->peer) : NULL;
}

int unix_open_sender(const struct unix_all *all, const struct blob *name)
{
	int fd = socket_in(all->r->root_pid, AF_UNIX, SOCK_DGRAM, 0);
	int err = fd < 0 ? fd : name->size ? unix_bind(all->r, fd, name, NULL, all->hidden, NULL) : 0;

	if (err && fd >= 0)
		close(fd);
	return err ? err : fd;
}

static int connect_to(const struct unix_made *m, const struct unix_made *to)
{
	_cleanup_fd_ int file = -1;
	struct sockaddr_un a;
	socklen_t size = 0;
	int err = unix_address_of(to, &a, &size, &file);

	return err ? err : connect(m->fd, (struct sockaddr *)&a, size) < 0 ? -errno : 0;
}

static int disconnect(int fd)
{
	const struct sockaddr nowhere = { .sa_family = AF_UNSPEC };

	return connect(fd, &nowhere, sizeof(nowhere)) < 0 ? -errno : 0;
}

/* --- errors --- */

int unix_reset_by(const struct unix_made *m, int by)
{
	return send(m->fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1 ? disconnect(by) : -errno;
}

/* By one for this moment. */
static int reset_alone(const struct unix_all *all, const struct unix_made *m)
{
	_cleanup_fd_ int fd = socket_in(all->r->root_pid, AF_UNIX, SOCK_DGRAM, 0);
	const struct unix_made by = { .fd = fd };
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	socklen_t size = sizeof(a);
	int err = fd;

	if (fd >= 0)
		err = bind(fd, (struct sockaddr *)&a, sizeof(a.sun_family)) < 0 ||
				      getsockname(fd, (struct sockaddr *)&a, &size) < 0 ||
				      connect(m->fd, (struct sockaddr *)&a, size) < 0
			      ? -errno
			      : connect_to(&by, m);
	if (!err)
		err = unix_reset_by(m, fd);
	return err ? err : disconnect(m->fd);
}

/* Before anything is in a queue, which that would empty; of one whose peer is closed, when it is. */
int unix_reset_again(const struct unix_all *all, struct unix_made *m)
{
	if (!m->state->reset || (m->state->state != UNIX_CONNECTED && m->state->state != UNIX_ALONE))
		return 0;
	if (m->half || m->other >= 0)
		return unix_reset_by(m, m->half ? m->half->fd : m->other);
	return reset_alone(all, m);
}

/* A peer that is closed: known by the name that it had. */
static int connect_to_ended(const struct unix_all *all, struct unix_made *m)
{
	struct unix_state ended = { .name = m->state->peer_name };
	struct unix_made peer = { .state = &ended };
	int err;

	if (!ended.name.size)
		return m->state->reset ? -EBADMSG : 0;
	peer.fd = unix_open_sender(all, &ended.name);
	if (peer.fd < 0)
		return peer.fd;
	err = connect_to(m, &peer);
	if (!err && m->state->reset)
		err = connect_to(&peer, m);
	if (!err && m->state->reset)
		err = unix_reset_by(m, peer.fd);
	close(peer.fd);
	return err;
}

/* --- whom they are connected with --- */

/* Made as one of a pair, and since then disconnected, or connected elsewhere: that empties its queue, so it comes before. */
int unix_leave_pair(const struct unix_all *all, struct unix_made *m)
{
	struct unix_made *peer = unix_peer_of(all, m);
	int err;

	if (!m->connected || m->state->state == UNIX_PEER_GONE || m->state->state == UNIX_PEER_OUTSIDE ||
		(peer && m->half == peer))
		return 0;
	err = disconnect(m->fd);
	close_fd(&m->other);
	m->connected = false;
	return err;
}

static int connect_datagram(const struct unix_all *all, struct unix_made *m)
{
	if (m->state->peer)
		return connect_to(m, unix_peer_of(all, m));
	return m->state->state == UNIX_PEER_GONE || m->state->state == UNIX_PEER_OUTSIDE ? connect_to_ended(all, m) : 0;
}

/* Who is connected to another takes no connection but from that one. */
static struct unix_made *followed(const struct unix_all *all, const struct unix_made *m)
{
	struct unix_made *peer = m->connected ? NULL : unix_peer_of(all, m);

	return peer && (!peer->state->peer || unix_peer_of(all, peer) != m) ? peer : NULL;
}

int unix_count_followers(const struct unix_all *all, struct unix_made *m)
{
	struct unix_made *peer = followed(all, m);

	if (peer)
		peer->followers++;
	return 0;
}

/* It, and then whom it was the last to wait for. */
int unix_connect_in_order(const struct unix_all *all, struct unix_made *m)
{
	int err = 0;

	while (m && !m->connected && !m->followers && !err) {
		struct unix_made *peer = followed(all, m);

		err = connect_datagram(all, m);
		m->connected = true;
		if (peer)
			peer->followers--;
		m = peer;
	}
	return err;
}

/* They are connected in a circle, which cannot be. */
int unix_check_connected(const struct unix_all *all, struct unix_made *m)
{
	return m->connected ? 0 : -EPERM;
}
