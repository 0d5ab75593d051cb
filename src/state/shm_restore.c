/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Filling a new container's /dev/shm: names and contents before anything can open them, times when nothing touches them any more. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kernel/uapi.h"
#include "state/components.h"
#include "state/shm.h"
#include "state/tree.h"

#define WHO(s, ...) BLAME(.object = shm_path(s).s, __VA_ARGS__)

struct shm_path {
	char s[192];
};

static struct shm_path shm_path(const struct shm_state *s)
{
	struct shm_path p;

	snprintf(p.s, sizeof(p.s), SHM_DIRECTORY "/%.170s", s->path ? s->path : "?");
	return p;
}

static bool is_whole_directory(const struct shm_state *s)
{
	return strcmp(s->path, ".") == 0;
}

/* --- validate --- */

/* Names with single slashes between them, none of them a dot or two. */
static bool is_plain_path(const char *path)
{
	for (const char *name = path; name; name = strchr(name, '/'), name += name ? 1 : 0) {
		size_t n = strcspn(name, "/");

		if (n == 0 || n > NAME_MAX || (name[0] == '.' && (n == 1 || (n == 2 && name[1] == '.'))))
			return false;
	}
	return true;
}

static bool is_sound(const struct shm_state *s)
{
	mode_t type = s->mode & S_IFMT;

	if (!s->path || (!is_whole_directory(s) && !is_plain_path(s->path)))
		return false;
	if (is_whole_directory(s) || type == S_IFDIR)
		return type == S_IFDIR && !s->n_links;
	for (size_t i = 0; i < s->n_links; i++)
		if (!s->links[i].path || !is_plain_path(s->links[i].path))
			return false;
	return type == S_IFREG || type == S_IFIFO || (type == S_IFLNK && s->target && s->target[0]);
}

int shm_validate(struct restore *r, const struct record *rec)
{
	const struct shm_state *s = rec->state;
	const struct tree_state *tree = tree_state_of(r->image);
	struct stat st;

	if (!is_sound(s) || !tree || !tree->container)
		return failed(
			r->ps, BLAME(.object = "shm"), -EBADMSG, "the image has a file that no /dev/shm can have");
	if (is_whole_directory(s) && !tree->directory && (lstat(SHM_DIRECTORY, &st) < 0 || !S_ISDIR(st.st_mode)))
		return refused(r->ps, BLAME(.object = SHM_DIRECTORY, .remedy = "make it a directory"),
			"the container had one of its own, and here is no directory where it could be mounted");
	return 0;
}

bool shm_brings(const struct restore *r, const char *path)
{
	size_t n, length = strlen(SHM_DIRECTORY);

	image_records(r->image, &component_shm.kind, &n);
	return n && strncmp(path, SHM_DIRECTORY, length) == 0 && (path[length] == '/' || !path[length]);
}

/* --- names and contents --- */

static int open_shm(struct restore *r)
{
	int fd = container_open_shm(r->root_fd);

	return fd < 0 ? failed(r->ps, BLAME(.object = SHM_DIRECTORY), fd,
				"the new container has none of its own to put files into")
		      : fd;
}

/* The directory that holds the name, made with those above it if need be. */
static int open_parent(int shm, const char *path, const char **base)
{
	_cleanup_fd_ int at = shm_open_below(shm, ".", O_PATH | O_DIRECTORY);

	while (at >= 0) {
		size_t n = strcspn(path, "/");
		char name[NAME_MAX + 1];
		int next;

		*base = path;
		if (!path[n])
			return take_fd(&at);
		memcpy(name, path, n);
		name[n] = '\0';
		if (mkdirat(at, name, 0700) < 0 && errno != EEXIST)
			return -errno;
		next = shm_open_below(at, name, O_PATH | O_DIRECTORY);
		close(at);
		at = next;
		path += n + 1;
	}
	return at;
}

static int make_regular(struct restore *r, int dir, const char *base, const struct shm_state *s)
{
	_cleanup_fd_ int fd = openat(dir, base, O_CREAT | O_EXCL | O_NOFOLLOW | O_RDWR | O_CLOEXEC, 0600);
	int error = fd < 0 ? -errno : contents_restore(r, fd, s->extents, s->n_extents, s->size, shm_path(s).s);

	if (error == 0 && s->allocated && s->size && fallocate(fd, 0, 0, (off_t)s->size) < 0)
		return -errno;
	return error;
}

static int make_inode(struct restore *r, int dir, const char *base, const struct shm_state *s)
{
	switch (s->mode & S_IFMT) {
	case S_IFREG:
		return make_regular(r, dir, base, s);
	case S_IFIFO:
		return mknodat(dir, base, S_IFIFO | 0600, 0) < 0 ? -errno : 0;
	case S_IFLNK:
		return symlinkat(s->target, dir, base) < 0 ? -errno : 0;
	default:
		return mkdirat(dir, base, 0700) < 0 && errno != EEXIST ? -errno : 0;
	}
}

/* Where its name stands: the directory, and the name in it. */
struct place {
	int shm, dir;
	const char *base;
};

static void place_close(struct place *at)
{
	close_fd(&at->dir);
	close_fd(&at->shm);
}
#define _cleanup_place_ _cleanup_(place_close)

