/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Extended attributes of a file, POSIX access lists among them: xattr(7), acl(5). */
#pragma once

#include "image/field.h"

struct xattr {
	char *name;
	struct blob value;
};

extern const struct field xattr_fields[];

/* All of the file that the path names; a last symbolic link is not followed. *list is the caller's, also on failure. */
int xattrs_read(const char *path, struct xattr **list, size_t *n);
int xattrs_write(const char *path, const struct xattr *list, size_t n);
/* The same of the file behind a descriptor, which may be one of O_PATH. */
int xattrs_read_fd(int fd, struct xattr **list, size_t *n);
int xattrs_write_fd(int fd, const struct xattr *list, size_t n);
