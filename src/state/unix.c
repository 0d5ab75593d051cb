/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Unix sockets: unix(7), socketpair(2); net/unix/af_unix.c, tools/testing/selftests/net/af_unix. sock_diag(7) tells who is connected with whom. What
 * lies in a queue is part of the receiver; what a socket has sent lies in its peer's.
 */
#include "state/unix.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/cleanup.h"

static const struct field file_fields[] = {
	FIELD_REF(struct unix_file, file, "file", "file", REF_LATE, "the description in flight"),
	FIELD_END,
};

static const struct field message_fields[] = {
	FIELD_BLOB(struct unix_message, data, "data", "its bytes"),
	FIELD_BLOB(struct unix_message, from, "from", "address of the sender of a datagram"),
	FIELD_BOOL(struct unix_message, has_credentials, "has_credentials", "the sender's credentials are noted"),
	FIELD_INT(struct unix_message, pid, "pid", "of the sender, in the tree's pid namespace"),
	FIELD_UINT(struct unix_message, uid, "uid", "of the sender"),
	FIELD_UINT(struct unix_message, gid, "gid", "of the sender"),
	FIELD_LIST(struct unix_message, files, n_files, "files", file_fields, "descriptors in flight (SCM_RIGHTS)"),
	FIELD_UINT(struct unix_message, mark, "mark",
		"1: the first byte is out of band (MSG_OOB); 2: one that was before it has been taken, its mark has "
		"not"),
	FIELD_END,
};

static const struct field identity_fields[] = {
	FIELD_BOOL(struct unix_identity, known, "known", "SO_PEERCRED tells of somebody"),
	FIELD_INT(struct unix_identity, pid, "pid", "in the tree's pid namespace"),
	FIELD_UINT(struct unix_identity, uid, "uid", "effective user"),
	FIELD_UINT(struct unix_identity, gid, "gid", "effective group"),
	FIELD_UINTS(struct unix_identity, groups, n_groups, "groups", SHOW_DECIMAL, "SO_PEERGROUPS"),
	FIELD_END,
};

static const struct field waiting_fields[] = {
	FIELD_REF(
		struct unix_waiting, socket, "socket", "unix", REF_LATE, "who connected; absent: it was closed since"),
	FIELD_LIST(struct unix_waiting, sent, n_sent, "sent", message_fields, "what one that was closed had sent"),
	FIELD_END,
};

static const struct field unix_fields[] = {
	FIELD_UINT(struct unix_state, type, "type", "1 stream, 2 datagram, 5 seqpacket"),
	FIELD_OCTAL(struct unix_state, mode, "mode", "of the socket itself (fchmod)"),
	FIELD_UINT(struct unix_state, uid, "uid", "owner of the socket itself (fchown)"),
	FIELD_UINT(struct unix_state, gid, "gid", "group of the socket itself"),
	FIELD_BLOB(struct unix_state, name, "name", "getsockname: sun_path; abstract ones begin with 0"),
	FIELD_BOOL(struct unix_state, inherited, "inherited",
		"of the listener by which it was accepted: nobody finds it by this name"),
	FIELD_STRING(
		struct unix_state, path, "path", "its file, in the tree's root directory; absent: none, or removed"),
	FIELD_OCTAL(struct unix_state, file_mode, "file_mode", "type and permissions of the file"),
	FIELD_UINT(struct unix_state, file_uid, "file_uid", "owner of the file"),
	FIELD_UINT(struct unix_state, file_gid, "file_gid", "group of the file"),
	FIELD_LIST(struct unix_state, xattrs, n_xattrs, "xattrs", xattr_fields, "extended attributes of the file"),
	FIELD_UINT(struct unix_state, state, "state",
		"0 not connected, 1 listening, 2 connected, 3 connected and not yet accepted, 4 the peer was closed, 5 "
		"the "
		"peer is outside of the tree"),
	FIELD_REF(struct unix_state, peer, "peer", "unix", REF_LATE, "with whom it is connected"),
	FIELD_BLOB(struct unix_state, peer_name, "peer_name", "getpeername, of a peer that is not of the tree"),
	FIELD_STRUCT(struct unix_state, identity, "identity", identity_fields,
		"SO_PEERCRED: of a listener, who called listen; else whom it is connected with, when that was done"),
	FIELD_UINT(struct unix_state, backlog, "backlog", "of a listener, as the kernel has it"),
	FIELD_LIST(
		struct unix_state, waiting, n_waiting, "waiting", waiting_fields, "not yet accepted, in their order"),
	FIELD_UINT(struct unix_state, shutdown, "shutdown", "bit 0: receiving, bit 1: sending"),
	FIELD_BOOL(struct unix_state, reset, "reset", "SO_ERROR is ECONNRESET, and was not yet told"),
	FIELD_LIST(struct unix_state, messages, n_messages, "messages", message_fields, "unread, in their order"),
	FIELD_LIST(struct unix_state, sent, n_sent, "sent", message_fields,
		"what it sent to a listener that has not accepted it yet"),
	FIELD_SINCE(2, BOOL, struct unix_state, inq, "inq", "SO_INQ"),
	FIELD_STRUCT(struct unix_state, options, "options", socket_options_fields, "of level SOL_SOCKET"),
	FIELD_END,
};

