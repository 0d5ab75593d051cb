/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files that live in memory. memfd_create(2), fcntl(2) on seals. */

#include "maker.h"

#include <sys/sendfile.h>
#include <sys/xattr.h>

#include <linux/memfd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8
#endif

static int fd = -1, fd2 = -1;
static char *view;
static char buf[5000];

static int make(struct maker_ctx *ctx, unsigned flags)
{
	fd = memfd_create("a name", flags | MFD_CLOEXEC);
	NEED(fd >= 0);
	fill(buf, sizeof(buf), 1);
	SAME(write(fd, buf, sizeof(buf)), sizeof(buf));
	SAME(lseek(fd, 321, SEEK_SET), 321);
	return 0;
}

static int contents(void)
{
	static char back[5000];
	struct stat st;

	CHECK(!fstat(fd, &st));
	SAME(st.st_size, sizeof(buf));
	SAME(lseek(fd, 0, SEEK_CUR), 321);
	SAME(pread(fd, back, sizeof(back), 0), sizeof(back));
	CHECK(!memcmp(back, buf, sizeof(back)));
	return 0;
}

static int plain_make(struct maker_ctx *ctx)
{
	TRY(make(ctx, 0));
	return fchmod(fd, 0610);
}

static int plain_use(struct maker_ctx *ctx)
{
	char to[64] = "";
	struct stat st;

	TRY(contents());
	SAME(fcntl(fd, F_GET_SEALS), F_SEAL_SEAL);
	SAME(fcntl(fd, F_GETFD), FD_CLOEXEC);
	CHECK(!fstat(fd, &st));
	SAME(st.st_mode & 07777, 0610);
	CHECK(readlink("/proc/self/fd/3", to, sizeof(to) - 1) > 0);
	SAME(strcmp(to, "/memfd:a name (deleted)"), 0);
	SAME(write(fd, "x", 1), 1);
	return 0;
}

static int empty_make(struct maker_ctx *ctx)
{
	fd = memfd_create("", 0);
	CHECK(fd >= 0);
	return 0;
}

static int empty_use(struct maker_ctx *ctx)
{
	SAME(lseek(fd, 0, SEEK_END), 0);
	SAME(write(fd, "x", 1), 1);
	return 0;
}

static int sparse_make(struct maker_ctx *ctx)
{
	fd = memfd_create("sparse", 0);
	CHECK(fd >= 0);
	CHECK(!ftruncate(fd, 1ll << 40));
	SAME(pwrite(fd, "mid", 3, 1ll << 39), 3);
	return 0;
}

static int sparse_use(struct maker_ctx *ctx)
{
	struct stat st;
	char c[4];

	CHECK(!fstat(fd, &st));
	SAME(st.st_size, 1ll << 40);
	CHECK(st.st_blocks <= 16);
	SAME(pread(fd, c, 4, (1ll << 39) - 1), 4);
	CHECK(!memcmp(c, "\0mid", 4));
	return 0;
}

/* arg: seals */

static int seals_make(struct maker_ctx *ctx)
{
	TRY(make(ctx, MFD_ALLOW_SEALING));
	return ctx->arg ? fcntl(fd, F_ADD_SEALS, ctx->arg) : 0;
}

static int seals_use(struct maker_ctx *ctx)
{
	TRY(contents());
	SAME(fcntl(fd, F_GET_SEALS), ctx->arg);
	SAME(pwrite(fd, "x", 1, 0), ctx->arg & F_SEAL_WRITE ? -1 : 1);
	SAME(ftruncate(fd, 4000), ctx->arg & F_SEAL_SHRINK ? -1 : 0);
	SAME(ftruncate(fd, 9000), ctx->arg & F_SEAL_GROW ? -1 : 0);
	SAME(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), ctx->arg & F_SEAL_SEAL ? -1 : 0);
	return 0;
}

