/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files whose name was removed while they have another. The file system keeps the file, so it is opened by the other name; but /proc goes on to show the
 * removed one, so it gets that back for the moment in which it is opened. link(2), proc_pid_fd(5); fs/d_path.c.
 */
#include <fcntl.h>
#include <string.h>

#include "base/cleanup.h"
#include "state/regular.h"
#include "state/watched.h"

int regular_find_other_name(struct capture *c, int fd, struct regular_state *s)
{
	_cleanup_free_ char *near = strdup(s->path);
	char *slash = near ? strrchr(near, '/') : NULL;
	struct fdinfo_mark mark;

	if (!slash)
		return -ENOMEM;
	slash[slash == near] = '\0';
	if (mark_of(fd, &mark) == 0)
		s->other = watched_find(c, &mark, near);
	return s->other ? 0 : -ENOENT;
}

const char *regular_name(const struct regular_state *s)
{
	return s->other ? s->other : s->path;
}

struct naming {
	int dir, flags;
	const char *base;
	char link[32]; /* leads to the file */
};

/* Nothing may stop this half-way: the name would stay. */
static int open_named(void *arg)
{
	const struct naming *n = arg;
	int fd;

	if (linkat(AT_FDCWD, n->link, n->dir, n->base, AT_SYMLINK_FOLLOW) < 0)
		return -errno;
	fd = openat(n->dir, n->base, n->flags | O_NOCTTY | O_CLOEXEC);
	fd = fd < 0 ? -errno : fd;
	unlinkat(n->dir, n->base, 0);
	return fd;
}

static int open_by_removed_name(struct restore *r, const struct regular_state *s, uint64_t flags)
{
	const char *slash = strrchr(s->path, '/');
	_cleanup_free_ char *parent = strndup(s->path, (size_t)(slash - s->path) + (slash == s->path));
	_cleanup_fd_ int file = restore_open(r, s->other, O_PATH | O_NOFOLLOW, 0),
			 dir = parent ? restore_open(r, parent, O_PATH | O_DIRECTORY, 0) : -ENOMEM;
	struct naming n = { .dir = dir, .flags = (int)flags, .base = slash + 1 };

	if (file < 0)
		return file;
	if (dir < 0)
		return dir;
	snprintf(n.link, sizeof(n.link), "/proc/self/fd/%d", file);
	return call_in_child(open_named, &n);
}

int regular_open_other(struct restore *r, const struct regular_state *s, uint64_t flags)
{
	int fd = open_by_removed_name(r, s, flags);

	if (fd >= 0)
		return fd;
	changed(r->ps, BLAME(.object = s->path),
		"it had this name before, which cannot be given for a moment (%s): /proc shows %s", strerror(-fd),
		s->other);
	return restore_open(r, s->other, flags & O_PATH ? flags : flags | O_NOCTTY, 0);
}