static bool unix_matches(const struct file_look *f)
{
	return f->description && f->description->family == AF_UNIX && !(f->flags & O_PATH);
}

/* --- whom it is connected with --- */

static bool listens_outside(const struct capture *c, uint64_t ino)
{
	const struct unix_diags *all = &c->descriptions->sockets->diags;

	for (size_t i = 0; i < all->n; i++)
		for (size_t k = 0; k < all->list[i].n_waiting; k++)
			if (all->list[i].waiting[k] == ino)
				return true;
	return false;
}

static uint64_t state_of(struct capture *c, const struct socket_look *own)
{
	const struct unix_diag *d = own->diag;

	if (d->state == TCP_LISTEN)
		return UNIX_LISTENS;
	if (!d->has_peer)
		return UNIX_ALONE;
	if (d->peer)
		return socket_find(c->descriptions, d->peer) ? UNIX_CONNECTED : UNIX_PEER_OUTSIDE;
	if (own->waits)
		return UNIX_WAITS;
	/* Whoever outlives its peer is shut down both ways; a datagram socket notices only when it sends. */
	if (own->type == SOCK_DGRAM || (d->shutdown == 3 && !listens_outside(c, own->ino)))
		return UNIX_PEER_GONE;
	return UNIX_PEER_OUTSIDE;
}

struct asking {
	int fd;
	struct ucred creds;
};

static int ask_creds(void *arg)
{
	struct asking *a = arg;
	socklen_t size = sizeof(a->creds);

	return getsockopt(a->fd, SOL_SOCKET, SO_PEERCRED, &a->creds, &size) < 0 ? -errno : 0;
}

/* What a process that has ended was called in the tree's pid namespace only that namespace tells. */
static int64_t pid_in_tree(struct capture *c, struct asking *a)
{
	const struct process *root = c->tree->processes[0], *p = tree_find(c->tree, a->creds.pid);
	_cleanup_fd_ int ns = -1;
	char path[48];

	if (p || !a->creds.pid)
		return p ? p->vpid : 0;
	if (root->vpid == root->pid)
		return a->creds.pid;
	snprintf(path, sizeof(path), "/proc/%d/ns/pid", root->pid);
	ns = open(path, O_RDONLY | O_CLOEXEC);
	return ns < 0 || call_in_pid_ns(ns, ask_creds, a) < 0 ? 0 : a->creds.pid;
}

static int capture_groups(int fd, struct unix_identity *who)
{
	socklen_t size = 0;
	_cleanup_free_ gid_t *groups = NULL;

	if (!getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &size) || errno != ERANGE)
		return 0;
	groups = malloc(size);
	who->groups = calloc(size / sizeof(*groups), sizeof(*who->groups));
	if (!groups || !who->groups)
		return -ENOMEM;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) < 0)
		return -errno;
	who->n_groups = size / sizeof(*groups);
	for (size_t i = 0; i < who->n_groups; i++)
		who->groups[i] = groups[i];
	return 0;
}

