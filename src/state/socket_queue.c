/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/socket_queue.h"

#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "state/files.h"
#include "state/socket_options.h"

#define MAX_RIGHTS 253	 /* SCM_MAX_FD */
#define NOBODY	   65534 /* what the kernel shows where nobody's credentials were noted */
#define FIRST_ROOM (256ul << 10)

/* What one look brought; its bytes follow. */
struct piece {
	size_t size, start; /* start: where in it those bytes begin that the descriptors came with */
	struct sockaddr_un from;
	size_t from_size;
	struct ucred creds;
	bool has_creds;
	int fds[MAX_RIGHTS];
	size_t n_fds;
};

/* What the child works with: only system calls. */
struct peeking {
	int fd, type;
	char *area;
	size_t size, used;
	int offset; /* of the next look */
	int end;    /* an error waits behind this many bytes, and a look that finds nothing would take it; -1: none */
};

/* --- in the child --- */

static int get(int fd, int option)
{
	int value = -1;
	socklen_t size = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, option, &value, &size) < 0 ? INT32_MIN : value;
}

static void put(int fd, int option, int value)
{
	if (value != INT32_MIN)
		setsockopt(fd, SOL_SOCKET, option, &value, sizeof(value));
}

static int grow(struct peeking *p, size_t room)
{
	size_t size = p->size;
	void *area;

	while (size - p->used < sizeof(struct piece) + room)
		size *= 2;
	if (size == p->size)
		return 0;
	area = mremap(p->area, p->size, size, MREMAP_MAYMOVE);
	if (area == MAP_FAILED)
		return -errno;
	p->area = area;
	p->size = size;
	return 0;
}

static size_t room_of(const struct peeking *p)
{
	return p->size - p->used - sizeof(struct piece);
}

static void read_control(struct msghdr *msg, struct piece *piece)
{
	piece->n_fds = 0;
	piece->has_creds = false;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET)
			continue;
		if (c->cmsg_type == SCM_CREDENTIALS) {
			memcpy(&piece->creds, CMSG_DATA(c), sizeof(piece->creds));
			piece->has_creds = true;
		}
		if (c->cmsg_type == SCM_RIGHTS) {
			piece->n_fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
			memcpy(piece->fds, CMSG_DATA(c), piece->n_fds * sizeof(int));
		}
	}
}

static ssize_t look(const struct peeking *p, void *data, size_t size, struct piece *piece, bool *cut)
{
	union {
		char bytes[CMSG_SPACE(MAX_RIGHTS * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred)) + 256];
		struct cmsghdr align;
	} control;
	struct iovec iov = { data, size };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (piece) {
		msg.msg_name = &piece->from;
		msg.msg_namelen = sizeof(piece->from);
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
	}
	n = recvmsg(p->fd, &msg, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC | (p->type == SOCK_STREAM ? 0 : MSG_TRUNC));
	if (n < 0)
		return -errno;
	if (piece) {
		piece->from_size = msg.msg_namelen;
		read_control(&msg, piece);
		*cut = p->type == SOCK_STREAM ? (size_t)n == size : (size_t)n > size;
	}
	return n;
}

/*
 * A look at a stream goes on to the next message with descriptors and ends with it: where that one begins the kernel does not say. But it copies
 * each message whole or not at all: with room for all bytes but the last, it ends where the last message begins.
 */
static int find_start(const struct peeking *p, struct piece *piece)
{
	const size_t page = 4096, room = ALIGN_UP(piece->size, page);
	char *trap;
	ssize_t n;

	piece->start = 0;
	if (p->type != SOCK_STREAM || !piece->n_fds || piece->size < 2)
		return 0;
	trap = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (trap == MAP_FAILED || mprotect(trap + room, page, PROT_NONE) < 0)
		return -errno;
	put(p->fd, SO_PEEK_OFF, p->offset);
	n = look(p, trap + room - (piece->size - 1), piece->size, NULL, NULL);
	munmap(trap, room + page);
	put(p->fd, SO_PEEK_OFF, p->offset + (int)piece->size);
	if (n >= (ssize_t)piece->size || (n < 0 && n != -EFAULT))
		return -EIO;
	piece->start = n < 0 ? 0 : (size_t)n;
	return 0;
}

