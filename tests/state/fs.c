/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where a process is among the files: working directory, root, umask. chdir(2), chroot(2), umask(2). */

#include "maker.h"

static int umask_make(struct maker_ctx *ctx)
{
	umask(0137);
	return 0;
}

static int umask_use(struct maker_ctx *ctx)
{
	SAME(umask(0), 0137);
	return 0;
}

static int cwd_make(struct maker_ctx *ctx)
{
	CHECK(!mkdir(in_dir(ctx, "here and\tthere"), 0755));
	return chdir(ctx->path);
}

static int cwd_use(struct maker_ctx *ctx)
{
	struct stat a, b;

	CHECK(!stat(".", &a) && !stat(ctx->path, &b));
	SAME(a.st_ino, b.st_ino);
	CHECK(!close(open("../relative", O_CREAT | O_WRONLY, 0600)));
	CHECK(!access(in_dir(ctx, "relative"), F_OK));
	return 0;
}

static int cwd_gone_make(struct maker_ctx *ctx)
{
	TRY(cwd_make(ctx));
	return rmdir(ctx->path);
}

static int cwd_gone_use(struct maker_ctx *ctx)
{
	char path[1000];

	SAME(syscall(SYS_getcwd, path, sizeof(path)), -1);
	SAME(errno, ENOENT);
	return 0;
}

/* Root and working directory elsewhere, in a child: we need ours. */
static int chroot_kid_make(struct maker_ctx *ctx)
{
	CHECK(!mkdir(in_dir(ctx, "jail"), 0755));
	CHECK(!chroot(ctx->path));
	CHECK(!chdir("/"));
	return close(open("/inside", O_CREAT | O_WRONLY, 0600));
}

static int chroot_kid_use(struct maker_ctx *ctx)
{
	char path[100];

	CHECK(!access("/inside", F_OK));
	CHECK(access("/proc", F_OK));
	CHECK(getcwd(path, sizeof(path)) && !strcmp(path, "/"));
	return 0;
}

static int chroot_make(struct maker_ctx *ctx)
{
	return kid_start(ctx, chroot_kid_make, chroot_kid_use, NULL);
}

const struct maker makers_fs[] = {
	ROW("umask", "umask", umask),
	ROW("cwd", "a working directory", cwd),
	{ "cwd-deleted", "a deleted one", cwd_gone_make, cwd_gone_use },
	{ "chroot", "another root directory", chroot_make },
	{ 0 },
};