static int capture_identity(struct capture *c, int fd, struct unix_identity *who)
{
	struct asking a = { .fd = fd };
	int err = ask_creds(&a);

	if (err || (!a.creds.pid && a.creds.uid == (uid_t)-1))
		return err;
	who->known = true;
	who->uid = a.creds.uid;
	who->gid = a.creds.gid;
	who->pid = pid_in_tree(c, &a);
	return capture_groups(fd, who);
}

/* The outside does not come back. */
static int cut_off(struct capture *c, const struct file_look *f, const char *what)
{
	if (c->tree->strict)
		return refused(c->ps,
			BLAME_FILE(f, .remedy = "save it without --strict, or name a tree that holds both ends"), "%s",
			what);
	return changed(c->ps, BLAME_FILE(f), "%s", what);
}

/* --- the queue --- */

static int copy_blob(struct blob *to, const void *data, size_t size)
{
	to->data = malloc(size ? size : 1);
	if (!to->data)
		return -ENOMEM;
	if (size)
		memcpy(to->data, data, size);
	to->size = size;
	return 0;
}

static int64_t sender_pid(const struct capture *c, pid_t pid)
{
	const struct process *root = c->tree->processes[0], *p = tree_find(c->tree, pid);

	return root->vpid == root->pid && p ? p->vpid : pid;
}

static int copy_message(
	struct capture *c, const struct queue_message *m, struct file_look *files, struct unix_message *to)
{
	int err = copy_blob(&to->data, m->data, m->size);

	if (!err && m->from_size)
		err = copy_blob(&to->from, m->from, m->from_size);
	if (err)
		return err;
	to->mark = m->mark;
	to->has_credentials = m->has_credentials;
	if (m->has_credentials) {
		to->pid = sender_pid(c, m->pid);
		to->uid = m->uid;
		to->gid = m->gid;
	}
	to->files = calloc(m->n_fds + 1, sizeof(*to->files));
	if (!to->files)
		return -ENOMEM;
	for (size_t i = 0; i < m->n_fds && !err; i++) {
		to->files[to->n_files++].file = files[i].file;
		err = file_save(c, &files[i]);
	}
	return err;
}

static int copy_queue(
	struct capture *c, const struct socket_queue *q, struct file_look *files, struct unix_message **list, size_t *n)
{
	int err = 0;

	*list = calloc(q->n + 1, sizeof(**list)); /* one more: see capture_queue */
	if (!*list)
		return -ENOMEM;
	for (size_t i = 0; i < q->n && !err; i++) {
		err = copy_message(c, &q->list[i], files, &(*list)[(*n)++]);
		files += q->list[i].n_fds;
	}
	return err;
}

/* It lies in a socket that nobody has a descriptor of. */
static int capture_sent(struct capture *c, int fd, struct socket_look *own, struct unix_state *s)
{
	const struct socket_early *e = NULL;
	int sent = 0, err;

	if (ioctl(fd, SIOCOUTQ, &sent) < 0)
		return -errno;
	if (!sent || !c->writer)
		return 0;
	err = socket_read_early(c, own, &e);
	return err || !e ? err : copy_queue(c, &e->queue, e->in_flight, &s->sent, &s->n_sent);
}

/* What these messages take of a sender's buffer. */
static int room_taken(const struct socket_queue *q, int type)
{
	int pair[2], plenty = 1 << 29, taken = -1;

	if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair) < 0)
		return -1;
	setsockopt(pair[0], SOL_SOCKET, SO_SNDBUFFORCE, &plenty, sizeof(plenty));
	for (size_t i = 0; i < q->n; i++)
		send(pair[0], q->list[i].data, q->list[i].size, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (ioctl(pair[0], SIOCOUTQ, &taken) < 0)
		taken = -1;
	close(pair[0]);
	close(pair[1]);
	return taken;
}

