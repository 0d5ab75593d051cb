/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Regular files and directories. The file system keeps them: spore keeps the path and what tells whether the
 * file is still the same. Only of a file that has lost its last name are the contents in the image. open(2),
 * inode(7); fs/open.c, fs/d_path.c.
 */
#include "state/regular.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>

#include "base/cleanup.h"
#include "state/pseudo.h"
#include "state/shm.h"

static const struct field regular_fields[] = {
	FIELD_STRING(struct regular_state, path, "path",
		"in the tree's root directory; the last one of a file without a name"),
	FIELD_OCTAL(struct regular_state, mode, "mode", "type and permissions"),
	FIELD_UINT(struct regular_state, size, "size", "bytes"),
	FIELD_INT(struct regular_state, mtime_s, "mtime", "last modification, seconds since 1970"),
	FIELD_UINT(struct regular_state, mtime_ns, "mtime_ns", "and nanoseconds"),
	FIELD_UINT(struct regular_state, uid, "uid", "owner"),
	FIELD_UINT(struct regular_state, gid, "gid", "group"),
	FIELD_SINCE(2, REF, struct regular_state, renamed, "renamed", "shm", REF_STRONG,
		"the name was removed, but this file of /dev/shm is the same"),
	FIELD_SINCE(3, STRING, struct regular_state, other, "other", "the name was removed, but the file has this one"),
	FIELD_BOOL(struct regular_state, unlinked, "unlinked", "has no name any more: its contents are in the image"),
	FIELD_BOOL(struct regular_state, pseudo, "pseudo",
		"the kernel makes the contents: a file of /proc, /sys or a cgroup"),
	FIELD_BLOB(struct regular_state, build_id, "build_id", "of an ELF file"),
	FIELD_BLOB(struct regular_state, hash, "hash", "XXH3 (128 bits) of the contents, if they are small"),
	FIELD_SINCE(4, STRUCT, struct regular_state, marks, "marks", inode_marks_fields,
		"time of access, attributes, hint; of a file that has no name"),
	FIELD_LIST(struct regular_state, xattrs, n_xattrs, "xattrs", xattr_fields,
		"extended attributes of a file without a name"),
	FIELD_SINCE(
		4, BOOL, struct regular_state, allocated, "allocated", "holes too have room of their own (fallocate)"),
	FIELD_SINCE(5, STRUCT, struct regular_state, layout, "layout", file_layout_fields,
		"project, size of extents, room elsewhere; of a file that has no name"),
	FIELD_LIST(struct regular_state, extents, n_extents, "extents", extent_fields,
		"contents of a file without a name"),
	FIELD_END,
};

/* --- checkpoint --- */

#define DELETED " (deleted)"

