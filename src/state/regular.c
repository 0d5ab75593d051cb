/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Regular files and directories. The file system keeps them: spore keeps the path and what tells whether the
 * file is still the same. Only of a file that has lost its last name are the contents in the image. open(2),
 * inode(7); fs/open.c, fs/d_path.c.
 */
#include "state/regular.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>

#include "base/cleanup.h"
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
	FIELD_BOOL(struct regular_state, unlinked, "unlinked", "has no name any more: its contents are in the image"),
	FIELD_BOOL(struct regular_state, pseudo, "pseudo",
		"the kernel makes the contents: a file of /proc, /sys or a cgroup"),
	FIELD_BLOB(struct regular_state, build_id, "build_id", "of an ELF file"),
	FIELD_BLOB(struct regular_state, hash, "hash", "XXH3 (128 bits) of the contents, if they are small"),
	FIELD_LIST(struct regular_state, xattrs, n_xattrs, "xattrs", xattr_fields,
		"extended attributes of a file without a name"),
	FIELD_LIST(struct regular_state, extents, n_extents, "extents", extent_fields,
		"contents of a file without a name"),
	FIELD_END,
};

/* --- checkpoint
 * ---------------------------------------------------------------------------------------------------- */

#define DELETED " (deleted)"

static bool same_inode(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* "/path (deleted)" is what the kernel shows of a name that is gone, but also a possible name. */
static int find_name(
	struct capture *c, const struct blame *who, const char *link, const struct stat *st, struct regular_state *s)
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
		return refused(
			c->ps, &named, "this name was removed, but the file has another one, which spore cannot know");
	}
	s->unlinked = true;
	return 0;
}

enum fs_class { FS_ORDINARY, FS_PSEUDO, FS_STRANGE, FS_MQUEUE };

/* Kernel interfaces with a file's face. Those that only show something can be opened again and read on. */
static enum fs_class class_of(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return FS_ORDINARY;
	switch ((unsigned long)fs.f_type) {
	case PROC_SUPER_MAGIC:
	case SYSFS_MAGIC:
	case CGROUP_SUPER_MAGIC:
	case CGROUP2_SUPER_MAGIC:
		return FS_PSEUDO;
	case DEBUGFS_MAGIC:
	case TRACEFS_MAGIC:
	case SECURITYFS_MAGIC:
	case SELINUX_MAGIC:
	case BPF_FS_MAGIC:
	case NSFS_MAGIC:
	case PSTOREFS_MAGIC:
	case EFIVARFS_MAGIC:
	case BINFMTFS_MAGIC:
	case HUGETLBFS_MAGIC:
		return FS_STRANGE;
	case 0x19800202:
		return FS_MQUEUE;
	default:
		return FS_ORDINARY;
	}
}

/* A file of /proc/PID stands on the memory that the process had when it was opened. */
static bool reads_memory(const char *path)
{
	static const char *const names[] = { "mem", "pagemap", "clear_refs" };
	const char *name = strrchr(path, '/');

	for (size_t i = 0; name && i < ARRAY_SIZE(names); i++)
		if (!strcmp(name + 1, names[i]))
			return true;
	return false;
}

static int check_class(
	struct capture *c, const struct blame *who, int fd, uint64_t flags, const struct regular_state *s, bool *pseudo)
{
	enum fs_class class = class_of(fd);

	if (class == FS_MQUEUE)
		return refused(c->ps, who, "a POSIX message queue cannot be carried by this version");
	*pseudo = class == FS_PSEUDO;
	if (class == FS_STRANGE)
		return refused(c->ps, who, "a file of a kernel interface that spore cannot carry");
	if (class == FS_PSEUDO && !(flags & O_PATH) && ((flags & O_ACCMODE) != O_RDONLY || reads_memory(s->path)))
		return refused(c->ps, who, "a kernel interface open for writing");
	return 0;
}

static void take_fingerprint(int fd, struct regular_state *s)
{
	_cleanup_fd_ int own = reopen_unseen(fd);

	if (own < 0)
		return;
	fingerprint_build_id(own, &s->build_id);
	fingerprint_hash(own, s->size, &s->hash);
}

static int capture_contents(struct capture *c, const struct blame *who, int fd, struct regular_state *s)
{
	int err;

	if (S_ISDIR(s->mode))
		return 0;
	if (!S_ISREG(s->mode))
		return refused(c->ps, who, "a file that has no name any more, and is no regular file");
	if (!c->writer)
		return 0;
	err = xattrs_read_fd(fd, &s->xattrs, &s->n_xattrs);
	if (!err)
		err = contents_save(c, fd, &s->extents, &s->n_extents);
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
	err = find_name(c, who, link, &st, s);
	if (!err)
		err = check_class(c, who, fd, flags, s, &s->pseudo);
	if (err || s->pseudo)
		return err;
	if (s->unlinked)
		return capture_contents(c, who, fd, s);
	if (c->writer && S_ISREG(s->mode) && !shm_has(c, &st))
		take_fingerprint(fd, s);
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
	for (const struct description *d = c->descriptions->first; d; d = d->next)
		if (d->look->dev == f->dev && d->look->ino == f->ino && strcmp(d->look->link, f->link) != 0)
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
	if (!err && s->unlinked && c->writer)
		tell_other_names(c, f);
	return err;
}

const struct component component_regular = {
	.kind = { .name = "regular",
		.version = 2,
		.size = sizeof(struct regular_state),
		.fields = regular_fields,
		.doc = "a regular file or a directory (by O_PATH: any file), which its file system keeps",
		.sources = "open(2), inode(7); fs/open.c, fs/d_path.c" },
	.scope = SCOPE_BACKING,
	.matches = regular_matches,
	.capture_file = regular_capture_file,
	.validate = regular_validate,
	.open = regular_open_file,
};