/*
 * An empty message that somebody has looked at is shown to no look any more that has an offset, as those of a checkpoint have. But its sender's buffer
 * knows of it, where that sends to nobody else.
 */
static bool hides_messages(struct capture *c, const struct socket_look *own)
{
	const struct socket_look *peer = own->diag->peer ? socket_find(c->descriptions, own->diag->peer) : NULL;
	_cleanup_fd_ int fd = -1;
	int sent = 0, taken;

	if (own->hidden.known || own->type == SOCK_STREAM || !own->is_read || !peer || !peer->diag ||
		peer->diag->peer != own->ino)
		return false;
	fd = description_dup(peer->description);
	if (fd < 0 || ioctl(fd, SIOCOUTQ, &sent) < 0 || !sent)
		return false;
	taken = room_taken(&own->queue, own->type);
	return taken >= 0 && sent > taken;
}

static int capture_queue(struct capture *c, struct socket_look *own, struct unix_state *s)
{
	int err;

	if (!c->writer || s->state == UNIX_LISTENS)
		return 0;
	err = image_is_trial(c->writer) ? 0 : socket_read_queue(c, own);
	if (err)
		return err;
	if (hides_messages(c, own))
		return refused(c->ps, BLAME_FILE(own->description->look, .remedy = "let the program read it"),
			"an empty message in its queue, which was looked at before (MSG_PEEK), cannot be told from "
			"none");
	err = copy_queue(c, &own->queue, own->in_flight, &s->messages, &s->n_messages);
	if (!err && own->ends_at_mark)
		s->messages[s->n_messages++].mark = MARK_TAKEN; /* of nothing */
	return err;
}

/* --- not yet accepted --- */

/* Nobody has its end any more; but what it sent is there to be read. */
static int capture_closed(struct capture *c, struct socket_look *listener, size_t i, size_t n, struct unix_waiting *w)
{
	const struct socket_early *e = NULL;
	int err = c->writer ? socket_read_closed(c, listener, i, n, &e) : 0;

	return err || !e ? err : copy_queue(c, &e->queue, e->in_flight, &w->sent, &w->n_sent);
}

static int capture_waiting(struct capture *c, const struct file_look *f, struct socket_look *own, struct unix_state *s)
{
	const struct unix_diag *d = own->diag;

	s->backlog = d->backlog;
	s->waiting = calloc(d->n_waiting + 1, sizeof(*s->waiting));
	if (!s->waiting)
		return -ENOMEM;
	for (size_t i = 0; i < d->n_waiting; i++) {
		const struct socket_look *who = socket_find(c->descriptions, d->waiting[i]);

		if (d->waiting[i] && !who) {
			int err = cut_off(
				c, f, "a connection from outside the tree that it has not accepted yet will be gone");

			if (err)
				return err;
			continue;
		}
		if (!who) {
			int err = capture_closed(c, own, i, d->n_waiting, &s->waiting[s->n_waiting]);

			if (err)
				return err;
		}
		s->waiting[s->n_waiting++].socket = who ? backing_id(c, who->description->look) : 0;
	}
	return 0;
}

/* --- all --- */

static int capture_connection(
	struct capture *c, const struct file_look *f, int fd, struct socket_look *own, struct unix_state *s)
{
	const struct socket_look *peer;
	struct pollfd p = { .fd = fd };
	int err;

	s->shutdown = own->diag->shutdown;
	s->state = state_of(c, own);
	s->reset = poll(&p, 1, 0) == 1 && p.revents & POLLERR;
	err = s->reset && own->type == SOCK_DGRAM ? unix_reset_is_carried(c, own, fd, s->state) : 1;
	if (err < 0)
		return err;
	if (!err ||
		(s->reset && own->type != SOCK_DGRAM && s->state != UNIX_PEER_GONE && s->state != UNIX_PEER_OUTSIDE))
		return refused(c->ps, BLAME_FILE(f, .passing = true, .remedy = "let the program see it"),
			"an error (SO_ERROR) that was not told yet");
	switch (s->state) {
	case UNIX_LISTENS:
		return capture_waiting(c, f, own, s);
	case UNIX_CONNECTED:
		peer = socket_find(c->descriptions, own->diag->peer);
		s->peer = backing_id(c, peer->description->look);
		return 0;
	case UNIX_WAITS:
		return capture_sent(c, fd, own, s);
	case UNIX_PEER_OUTSIDE:
		err = cut_off(c, f,
			"its peer is outside the tree: it will come back hung up, with what it was sent still to be "
			"read");
		return err ? err : unix_capture_peer_name(fd, &s->peer_name);
	case UNIX_PEER_GONE:
		return unix_capture_peer_name(fd, &s->peer_name);
	default:
		return 0;
	}
}

