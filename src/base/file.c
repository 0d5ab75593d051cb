/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

static int read_to_end(int fd, char **text, size_t *used)
{
	size_t room = 0;

	for (;;) {
		ssize_t n;

		if (room - *used < 2) {
			char *grown = realloc(*text, room = room ? 2 * room : 4096);

			if (!grown)
				return -ENOMEM;
			*text = grown;
		}
		n = read(fd, *text + *used, room - *used - 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		*used += (size_t)n;
	}
	(*text)[*used] = '\0';
	return 0;
}

int file_open_unseen(int dir_fd, const char *path)
{
	int fd = openat(dir_fd, path, O_RDONLY | O_NOATIME | O_CLOEXEC);

	if (fd < 0 && errno == EPERM)
		fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int file_read_all(int dir_fd, const char *path, char **out, size_t *size)
{
	_cleanup_fd_ int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC);
	_cleanup_free_ char *text = NULL;
	size_t used = 0;
	int r;

	if (fd < 0)
		return -errno;
	r = read_to_end(fd, &text, &used);
	if (r < 0)
		return r;
	*out = take_ptr(text);
	if (size)
		*size = used;
	return 0;
}

int file_write_text(int dir_fd, const char *path, const char *text)
{
	_cleanup_fd_ int fd = openat(dir_fd, path, O_WRONLY | O_CLOEXEC);
	size_t size = strlen(text);
	ssize_t n;

	if (fd < 0)
		return -errno;
	do
		n = write(fd, text, size);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return (size_t)n == size ? 0 : -EIO;
}

int file_replace(int dir_fd, const char *path, const char *text)
{
	_cleanup_fd_ int fd = -1;
	char fresh[NAME_MAX];
	int r;

	snprintf(fresh, sizeof(fresh), ".%s.%d", path, (int)getpid());
	fd = openat(dir_fd, fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	r = file_write_text(dir_fd, fresh, text);
	if (r == 0 && renameat(dir_fd, fresh, dir_fd, path) < 0)
		r = -errno;
	if (r < 0)
		unlinkat(dir_fd, fresh, 0);
	return r;
}
