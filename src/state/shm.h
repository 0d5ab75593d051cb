/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The files of a container's own /dev/shm: nothing else keeps them. */
#pragma once

#include "state/contents.h"
#include "state/xattrs.h"

#define SHM_DIRECTORY "/dev/shm"

struct shm_name {
	char *path;
};

struct shm_state {
	char *path; /* from /dev/shm; "." is that directory itself */
	struct shm_name *links;
	size_t n_links;
	uint64_t mode, uid, gid, size;
	int64_t atime_s, mtime_s;
	uint64_t atime_ns, mtime_ns;
	uint64_t attributes; /* FS_IOC_GETFLAGS */
	uint64_t write_hint; /* F_GET_RW_HINT */
	bool allocated;
	char *target;
	struct xattr *xattrs;
	size_t n_xattrs;
	struct extent *extents;
	size_t n_extents;
};

/* Opens what is below the directory, never by a symbolic link nor on another mount. Descriptor or negative errno. */
int shm_open_below(int directory, const char *path, uint64_t flags);
/* Is it in the /dev/shm that the tree has to itself? */
bool shm_has(const struct capture *c, const struct stat *st);
/* The id of the record of such a file. */
object_id shm_id(struct capture *c, const struct stat *st);

/* Will this path be there only when the container's /dev/shm is made again? */
bool shm_brings(const struct restore *r, const char *path);
/* Opens a file by a name that it had before, for the kernel to show; the name is gone again afterwards. */
int shm_open_by_old_name(struct restore *r, object_id shm, const char *path, uint64_t flags);

/* src/state/shm_restore.c; the component's */
int shm_validate(struct restore *r, const struct record *rec);
int shm_make(struct build *b, const void *state);
int shm_finish(struct restore *r, const struct record *rec);
