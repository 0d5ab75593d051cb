/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "state/files.h"

int tree_open(const struct capture *c, const char *path, int flags)
{
	struct open_how how = { .flags = (uint64_t)flags | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT };
	long fd = syscall(SYS_openat2, c->descriptions->root_fd, path, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

int tree_stat(const struct capture *c, const char *path, struct stat *st)
{
	_cleanup_fd_ int fd = tree_open(c, path, O_PATH | O_NOFOLLOW);

	if (fd < 0)
		return fd;
	return fstat(fd, st) < 0 ? -errno : 0;
}
