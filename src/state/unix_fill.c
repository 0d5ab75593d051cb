/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What lies in the queues of unix sockets, and how they are left. It is sent again by the socket that had sent it, where that is of the tree: what is
 * unread counts against the sender's buffer, and the receiver of a datagram is told the sender's name. In the keeper: by SCM_CREDENTIALS it can name
 * any living process.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/un.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "base/cleanup.h"
#include "state/unix_datagram.h"

#define HEADER	  offsetof(struct sockaddr_un, sun_path)
#define MAX_FILES 253 /* SCM_MAX_FD */
#define PLENTY	  (1 << 29)

static int cannot(const struct unix_all *all, const struct unix_state *s, int err, const char *what)
{
	return failed(all->r->ps, BLAME(.object = unix_name_text(s->name.size ? &s->name : &s->peer_name).s), err,
		"a unix socket %s: %s", what, strerror(-err));
}

/* --- one message --- */

struct sending {
	const struct unix_all *all;
	int fd, to; /* sender and receiver */
	const struct sockaddr_un *address;
	socklen_t address_size;
	bool stream;
};

struct control {
	size_t size;
	union {
		char bytes[CMSG_SPACE(MAX_FILES * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
		struct cmsghdr align;
	};
};

static void *add_control(struct control *c, int type, size_t size)
{
	struct cmsghdr *h = (void *)(c->bytes + c->size);

	*h = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = type, .cmsg_len = CMSG_LEN(size) };
	c->size += CMSG_SPACE(size);
	return CMSG_DATA(h);
}

static int add_files(struct restore *r, struct control *c, const struct unix_message *m)
{
	int fds[MAX_FILES];

	if (!m->n_files)
		return 0;
	if (m->n_files > MAX_FILES)
		return -EBADMSG;
	for (size_t i = 0; i < m->n_files; i++) {
		fds[i] = restore_file(r, m->files[i].file);
		if (fds[i] < 0)
			return fds[i];
	}
	memcpy(add_control(c, SCM_RIGHTS, m->n_files * sizeof(int)), fds, m->n_files * sizeof(int));
	return 0;
}

static int send_as_ended(const struct sending *s, const struct unix_message *m, const struct msghdr *msg)
{
	const struct unix_identity who = { .known = true, .pid = m->pid, .uid = m->uid, .gid = m->gid };
	struct unix_call call = { .kind = UNIX_CALL_SEND, .who = &who, .fd = s->fd, .message = msg };

	return unix_call_now(s->all->r, &call);
}

static int send_part(const struct sending *s, const struct unix_message *m, size_t from, size_t size, int flags)
{
	const struct new_process *sender = m->has_credentials ? restore_vpid(s->all->r, (pid_t)m->pid) : NULL;
	struct control control = { .size = 0 };
	struct iovec iov = { m->data.data + from, size };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_name = (void *)s->address, .msg_namelen = s->address_size
	};
	struct ucred creds = { sender ? sender->pid : getpid(), (uid_t)m->uid, (gid_t)m->gid };
	int err = from ? 0 : add_files(s->all->r, &control, m);
	ssize_t n;

	if (err)
		return err;
	if (m->has_credentials)
		memcpy(add_control(&control, SCM_CREDENTIALS, sizeof(creds)), &creds, sizeof(creds));
	msg.msg_control = control.size ? control.bytes : NULL;
	msg.msg_controllen = control.size;
	if (m->has_credentials && !sender && m->pid > 0)
		return send_as_ended(s, m, &msg) ?: (int)size;
	n = sendmsg(s->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL | flags);
	return n < 0 ? -errno : (int)n;
}

static int send_mark(const struct sending *s, const struct unix_message *m)
{
	char byte = 0;

	if (m->mark == MARK_OUT_OF_BAND)
		return m->data.size ? send_part(s, m, 0, 1, MSG_OOB) : -EBADMSG;
	if (send(s->fd, &byte, 1, MSG_OOB | MSG_DONTWAIT | MSG_NOSIGNAL) != 1 ||
		recv(s->to, &byte, 1, MSG_OOB | MSG_DONTWAIT) != 1)
		return -errno;
	return 0;
}

