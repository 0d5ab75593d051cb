/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is watched: a file or directory by its path or, if it has no name any more, by a descriptor that the tree has of it. inotify(7), fanotify(7);
 * fs/notify/mark.c, fs/notify/fdinfo.c.
 */
#include "state/watched.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "state/components.h"
#include "state/files.h"
#include "state/tree.h"

struct watched_state {
	char *path;
	object_id file;
	uint64_t mode;
};

static const struct field watched_fields[] = {
	FIELD_STRING(struct watched_state, path, "path", "in the tree's root directory"),
	FIELD_REF(struct watched_state, file, "file", "file", REF_LATE,
		"of an inode without a name: a description of it"),
	FIELD_OCTAL(struct watched_state, mode, "mode", "type of file"),
	FIELD_END,
};

/* --- checkpoint --- */

/* By the mark's own number first: the rest is many system calls. */
static const struct description *nameless(struct capture *c, const struct fdinfo_mark *mark)
{
	for (const struct description *d = descriptions_of_ino(c->descriptions, mark->ino); d; d = d->same_ino) {
		_cleanup_fd_ int fd = -1;

		if (d->look->nlink || !(S_ISREG(d->look->mode) || S_ISDIR(d->look->mode)))
			continue;
		fd = description_dup(d);
		if (fd >= 0 && mark_is_on(mark, fd))
			return d;
	}
	return NULL;
}

static int fill(struct capture *c, const struct file_look *f, const struct fdinfo_mark *mark, struct watched_state *s)
{
	const struct description *d = nameless(c, mark);
	struct stat st;

	if (d) {
		s->file = d->file;
		s->mode = d->look->mode & S_IFMT;
		return 0;
	}
	s->path = watched_find(c, mark, NULL);
	if (s->path && tree_stat(c, s->path, &st) == 0) {
		s->mode = st.st_mode & S_IFMT;
		return 0;
	}
	return refused(c->ps, BLAME_FILE(f, .remedy = "let the program remove that watch"),
		"it watches a file (inode %" PRIu64 " of device %u:%u) to which no path of the tree was found",
		mark->ino, mark->major, mark->minor);
}

int watched_save(struct capture *c, const struct file_look *f, const struct fdinfo_mark *mark, object_id *id)
{
	struct watched_state s = { 0 };
	int err;

	*id = identity_of(c->identities, "watched", (uint64_t)mark->major << 32 | mark->minor, mark->ino, 0, NULL);
	if (!descriptions_claim(c->descriptions, *id))
		return 0;
	err = fill(c, f, mark, &s);
	if (!err && c->writer)
		err = image_add(c->writer, &component_watched.kind, *id, &s);
	free(s.path);
	return err;
}

int watched_save_mount(struct capture *c, const struct file_look *f, const struct fdinfo_mark *mark, object_id *id)
{
	struct watched_state s = { .path = watched_mount(c, mark) };
	struct stat st;
	int err = 0;

	*id = identity_of(c->identities, "watched", mark->on, (uint64_t)mark->mount,
		(uint64_t)mark->major << 32 | mark->minor, NULL);
	if (!s.path || tree_stat(c, s.path, &st) < 0)
		err = refused(c->ps, BLAME_FILE(f, .remedy = "let the program remove that mark"),
			"it watches a mount or file system that is not mounted in the tree");
	else if (descriptions_claim(c->descriptions, *id) && c->writer) {
		s.mode = st.st_mode & S_IFMT;
		err = image_add(c->writer, &component_watched.kind, *id, &s);
	}
	free(s.path);
	return err;
}

/* --- restore --- */

#define WHO(s, ...) BLAME(.object = (s)->path, __VA_ARGS__)

static int watched_validate(struct restore *r, const struct record *rec)
{
	const struct watched_state *s = rec->state;
	_cleanup_fd_ int fd = -1;
	struct stat st;

	if (s->file)
		return 0;
	if (!s->path || s->path[0] != '/')
		return failed(r->ps, BLAME(.object = "watched"), -EBADMSG, "the image watches a file without a path");
	if (tree_brings(r, s->path))
		return 0;
	fd = tree_open_before(r, s->path, O_PATH | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st) < 0)
		return refused(r->ps, WHO(s, .remedy = "put it back"), "a file that the program watches is missing: %s",
			strerror(fd < 0 ? -fd : errno));
	if ((st.st_mode & S_IFMT) != s->mode)
		return refused(r->ps, WHO(s, .remedy = "put it back"),
			"a file that the program watches is another type of file now");
	return 0;
}

int watched_open(struct restore *r, object_id id, int *own)
{
	const struct watched_state *s = restore_state(r, id, "watched");

	*own = -1;
	if (!s)
		return -EBADMSG;
	if (s->file)
		return restore_file(r, s->file);
	*own = restore_open(r, s->path, O_PATH | O_NOFOLLOW, 0);
	if (*own < 0)
		return failed(r->ps, WHO(s), *own, "cannot be watched: %s", strerror(-*own));
	return *own;
}

const struct component component_watched = {
	.kind = { .name = "watched",
		.version = 1,
		.size = sizeof(struct watched_state),
		.fields = watched_fields,
		.doc = "a file or directory that an inotify instance or a fanotify group watches",
		.sources = "inotify(7), fanotify(7); fs/notify/fdinfo.c" },
	.scope = SCOPE_OTHER,
	.validate = watched_validate,
};
