/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kernel/cgroup.h"

#include <errno.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>

#include "base/macro.h"

/* Where distributions mount it; told by the file system's type, since it may stand beside version 1. */
int cgroup2_mount_point(char *out, size_t size)
{
	static const char *const places[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/cgroup2", "/mnt/cgroup2" };
	struct statfs sfs;

	for (size_t i = 0; i < ARRAY_SIZE(places); i++)
		if (statfs(places[i], &sfs) == 0 && sfs.f_type == CGROUP2_SUPER_MAGIC) {
			if (strlen(places[i]) >= size)
				return -ENAMETOOLONG;
			strcpy(out, places[i]);
			return 0;
		}
	return -ENOENT;
}
