/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opening files again, and the question whether they are still what they were. */
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"
#include <spore.h>
#include "state/regular.h"
#include "state/shm.h"
#include "state/tree.h"

/* --- validate --- */

#define WHO(s, ...) BLAME(.object = (s)->path, __VA_ARGS__)

/* By a file system that is here before the restore. */
static bool is_name_kept(const struct restore *r, const struct regular_state *s)
{
	return !s->unlinked && !s->pseudo &&
	       (!tree_brings(r, regular_name(s)) || !strcmp(s->path, CONTAINER_INIT_IN_ROOT));
}

int regular_validate(struct restore *r, const struct record *rec)
{
	const struct regular_state *s = rec->state;
	_cleanup_fd_ int fd = -1;
	struct stat st;

	if (!s->path || s->path[0] != '/')
		return failed(r->ps, BLAME(.object = "regular"), -EBADMSG, "the image has a file without a path");
	if (s->other && s->other[0] != '/')
		return failed(
			r->ps, BLAME(.object = "regular"), -EBADMSG, "the image has a file without an absolute path");
	if (!is_name_kept(r, s))
		return 0;
	fd = tree_open_before(r, regular_name(s), O_PATH | O_NOFOLLOW);
	if (fd == -ENOENT || fd == -ENOTDIR)
		return refused(r->ps, WHO(s, .remedy = "put the file back"), "the file is missing");
	if (fd < 0 || fstat(fd, &st) < 0)
		return failed(r->ps, WHO(s), fd < 0 ? fd : -errno, "the file cannot be opened: %s",
			strerror(fd < 0 ? -fd : errno));
	if ((st.st_mode & S_IFMT) != (s->mode & S_IFMT))
		return refused(r->ps, WHO(s, .remedy = "put the file back"), "this is another type of file now");
	return 0;
}

/* What became of a file since: a descriptor of it and its stat. False if it is as it was, or regular_validate
 * has named what is wrong. */
