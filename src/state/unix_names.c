/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names of unix sockets: none, in the file system, abstract, or chosen by the kernel. unix(7); ioctl SIOCUNIXFILE leads to the file of a socket. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/un.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"
#include "state/tree.h"
#include "state/unix.h"

#define HEADER offsetof(struct sockaddr_un, sun_path)

static int copy_name(const struct sockaddr_un *a, socklen_t size, struct blob *name)
{
	if (size <= HEADER)
		return 0;
	name->size = MIN(size - HEADER, sizeof(a->sun_path));
	name->data = malloc(name->size);
	if (!name->data)
		return -ENOMEM;
	memcpy(name->data, a->sun_path, name->size);
	return 0;
}

int unix_capture_peer_name(int fd, struct blob *name)
{
	struct sockaddr_un a = { 0 };
	socklen_t size = sizeof(a);

	return getpeername(fd, (struct sockaddr *)&a, &size) < 0 ? 0 : copy_name(&a, size, name);
}

bool unix_same_name(const struct blob *a, const struct blob *b)
{
	return a->size == b->size && a->size && !memcmp(a->data, b->data, a->size);
}

struct unix_name_text unix_name_text(const struct blob *name)
{
	struct unix_name_text t = { "no name" };
	size_t i;

	for (i = 0; i < name->size && i < UNIX_NAME_MAX; i++)
		t.s[i] = name->data[i] ? (isprint(name->data[i]) ? (char)name->data[i] : '?') : i ? '\0' : '@';
	if (i)
		t.s[i] = '\0';
	return t;
}

/* The names that the kernel chooses: five hexadecimal digits. */
static bool is_autobound(const struct blob *name)
{
	if (name->size != 6 || name->data[0])
		return false;
	for (int i = 1; i < 6; i++)
		if (!isxdigit(name->data[i]))
			return false;
	return true;
}

static const struct socket_look *listener_of(struct capture *c, const struct blob *name)
{
	const struct sockets *all = c->descriptions->sockets;

	for (size_t i = 0; i < all->n; i++) {
		struct blob theirs = { 0 };
		bool same = false;
		int fd;

		if (!all->list[i].diag || all->list[i].diag->state != 10 /* TCP_LISTEN */)
			continue;
		fd = description_dup(all->list[i].description);
		if (fd < 0)
			continue;
		{
			struct sockaddr_un a = { 0 };
			socklen_t size = sizeof(a);

			if (!getsockname(fd, (struct sockaddr *)&a, &size) && !copy_name(&a, size, &theirs))
				same = unix_same_name(&theirs, name);
		}
		free(theirs.data);
		close(fd);
		if (same)
			return &all->list[i];
	}
	return NULL;
}

static int answer(int r, int yes, int no)
{
	if (r == 0 || errno == no)
		return 0;
	return errno == yes ? 1 : -errno;
}

/* Was any socket bound to that abstract name? Whoever tries to bind another learns it. */
static int abstract_is_bound(struct capture *c, const struct sockaddr_un *a, socklen_t size, int type)
{
	_cleanup_fd_ int fd = socket_in(tree_living(c->tree), AF_UNIX, type, 0);

	return fd < 0 ? fd : answer(bind(fd, (const struct sockaddr *)a, size), EADDRINUSE, 0);
}

/* And to that file? A datagram socket that would connect there is told that what it found is of another type, or that there is nothing. */
static int file_is_bound(struct capture *c, const char *path)
{
	_cleanup_fd_ int file = *path == '/' ? tree_open(c, path, O_PATH) : -ENOENT, fd = -1;
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	if (file < 0)
		return file;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d", file);
	return answer(connect(fd, (struct sockaddr *)&a, sizeof(a)), EPROTOTYPE, ECONNREFUSED);
}

/* Of a stream or record socket. 1, 0, or negative errno: it cannot be told. */
static int is_bound(struct capture *c, const struct blob *name, int type)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	char path[sizeof(a.sun_path) + 1] = "";

	memcpy(a.sun_path, name->data, MIN(name->size, sizeof(a.sun_path)));
	if (!name->data[0])
		return abstract_is_bound(c, &a, (socklen_t)(HEADER + name->size), type);
	memcpy(path, a.sun_path, sizeof(a.sun_path));
	return file_is_bound(c, path);
}

/*
 * An accepted socket has its listener's name, and was never bound itself. Its peer has no name, or was bound to one of its own, so that nobody else can be.
 * Which of two was bound to a file that is gone the kernel's memory tells (since 6.0). If both names are bound, or it cannot be told, the socket that came
 * later is taken for the accepted one.
 */
static bool is_inherited(
	struct capture *c, const struct file_look *f, const struct unix_state *s, const struct blob *peer)
{
	const struct socket_look *own = socket_find(c->descriptions, f->ino),
				 *other = own && own->diag ? socket_find(c->descriptions, own->diag->peer) : NULL;
	int mine, others;

	if (!s->name.size || s->type == SOCK_DGRAM || s->state == UNIX_ALONE || s->state == UNIX_LISTENS)
		return false;
	if (!peer->size)
		return true;
	if (is_autobound(&s->name) != is_autobound(peer))
		return is_autobound(peer);
	if (listener_of(c, &s->name))
		return true;
	if (listener_of(c, peer))
		return false;
	if (own && own->hidden.in_file_system)
		return false;
	if (other && other->hidden.in_file_system)
		return true;
	mine = is_bound(c, &s->name, (int)s->type);
	others = is_bound(c, peer, (int)s->type);
	if (mine >= 0 && others >= 0 && mine != others)
		return !mine;
	return !own || !own->diag || own->diag->peer < f->ino;
}