static int unix_capture(struct capture *c, const struct file_look *f, void *state)
{
	struct socket_look *own = socket_find(c->descriptions, f->ino);
	struct unix_state *s = state;
	const char *what = NULL;
	struct stat st;
	int fd = file_dup(c, f), err;

	if (fd < 0)
		return fd;
	if (!own || !own->diag)
		return c->writer ? refused(c->ps, BLAME_FILE(f),
					   "a unix socket of another network namespace than its tree's")
				 : 0;
	if (fstat(fd, &st) < 0)
		return -errno;
	s->type = (uint64_t)own->type;
	s->mode = st.st_mode;
	s->uid = st.st_uid;
	s->gid = st.st_gid;
	err = socket_options_read(fd, &s->options, &what);
	if (err == -ENOTSUP)
		return refused(c->ps, BLAME_FILE(f), "%s", what);
	if (!err)
		err = socket_hidden_capture(c, f, &s->options);
	s->inq = own->hidden.inq;
	if (!err)
		err = capture_connection(c, f, fd, own, s);
	if (!err)
		err = capture_identity(c, fd, &s->identity);
	if (!err)
		err = unix_capture_names(c, f, fd, s);
	return err ? err : capture_queue(c, own, s);
}

/* --- restore: see unix_restore.c --- */

static bool is_type(uint64_t type)
{
	return type == SOCK_STREAM || type == SOCK_DGRAM || type == SOCK_SEQPACKET;
}

static int unix_validate(struct restore *r, const struct record *rec)
{
	const struct unix_state *s = rec->state;
	const struct unix_state *peer = s->peer ? restore_state(r, s->peer, "unix") : NULL;

	if (!is_type(s->type) || s->state >= UNIX_STATES || (s->peer && (!peer || peer->type != s->type)) ||
		(s->state == UNIX_CONNECTED && !s->peer) || s->peer_name.size > UNIX_NAME_MAX)
		return failed(r->ps, BLAME(.object = "unix"), -EBADMSG, "the image has an impossible unix socket");
	if (s->state == UNIX_PEER_OUTSIDE)
		changed(r->ps, BLAME(.object = unix_name_text(s->name.size ? &s->name : &s->peer_name).s),
			"the peer of this unix socket was outside the tree: it comes back hung up");
	return unix_validate_name(r, s);
}

static int unix_open(struct restore *r, const struct record *rec, const struct file_state *file)
{
	const struct unix_state *s = rec->state;
	struct unix_made *m = unix_made(r, rec->id);

	if (!m)
		return -ENOMEM;
	if (m->file)
		return failed(r->ps, BLAME(.object = "unix"), -EBADMSG, "the image has a socket with two descriptions");
	m->fd = socket_in(r->root_pid, AF_UNIX, (int)s->type, 0);
	if (m->fd < 0)
		return m->fd;
	m->file = file;
	return m->fd;
}

const struct component component_unix = {
	.kind = { .name = "unix",
		.version = 2,
		.size = sizeof(struct unix_state),
		.fields = unix_fields,
		.doc = "a unix socket, with what is in its queue",
		.sources = "unix(7), socketpair(2), sock_diag(7); net/unix/af_unix.c, net/unix/diag.c; "
			   "tools/testing/selftests/net/af_unix" },
	.scope = SCOPE_BACKING,
	.matches = unix_matches,
	.capture_file = unix_capture,
	.validate = unix_validate,
	.open = unix_open,
	.round = unix_round,
};
