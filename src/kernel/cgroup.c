/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kernel/cgroup.h"

#include <errno.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>

#include "base/cleanup.h"
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

int cgroup_has_processes(const char *path, bool *populated)
{
	char mount[PATH_MAX], events[2 * PATH_MAX], line[64];
	_cleanup_file_ FILE *f = NULL;
	int r = cgroup2_mount_point(mount, sizeof(mount));

	if (r < 0)
		return r;
	snprintf(events, sizeof(events), "%s%s/cgroup.events", mount, path);
	f = fopen(events, "re");
	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, "populated ", 10))
			*populated = line[10] != '0';
	return 0;
}
