/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/xattrs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "base/cleanup.h"

const struct field xattr_fields[] = {
	FIELD_STRING(struct xattr, name, "name", "with its namespace"),
	FIELD_BLOB(struct xattr, value, "value", "its bytes"),
	FIELD_END,
};

/* The kernel's own bounds: XATTR_LIST_MAX, XATTR_SIZE_MAX. */
#define ROOM 65536

/* How a file is got at: by a path whose last symbolic link is meant itself, or is followed. */
struct access {
	ssize_t (*list)(const char *path, char *names, size_t size);
	ssize_t (*get)(const char *path, const char *name, void *value, size_t size);
	int (*set)(const char *path, const char *name, const void *value, size_t size, int flags);
};

static const struct access itself = { llistxattr, lgetxattr, lsetxattr };
static const struct access followed = { listxattr, getxattr, setxattr };

static int read_value(const struct access *a, const char *path, const char *name, void *buffer, struct xattr *x)
{
	ssize_t n = a->get(path, name, buffer, ROOM);

	if (n < 0)
		return -errno;
	x->name = strdup(name);
	x->value.data = malloc(n ? (size_t)n : 1);
	if (!x->name || !x->value.data)
		return -ENOMEM;
	memcpy(x->value.data, buffer, (size_t)n);
	x->value.size = (size_t)n;
	return 0;
}

static int read_all(const struct access *a, const char *path, struct xattr **list, size_t *n)
{
	_cleanup_free_ char *names = malloc(ROOM), *buffer = malloc(ROOM);
	ssize_t size;

	if (!names || !buffer)
		return -ENOMEM;
	size = a->list(path, names, ROOM);
	if (size < 0)
		return errno == EOPNOTSUPP ? 0 : -errno;
	for (const char *name = names; name < names + size; name += strlen(name) + 1) {
		struct xattr *grown = reallocarray(*list, *n + 1, sizeof(*grown));
		int r;

		if (!grown)
			return -ENOMEM;
		*list = grown;
		grown[*n] = (struct xattr){ 0 };
		r = read_value(a, path, name, buffer, &grown[(*n)++]);
		if (r < 0)
			return r;
	}
	return 0;
}

static int write_all(const struct access *a, const char *path, const struct xattr *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!list[i].name || a->set(path, list[i].name, list[i].value.data, list[i].value.size, 0) < 0)
			return list[i].name ? -errno : -EBADMSG;
	return 0;
}

int xattrs_read(const char *path, struct xattr **list, size_t *n)
{
	return read_all(&itself, path, list, n);
}

int xattrs_write(const char *path, const struct xattr *list, size_t n)
{
	return write_all(&itself, path, list, n);
}

int xattrs_read_fd(int fd, struct xattr **list, size_t *n)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return read_all(&followed, path, list, n);
}

int xattrs_write_fd(int fd, const struct xattr *list, size_t n)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return write_all(&followed, path, list, n);
}