/* 1: there may be more. */
static int peek_one(struct peeking *p)
{
	for (;;) {
		struct piece *piece = (void *)(p->area + p->used);
		bool cut = false;
		ssize_t n = look(p, piece + 1, room_of(p), piece, &cut);
		int err;

		if (n == -EAGAIN || n == -EINVAL || n == -ENOTCONN ||
			(n == 0 && (p->type == SOCK_STREAM || !piece->has_creds)))
			return 0;
		if (n < 0)
			return (int)n; /* of a stream that is not connected: EINVAL, above */
		if (cut) {
			for (size_t i = 0; i < piece->n_fds; i++)
				close(piece->fds[i]);
			put(p->fd, SO_PEEK_OFF, p->offset);
			err = grow(p, 2 * (size_t)n + FIRST_ROOM);
			if (err)
				return err;
			continue;
		}
		piece->size = (size_t)n;
		err = find_start(p, piece);
		p->offset += (int)n;
		p->used += ALIGN_UP(sizeof(*piece) + piece->size, 16ul);
		if (err)
			return err;
		err = grow(p, FIRST_ROOM);
		return err ? err : 1;
	}
}

/* Each of these changes what a look shows: everything is to be shown, and nothing else. */
static const struct {
	int option, wanted;
} changes[] = {
	{ SO_PEEK_OFF, 0 },
	{ SO_PASSCRED, 1 },
	{ SO_OOBINLINE, 1 },
	{ SPORE_SO_PASSRIGHTS, 1 },
	{ SPORE_SO_PASSPIDFD, 0 },
	{ SO_PASSSEC, 0 },
	{ SPORE_SO_INQ, 0 },
};

static int peek_all(void *arg)
{
	struct peeking *p = arg;
	int before[ARRAY_SIZE(changes)], r;

	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		before[i] = get(p->fd, changes[i].option);
		if (before[i] != INT32_MIN && before[i] != changes[i].wanted)
			put(p->fd, changes[i].option, changes[i].wanted);
	}
	do
		r = p->end >= 0 && p->offset >= p->end ? 0 : peek_one(p);
	while (r == 1);
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++)
		if (get(p->fd, changes[i].option) != before[i])
			put(p->fd, changes[i].option, before[i]);
	return r;
}

/* --- what it brought --- */

