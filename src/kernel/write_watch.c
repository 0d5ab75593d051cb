/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kernel/write_watch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kernel/uapi.h"

int write_watch_prepare(int uffd)
{
	struct uffdio_api api = { .api = UFFD_API, .features = SPORE_UFFD_FEATURE_WP_ASYNC };

	return ioctl(uffd, UFFDIO_API, &api) < 0 ? -errno : 0;
}

int write_watch_open(void)
{
	_cleanup_fd_ int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | SPORE_UFFD_USER_MODE_ONLY);
	int r = fd < 0 ? -errno : write_watch_prepare(fd);

	return r < 0 ? r : take_fd(&fd);
}

int write_watch_add(int uffd, uint64_t start, uint64_t end)
{
	struct uffdio_register r = { .range = { start, end - start }, .mode = UFFDIO_REGISTER_MODE_WP };

	return ioctl(uffd, UFFDIO_REGISTER, &r) < 0 ? -errno : 0;
}
