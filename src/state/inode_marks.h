/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an inode has beside its contents, what chmod(2) and chown(2) set, and xattr(7): of a file without a name, which nobody else keeps. ioctl_iflags(2),
 * fcntl(2), utimensat(2).
 */
#pragma once

#include "object/component.h"

struct inode_marks {
	int64_t atime_s;
	uint64_t atime_ns;
	uint64_t attributes; /* FS_IOC_GETFLAGS, of those that a user may set */
	uint64_t write_hint; /* F_GET_RW_HINT */
};

extern const struct field inode_marks_fields[];

/* fd: any descriptor of it, O_PATH too. */
void inode_marks_read(const struct capture *c, int fd, struct inode_marks *m);
/* When everybody has it open and mapped: some of them forbid that. What cannot be set is said. */
void inode_marks_write(struct restore *r, const char *name, int fd, const struct inode_marks *m);
