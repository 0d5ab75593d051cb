/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kernel/write_watch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kernel/uapi.h"

/* Linux 6.7 and 6.8 take a bit of where a page lies in the swap for its mark: pagemap_scan_pmd_entry() in fs/proc/task_mmu.c. */
static bool kernel_is_right(void)
{
	unsigned int major, minor;
	struct utsname u;

	return uname(&u) == 0 && sscanf(u.release, "%u.%u", &major, &minor) == 2 &&
	       (major > 6 || (major == 6 && minor >= 9));
}

int write_watch_prepare(int uffd)
{
	struct uffdio_api api = { .api = UFFD_API, .features = SPORE_UFFD_FEATURE_WP_ASYNC };

	if (!kernel_is_right())
		return -ENOSYS;
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

int write_watch_reset(int uffd, uint64_t start, uint64_t end)
{
	struct uffdio_writeprotect w = { .range = { start, end - start } };

	return ioctl(uffd, UFFDIO_WRITEPROTECT, &w) < 0 ? -errno : 0;
}

void write_watch_remove(int uffd, uint64_t start, uint64_t end)
{
	struct uffdio_range r = { start, end - start };

	ioctl(uffd, UFFDIO_UNREGISTER, &r);
}