static int read_file(struct capture *c, const struct file_look *f, int file, struct unix_state *s)
{
	char self[32], name[NAME_MAX + 32];
	_cleanup_free_ char *path = NULL, *dir = NULL;
	_cleanup_fd_ int dir_fd = -1;
	struct stat st, there;
	const char *slash;
	int err;

	snprintf(self, sizeof(self), "/proc/self/fd/%d", file);
	err = procfs_link(AT_FDCWD, self, &path);
	if (err || fstat(file, &st) < 0)
		return err ? err : -errno;
	if (tree_stat(c, path, &there) || there.st_dev != st.st_dev || there.st_ino != st.st_ino)
		return 0; /* it has been removed, or replaced by another */
	s->file_mode = st.st_mode;
	s->file_uid = st.st_uid;
	s->file_gid = st.st_gid;
	slash = strrchr(path, '/');
	dir = strndup(path, (size_t)(slash - path) + 1);
	dir_fd = dir ? tree_open(c, dir, O_PATH | O_DIRECTORY) : -ENOMEM;
	if (dir_fd < 0)
		return dir_fd;
	snprintf(name, sizeof(name), "/proc/self/fd/%d/%s", dir_fd, slash + 1);
	err = xattrs_read(name, &s->xattrs, &s->n_xattrs);
	if (err)
		return failed(c->ps, BLAME_FILE(f), err, "the extended attributes of %s cannot be read: %s", path,
			strerror(-err));
	s->path = path;
	path = NULL;
	return 0;
}

int unix_capture_names(struct capture *c, const struct file_look *f, int fd, struct unix_state *s)
{
	struct sockaddr_un a = { 0 };
	socklen_t size = sizeof(a);
	struct blob peer = { 0 };
	int err, file;

	if (getsockname(fd, (struct sockaddr *)&a, &size) < 0)
		return -errno;
	err = copy_name(&a, size, &s->name);
	if (!err)
		err = unix_capture_peer_name(fd, &peer);
	if (!err)
		s->inherited = is_inherited(c, f, s, &peer);
	free(peer.data);
	if (err || s->inherited || !s->name.size || !s->name.data[0])
		return err;
	file = ioctl(fd, SIOCUNIXFILE, 0);
	if (file < 0)
		return failed(c->ps, BLAME_FILE(f), -errno, "the file of its name cannot be found: %m");
	err = read_file(c, f, file, s);
	close(file);
	return err;
}

/* --- restore --- */

/* Nothing is sent, and a listener is not reached: only whether somebody is there is told, by another error. */
static bool is_alive(int file, int type)
{
	int probe = socket(AF_UNIX, (type == SOCK_DGRAM ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	bool alive;

	snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d", file);
	alive = probe >= 0 && (!connect(probe, (struct sockaddr *)&a, sizeof(a)) || errno == EPROTOTYPE);
	if (probe >= 0)
		close(probe);
	return alive;
}

static int validate_path(struct restore *r, const struct unix_state *s)
{
	const char *slash = strrchr(s->path, '/');
	_cleanup_free_ char *dir = slash ? strndup(s->path, slash == s->path ? 1 : (size_t)(slash - s->path)) : NULL;
	_cleanup_fd_ int file = -1, dir_fd = -1;
	struct stat st;

	if (!dir)
		return failed(
			r->ps, BLAME(.object = "unix"), -EBADMSG, "the image has a socket with an impossible path");
	if (r->clone)
		return refused(r->ps, BLAME(.object = s->path, .remedy = "restore one tree"),
			"several clones cannot be bound to one path");
	dir_fd = restore_open(r, dir, O_PATH | O_DIRECTORY, 0);
	if (dir_fd < 0)
		return refused(r->ps, BLAME(.object = s->path, .remedy = "make it (mkdir)"),
			"the directory of this socket is missing");
	file = restore_open(r, s->path, O_PATH | O_NOFOLLOW, 0);
	if (file < 0 || fstat(file, &st) < 0)
		return 0; /* it is made again */
	if (!S_ISSOCK(st.st_mode))
		return refused(r->ps, BLAME(.object = s->path, .remedy = "move it away"),
			"a socket was here, and now there is another kind of file");
	if (is_alive(file, (int)s->type))
		return refused(r->ps, BLAME(.object = s->path, .remedy = "end the process that has it"),
			"another socket is bound to this path now");
	return 0;
}

/* The network namespace that the tree will have, if it is there already. */
static int probe_in(const struct restore *r, int type)
{
	const struct tree_state *t = tree_state_of(r->image);

	if (t && t->container && t->network && strcmp(t->network, "host"))
		return -ENOENT;
	type = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	return type < 0 ? -errno : type;
}

static int validate_abstract(struct restore *r, const struct unix_state *s)
{
	_cleanup_fd_ int probe = probe_in(r, (int)s->type);
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	if (probe < 0)
		return 0;
	memcpy(a.sun_path, s->name.data, s->name.size);
	if (bind(probe, (struct sockaddr *)&a, (socklen_t)(HEADER + s->name.size)) < 0 && errno == EADDRINUSE)
		return refused(r->ps,
			BLAME(.object = unix_name_text(&s->name).s, .remedy = "end the process that has it"),
			"another socket is bound to this abstract name now");
	return 0;
}

int unix_validate_name(struct restore *r, const struct unix_state *s)
{
	if (s->name.size > UNIX_NAME_MAX)
		return failed(
			r->ps, BLAME(.object = "unix"), -EBADMSG, "the image has a socket with an impossible name");
	if (!s->name.size || s->inherited)
		return 0;
	if (!s->name.data[0])
		return validate_abstract(r, s);
	return s->path && !tree_brings(r, s->path) ? validate_path(r, s) : 0;
}