static bool look_again(struct restore *r, const struct regular_state *s, int *fd, struct stat *st)
{
	if (!is_name_kept(r, s) || !S_ISREG(s->mode))
		return false;
	*fd = tree_open_before(r, regular_name(s), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	if (*fd < 0 || fstat(*fd, st) < 0 || !S_ISREG(st->st_mode))
		return false;
	return (uint64_t)st->st_size != s->size || st->st_mtim.tv_sec != s->mtime_s ||
	       (uint64_t)st->st_mtim.tv_nsec != s->mtime_ns;
}

static bool hash_is(int fd, uint64_t size, const struct blob *saved)
{
	struct blob now = { 0 };
	bool same = saved->size && !fingerprint_hash(fd, size, &now) && blob_equal(&now, saved);

	free(now.data);
	return same;
}

/* Each file is complained of once. */
static bool first_complaint(struct restore *r, const struct record *rec)
{
	struct made *made = restore_made(r, rec->id);

	if (!made || made->data)
		return false;
	made->data = calloc(1, 1);
	return true;
}

#define REMEDY_CHANGED "put the file back, or restore with --changed-files"

static int refuse_written(struct restore *r, const struct regular_state *s, const struct stat *st)
{
	if ((uint64_t)st->st_size < s->size)
		return refused(r->ps, WHO(s, .remedy = REMEDY_CHANGED),
			"the file is shorter than it was: %" PRIu64 " bytes instead of %" PRIu64, (uint64_t)st->st_size,
			s->size);
	return refused(r->ps, WHO(s, .remedy = REMEDY_CHANGED),
		"the file is open for writing and was written since the checkpoint (%" PRIu64 " bytes then, %" PRIu64
		" now)",
		s->size, (uint64_t)st->st_size);
}

/* A reader meets changes made by others as it would have without a checkpoint; a writer goes on from what it
 * wrote itself. */
int regular_validate_use(struct restore *r, const struct record *rec, const struct file_state *file)
{
	const struct regular_state *s = rec->state;
	bool writes = (file->flags & O_ACCMODE) != O_RDONLY;
	_cleanup_fd_ int fd = -1;
	struct stat st;
	bool grown;

	if (file->flags & O_PATH || r->flags & SPORE_RESTORE_CHANGED_FILES || !look_again(r, s, &fd, &st))
		return 0;
	grown = (uint64_t)st.st_size > s->size;
	if ((uint64_t)st.st_size >= s->size && hash_is(fd, s->size, &s->hash) &&
		(!grown || !writes || file->flags & O_APPEND))
		return 0;
	if (writes && grown && file->flags & O_APPEND && !s->hash.size)
		return 0;
	if (!first_complaint(r, rec))
		return 0;
	if (writes || (uint64_t)st.st_size < s->size)
		return refuse_written(r, s, &st);
	return changed(r->ps, WHO(s),
		"the file, open for reading, was modified since the checkpoint (%" PRIu64 " bytes then, %" PRIu64
		" now)",
		s->size, (uint64_t)st.st_size);
}

static int refuse_mapped(struct restore *r, const struct regular_state *s, const struct stat *st, bool other_build)
{
	if ((uint64_t)st->st_size < s->size)
		return refused(r->ps, WHO(s, .remedy = "put the file back"),
			"the file is mapped, and shorter than it was: %" PRIu64 " bytes instead of %" PRIu64,
			(uint64_t)st->st_size, s->size);
	if (other_build)
		return refused(r->ps, WHO(s, .remedy = "put the file back"),
			"the file is mapped, and is another build now (its build-id differs)");
	return refused(r->ps, WHO(s, .remedy = REMEDY_CHANGED),
		"the file is mapped, and its contents may differ: it was modified since the checkpoint");
}

int regular_validate_mapping(struct restore *r, const struct record *rec)
{
	const struct regular_state *s = rec->state;
	struct blob id = { 0 };
	_cleanup_fd_ int fd = -1;
	struct stat st;
	bool other_build = false;

	if (!look_again(r, s, &fd, &st))
		return 0;
	if (s->build_id.size) {
		fingerprint_build_id(fd, &id);
		other_build = !blob_equal(&id, &s->build_id);
		free(id.data);
		if (!other_build && (uint64_t)st.st_size == s->size)
			return 0;
	}
	if ((uint64_t)st.st_size >= s->size && hash_is(fd, s->size, &s->hash))
		return 0;
	if (r->flags & SPORE_RESTORE_CHANGED_FILES && !other_build && (uint64_t)st.st_size >= s->size)
		return 0;
	return first_complaint(r, rec) ? refuse_mapped(r, s, &st, other_build) : 0;
}

/* --- files without a name --- */

static bool is_tmpfile(uint64_t flags)
{
	return (flags & O_TMPFILE) == O_TMPFILE;
}

/* Only a file made with O_TMPFILE may get a name later, and only its first description shows that. */
static uint64_t creation_flags(const struct restore *r, object_id id)
{
	size_t n;
	const struct record *const *files = restore_uses(r, id, &n);

	for (size_t i = 0; i < n; i++) {
		const struct file_state *file = files[i]->state;

		if (is_tmpfile(file->flags))
			return file->flags & ~(uint64_t)O_ASYNC;
	}
	return O_RDWR;
}

/*
 * Descriptions with O_NOFOLLOW, which F_GETFL shows, but opening through /proc/self/fd cannot give: they are opened while the file has its name. Each is
 * taken by a description with the same flags.
 */
struct nameless {
	bool tmpfile_taken;
	size_t n;
	struct {
		uint64_t flags;
		int fd;
	} opened[];
};

static struct nameless *nameless_new(const struct restore *r, object_id id)
{
	size_t n;
	const struct record *const *files = restore_uses(r, id, &n);
	struct nameless *held = calloc(1, sizeof(*held) + n * sizeof(*held->opened));

	for (size_t i = 0; held && i < n; i++) {
		const struct file_state *file = files[i]->state;

		if (file->flags & O_NOFOLLOW && !is_tmpfile(file->flags)) {
			held->opened[held->n].flags = file->flags;
			held->opened[held->n++].fd = -1;
		}
	}
	return held;
}

static int open_named(int dir, const char *name, struct nameless *held)
{
	for (size_t i = 0; i < held->n; i++) {
		int flags = (int)(held->opened[i].flags & ~(uint64_t)(O_CREAT | O_EXCL | O_TRUNC | O_ASYNC));

		held->opened[i].fd = openat(dir, name, flags | O_CLOEXEC);
		if (held->opened[i].fd < 0)
			return -errno;
	}
	return 0;
}

static int take_named(struct nameless *held, uint64_t flags)
{
	for (size_t i = 0; i < held->n; i++)
		if (held->opened[i].flags == flags && held->opened[i].fd >= 0)
			return take_fd(&held->opened[i].fd);
	return -EBADMSG;
}

static int open_parent(struct restore *r, const struct regular_state *s, const char **base)
{
	const char *slash = strrchr(s->path, '/');
	_cleanup_free_ char *dir = strndup(s->path, (size_t)(slash - s->path));
	int fd;

	*base = slash + 1;
	if (!dir)
		return -ENOMEM;
	fd = restore_open(r, dir[0] ? dir : "/", O_PATH | O_DIRECTORY, 0);
	if (fd != -ENOENT)
		return fd;
	changed(r->ps, WHO(s), "its directory is gone: the file, which has no name, is made in / instead");
	return restore_open(r, "/", O_PATH | O_DIRECTORY, 0);
}

static int make_named(int dir, const char *name, int tmpfile, bool directory)
{
	char path[32];

	if (directory)
		return mkdirat(dir, name, 0700) < 0 ? -1 : openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (tmpfile < 0)
		return openat(dir, name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", tmpfile);
	return linkat(AT_FDCWD, path, dir, name, AT_SYMLINK_FOLLOW) < 0 ? -1 : fcntl(tmpfile, F_DUPFD_CLOEXEC, 0);
}

/* Under the old name for a moment, so that /proc/PID/fd shows it; where the name is taken, under another. */
static int create_file(struct restore *r, const struct record *rec, int dir, const char *base, struct nameless *held)
{
	const struct regular_state *s = rec->state;
	uint64_t flags = creation_flags(r, rec->id);
	_cleanup_fd_ int tmpfile = is_tmpfile(flags) ? openat(dir, ".", (int)flags | O_CLOEXEC, 0600) : -1;
	_cleanup_fd_ int fd = -1;
	char other[64];
	int err;

	if (is_tmpfile(flags) && tmpfile < 0)
		return -errno;
	/* To give it a name now would be to take away its right to one later. */
	if (is_tmpfile(flags) && !held->n)
		return take_fd(&tmpfile);
	fd = make_named(dir, base, tmpfile, S_ISDIR(s->mode));
	if (fd < 0 && errno == EEXIST) {
		changed(r->ps, WHO(s), "its name is taken by another file: /proc/PID/fd will show another one");
		snprintf(other, sizeof(other), ".spore-%d-%" PRIu64, getpid(), (uint64_t)rec->id);
		base = other;
		fd = make_named(dir, base, tmpfile, S_ISDIR(s->mode));
	}
	if (fd < 0)
		return -errno;
	err = open_named(dir, base, held);
	if (unlinkat(dir, base, S_ISDIR(s->mode) ? AT_REMOVEDIR : 0) < 0 && !err)
		err = -errno;
	return err ? err : take_fd(&fd);
}

static int give_attributes(int fd, const struct regular_state *s)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT },
		{ .tv_sec = s->mtime_s, .tv_nsec = (long)(s->mtime_ns % 1000000000) } };

	if (fchown(fd, (uid_t)s->uid, (gid_t)s->gid) < 0 || fchmod(fd, (mode_t)s->mode & 07777) < 0 ||
		futimens(fd, times) < 0)
		return -errno;
	return 0;
}

