/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files of /proc, /sys and the like. What only shows something can be opened again and read on. What is open for writing can if an open file of it has no
 * state of its own and acts on the tree or the whole machine; but the kernel asks what its opener was allowed, so its holder must be as privileged as a
 * restore is. proc(5), sysfs(5), cgroups(7); fs/proc, fs/kernfs, kernel/sched/psi.c.
 */
#include "state/pseudo.h"

#include <ctype.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "state/files.h"

#define CONFIGFS_MAGIC 0x62656570

enum fs_class { FS_ORDINARY, FS_PROC, FS_SYS, FS_CGROUP, FS_CONFIG, FS_STRANGE, FS_MQUEUE };

static enum fs_class class_of(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return FS_ORDINARY;
	switch ((unsigned long)fs.f_type) {
	case PROC_SUPER_MAGIC:
		return FS_PROC;
	case SYSFS_MAGIC:
		return FS_SYS;
	case CGROUP_SUPER_MAGIC:
	case CGROUP2_SUPER_MAGIC:
		return FS_CGROUP;
	case CONFIGFS_MAGIC:
		return FS_CONFIG;
	case DEBUGFS_MAGIC:
	case TRACEFS_MAGIC:
	case SECURITYFS_MAGIC:
	case SELINUX_MAGIC:
	case BPF_FS_MAGIC:
	case NSFS_MAGIC:
	case PSTOREFS_MAGIC:
	case EFIVARFS_MAGIC:
	case BINFMTFS_MAGIC:
	case HUGETLBFS_MAGIC:
		return FS_STRANGE;
	case 0x19800202:
		return FS_MQUEUE;
	default:
		return FS_ORDINARY;
	}
}

/* Of /proc/PID/...: its number, and what follows it; 0: no such path. */
static pid_t pid_of(const char *path, const char **rest)
{
	char *end;
	long pid;

	if (strncmp(path, "/proc/", 6) != 0 || !isdigit((unsigned char)path[6]))
		return 0;
	pid = strtol(path + 6, &end, 10);
	*rest = *end == '/' ? end + 1 : end;
	return (pid_t)pid;
}

static bool in_tree(const struct capture *c, pid_t vpid)
{
	for (size_t i = 0; i < c->tree->n_processes; i++) {
		const struct process *p = c->tree->processes[i];

		if (p->vpid == vpid)
			return true;
		for (size_t k = 0; k < p->n_threads; k++)
			if (p->threads[k].vtid == vpid)
				return true;
	}
	return false;
}

static bool named(const char *path, const char *const *names)
{
	const char *name = strrchr(path, '/');

	for (; name && *names; names++)
		if (!strcmp(name + 1, *names))
			return true;
	return false;
}

/* A file of /proc/PID that stands on the memory which the process had when it was opened. */
static bool reads_memory(const char *path)
{
	static const char *const names[] = { "mem", "pagemap", NULL };

	return named(path, names);
}

static bool ends_in(const char *path, const char *end)
{
	size_t a = strlen(path), b = strlen(end);

	return a >= b && !strcmp(path + a - b, end);
}

/* A trigger of pressure is set by writing, and belongs to the open file: pressure.c. */
static bool writing_has_no_state(enum fs_class class, const char *path)
{
	const char *rest;

	switch (class) {
	case FS_PROC:
		return pid_of(path, &rest) || !strncmp(path, "/proc/sys/", 10) || !strncmp(path, "/proc/irq/", 10) ||
		       !strcmp(path, "/proc/sysrq-trigger");
	case FS_SYS:
		return true;
	case FS_CGROUP:
		return (!ends_in(path, ".pressure") || ends_in(path, "/cgroup.pressure")) &&
		       !ends_in(path, "cgroup.event_control");
	default:
		return false;
	}
}

static bool is_privileged(const struct process *p)
{
	uint64_t needed = 1ull << CAP_SYS_ADMIN | 1ull << CAP_DAC_OVERRIDE | 1ull << CAP_SYS_RESOURCE;

	return !((needed & ~p->status.cap_effective) & p->tree->processes[0]->status.cap_bounding);
}

static int check_writing(struct capture *c, const struct blame *who, enum fs_class class, const char *path)
{
	if (!writing_has_no_state(class, path))
		return refused(c->ps, who, "a kernel interface open for writing");
	if (!is_privileged(c->process))
		return refused(c->ps, who,
			"a kernel interface that a process without privileges has open for writing: what it may write "
			"depends on who "
			"opened it, which the kernel does not tell");
	return 0;
}

static int check_proc(struct capture *c, const struct blame *who, const char *path)
{
	const char *rest;
	pid_t pid = pid_of(path, &rest);

	if (pid && !in_tree(c, pid))
		return refused(c->ps, who, "a file of /proc of process %d, which is not of the tree", pid);
	if (pid && reads_memory(path))
		return refused(c->ps, who, "a descriptor of the memory of a process (/proc/PID/mem or pagemap)");
	return 0;
}

int pseudo_check(struct capture *c, const struct blame *who, int fd, uint64_t flags, const char *path, bool *pseudo)
{
	enum fs_class class = class_of(fd);
	int err = 0;

	if (class == FS_MQUEUE)
		return refused(c->ps, who, "a POSIX message queue cannot be carried by this version");
	if (class == FS_STRANGE)
		return refused(c->ps, who, "a file of a kernel interface that spore cannot carry");
	*pseudo = class != FS_ORDINARY;
	if (class == FS_PROC)
		err = check_proc(c, who, path);
	if (!err && *pseudo && !(flags & O_PATH) && (flags & O_ACCMODE) != O_RDONLY)
		err = check_writing(c, who, class, path);
	return err;
}
