/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Queues read from the kernel's memory: net/unix/af_unix.c; include/net/af_unix.h (struct unix_skb_parms), include/net/scm.h, include/linux/pid.h. */
#include "state/unix_early.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "state/kernel_view.h"

#define MAX_RIGHTS  253	       /* SCM_MAX_FD */
#define SIZEOF_UPID 16	       /* a number and a namespace */
#define NOBODY	    UINT32_MAX /* nobody's credentials were noted */

struct reading {
	struct capture *c;
	uint64_t level;				/* how deep the tree's pid namespace is */
	uint64_t at_pid, at_uid, at_gid, at_fp; /* in a buffer */
	bool empty;	 /* only these are asked for, with the senders' names; of others the size */
	bool names;	 /* of the senders, too */
	uint64_t urgent; /* the buffer with the byte out of band; 0: there is none */
};

/* The number that the tree knows it by; 0: none. */
static int number_of(const struct reading *r, uint64_t pid, pid_t *out)
{
	uint64_t level = 0, numbers = 0;
	int32_t number = 0;
	int err = kernel_peek_member(r->c->kernel, pid, "pid", "level", &level);

	if (!err)
		err = kernel_peek_address(r->c->kernel, pid, "pid", "numbers", &numbers);
	if (!err && level >= r->level)
		err = kernel_peek_bytes(r->c->kernel, numbers + r->level * SIZEOF_UPID, &number, sizeof(number));
	*out = number;
	return err;
}

/* A descriptor, in this process, of what the tree holds by that struct file. */
static int dup_of(struct capture *c, uint64_t wanted)
{
	for (const struct description *d = c->descriptions->first; d; d = d->next) {
		int fd = description_dup(d);
		uint64_t file = 0, data;

		if (fd < 0)
			continue;
		if (!kernel_peek_file(c->kernel, fd, &file, &data) && file == wanted)
			return fd;
		close(fd);
	}
	return -ENOENT;
}

static int read_files(struct capture *c, uint64_t fp, struct queue_message *m)
{
	uint64_t count = 0, at = 0, file;
	int err = kernel_peek_member(c->kernel, fp, "scm_fp_list", "count", &count);

	if (!err)
		err = kernel_peek_address(c->kernel, fp, "scm_fp_list", "fp", &at);
	if (err || count > MAX_RIGHTS)
		return err ? err : -ENOTSUP;
	m->fds = calloc(count + 1, sizeof(*m->fds));
	if (!m->fds)
		return -ENOMEM;
	for (size_t i = 0; i < count && !err; i++) {
		int fd;

		err = kernel_peek_bytes(c->kernel, at + i * sizeof(file), &file, sizeof(file));
		fd = err ? err : dup_of(c, file);
		if (fd < 0)
			return fd;
		m->fds[m->n_fds++] = fd;
	}
	return err;
}

static int read_message(const struct reading *r, struct socket_buffer *b, struct queue_message *m)
{
	uint64_t pid, fp;
	uint32_t uid, gid;
	int err = 0;

	memcpy(&pid, b->cb + r->at_pid, sizeof(pid));
	memcpy(&fp, b->cb + r->at_fp, sizeof(fp));
	memcpy(&uid, b->cb + r->at_uid, sizeof(uid));
	memcpy(&gid, b->cb + r->at_gid, sizeof(gid));
	*m = (struct queue_message){
		.data = b->data, .size = b->size, .has_credentials = pid || uid != NOBODY, .uid = uid, .gid = gid
	};
	if (b->address == r->urgent)
		m->mark = MARK_OUT_OF_BAND;
	b->data = NULL;
	if (pid)
		err = number_of(r, pid, &m->pid);
	return err || !fp ? err : read_files(r->c, fp, m);
}

/* How deep the tree is tells the one who dialled, who is of the tree. */
static int check_end(struct reading *r, uint64_t sock)
{
	uint64_t dialler = 0;
	int err = kernel_peek_member(r->c->kernel, sock, "sock", "sk_peer_pid", &dialler);

	if (!err && !dialler)
		err = -ENOTSUP;
	if (!err)
		err = kernel_peek_member(r->c->kernel, dialler, "pid", "level", &r->level);
	if (!err && kernel_peek_member(r->c->kernel, sock, "unix_sock", "oob_skb", &r->urgent) < 0)
		r->urgent = 0; /* this kernel has none */
	return err;
}

