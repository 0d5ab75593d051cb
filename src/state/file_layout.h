/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How its file system is to lay out a file, of one without a name, which nobody else keeps: room that it has reserved for itself (fallocate(2)), the size of
 * its extents, its project (ioctl_xfs_fsgetxattr(2)).
 */
#pragma once

#include "object/component.h"

struct reserved_room {
	uint64_t offset, length;
};

struct file_layout {
	uint64_t xflags; /* FS_XFLAG_*, of those that FS_IOC_GETFLAGS does not tell */
	uint64_t extent_size, cow_extent_size, project;
	struct reserved_room *reserved;
	size_t n_reserved;
};

extern const struct field file_layout_fields[];

/* fd: any descriptor of it, O_PATH too. from: of room before that is told otherwise. 0, -ENOTSUP: where room is reserved cannot be told; or negative errno. */
int file_layout_read(const struct capture *c, int fd, uint64_t from, struct file_layout *l);
/* Of a new file, before it has contents, and when it has. What cannot be had is said. */
void file_layout_prepare(struct restore *r, const char *name, int fd, const struct file_layout *l);
void file_layout_reserve(struct restore *r, const char *name, int fd, const struct file_layout *l);
