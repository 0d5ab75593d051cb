/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A directory that processes work in or have as their root: saved once, opened once, passed to each.
 * path_resolution(7), proc(5) on cwd and root; fs/fs_struct.c, fs/d_path.c.
 */
#include "state/directory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "state/files.h"
#include "state/owner.h"
#include "state/regular.h"
#include "state/tree.h"

struct directory_state {
	char *path;
	object_id removed;
};

static const struct field directory_fields[] = {
	FIELD_STRING(struct directory_state, path, "path", "from the root of the tree's mount namespace"),
	FIELD_SINCE(2, REF, struct directory_state, removed, "removed", "regular", REF_STRONG,
		"it was removed, and has no name"),
	FIELD_END,
};

static int directory_validate(struct restore *r, const struct record *rec)
{
	const struct directory_state *s = rec->state;
	int fd;

	if (!s->path || s->path[0] != '/')
		return failed(r->ps, BLAME(.object = "directory"), -EBADMSG, "its path is not absolute");
	if (r->root_fd < 0 || s->removed || tree_brings(r, s->path))
		return 0;
	fd = restore_open(r, s->path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
	if (fd < 0)
		return failed(r->ps, BLAME(.object = s->path, .remedy = "make it again"), fd,
			"a process has this directory as its working or root directory, and it is not here: "
			"%s",
			strerror(-fd));
	close(fd);
	return 0;
}

const struct component component_directory = {
	.kind = {
		.name = "directory",
		.version = 2,
		.size = sizeof(struct directory_state),
		.fields = directory_fields,
		.doc = "a directory that processes work in or have as their root",
		.sources = "path_resolution(7), proc(5); fs/fs_struct.c, fs/d_path.c",
	},
	.scope = SCOPE_OTHER,
	.validate = directory_validate,
};

/* Does the path lead to it, for a process whose root is the namespace's own? Not where something has been
 * mounted over it, or it was moved away meanwhile. */
static bool leads_back(const struct capture *c, const char *path, const struct statx *want)
{
	const struct thread *root = owner_alive(c->tree->processes[0]);
	_cleanup_free_ char *base = NULL, *below = NULL;
	struct statx st;

	if (procfs_link(root->proc_fd, "root", &base) < 0 || strcmp(base, "/") != 0)
		return true;
	if (asprintf(&below, "root%s", path) < 0)
		return true;
	return statx(root->proc_fd, below, 0, STATX_INO | STATX_MNT_ID, &st) == 0 && st.stx_ino == want->stx_ino &&
	       st.stx_dev_major == want->stx_dev_major && st.stx_dev_minor == want->stx_dev_minor &&
	       st.stx_mnt_id == want->stx_mnt_id;
}

/* Other processes may have it too, and descriptors: it is one inode to all of them. */
static int save_removed(struct capture *c, const char *name, char *path, object_id *id)
{
	_cleanup_fd_ int fd = openat(c->thread->proc_fd, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct file_look f = {
		.process = c->process, .fd = -1, .dup = fd, .link = path, .flags = O_PATH | O_DIRECTORY
	};
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	f.dev = st.st_dev;
	f.ino = st.st_ino;
	f.mode = st.st_mode;
	return backing_save(c, &f, id);
}

int directory_capture(struct capture *c, const char *name, object_id *id)
{
	struct directory_state s = { 0 };
	_cleanup_free_ char *path = NULL;
	struct statx st;
	bool is_new;
	int r;

	if (statx(c->thread->proc_fd, name, 0, STATX_INO | STATX_NLINK | STATX_MNT_ID, &st) < 0)
		r = -errno;
	else
		r = procfs_link(c->thread->proc_fd, name, &path);
	if (r < 0 || !path)
		return failed(c->ps, BLAME_PROCESS(c->process, .object = name), r, "cannot read /proc/PID/%s", name);
	if (st.stx_nlink == 0) {
		r = save_removed(c, name, path, &s.removed);
		if (r < 0)
			return r;
	} else if (path[0] != '/' || !leads_back(c, path, &st))
		return refused(c->ps,
			BLAME_PROCESS(c->process, .object = name,
				.remedy = "let it change to a directory that its path leads to"),
			"its path does not lead to it: %s (mounted over, moved, or of another mount "
			"namespace)",
			path);
	*id = identity_of(c->identities, "directory", (uint64_t)st.stx_dev_major << 32 | st.stx_dev_minor, st.stx_ino,
		st.stx_mnt_id, &is_new);
	s.path = path;
	return is_new ? image_add(c->writer, &component_directory.kind, *id, &s) : 0;
}

const char *directory_path(const struct restore *r, object_id id)
{
	const struct directory_state *s = restore_state(r, id, "directory");

	return s ? s->path : NULL;
}

static int open_it(struct restore *r, object_id id)
{
	const struct directory_state *s = restore_state(r, id, "directory");
	const struct record *removed = s->removed ? image_find(r->image, s->removed) : NULL;

	if (removed)
		return regular_open(r, removed, O_PATH | O_DIRECTORY);
	return restore_open(r, s->path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
}

int directory_fd(struct restore *r, object_id id)
{
	struct made *made = restore_made(r, id);
	const char *path = directory_path(r, id);
	int fd, none = -1;

	if (!made || !path)
		return -EBADMSG;
	fd = __atomic_load_n(&made->fd[0], __ATOMIC_ACQUIRE);
	if (fd >= 0)
		return fd;
	fd = open_it(r, id);
	if (fd < 0)
		return fd;
	/* Another worker may have been faster. */
	if (!__atomic_compare_exchange_n(&made->fd[0], &none, fd, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
		close(fd);
		fd = none;
	}
	return fd;
}