/* Another file system, or another security policy, may not take them. */
static void give_xattrs(struct restore *r, int fd, const struct regular_state *s)
{
	int err = xattrs_write_fd(fd, s->xattrs, s->n_xattrs);

	if (err)
		changed(r->ps, WHO(s), "its extended attributes cannot be set here: %s", strerror(-err));
}

static int create_unlinked(struct restore *r, const struct record *rec, struct nameless *held)
{
	const struct regular_state *s = rec->state;
	_cleanup_fd_ int dir = -1, fd = -1, writer = -1;
	const char *base;
	int err = 0;

	dir = open_parent(r, s, &base);
	if (dir < 0)
		return dir;
	fd = create_file(r, rec, dir, base, held);
	if (fd < 0)
		return fd;
	writer = reopen(fd, S_ISREG(s->mode) ? O_RDWR : O_RDONLY);
	if (writer < 0)
		return writer;
	file_layout_prepare(r, s->path, writer, &s->layout);
	if (S_ISREG(s->mode))
		err = contents_restore(r, writer, s->extents, s->n_extents, s->size, s->path);
	if (!err && s->allocated)
		contents_reserve(r, writer, s->size, s->path);
	if (!err)
		file_layout_reserve(r, s->path, writer, &s->layout);
	if (!err)
		give_xattrs(r, writer, s);
	if (!err)
		err = give_attributes(writer, s);
	if (err || is_tmpfile(creation_flags(r, rec->id)) || !S_ISREG(s->mode))
		return err ? err : take_fd(&fd);
	/* Kept without the right to write: a file open for writing cannot be an executable (deny_write_access). */
	return reopen(fd, O_RDONLY);
}

