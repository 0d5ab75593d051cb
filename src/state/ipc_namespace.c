/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/ipc_namespace.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "kernel/procfs.h"

int ipc_enter(int proc_fd, struct ipc_place *place)
{
	_cleanup_fd_ int own = open("/proc/thread-self/ns/ipc", O_RDONLY | O_CLOEXEC);
	_cleanup_fd_ int its = openat(proc_fd, "ns/ipc", O_RDONLY | O_CLOEXEC);
	struct stat a, b;

	*place = (struct ipc_place){ .own_fd = -1 };
	if (own < 0 || its < 0 || fstat(own, &a) < 0 || fstat(its, &b) < 0)
		return -errno;
	if (a.st_ino == b.st_ino)
		return 0;
	if (setns(its, CLONE_NEWIPC) < 0)
		return -errno;
	*place = (struct ipc_place){ .own_fd = take_fd(&own), .foreign = true };
	return 0;
}

void ipc_leave(struct ipc_place *place)
{
	if (place->own_fd >= 0)
		setns(place->own_fd, CLONE_NEWIPC);
	close_fd(&place->own_fd);
}

#define PATH_ROOM 96

static const char *path_of(char path[static PATH_ROOM], const char *name)
{
	snprintf(path, PATH_ROOM, "/proc/sys/%s", name);
	return path;
}

int ipc_sysctl_read(const char *name, char **text)
{
	char path[PATH_ROOM];
	int r = procfs_read(AT_FDCWD, path_of(path, name), text, NULL);

	if (r == 0)
		(*text)[strcspn(*text, "\n")] = '\0';
	return r;
}

int ipc_sysctl_write(const char *name, const char *text)
{
	char path[PATH_ROOM];
	_cleanup_fd_ int fd = open(path_of(path, name), O_WRONLY | O_CLOEXEC);
	ssize_t n = (ssize_t)strlen(text);

	return fd < 0 || write(fd, text, (size_t)n) != n ? -errno : 0;
}