static bool same_inode(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* "/path (deleted)" is what the kernel shows of a name that is gone, but also a possible name. */
static int find_name(struct capture *c, const struct blame *who, const char *link, int fd, const struct stat *st,
	struct regular_state *s)
{
	size_t len = strlen(link), cut = strlen(DELETED);
	struct stat now;
	int err = tree_stat(c, link, &now);

	s->path = strdup(link);
	if (!s->path)
		return -ENOMEM;
	if (!err && same_inode(&now, st))
		return 0;
	if (len <= cut || strcmp(link + len - cut, DELETED)) {
		if (err)
			return refused(
				c->ps, who, "no path of the tree leads to this file any more: %s", strerror(-err));
		return refused(c->ps, who, "its path now leads to another file, mounted over it");
	}
	s->path[len - cut] = '\0';
	if (st->st_nlink && shm_has(c, st)) {
		s->renamed = shm_id(c, st);
		return 0;
	}
	if (st->st_nlink && !S_ISDIR(st->st_mode)) {
		struct blame named = *who;

		named.remedy = "give the file its name back (ln), or close it";
		if (regular_find_other_name(c, fd, s) < 0)
			return refused(c->ps, &named,
				"this name was removed, but the file has another one, which was not found");
		return 0;
	}
	s->unlinked = true;
	return 0;
}

static void take_fingerprint(const struct capture *c, int fd, struct regular_state *s)
{
	_cleanup_fd_ int own = reopen_unseen(c, fd);

	if (own < 0)
		return;
	fingerprint_build_id(own, &s->build_id);
	fingerprint_hash(own, s->size, &s->hash);
}

/* A file system of memory does not tell where room is reserved, but how much. */
static int capture_layout(struct capture *c, const struct blame *who, int fd, struct regular_state *s)
{
	struct contents_room room;
	struct statfs fs;
	struct stat st;
	int err;

	if (fstat(fd, &st) < 0)
		return -errno;
	room = contents_room(&st, s->extents, s->n_extents);
	s->allocated = S_ISREG(s->mode) && room.all;
	err = file_layout_read(c, fd, s->allocated ? ALIGN_UP((uint64_t)st.st_size, PAGE_SIZE) : 0, &s->layout);
	if (err != -ENOTSUP)
		return err;
	if (S_ISREG(s->mode) && room.elsewhere && fstatfs(fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC)
		changed(c->ps, who,
			"%" PRIu64 " bytes that it has reserved (fallocate), and not used, are reserved no more",
			room.elsewhere);
	return 0;
}

static int capture_contents(struct capture *c, const struct blame *who, int fd, struct regular_state *s)
{
	int err;

	if (!S_ISREG(s->mode) && !S_ISDIR(s->mode))
		return refused(c->ps, who, "a file that has no name any more, and is no regular file");
	if (!c->writer)
		return 0;
	inode_marks_read(c, fd, &s->marks);
	err = xattrs_read_fd(fd, &s->xattrs, &s->n_xattrs);
	if (!err && S_ISREG(s->mode))
		err = contents_save(c, fd, &s->extents, &s->n_extents);
	if (!err)
		err = capture_layout(c, who, fd, s);
	return err ? failed(c->ps, who, err, "the contents of the file cannot be saved: %s", strerror(-err)) : 0;
}

int regular_capture(
	struct capture *c, const struct blame *who, const char *link, int fd, uint64_t flags, struct regular_state *s)
{
	struct stat st;
	int err;

	if (fstat(fd, &st) < 0)
		return -errno;
	s->mode = st.st_mode;
	s->size = (uint64_t)st.st_size;
	s->mtime_s = st.st_mtim.tv_sec;
	s->mtime_ns = (uint64_t)st.st_mtim.tv_nsec;
	s->uid = st.st_uid;
	s->gid = st.st_gid;
	err = find_name(c, who, link, fd, &st, s);
	if (!err && !s->unlinked && mount_is_detached(c, fd, regular_name(s)))
		return refused(c->ps, who, "a file of a mount that is attached nowhere (fsmount, open_tree)");
	if (!err)
		err = pseudo_check(c, who, fd, flags, s->path, &s->pseudo);
	if (err || s->pseudo)
		return err;
	if (s->unlinked)
		return capture_contents(c, who, fd, s);
	if (c->writer && S_ISREG(s->mode) && !shm_has(c, &st))
		take_fingerprint(c, fd, s);
	return 0;
}

static bool regular_matches(const struct file_look *f)
{
	if (f->link[0] != '/')
		return false;
	return S_ISREG(f->mode) || S_ISDIR(f->mode) || f->flags & O_PATH;
}

/* A file is made again under one of the names that it had. */
static void tell_other_names(struct capture *c, const struct file_look *f)
{
	for (const struct description *d = descriptions_of_ino(c->descriptions, f->ino); d; d = d->same_ino)
		if (d->look->dev == f->dev && strcmp(d->look->link, f->link) != 0)
			changed(c->ps, BLAME_FILE(d->look),
				"/proc/PID/fd will show it as %s, by which name it was opened too", f->link);
}

static int regular_capture_file(struct capture *c, const struct file_look *f, void *state)
{
	const struct regular_state *s = state;
	int fd = file_dup(c, f), err;

	if (fd < 0)
		return fd;
	err = regular_capture(c, BLAME_FILE(f), f->link, fd, f->flags, state);
	if (!err && (s->unlinked || s->other) && c->writer)
		tell_other_names(c, f);
	return err;
}

const struct component component_regular = {
	.kind = { .name = "regular",
		.version = 5,
		.size = sizeof(struct regular_state),
		.fields = regular_fields,
		.doc = "a regular file or a directory (by O_PATH: any file), which its file system keeps",
		.sources = "open(2), inode(7); fs/open.c, fs/d_path.c" },
	.scope = SCOPE_BACKING,
	.matches = regular_matches,
	.capture_file = regular_capture_file,
	.validate = regular_validate,
	.open = regular_open_file,
	.fill = regular_fill,
};
