/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * POSIX message queues of the tree's own IPC namespace. mq_overview(7); ipc/mqueue.c; selftests/mqueue. Only looked at: they live until they are unlinked,
 * whether anybody has them open or not, and would be lost with the namespace. Those of the host's namespace are the host's and stay.
 */
#include "object/component.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "state/owner.h"

/* The file system that shows the queues of this thread's namespace, attached nowhere. Descriptor or negative errno. */
static int mount_here(void)
{
	_cleanup_fd_ int fs = (int)syscall(SYS_fsopen, "mqueue", FSOPEN_CLOEXEC);
	_cleanup_fd_ int root = -1;
	int fd;

	if (fs < 0 || syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	root = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
	fd = root < 0 ? -1 : openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* the mount's own is O_PATH */
	return fd < 0 ? -errno : fd;
}

/* setns changes this thread only, and is undone. -ENOENT: the namespace is the host's. */
static int mount_of(const struct process *p)
{
	_cleanup_fd_ int own = open("/proc/thread-self/ns/ipc", O_RDONLY | O_CLOEXEC);
	_cleanup_fd_ int its = openat(p->living_fd, "ns/ipc", O_RDONLY | O_CLOEXEC);
	struct stat a, b;
	int fd;

	if (own < 0 || its < 0 || fstat(own, &a) < 0 || fstat(its, &b) < 0 || a.st_ino == b.st_ino)
		return -ENOENT;
	if (setns(its, CLONE_NEWIPC) < 0)
		return -errno;
	fd = mount_here();
	setns(own, CLONE_NEWIPC);
	return fd;
}

static void refuse_queue(struct capture *c, const char *name)
{
	char object[320];

	snprintf(object, sizeof(object), "POSIX message queue /%s", name);
	refused(c->ps, BLAME_PROCESS(c->process, .object = object, .remedy = "unlink it (mq_unlink)"),
		"it is in the tree's own IPC namespace");
}

static int refuse_queues(struct capture *c, int fd)
{
	_cleanup_dir_ DIR *dir = fdopendir(fd);
	struct dirent *d;

	if (!dir)
		return -errno;
	for (errno = 0; (d = readdir(dir)); errno = 0)
		if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
			refuse_queue(c, d->d_name);
	return -errno;
}

static int mqueue_look(struct capture *c)
{
	int r = mount_of(c->tree->processes[0]);

	if (r >= 0)
		r = refuse_queues(c, r);
	/* A kernel without message queues has no such file system. */
	if (r < 0 && r != -ENOENT && r != -ENODEV)
		refused(c->ps, BLAME_PROCESS(c->process, .object = "POSIX message queues"),
			"those of the tree's own IPC namespace cannot be listed: %s", strerror(-r));
	return 0;
}

static int mqueue_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	mqueue_look(c);
	return CAPTURE_NOTHING;
}

static const struct field no_fields[] = { FIELD_END };

const struct component component_mqueue = {
	.kind = {
		.name = "mqueue",
		.version = 1,
		.size = sizeof(object_id),
		.fields = no_fields,
		.doc = "only looked at: POSIX message queues of a tree's own are refused",
		.sources = "mq_overview(7); ipc/mqueue.c; selftests/mqueue",
	},
	.scope = SCOPE_TREE,
	.look = mqueue_look,
	.capture = mqueue_capture,
};
