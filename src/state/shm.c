/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A container's own /dev/shm goes with its mount namespace: so every file in it is in the image, one record
 * for each inode. shm_open(3), sem_open(3), tmpfs(5), xattr(7), ioctl_iflags(2); mm/shmem.c;
 * tools/testing/selftests/filesystems.
 */
#include "state/shm.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kernel/uapi.h"
#include "state/components.h"

static const struct field shm_name_fields[] = {
	FIELD_STRING(struct shm_name, path, "path", "from /dev/shm"),
	FIELD_END,
};

static const struct field shm_fields[] = {
	FIELD_STRING(struct shm_state, path, "path", "from /dev/shm; a dot is that directory itself"),
	FIELD_LIST(struct shm_state, links, n_links, "links", shm_name_fields, "its other names"),
	FIELD_OCTAL(struct shm_state, mode, "mode", "type and permissions"),
	FIELD_UINT(struct shm_state, uid, "uid", "owner"),
	FIELD_UINT(struct shm_state, gid, "gid", "group"),
	FIELD_UINT(struct shm_state, size, "size", "bytes of a regular file"),
	FIELD_INT(struct shm_state, atime_s, "atime", "last access, seconds since 1970"),
	FIELD_UINT(struct shm_state, atime_ns, "atime_ns", "and nanoseconds"),
	FIELD_INT(struct shm_state, mtime_s, "mtime", "last modification, seconds since 1970"),
	FIELD_UINT(struct shm_state, mtime_ns, "mtime_ns", "and nanoseconds"),
	FIELD_HEX(struct shm_state, attributes, "attributes", "FS_IOC_GETFLAGS"),
	FIELD_SINCE(2, UINT, struct shm_state, write_hint, "write_hint",
		"F_GET_RW_HINT: how long what is written will live"),
	FIELD_BOOL(struct shm_state, allocated, "allocated", "holes too have memory of their own (fallocate)"),
	FIELD_STRING(struct shm_state, target, "target", "of a symbolic link"),
	FIELD_LIST(struct shm_state, xattrs, n_xattrs, "xattrs", xattr_fields, "extended attributes"),
	FIELD_LIST(struct shm_state, extents, n_extents, "extents", extent_fields, "contents of a regular file"),
	FIELD_END,
};