static int send_message(const struct sending *s, const struct unix_message *m)
{
	int n = m->mark && s->stream ? send_mark(s, m) : 0;
	size_t sent = n > 0 ? (size_t)n : 0;

	if (n < 0)
		return n;
	if (!s->stream)
		n = send_part(s, m, 0, m->data.size, 0);
	for (; s->stream && n >= 0 && sent < m->data.size; sent += (size_t)n)
		n = send_part(s, m, sent, m->data.size - sent, 0);
	return n < 0 ? n : 0;
}

static void make_room(int fd)
{
	int plenty = PLENTY;

	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &plenty, sizeof(plenty));
}

/* --- streams --- */

int unix_send_early(const struct unix_all *all, int fd, bool stream, const struct unix_message *list, size_t n)
{
	struct sending s = { .all = all, .fd = fd, .to = -1, .stream = stream };
	int err = 0;

	if (n)
		make_room(fd);
	for (size_t i = 0; i < n && !err; i++)
		err = list[i].mark == MARK_TAKEN ? -EBADMSG : send_message(&s, &list[i]);
	return err;
}

static int fill_stream(const struct unix_all *all, struct unix_made *m)
{
	struct unix_made *peer = m->state->peer ? unix_made(all->r, m->state->peer) : NULL;
	struct sending s = { .all = all, .fd = peer ? peer->fd : m->other, .to = m->fd };
	int err = s.fd < 0 && m->state->n_messages ? -EBADMSG : 0;

	s.stream = m->state->type == SOCK_STREAM;
	if (m->state->n_messages)
		make_room(s.fd);
	for (size_t i = 0; i < m->state->n_messages && !err; i++)
		err = send_message(&s, &m->state->messages[i]);
	return err ? err : unix_send_early(all, m->fd, s.stream, m->state->sent, m->state->n_sent);
}

/* --- datagrams --- */