/* Writing forbidden from now on, but for the mapping that was there before. */
static int future_make(struct maker_ctx *ctx)
{
	TRY(make(ctx, MFD_ALLOW_SEALING));
	view = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(view != MAP_FAILED);
	NEED(!fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
	return 0;
}

static int future_use(struct maker_ctx *ctx)
{
	char c;

	TRY(contents());
	view[7] = 'w';
	SAME(pread(fd, &c, 1, 7), 1);
	SAME(c, 'w');
	SAME(write(fd, "x", 1), -1);
	SAME(errno, EPERM);
	CHECK(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
	return 0;
}

static int noexec_make(struct maker_ctx *ctx)
{
	return make(ctx, MFD_NOEXEC_SEAL);
}

static int noexec_use(struct maker_ctx *ctx)
{
	TRY(contents());
	CHECK(fcntl(fd, F_GET_SEALS) & 0x20);
	SAME(fchmod(fd, 0700), -1);
	return 0;
}

/* Mapped. arg: 1 shared, 2 descriptor closed. */

static int mapped_make(struct maker_ctx *ctx)
{
	TRY(make(ctx, 0));
	view = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, ctx->arg & 1 ? MAP_SHARED : MAP_PRIVATE, fd, 0);
	CHECK(view != MAP_FAILED);
	view[10] = 'm';
	return ctx->arg & 2 ? close(fd) : 0;
}

static int mapped_use(struct maker_ctx *ctx)
{
	char c;

	SAME(view[10], 'm');
	CHECK(!memcmp(view + 11, buf + 11, sizeof(buf) - 11));
	SAME(view[6000], 0);
	view[20] = 'n';
	if (ctx->arg & 2)
		return 0;
	SAME(pread(fd, &c, 1, 20), 1);
	SAME(c == 'n', ctx->arg & 1);
	SAME(pwrite(fd, "o", 1, 30), 1);
	if (ctx->arg & 1)
		SAME(view[30], 'o');
	return 0;
}

/* Opened again through /proc: another offset and mode, the same contents; and handed to a child. */

static int writes(struct maker_ctx *ctx)
{
	SAME(pwrite(fd, "child", 5, 100), 5);
	return 0;
}

static int twice_make(struct maker_ctx *ctx)
{
	TRY(make(ctx, 0));
	fd2 = open("/proc/self/fd/3", O_RDONLY);
	CHECK(fd2 >= 0);
	SAME(lseek(fd2, 100, SEEK_SET), 100);
	return kid_start(ctx, NULL, writes, NULL);
}

static int twice_use(struct maker_ctx *ctx)
{
	char c[5];

	TRY(kids_finish(ctx));
	SAME(lseek(fd, 0, SEEK_CUR), 321);
	SAME(read(fd2, c, 5), 5);
	CHECK(!memcmp(c, "child", 5));
	SAME(write(fd2, c, 1), -1);
	return 0;
}

/* Given to another user and group. */
static int owned_make(struct maker_ctx *ctx)
{
	TRY(make(ctx, 0));
	CHECK(!fsetxattr(fd, "trusted.maker", "value", 5, 0));
	return fchown(fd, 1005, 1006);
}

static int owned_use(struct maker_ctx *ctx)
{
	struct stat st;
	char value[8];

	TRY(contents());
	SAME(fgetxattr(fd, "trusted.maker", value, sizeof(value)), 5);
	CHECK(!memcmp(value, "value", 5));
	CHECK(!fstat(fd, &st));
	SAME(st.st_uid, 1005);
	SAME(st.st_gid, 1006);
	return 0;
}

/* A program that was started from one, and has it open still. */

static pid_t runs;

static int executed_make(struct maker_ctx *ctx)
{
	int own = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	static char name[] = "of-memory", wait[] = "--wait", answer[] = "5";
	char *args[] = { name, wait, NULL, answer, NULL };
	struct stat st;

	fd = memfd_create("program", 0);
	CHECK(fd >= 0 && own >= 0 && !fstat(own, &st));
	SAME(sendfile(fd, own, NULL, (size_t)st.st_size), st.st_size);
	CHECK(!close(own));
	CHECK(!mkfifo(in_dir(ctx, "exit-now"), 0600));
	args[2] = ctx->path;
	runs = fork();
	CHECK(runs >= 0);
	if (!runs) {
		fexecve(fd, args, environ);
		_exit(99);
	}
	return until_blocked_in(runs, SYS_openat);
}

static int executed_use(struct maker_ctx *ctx)
{
	char path[64], target[64] = "";
	int status;

	snprintf(path, sizeof(path), "/proc/%d/exe", runs);
	CHECK(readlink(path, target, sizeof(target) - 1) > 0);
	SAME(strcmp(target, "/memfd:program (deleted)"), 0);
	CHECK(!close(open(in_dir(ctx, "exit-now"), O_WRONLY)));
	SAME(waitpid(runs, &status, 0), runs);
	SAME(status, 5 << 8);
	return 0;
}

const struct maker makers_memfd[] = {
	ROW("plain", "a memfd with contents", plain),
	ROW("empty", "an empty one without a name", empty),
	ROW("sparse", "one of a terabyte", sparse),
	{ "seals-none", "one that may be sealed", seals_make, seals_use, 0, 0 },
	{ "seals-shrink", "sealed against shrinking", seals_make, seals_use, 0, F_SEAL_SHRINK },
	{ "seals-write", "sealed against writing", seals_make, seals_use, 0, F_SEAL_WRITE },
	{ "seals-all", "sealed against everything", seals_make, seals_use, 0,
		F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL },
	ROW("seals-future", "sealed against future writing, a mapping from before", future),
	ROW("seals-exec", "sealed against execution", noexec),
	{ "mapped-private", "mapped privately", mapped_make, mapped_use, 0, 0 },
	{ "mapped-shared", "mapped shared", mapped_make, mapped_use, 0, 1 },
	{ "mapped-private-closed", "mapped privately, descriptor closed", mapped_make, mapped_use, 0, 2 },
	{ "mapped-shared-closed", "mapped shared, descriptor closed", mapped_make, mapped_use, 0, 3 },
	ROW("twice", "opened twice and handed to a child", twice),
	ROW("executed", "a program that was started from one", executed),
	ROW("owned", "of another user and group", owned),
	{ 0 },
};
