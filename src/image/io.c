/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#if __has_include(<xxh_x86dispatch.h>)
#include <xxh_x86dispatch.h> /* AVX2 and AVX-512 where the machine has them: twice as fast on pages */
#endif

#include "image/directory.h"

int write_at(int fd, const void *data, size_t size, uint64_t offset)
{
	const char *at = data;
	ssize_t n;

	for (; size; at += n, size -= (size_t)n, offset += (size_t)n) {
		n = pwrite(fd, at, size, (off_t)offset);
		if (n < 0 && errno == EINTR)
			n = 0;
		else if (n <= 0)
			return n < 0 ? -errno : -ENOSPC;
	}
	return 0;
}

int read_at(int fd, void *data, size_t size, uint64_t offset)
{
	char *at = data;
	ssize_t n;

	for (; size; at += n, size -= (size_t)n, offset += (size_t)n) {
		n = pread(fd, at, size, (off_t)offset);
		if (n < 0 && errno == EINTR)
			n = 0;
		else if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
	}
	return 0;
}

void checksum_128(const void *data, size_t size, uint8_t out[static 16])
{
	XXH128_canonical_t canonical;

	XXH128_canonicalFromHash(&canonical, XXH3_128bits(data, size));
	memcpy(out, canonical.digest, 16);
}

uint64_t checksum_64(const void *data, size_t size)
{
	return XXH3_64bits(data, size);
}

/* The path that the user knows the file by, as far as the kernel still knows it. */
static char *path_of(int dir_fd, const char *name)
{
	char link[32], dir[4096], *path;
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", dir_fd);
	n = readlink(link, dir, sizeof(dir));
	if (n < 0)
		n = 0;
	if (asprintf(&path, "%.*s%s%s", (int)n, dir, n && *name ? "/" : "", name) < 0)
		return NULL;
	return path;
}

static const char *remedy_for(int error)
{
	switch (error) {
	case -ENOSPC:
	case -EDQUOT:
		return "free space there, or choose a directory on another file system";
	case -EACCES:
	case -EPERM:
	case -EROFS:
		return "choose a directory that you may write to and read";
	case -EMFILE:
	case -ENFILE:
		return "raise the limit of open files";
	case -EBUSY:
		return "wait for the other one to end, or choose another directory";
	default:
		return "look at the kernel's log for errors of that file system, or choose another directory";
	}
}

int file_failed(struct problems *ps, int dir_fd, const char *name, int error, const char *what)
{
	_cleanup_free_ char *path = path_of(dir_fd, name);

	return failed(
		ps, BLAME(.object = path, .remedy = remedy_for(error)), error, "%s: %s", what, strerrordesc_np(-error));
}

int directory_failed(struct problems *ps, int dir_fd, const char *remedy, int error, const char *what)
{
	_cleanup_free_ char *path = path_of(dir_fd, "");

	return failed(ps, BLAME(.object = path, .remedy = remedy), error, "%s", what);
}

int file_damaged(struct problems *ps, int dir_fd, const char *name, const char *fmt, ...)
{
	_cleanup_free_ char *path = path_of(dir_fd, name), *text = NULL;
	va_list args;

	va_start(args, fmt);
	if (vasprintf(&text, fmt, args) < 0)
		text = NULL;
	va_end(args);
	return failed(ps,
		BLAME(.object = path,
			.remedy = "the image is damaged: use another copy of it, or make a new checkpoint"),
		-EBADMSG, "%s", text ? text : "damaged");
}