static int copy_part(struct socket_queue *q, const struct piece *piece, size_t from, size_t to, bool fds)
{
	struct queue_message *m, *grown = reallocarray(q->list, q->n + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	q->list = grown;
	m = &grown[q->n++];
	*m = (struct queue_message){
		.size = to - from,
		.pid = piece->creds.pid,
		.uid = piece->creds.uid,
		.gid = piece->creds.gid,
		.has_credentials = piece->has_creds && (piece->creds.pid || piece->creds.uid != NOBODY),
	};
	m->data = malloc(m->size ? m->size : 1);
	if (!m->data)
		return -ENOMEM;
	memcpy(m->data, (const char *)(piece + 1) + from, m->size);
	if (piece->from_size > offsetof(struct sockaddr_un, sun_path)) {
		m->from_size = piece->from_size - offsetof(struct sockaddr_un, sun_path);
		m->from = malloc(m->from_size);
		if (!m->from)
			return -ENOMEM;
		memcpy(m->from, piece->from.sun_path, m->from_size);
	}
	if (fds && piece->n_fds) {
		m->fds = malloc(piece->n_fds * sizeof(*m->fds));
		if (!m->fds)
			return -ENOMEM;
		memcpy(m->fds, piece->fds, piece->n_fds * sizeof(*m->fds));
		m->n_fds = piece->n_fds;
	}
	return 0;
}

static bool same_credentials(const struct piece *a, const struct piece *b)
{
	return a->creds.pid == b->creds.pid && a->creds.uid == b->creds.uid && a->creds.gid == b->creds.gid;
}

/* A look at a stream ends behind descriptors, where credentials change, and at a mark: what has no other reason is one. */
static bool ends_at_mark(const struct peeking *p, const struct piece *before, const struct piece *piece)
{
	return p->type == SOCK_STREAM && before && !before->n_fds && same_credentials(before, piece);
}

static int copy_pieces(const struct peeking *p, struct socket_queue *out)
{
	const struct piece *before = NULL;
	int err = 0;

	for (size_t at = 0; at < p->used && !err;) {
		const struct piece *piece = (const void *)(p->area + at);
		bool mark = ends_at_mark(p, before, piece);

		if (piece->start)
			err = copy_part(out, piece, 0, piece->start, false);
		if (!err && !piece->start && mark)
			err = copy_part(out, piece, 0, piece->size, true);
		else if (!err)
			err = copy_part(out, piece, piece->start, piece->size, true);
		if (!err && mark)
			out->list[out->n - (piece->start ? 2 : 1)].mark = MARK_TAKEN;
		before = piece;
		at += ALIGN_UP(sizeof(*piece) + piece->size, 16ul);
	}
	return err;
}

/* Whether the last mark is still to be read, and whether reading has come to one, are asked apart. */
static int find_marks(int fd, struct socket_queue *q)
{
	struct pollfd p = { .fd = fd, .events = POLLPRI };
	bool alive = poll(&p, 1, 0) == 1 && p.revents & POLLPRI;
	int at_mark = 0;
	struct queue_message *last = NULL;

	if (ioctl(fd, SIOCATMARK, &at_mark) == 0 && at_mark && q->n)
		q->list[0].mark = MARK_TAKEN;
	for (size_t i = 0; i < q->n; i++)
		if (q->list[i].mark)
			last = &q->list[i];
	if (alive && !last)
		return -ENOTSUP;
	if (alive)
		last->mark = MARK_OUT_OF_BAND;
	return 0;
}

int socket_queue_read(int fd, int type, int pid_ns, struct socket_queue *out)
{
	struct peeking p = { .fd = fd, .type = type, .size = 2 * FIRST_ROOM, .end = -1 };
	struct pollfd ready = { .fd = fd, .events = POLLIN | POLLPRI };
	int inside = 0, err;

	if (poll(&ready, 1, 0) != 1 || !(ready.revents & POLLIN))
		return 0;
	if (ioctl(fd, SIOCINQ, &inside) < 0)
		inside = 0; /* never connected */
	if (ready.revents & POLLERR) {
		p.end = inside + !!(ready.revents & POLLPRI);
		if (type != SOCK_STREAM)
			return -EUCLEAN; /* the first may be an empty one */
	}
	if (p.end == 0)
		return 0;
	if (type == SOCK_STREAM)
		p.size += ALIGN_UP((size_t)inside, 4096ul);
	p.area = mmap(NULL, p.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p.area == MAP_FAILED)
		return -errno;
	err = pid_ns < 0 ? call_in_child(peek_all, &p) : call_in_pid_ns(pid_ns, peek_all, &p);
	if (!err)
		err = copy_pieces(&p, out);
	munmap(p.area, p.size);
	return err || type != SOCK_STREAM ? err : find_marks(fd, out);
}

void socket_queue_free(struct socket_queue *q)
{
	for (size_t i = 0; i < q->n; i++) {
		for (size_t k = 0; k < q->list[i].n_fds; k++)
			close(q->list[i].fds[k]);
		free(q->list[i].fds);
		free(q->list[i].data);
		free(q->list[i].from);
	}
	free(q->list);
	*q = (struct socket_queue){ 0 };
}