static int open_place(struct restore *r, const struct shm_state *s, struct place *at)
{
	*at = (struct place){ .shm = open_shm(r), .dir = -1, .base = "." };
	if (at->shm < 0)
		return at->shm;
	at->dir = open_parent(at->shm, s->path, &at->base);
	return at->dir < 0 ? at->dir : 0;
}

/* In this order: a new owner clears the set-user-id bits and capabilities, and an access list is part of the mode. */
static int give_attributes(int dir, const char *base, const struct shm_state *s)
{
	_cleanup_free_ char *path = NULL;

	if (fchownat(dir, base, (uid_t)s->uid, (gid_t)s->gid, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (!S_ISLNK(s->mode) && fchmodat(dir, base, (mode_t)s->mode & 07777, 0) < 0)
		return -errno;
	if (asprintf(&path, "/proc/self/fd/%d/%s", dir, base) < 0)
		return -ENOMEM;
	return xattrs_write(path, s->xattrs, s->n_xattrs);
}

static int make_links(int shm, int dir, const char *base, const struct shm_state *s)
{
	for (size_t i = 0; i < s->n_links; i++) {
		const char *name;
		_cleanup_fd_ int to = open_parent(shm, s->links[i].path, &name);

		if (to < 0)
			return to;
		if (linkat(dir, base, to, name, 0) < 0)
			return -errno;
	}
	return 0;
}

int shm_make(struct build *b, const void *state)
{
	const struct shm_state *s = state;
	_cleanup_place_ struct place at;
	int error = open_place(b->restore, s, &at);

	if (at.shm < 0)
		return at.shm;
	if (error == 0 && !is_whole_directory(s))
		error = make_inode(b->restore, at.dir, at.base, s);
	if (error == 0)
		error = give_attributes(at.dir, at.base, s);
	if (error == 0)
		error = make_links(at.shm, at.dir, at.base, s);
	if (error < 0 && !b->ps->n_failed)
		failed(b->ps, WHO(s), error, "cannot be made again: %s", strerror(-error));
	return error;
}

/* --- names that are gone --- */

static int open_old_parent(int shm, const char *path, const char **base)
{
	const char *slash = strrchr(path, '/');
	_cleanup_free_ char *parent = slash ? strndup(path, (size_t)(slash - path)) : strdup(".");

	*base = slash ? slash + 1 : path;
	return parent ? shm_open_below(shm, parent, O_PATH | O_DIRECTORY) : -ENOMEM;
}

static int link_again(int shm, const char *path, int dir, const char *base)
{
	_cleanup_fd_ int fd = shm_open_below(shm, path, O_PATH | O_NOFOLLOW);
	char link[32];

	if (fd < 0)
		return fd;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	return linkat(AT_FDCWD, link, dir, base, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

/* sem_open(3) maps a new semaphore by a name that it then removes; the mapping goes on to show it. */
int shm_open_by_old_name(struct restore *r, object_id id, const char *path, uint64_t flags)
{
	const struct shm_state *s = restore_state(r, id, "shm");
	_cleanup_fd_ int shm = s && shm_brings(r, path) ? open_shm(r) : -EBADMSG, dir = -1;
	const char *base;
	int fd, error;

	if (shm < 0)
		return shm;
	path += strlen(SHM_DIRECTORY) + (path[strlen(SHM_DIRECTORY)] == '/');
	dir = open_old_parent(shm, path, &base);
	error = dir < 0 ? dir : link_again(shm, s->path, dir, base);
	if (error < 0) {
		changed(r->ps, WHO(s), "it had the name %s before, which cannot be given: /proc shows another", path);
		return shm_open_below(shm, s->path, flags);
	}
	fd = shm_open_below(dir, base, flags);
	unlinkat(dir, base, 0);
	return fd;
}

/* --- at the end --- */

static int set_inode_flags(int shm, const struct shm_state *s)
{
	_cleanup_fd_ int fd = -1;
	unsigned int attributes = (unsigned int)s->attributes;

	if (!s->attributes && !s->write_hint)
		return 0;
	fd = shm_open_below(shm, s->path, O_RDONLY | O_NOATIME);
	if (fd < 0)
		return fd;
	if (s->write_hint && fcntl(fd, F_SET_RW_HINT, &s->write_hint) < 0)
		return -errno;
	return !s->attributes ? 0 : ioctl(fd, FS_IOC_SETFLAGS, &attributes) < 0 ? -errno : 0;
}

int shm_finish(struct restore *r, const struct record *rec)
{
	const struct shm_state *s = rec->state;
	const struct timespec times[2] = { { s->atime_s, (long)(s->atime_ns % 1000000000) },
		{ s->mtime_s, (long)(s->mtime_ns % 1000000000) } };
	_cleanup_place_ struct place at;
	int error = open_place(r, s, &at);

	if (at.shm < 0)
		return at.shm;
	if (error == 0 && utimensat(at.dir, at.base, times, AT_SYMLINK_NOFOLLOW) < 0)
		error = -errno;
	if (error == 0)
		error = set_inode_flags(at.shm, s);
	return error < 0 ? failed(r->ps, WHO(s), error, "its times cannot be set: %s", strerror(-error)) : 0;
}
