/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Namespaces and mounts that a process made for itself, which are refused. namespaces(7), mount_namespaces(7). */

#include "maker.h"

#include <sys/mount.h>

static int fd = -1;

static int alive_use(struct maker_ctx *ctx)
{
	CHECK(fcntl(fd, F_GETFD) >= 0);
	return 0;
}

/* arg: which one a child has made for itself. */
static int unshares(struct maker_ctx *ctx)
{
	NEED(!unshare((int)ctx->arg));
	if (ctx->arg == CLONE_NEWNS) {
		NEED(!mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
		NEED(!mkdir(in_dir(ctx, "mount"), 0700));
		NEED(!mount("none", ctx->path, "tmpfs", 0, NULL));
	}
	return 0;
}

static int unshared_make(struct maker_ctx *ctx)
{
	return kid_start(ctx, unshares, NULL, NULL);
}

#define THREADS 12 /* so many that they are not looked at one by one */

static _Atomic(int) unshared; /* 1: yes; 2: may not */

static void *rests(void *arg)
{
	struct maker_ctx *ctx = arg;

	if (ctx)
		unshared = unshare((int)ctx->arg) ? 2 : 1;
	for (;;)
		pause();
	return NULL;
}

static int many_threads_make(struct maker_ctx *ctx)
{
	pthread_t t;

	for (int i = 0; i < THREADS; i++)
		CHECK(!thread_start(&t, rests, i == THREADS / 2 ? ctx : NULL));
	CHECK(UNTIL(unshared));
	NEED(unshared == 1);
	return 0;
}

static int namespace_fd_make(struct maker_ctx *ctx)
{
	char path[64];
	pid_t p;

	shared(ctx);
	p = fork();
	CHECK(p >= 0);
	if (!p) {
		if (!unshare(CLONE_NEWUTS))
			ctx->shared->flag[0] = 1;
		while (!ctx->shared->flag[1])
			nap(2);
		_exit(0);
	}
	CHECK(UNTIL(ctx->shared->flag[0]));
	snprintf(path, sizeof(path), "/proc/%d/ns/uts", p);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	ctx->shared->flag[1] = 1;
	return reap_ok(p);
}

/* A descriptor of another process's namespace or mount that is nowhere. */
static int detached_make(struct maker_ctx *ctx)
{
	fd = (int)syscall(SYS_open_tree, AT_FDCWD, ctx->dir, 1 /* OPEN_TREE_CLONE */);
	NEED(fd >= 0);
	return 0;
}

/* The root of the tree's own file system, in a copy that is mounted nowhere. */
static int detached_root_make(struct maker_ctx *ctx)
{
	fd = (int)syscall(SYS_open_tree, AT_FDCWD, "/", 1 /* OPEN_TREE_CLONE */);
	NEED(fd >= 0);
	return 0;
}

const struct maker makers_namespace[] = {
	REFUSED("mount-namespace", "a child in a mount namespace of its own", unshared_make, NULL, CLONE_NEWNS,
		"namespace"),
	REFUSED("net-namespace", "a child in a network namespace of its own", unshared_make, NULL, CLONE_NEWNET,
		"namespace"),
	REFUSED("ipc-namespace", "a child in an IPC namespace of its own", unshared_make, NULL, CLONE_NEWIPC,
		"namespace"),
	REFUSED("uts-namespace", "a child in a UTS namespace of its own", unshared_make, NULL, CLONE_NEWUTS,
		"namespace"),
	REFUSED("user-namespace", "a child in a user namespace of its own", unshared_make, NULL, CLONE_NEWUSER,
		"namespace"),
	REFUSED("cgroup-namespace", "a child in a cgroup namespace of its own", unshared_make, NULL, CLONE_NEWCGROUP,
		"namespace"),
	REFUSED("children-pid-namespace", "one whose children would be born into a pid namespace", unshared_make, NULL,
		CLONE_NEWPID, "pid_for_children"),
	REFUSED("children-time-namespace", "one whose children would be born into a time namespace", unshared_make,
		NULL, CLONE_NEWTIME, "time_for_children"),
	REFUSED("thread-uts-namespace", "one of many threads in a UTS namespace of its own", many_threads_make, NULL,
		CLONE_NEWUTS, "uts namespace"),
	REFUSED("thread-children-pid-namespace", "one of many threads whose children would be born elsewhere",
		many_threads_make, NULL, CLONE_NEWPID, "pid_for_children"),
	REFUSED("namespace-fd", "a descriptor of a namespace that nobody is in", namespace_fd_make, alive_use, 0,
		"namespace|nsfs|uts"),
	REFUSED("detached-root", "a copy of the root's mount, attached nowhere", detached_root_make, alive_use, 0,
		"attached nowhere"),
	REFUSED("detached-mount", "a descriptor of a detached mount", detached_make, alive_use, 0, "mount"),
	{ 0 },
};
