/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Binding a unix socket to the name that it had, letter by letter, though that name may be relative to a directory that nobody remembers, or lie
 * where nothing is to be seen of it. A child whose root directory is elsewhere does it: there the directories of the name are made. A socket that has
 * its file back is bound in a directory of its own beside its place and moved there, so that the old file is replaced in one step.
 */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/xattr.h>

#include "base/cleanup.h"
#include "state/unix.h"

#define HEADER offsetof(struct sockaddr_un, sun_path)

/* What the child works with: only system calls. */
struct binding {
	int fd;
	char name[UNIX_NAME_MAX + 1];
	int root;		    /* where its root directory is to be */
	const struct unix_state *s; /* whose file it is to be; NULL: out of sight */
	int place;		    /* the directory of that file */
	const char *base;	    /* its name there */
	int dir;		    /* out: of the name */
};

static int make_parents(char *name, bool remove)
{
	for (char *slash = strchr(name + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		int r;

		*slash = '\0';
		r = remove ? 0 : mkdir(name, 0777);
		*slash = '/';
		if (r < 0 && errno != EEXIST)
			return -errno;
	}
	for (char *slash = strrchr(name, '/'); remove && slash && slash > name;) {
		char *before;

		*slash = '\0';
		rmdir(name);
		before = strrchr(name, '/');
		*slash = '/';
		slash = before;
	}
	return 0;
}

/* A relative name may climb out of the directory that it began in. */
static int go_deep(const char *name, bool leave)
{
	for (const char *at = name; name[0] != '/' && (at = strstr(at, "..")); at += 2) {
		if (!leave && ((mkdir("d", 0777) < 0 && errno != EEXIST) || chdir("d") < 0))
			return -errno;
		if (leave && (chdir("..") < 0 || rmdir("d") < 0))
			return -errno;
	}
	return 0;
}

static int give_attributes(const struct binding *b)
{
	const struct unix_state *s = b->s;
	int err;

	if (!s)
		return chmod(b->name, 0777) < 0 ? -errno : 0;
	if (lchown(b->name, (uid_t)s->file_uid, (gid_t)s->file_gid) < 0 || chmod(b->name, s->file_mode & 07777) < 0)
		return -errno;
	err = xattrs_write(b->name, s->xattrs, s->n_xattrs);
	return err;
}

static int put_in_place(const struct binding *b)
{
	struct stat st;

	if (fstatat(b->place, b->base, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISSOCK(st.st_mode))
		return -EEXIST;
	return renameat(AT_FDCWD, b->name, b->place, b->base) < 0 ? -errno : 0;
}

static int open_parent(struct binding *b)
{
	char parent[UNIX_NAME_MAX + 1];
	char *slash;

	memcpy(parent, b->name, sizeof(parent));
	slash = strrchr(parent, '/');
	if (!slash)
		memcpy(parent, ".", 2);
	else
		slash[slash == parent] = '\0';
	b->dir = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return b->dir < 0 ? -errno : 0;
}

static int bind_name(const struct binding *b)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	size_t size = strlen(b->name);

	memcpy(a.sun_path, b->name, size);
	return bind(b->fd, (struct sockaddr *)&a, (socklen_t)(HEADER + size)) < 0 ? -errno : 0;
}

static int bind_below(void *arg)
{
	struct binding *b = arg;
	int err;

	umask(0);
	if (fchdir(b->root) < 0 || chroot(".") < 0)
		return -errno;
	err = go_deep(b->name, false);
	if (!err)
		err = make_parents(b->name, false);
	if (!err)
		err = bind_name(b);
	if (err)
		return err;
	err = give_attributes(b);
	if (!b->s)
		return err ? err : open_parent(b);
	if (!err)
		err = put_in_place(b);
	if (err)
		unlink(b->name);
	make_parents(b->name, true);
	go_deep(b->name, true);
	return err;
}

/* All in one child, which comes to its end whatever happens to spore: nothing is left beside the file. */
static int bind_beside(void *arg)
{
	struct binding *b = arg;
	char name[32];
	int err;

	snprintf(name, sizeof(name), ".spore-%d", (int)syscall(SYS_getpid));
	if (mkdirat(b->place, name, 0700) < 0)
		return -errno;
	b->root = openat(b->place, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	err = b->root < 0 ? -errno : 0;
	if (!err) {
		/* what its directory would hand on is not the socket's own */
		fremovexattr(b->root, "system.posix_acl_default");
		err = bind_below(b);
		close(b->root);
	}
	unlinkat(b->place, name, AT_REMOVEDIR);
	return err;
}

static int bind_visible(struct restore *r, struct binding *b)
{
	const char *slash = strrchr(b->s->path, '/');
	_cleanup_free_ char *dir = strndup(b->s->path, slash == b->s->path ? 1 : (size_t)(slash - b->s->path));
	int err;

	if (!dir)
		return -ENOMEM;
	b->place = restore_open(r, dir, O_RDONLY | O_DIRECTORY, 0);
	if (b->place < 0)
		return b->place;
	b->base = slash + 1;
	err = call_in_child(bind_beside, b);
	b->dir = b->place;
	return err;
}

/* A directory of its own for each, since names may be alike; also of one that was closed, whose descriptor's number is another's now. */
static int bind_hidden(struct binding *b, int hidden)
{
	char name[32];
	struct stat st;
	int err;

	if (fstat(b->fd, &st) < 0)
		return -errno;
	snprintf(name, sizeof(name), "%lu", (unsigned long)st.st_ino);
	if (mkdirat(hidden, name, 0777) < 0)
		return -errno;
	b->root = openat(hidden, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (b->root < 0)
		return -errno;
	err = call_in_child(bind_below, b);
	close(b->root);
	return err;
}

static int bind_abstract(int fd, const struct blob *name)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	memcpy(a.sun_path, name->data, name->size);
	return bind(fd, (struct sockaddr *)&a, (socklen_t)(HEADER + name->size)) < 0 ? -errno : 0;
}

int unix_bind(struct restore *r, int fd, const struct blob *name, const struct unix_state *state, int hidden, int *dir)
{
	struct binding b = { .fd = fd, .s = state && state->path ? state : NULL, .dir = -1 };
	int err;

	if (!name->data[0]) {
		err = bind_abstract(fd, name);
	} else {
		memcpy(b.name, name->data, name->size);
		err = b.s ? bind_visible(r, &b) : bind_hidden(&b, hidden);
	}
	if (dir)
		*dir = b.dir;
	else
		close_fd(&b.dir);
	if (err)
		return failed(r->ps, BLAME(.object = b.s ? b.s->path : unix_name_text(name).s), err,
			"a socket cannot be bound to this name: %s", strerror(-err));
	return 0;
}

int unix_hidden_directory(void)
{
	_cleanup_fd_ int fs = (int)syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC);
	int fd;

	if (fs < 0 || syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "mode", "0755", 0) < 0 ||
		syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	fd = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}
