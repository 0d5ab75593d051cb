/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kernel/memory_room.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/macro.h"
#include "kernel/cgroup.h"
#include "kernel/procfs.h"

#define V1_MOUNT   "/sys/fs/cgroup/memory"
#define OVERCOMMIT "/proc/sys/vm/overcommit_memory"
#define NEVER	   "2" /* what a process may write is set aside when it is mapped or forked */

static uint64_t available(void)
{
	_cleanup_free_ char *text = NULL, *overcommit = NULL;
	uint64_t kib;

	if (procfs_read(AT_FDCWD, OVERCOMMIT, &overcommit, NULL) < 0 || !strncmp(overcommit, NEVER, 1))
		return 0;
	if (procfs_read(AT_FDCWD, "/proc/meminfo", &text, NULL) < 0 ||
		proc_value_u64(text, "MemAvailable", 10, &kib) < 0)
		return 0;
	return kib * 1024;
}

/* A file of a control group that holds one number, or "max". -ENOENT: the group has no such file, and no limit */
static int read_number(const char *dir, const char *name, uint64_t *out)
{
	_cleanup_free_ char *path = NULL, *text = NULL;
	int r;

	if (asprintf(&path, "%s/%s", dir, name) < 0)
		return -ENOMEM;
	r = procfs_read(AT_FDCWD, path, &text, NULL);
	if (r < 0)
		return r;
	*out = strncmp(text, "max", 3) ? strtoull(text, NULL, 10) : UINT64_MAX;
	return 0;
}

static uint64_t room_of_group(const char *dir, const char *limit_name, const char *used_name)
{
	uint64_t limit, used;
	int r = read_number(dir, limit_name, &limit);

	if (r < 0)
		return r == -ENOENT ? UINT64_MAX : 0;
	if (limit == UINT64_MAX)
		return limit;
	if (read_number(dir, used_name, &used) < 0)
		return 0;
	return limit > used ? limit - used : 0;
}

/* The least of a group and those above it, up to the mount. slows_name: of the limit above which a group is slowed down; NULL: there is none */
static uint64_t room_of_groups(
	const char *mount, const char *path, const char *limit_name, const char *slows_name, const char *used_name)
{
	char dir[PATH_MAX];
	size_t top = strlen(mount);
	uint64_t room = UINT64_MAX;

	if (strstr(path, "/..") || (size_t)snprintf(dir, sizeof(dir), "%s%s", mount, path) >= sizeof(dir))
		return 0; /* outside of what this process sees */
	if (access(dir, F_OK) < 0)
		return 0;
	while (strlen(dir) > top) {
		room = MIN(room, room_of_group(dir, limit_name, used_name));
		if (slows_name)
			room = MIN(room, room_of_group(dir, slows_name, used_name));
		*strrchr(dir, '/') = '\0';
	}
	return room;
}

/* A line of /proc/PID/cgroup: "0::/path", or "4:memory:/path". */
static uint64_t room_by_line(char *line)
{
	char mount[PATH_MAX], *controllers = strchr(line, ':'),
			      *path = controllers ? strchr(controllers + 1, ':') : NULL;

	if (!path)
		return 0;
	*path++ = '\0';
	controllers++;
	if (!*controllers)
		return cgroup2_mount_point(mount, sizeof(mount)) < 0
			       ? !strcmp(path, "/") ? UINT64_MAX : 0
			       : room_of_groups(mount, path, "memory.max", "memory.high", "memory.current");
	if (strcmp(controllers, "memory") != 0 || !strcmp(path, "/"))
		return UINT64_MAX;
	return room_of_groups(V1_MOUNT, path, "memory.limit_in_bytes", NULL, "memory.usage_in_bytes");
}

uint64_t memory_room(int dir_fd)
{
	_cleanup_free_ char *text = NULL;
	uint64_t room = available();
	char *at, *line;

	if (procfs_read(dir_fd, "cgroup", &text, NULL) < 0)
		return 0;
	for (at = text; (line = strsep(&at, "\n")) && *line;)
		room = MIN(room, room_by_line(line));
	return room;
}