/* Whose name a message tells, and who is connected with its receiver and has none: the first of each. */
static int find_senders(struct unix_all *all)
{
	for (size_t i = 0; i < all->n; i++) {
		struct unix_made *m = all->made[i];
		const struct blob *name = &m->state->name;
		struct unix_made *to = m->state->peer ? unix_made(all->r, m->state->peer) : NULL;

		if (m->state->type != SOCK_DGRAM)
			continue;
		if (!name->size && to && !to->sender && !m->state->reset) /* to send takes its error */
			to->sender = m;
		if (name->size && !map_find(&all->names, name->data, name->size) &&
			map_add(&all->names, name->data, name->size, m) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int fill_one(const struct unix_all *all, struct unix_made *m, const struct unix_message *message)
{
	const struct blob *from = &message->from;
	struct unix_made *by = from->size ? map_find(&all->names, from->data, from->size) : m->sender;
	_cleanup_fd_ int opened = -1, file = -1;
	struct sending s = { .all = all, .to = m->fd, .fd = by ? by->fd : m->other };
	struct sockaddr_un a;
	int err = 0;

	if (by ? !unix_is_twin(all, by, m) : m->other < 0) {
		err = unix_address_of(m, &a, &s.address_size, &file);
		s.address = &a;
	}
	if (!err && s.fd < 0) {
		opened = unix_open_sender(all, &message->from);
		s.fd = opened;
	}
	if (err || s.fd < 0)
		return err ? err : s.fd;
	make_room(s.fd);
	return send_message(&s, message);
}

static int fill_datagrams(const struct unix_all *all, struct unix_made *m)
{
	int err = 0;

	for (size_t i = 0; i < m->state->n_messages && !err && !m->filled; i++)
		err = fill_one(all, m, &m->state->messages[i]);
	return err;
}

/* One without a name has got them from the one that it was made with, before that was connected elsewhere. */
static int fill_from_half(const struct unix_all *all, struct unix_made *m)
{
	struct unix_made *peer = unix_peer_of(all, m);
	struct sending s = { .all = all, .to = m->fd, .fd = peer ? peer->fd : -1 };
	int err = 0;

	if (!peer || m->half != peer || unix_is_twin(all, m, peer) || m->state->name.size)
		return 0;
	m->filled = true;
	if (m->state->n_messages)
		make_room(s.fd);
	for (size_t i = 0; i < m->state->n_messages && !err; i++)
		err = m->state->messages[i].from.size == peer->state->name.size &&
				      (!peer->state->name.size ||
					      unix_same_name(&m->state->messages[i].from, &peer->state->name))
			      ? send_message(&s, &m->state->messages[i])
			      : -EADDRNOTAVAIL;
	return err;
}

static int each(const struct unix_all *all, bool datagrams, const char *what,
	int (*fn)(const struct unix_all *all, struct unix_made *m))
{
	for (size_t i = 0; i < all->n; i++) {
		struct unix_made *m = all->made[i];
		int err = (m->state->type == SOCK_DGRAM) == datagrams ? fn(all, m) : 0;

		if (err)
			return all->r->ps->first_error ? err : cannot(all, m->state, err, what);
	}
	return 0;
}

int unix_fill_all(struct unix_all *all)
{
	static const struct {
		const char *what;
		int (*fn)(const struct unix_all *all, struct unix_made *m);
	} steps[] = {
		{ "cannot have its queue filled again", fill_from_half },
		{ "cannot be told of its error again", unix_reset_again },
		{ "cannot be connected again", unix_leave_pair },
		{ "cannot have its queue filled again", fill_datagrams },
		{ "cannot be connected again", unix_count_followers },
		{ "cannot be connected again", unix_connect_in_order },
		{ "cannot be connected again", unix_check_connected },
	};
	int err = find_senders(all);

	for (size_t i = 0; i < ARRAY_SIZE(steps) && !err; i++)
		err = each(all, true, steps[i].what, steps[i].fn);
	return err ? err : each(all, false, "cannot have its queue filled again", fill_stream);
}

/* --- how they are left --- */

/* A peer that was closed with something unread has left an error. */
static int shut(const struct unix_all *all, struct unix_made *m)
{
	static const int how[] = { [1] = SHUT_RD, [2] = SHUT_WR, [3] = SHUT_RDWR };

	const bool datagram = m->state->type == SOCK_DGRAM;
	int err = 0;

	if (m->state->reset && datagram && m->other >= 0)
		err = unix_reset_by(m, m->other);
	if (m->state->reset && !datagram && (m->other < 0 || send(m->fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) != 1))
		err = m->other < 0 ? -EBADMSG : -errno;
	if (err)
		return err;
	close_fd(&m->other);
	if (m->state->shutdown & 3 && m->state->state != UNIX_PEER_GONE &&
		shutdown(m->fd, how[m->state->shutdown & 3]) < 0)
		return -errno;
	return 0;
}

static int settle(const struct unix_all *all, struct unix_made *m)
{
	const struct unix_state *s = m->state;
	struct unix_name_text name = unix_name_text(&s->name);
	struct stat st;
	int on = 1, err;

	if (fstat(m->fd, &st) < 0)
		return -errno;
	if ((st.st_uid != s->uid || st.st_gid != s->gid) && fchown(m->fd, (uid_t)s->uid, (gid_t)s->gid) < 0)
		return -errno;
	if ((st.st_mode & 07777) != (s->mode & 07777) && fchmod(m->fd, s->mode & 07777) < 0)
		return -errno;
	err = socket_options_write(all->r->ps, BLAME(.object = name.s), m->fd, &s->options, OPTION_EARLY);
	if (!err)
		err = socket_options_write(all->r->ps, BLAME(.object = name.s), m->fd, &s->options, OPTION_LATE);
	if (!err && s->inq && setsockopt(m->fd, SOL_SOCKET, SPORE_SO_INQ, &on, sizeof(on)) < 0)
		return failed(all->r->ps, BLAME(.object = name.s), -errno, "SO_INQ cannot be set: %m");
	return err ? err : MIN(file_settle(m->fd, m->file), 0);
}

int unix_finish_all(const struct unix_all *all)
{
	int err = 0;

	for (int datagrams = 0; datagrams < 2 && !err; datagrams++)
		err = each(all, datagrams, "cannot be shut down", shut);
	for (int datagrams = 0; datagrams < 2 && !err; datagrams++)
		err = each(all, datagrams, "cannot be left as it was", settle);
	return err;
}
