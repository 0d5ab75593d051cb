/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/outsiders.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kernel/procfs.h"

bool is_spores_own(pid_t pid)
{
	_cleanup_fd_ int dir = procfs_open_pid(pid);
	struct proc_stat st;

	return dir >= 0 && proc_stat_read(dir, &st) == 0 && st.ppid == getpid();
}

int outsiders_each(const struct tree *t, void (*fn)(void *arg, pid_t pid, int dir), void *arg)
{
	_cleanup_free_ int *pids = NULL;
	size_t n = 0;
	int r = procfs_numbers(AT_FDCWD, "/proc", &pids, &n);

	for (size_t i = 0; r == 0 && i < n; i++) {
		_cleanup_fd_ int dir = -1;

		if (pids[i] == getpid() || tree_find(t, pids[i]))
			continue;
		dir = procfs_open_pid(pids[i]);
		if (dir >= 0)
			fn(arg, pids[i], dir);
	}
	return r;
}
