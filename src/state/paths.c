/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "kernel/mountinfo.h"
#include "state/files.h"

int tree_open(const struct capture *c, const char *path, int flags)
{
	struct open_how how = { .flags = (uint64_t)flags | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT };
	long fd = syscall(SYS_openat2, c->descriptions->root_fd, path, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

static bool mount_of(int fd, uint64_t *id)
{
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &st) < 0 || !(st.stx_mask & STATX_MNT_ID))
		return false;
	*id = st.stx_mnt_id;
	return true;
}

static bool is_attached(const char *table, uint64_t id)
{
	struct mount_table mounts = { 0 };
	bool found = mountinfo_read(table, &mounts) < 0;

	for (size_t i = 0; i < mounts.n && !found; i++)
		found = mounts.list[i].id == (int)id;
	mount_table_free(&mounts);
	return found;
}

bool mount_is_detached(const struct capture *c, int fd, const char *path)
{
	_cleanup_fd_ int usual = tree_open(c, path, O_PATH | O_NOFOLLOW);
	uint64_t its, same;
	char table[64];

	if (usual < 0 || !mount_of(fd, &its) || !mount_of(usual, &same) || its == same)
		return false;
	snprintf(table, sizeof(table), "/proc/%d/mountinfo", c->tree->processes[0]->living_tid);
	return !is_attached(table, its) && !is_attached("/proc/self/mountinfo", its);
}

int tree_stat(const struct capture *c, const char *path, struct stat *st)
{
	_cleanup_fd_ int fd = tree_open(c, path, O_PATH | O_NOFOLLOW);

	if (fd < 0)
		return fd;
	return fstat(fd, st) < 0 ? -errno : 0;
}