int shm_open_below(int directory, const char *path, uint64_t flags)
{
	struct open_how how = {
		.flags = flags | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV,
	};
	long fd = syscall(SYS_openat2, directory, path, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

bool shm_has(const struct capture *c, const struct stat *st)
{
	return c->descriptions->shm_fd >= 0 && st->st_dev == c->descriptions->shm_dev;
}

object_id shm_id(struct capture *c, const struct stat *st)
{
	return identity_of(c->identities, "shm", st->st_dev, st->st_ino, 0, NULL);
}

/* --- what is there --- */

struct entry {
	char *path;
	struct stat st;
};

struct walk {
	struct capture *c;
	int fd; /* of /dev/shm */
	struct entry *list;
	size_t n, room;
};

static void walk_free(struct walk *w)
{
	for (size_t i = 0; i < w->n; i++)
		free(w->list[i].path);
	free(w->list);
}

struct object {
	char s[192];
};

static struct object name_of(const char *path)
{
	struct object o;

	snprintf(o.s, sizeof(o.s), SHM_DIRECTORY "/%.170s", path);
	return o;
}

static int walk_add(struct walk *w, const char *directory, const char *name, const struct stat *st)
{
	struct entry *e;

	if (w->n == w->room) {
		size_t room = w->room ? 2 * w->room : 64;
		struct entry *grown = reallocarray(w->list, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		w->list = grown;
		w->room = room;
	}
	e = &w->list[w->n];
	e->st = *st;
	if (asprintf(&e->path, "%s%s%s", directory ? directory : "", directory ? "/" : "", name) < 0)
		return -ENOMEM;
	w->n++;
	return 0;
}

/* Read without a trace: the program could see the time of the last access, or watch. */
static int open_to_read(const struct walk *w, const char *path)
{
	_cleanup_fd_ int fd = shm_open_below(w->fd, path, O_PATH);

	return fd < 0 ? fd : reopen_unseen(w->c, fd);
}

static int walk_directory(struct walk *w, const char *path)
{
	int fd = open_to_read(w, path ? path : ".");
	_cleanup_dir_ DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	int r = fd < 0 ? fd : 0;

	for (struct dirent *e; r == 0 && dir && (e = readdir(dir));) {
		struct stat st;

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
			r = walk_add(w, path, e->d_name, &st);
		else if (errno != ENOENT)
			r = -errno;
	}
	return r;
}

/* Every name below, directories before what is in them. */
static int walk_all(struct walk *w)
{
	struct stat st;
	int r = fstat(w->fd, &st) < 0 ? -errno : walk_add(w, NULL, ".", &st);

	for (size_t i = 0; r == 0 && i < w->n; i++)
		if (S_ISDIR(w->list[i].st.st_mode)) {
			r = walk_directory(w, i ? w->list[i].path : NULL);
			if (r == -ENOENT && !w->c->writer) /* in a tree that runs */
				r = 0;
		}
	return r;
}

static void refuse_types(const struct walk *w)
{
	for (size_t i = 0; i < w->n; i++) {
		mode_t type = w->list[i].st.st_mode & S_IFMT;

		if (type != S_IFSOCK && type != S_IFCHR && type != S_IFBLK)
			continue;
		refused(w->c->ps,
			BLAME_PROCESS(w->c->process, .object = name_of(w->list[i].path).s, .remedy = "remove it"),
			"a %s in the container's own /dev/shm cannot be carried",
			type == S_IFSOCK ? "socket" : "device");
	}
}

static int shm_look(struct capture *c)
{
	struct walk w = { .c = c, .fd = c->descriptions->shm_fd };
	int r = w.fd < 0 ? 0 : walk_all(&w);

	if (r < 0)
		failed(c->ps, BLAME_PROCESS(c->process, .object = SHM_DIRECTORY), r, "cannot be read: %s",
			strerror(-r));
	refuse_types(&w);
	walk_free(&w);
	return 0;
}

/* --- saving it --- */

static int capture_file(struct capture *c, int fd, const struct stat *st, struct shm_state *s)
{
	int r = contents_save(c, fd, &s->extents, &s->n_extents);
	struct contents_room room = contents_room(st, s->extents, s->n_extents);

	s->allocated = room.all;
	if (r == 0 && room.elsewhere)
		changed(c->ps, BLAME_PROCESS(c->process, .object = name_of(s->path).s),
			"%" PRIu64 " bytes that it has reserved (fallocate), and not used, are reserved no more",
			room.elsewhere);
	return r;
}

/* The one read that shows: the link's time of access becomes now, if it was older than a day or than the link. */
static int capture_link(struct walk *w, struct shm_state *s)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(w->fd, s->path, target, sizeof(target));

	if (n < 0)
		return -errno;
	s->target = strndup(target, (size_t)n);
	return s->target ? 0 : -ENOMEM;
}

/* What only an open file tells. */
static int capture_opened(struct walk *w, const struct stat *st, struct shm_state *s)
{
	_cleanup_fd_ int fd = open_to_read(w, s->path);
	unsigned int attributes = 0;

	if (fd < 0)
		return fd;
	if (ioctl(fd, FS_IOC_GETFLAGS, &attributes) == 0) /* since Linux 6.0; before, there is nothing to see */
		s->attributes = attributes;
	if (!S_ISREG(st->st_mode))
		return 0;
	s->size = (uint64_t)st->st_size;
	fcntl(fd, F_GET_RW_HINT, &s->write_hint);
	return capture_file(w->c, fd, st, s);
}

static int capture_xattrs(struct walk *w, struct shm_state *s)
{
	_cleanup_free_ char *path = NULL;

	if (asprintf(&path, "/proc/self/fd/%d/%s", w->fd, s->path) < 0)
		return -ENOMEM;
	return xattrs_read(path, &s->xattrs, &s->n_xattrs);
}

static int capture_inode(struct walk *w, const struct stat *st, struct shm_state *s)
{
	int r = 0;

	s->mode = st->st_mode;
	s->uid = st->st_uid;
	s->gid = st->st_gid;
	s->atime_s = st->st_atim.tv_sec;
	s->atime_ns = (uint64_t)st->st_atim.tv_nsec;
	s->mtime_s = st->st_mtim.tv_sec;
	s->mtime_ns = (uint64_t)st->st_mtim.tv_nsec;
	if (S_ISREG(st->st_mode) || S_ISDIR(st->st_mode))
		r = capture_opened(w, st, s);
	else if (S_ISLNK(st->st_mode))
		r = capture_link(w, s);
	return r < 0 ? r : capture_xattrs(w, s);
}

/* The first n entries are names of one inode. They stay the walk's. */
static int save(struct walk *w, const struct entry *e, size_t n)
{
	struct shm_state s = { .path = e->path };
	_cleanup_free_ struct shm_name *links = calloc(n, sizeof(*links));
	int r;

	if (!links)
		return -ENOMEM;
	for (size_t i = 1; i < n; i++)
		links[i - 1].path = e[i].path;
	s.links = links;
	s.n_links = n - 1;
	r = capture_inode(w, &e->st, &s);
	if (r == 0)
		r = image_add(w->c->writer, &component_shm.kind, shm_id(w->c, &e->st), &s);
	if (r < 0)
		failed(w->c->ps, BLAME_PROCESS(w->c->process, .object = name_of(e->path).s), r, "cannot be saved: %s",
			strerror(-r));
	s.path = NULL;
	s.links = NULL;
	s.n_links = 0;
	fields_free(shm_fields, &s);
	return r;
}

static int compare(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	bool dx = S_ISDIR(x->st.st_mode), dy = S_ISDIR(y->st.st_mode);

	if (dx != dy)
		return dx ? 1 : -1;
	if (x->st.st_ino != y->st.st_ino)
		return x->st.st_ino < y->st.st_ino ? -1 : 1;
	return strcmp(x->path, y->path);
}

/* The names of one inode stand together, and directories at the end: a restore makes those on the way. */
static int save_all(struct walk *w)
{
	int r = 0;

	if (w->n)
		qsort(w->list, w->n, sizeof(*w->list), compare);
	for (size_t i = 0, n; r == 0 && i < w->n; i += n) {
		for (n = 1; i + n < w->n && w->list[i + n].st.st_ino == w->list[i].st.st_ino; n++)
			;
		r = save(w, &w->list[i], n);
	}
	return r;
}

static int shm_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	struct walk w = { .c = c, .fd = c->descriptions->shm_fd };
	size_t refusals = c->ps->n_refused;
	int r = w.fd < 0 ? 0 : walk_all(&w);

	refuse_types(&w);
	if (r == 0 && c->ps->n_refused == refusals)
		r = save_all(&w);
	walk_free(&w);
	return r < 0 ? r : CAPTURE_NOTHING;
}

const struct component component_shm = {
	.kind = {
		.name = "shm",
		.version = 2,
		.size = sizeof(struct shm_state),
		.fields = shm_fields,
		.doc = "a file of a container's own /dev/shm",
		.sources = "shm_open(3), tmpfs(5), xattr(7), ioctl_iflags(2); mm/shmem.c",
		.critical = true,
	},
	.scope = SCOPE_TREE,
	.look = shm_look,
	.capture = shm_capture,
	.validate = shm_validate,
	.build[STAGE_NAMESPACES] = shm_make,
	.fill = shm_finish,
};