static int find_parameters(struct reading *r)
{
	static const char type[] = "unix_skb_parms";
	struct kernel_peek *k = r->c->kernel;
	int err = kernel_peek_address(k, 0, type, "pid", &r->at_pid);

	if (!err)
		err = kernel_peek_address(k, 0, type, "uid", &r->at_uid);
	if (!err)
		err = kernel_peek_address(k, 0, type, "gid", &r->at_gid);
	if (!err)
		err = kernel_peek_address(k, 0, type, "fp", &r->at_fp);
	return err										       ? err
	       : MAX(r->at_pid, r->at_fp) + sizeof(uint64_t) > sizeof(((struct socket_buffer *)0)->cb) ? -ENOTSUP
												       : 0;
}

/* Of who sent it: struct unix_address, a sockaddr_un behind its length. */
static int read_name(struct capture *c, uint64_t sender, struct queue_message *m)
{
	uint64_t at = 0, size = 0, name = 0;
	int err = sender ? kernel_peek_member(c->kernel, sender, "unix_sock", "addr", &at) : 0;

	if (err || !at)
		return err;
	err = kernel_peek_member(c->kernel, at, "unix_address", "len", &size);
	if (!err)
		err = kernel_peek_address(c->kernel, at, "unix_address", "name", &name);
	if (err || size <= offsetof(struct sockaddr_un, sun_path))
		return err;
	if (size > sizeof(struct sockaddr_un))
		return -EBADMSG;
	m->from_size = size - offsetof(struct sockaddr_un, sun_path);
	m->from = malloc(m->from_size);
	return m->from ? kernel_peek_bytes(
				 c->kernel, name + offsetof(struct sockaddr_un, sun_path), m->from, m->from_size)
		       : -ENOMEM;
}

static int read_all(struct reading *r, struct socket_view *v, uint64_t sock, struct socket_queue *out)
{
	struct socket_buffers b = { 0 };
	int err = socket_view_queue(v, sock, QUEUE_RECEIVED, false, &b);

	out->list = err ? NULL : calloc(b.n + 1, sizeof(*out->list));
	for (size_t i = 0; i < b.n && !err && out->list; i++) {
		struct queue_message *m = &out->list[out->n++];

		m->size = b.list[i].size;
		if (!r->empty || !m->size)
			err = read_message(r, &b.list[i], m);
		if (!err && r->names && (!r->empty || !m->size))
			err = read_name(r->c, b.list[i].sock, m);
	}
	socket_buffers_free(&b);
	return !err && !out->list ? -ENOMEM : err;
}

static int read_end(struct capture *c, struct socket_view *v, uint64_t sock, struct socket_queue *out)
{
	struct reading r = { .c = c };
	int err = sock ? find_parameters(&r) : -ENOTSUP;

	if (!err)
		err = check_end(&r, sock);
	return err ? err : read_all(&r, v, sock, out);
}

int unix_own_read(struct capture *c, uint64_t sock, bool empty, struct socket_queue *out)
{
	struct reading r = { .c = c, .names = true, .empty = empty };
	struct socket_view *v = NULL;
	uint64_t at = 0;
	int err = sockets_view(c, &v);

	if (!err)
		err = find_parameters(&r);
	if (!err)
		err = kernel_task(c, c->tree->processes[0], &at);
	if (!err)
		err = kernel_peek_member(c->kernel, at, "task_struct", "thread_pid", &at);
	if (!err)
		err = kernel_peek_member(c->kernel, at, "pid", "level", &r.level);
	return err ? err : read_all(&r, v, sock, out);
}

int unix_early_read(struct capture *c, int fd, struct socket_queue *out)
{
	struct socket_view *v = NULL;
	uint64_t own = 0, sock = 0;
	int err = sockets_view(c, &v);

	if (!err)
		err = socket_view_find(v, fd, &own);
	if (!err)
		err = kernel_peek_member(c->kernel, own, "unix_sock", "peer", &sock);
	return err ? err : read_end(c, v, sock, out);
}

/* A listener's queue is one of buffers that each belong to the end that is to be accepted. */
int unix_early_read_waiting(struct capture *c, int listener, size_t i, size_t n, struct socket_queue *out)
{
	struct socket_buffers b = { 0 };
	struct socket_view *v = NULL;
	uint64_t own = 0;
	int err = sockets_view(c, &v);

	if (!err)
		err = socket_view_find(v, listener, &own);
	if (!err)
		err = socket_view_queue(v, own, QUEUE_RECEIVED, false, &b);
	if (!err)
		err = b.n == n ? read_end(c, v, b.list[i].sock, out) : -EAGAIN;
	socket_buffers_free(&b);
	return err;
}