static int open_unlinked(struct restore *r, const struct record *rec, uint64_t flags)
{
	struct made *made = restore_made(r, rec->id);
	struct nameless *held;
	int fd;

	if (!made)
		return -ENOMEM;
	if (!made->data)
		made->data = nameless_new(r, rec->id);
	held = made->data;
	if (!held)
		return -ENOMEM;
	if (made->fd[0] < 0)
		made->fd[0] = create_unlinked(r, rec, held);
	if (made->fd[0] < 0)
		return made->fd[0];
	if (is_tmpfile(flags) && !held->tmpfile_taken) {
		held->tmpfile_taken = true;
		fd = fcntl(made->fd[0], F_DUPFD_CLOEXEC, 0);
		return fd < 0 ? -errno : fd;
	}
	if (flags & O_NOFOLLOW && !is_tmpfile(flags))
		return take_named(held, flags);
	return reopen(made->fd[0], is_tmpfile(flags) ? flags & ~(uint64_t)O_TMPFILE : flags);
}

/* --- opening --- */

int regular_open(struct restore *r, const struct record *rec, uint64_t flags)
{
	const struct regular_state *s = rec->state;
	int fd;

	if (s->unlinked)
		return open_unlinked(r, rec, flags);
	flags &= ~(uint64_t)(O_CREAT | O_EXCL | O_TRUNC | O_ASYNC);
	/* A file that got a name after O_TMPFILE: the flag is still seen, but would open another file. */
	if (is_tmpfile(flags))
		flags &= ~(uint64_t)O_TMPFILE;
	if (s->renamed)
		fd = shm_open_by_old_name(r, s->renamed, s->path, flags);
	else if (s->other)
		fd = regular_open_other(r, s, flags & O_PATH ? flags & (O_PATH | O_DIRECTORY | O_NOFOLLOW) : flags);
	else
		fd = restore_open(
			r, s->path, flags & O_PATH ? flags & (O_PATH | O_DIRECTORY | O_NOFOLLOW) : flags | O_NOCTTY, 0);
	if (fd < 0)
		failed(r->ps, WHO(s), fd, "cannot be opened: %s", strerror(-fd));
	return fd;
}

int regular_open_file(struct restore *r, const struct record *rec, const struct file_state *file)
{
	return file_settle(regular_open(r, rec, file->flags), file);
}

int regular_fill(struct restore *r, const struct record *rec)
{
	const struct regular_state *s = rec->state;
	const struct made *made = s->unlinked ? restore_made(r, rec->id) : NULL;

	if (made && made->fd[0] >= 0)
		inode_marks_write(r, s->path, made->fd[0], &s->marks);
	return 0;
}
