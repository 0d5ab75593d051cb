/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files whose name is gone, was never there, or is another's by now: they are kept with their contents. unlink(2), open(2). */

#include "maker.h"

#include <sys/xattr.h>

static int fd = -1, fd2 = -1;
static char buf[8192];

static int make_file(struct maker_ctx *ctx, const char *name, size_t len, int flags)
{
	fill(buf, sizeof(buf), 1);
	return new_file(ctx, name, buf, len, flags);
}

/* Files without a name. arg: how it lost it. */
enum { UNLINKED, TMPFILE, UNLINKED_SPARSE, UNLINKED_EMPTY, UNLINKED_READONLY };

static const off_t far_end = 1ll << 40;

static int nameless_make(struct maker_ctx *ctx)
{
	if (ctx->arg == TMPFILE) {
		fd = open(ctx->dir, O_TMPFILE | O_RDWR, 0640);
		NEED(fd >= 0);
		fill(buf, sizeof(buf), 1);
		SAME(write(fd, buf, 5000), 5000);
	} else {
		fd = make_file(ctx, "gone", ctx->arg == UNLINKED_EMPTY ? 0 : 5000,
			ctx->arg == UNLINKED_READONLY ? O_RDONLY : O_RDWR);
		CHECK(fd >= 0);
		CHECK(!unlink(ctx->path));
	}
	if (ctx->arg == UNLINKED_SPARSE) {
		SAME(pwrite(fd, "far", 3, far_end), 3);
		SAME(pwrite(fd, "mid", 3, 3000000), 3);
	}
	CHECK(fchmod(fd, 0640) == 0);
	SAME(lseek(fd, 100, SEEK_SET), 100);
	return 0;
}

static int nameless_use(struct maker_ctx *ctx)
{
	struct stat st;
	char c[16];

	CHECK(!fstat(fd, &st));
	SAME(st.st_nlink, 0);
	SAME(st.st_mode & 07777, 0640);
	SAME(lseek(fd, 0, SEEK_CUR), 100);
	if (ctx->arg == UNLINKED_EMPTY) {
		SAME(st.st_size, 0);
		SAME(write(fd, "x", 1), 1);
		return 0;
	}
	SAME(st.st_size, ctx->arg == UNLINKED_SPARSE ? far_end + 3 : 5000);
	SAME(pread(fd, c, 16, 4000), 16);
	CHECK(!memcmp(c, buf + 4000, 16));
	if (ctx->arg == UNLINKED_SPARSE) {
		SAME(pread(fd, c, 4, 2999999), 4);
		CHECK(!memcmp(c, "\0mid", 4));
		SAME(pread(fd, c, 4, far_end - 1), 4);
		CHECK(!memcmp(c, "\0far", 4));
		CHECK(st.st_blocks < 1000);
	}
	SAME(write(fd, "new", 3), ctx->arg == UNLINKED_READONLY ? -1 : 3);
	if (ctx->arg == TMPFILE) {
		char self[64];

		snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
		CHECK(!linkat(AT_FDCWD, self, AT_FDCWD, in_dir(ctx, "linked"), AT_SYMLINK_FOLLOW));
	}
	return 0;
}

/* One unlinked file, opened twice and mapped. */
static char *view;

static int nameless_twice_make(struct maker_ctx *ctx)
{
	fd = make_file(ctx, "gone", 5000, O_RDWR);
	fd2 = open(ctx->path, O_RDONLY);
	CHECK(fd >= 0 && fd2 >= 0);
	view = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(view != MAP_FAILED);
	return unlink(ctx->path);
}

static int nameless_twice_use(struct maker_ctx *ctx)
{
	char c[4];

	SAME(pwrite(fd, "both", 4, 10), 4);
	SAME(pread(fd2, c, 4, 10), 4);
	CHECK(!memcmp(c, "both", 4));
	CHECK(!memcmp(view + 10, "both", 4));
	view[11] = 'a';
	SAME(pread(fd2, c, 4, 10), 4);
	CHECK(!memcmp(c, "bath", 4));
	return 0;
}

/* Opened by its name without following links, more than once; and one that had no name at first. arg: made with O_TMPFILE. */
static int fd3 = -1;

static int nofollow_make(struct maker_ctx *ctx)
{
	char path[700], self[48];

	strcpy(path, in_dir(ctx, "gone"));
	fd = ctx->arg ? open(ctx->dir, O_TMPFILE | O_RDWR, 0644) : open(path, O_CREAT | O_RDWR | O_NOFOLLOW, 0644);
	CHECK(fd >= 0);
	SAME(write(fd, "contents", 8), 8);
	if (ctx->arg) {
		snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
		CHECK(!linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW));
	}
	fd2 = open(path, O_RDONLY | O_NOFOLLOW);
	fd3 = open(path, O_PATH | O_NOFOLLOW);
	CHECK(fd2 >= 0 && fd3 >= 0);
	SAME(lseek(fd2, 3, SEEK_SET), 3);
	return unlink(path);
}

static int nofollow_use(struct maker_ctx *ctx)
{
	struct stat st, other;
	char c[16];

	CHECK(fcntl(fd, F_GETFL) & (ctx->arg ? O_TMPFILE & ~O_DIRECTORY : O_NOFOLLOW));
	SAME(fcntl(fd2, F_GETFL) & (O_NOFOLLOW | O_ACCMODE), O_NOFOLLOW);
	SAME(fcntl(fd3, F_GETFL), O_PATH | O_NOFOLLOW);
	SAME(read(fd2, c, sizeof(c)), 5);
	CHECK(!memcmp(c, "tents", 5));
	CHECK(!fstat(fd, &st) && !fstat(fd3, &other));
	SAME(st.st_ino, other.st_ino);
	SAME(st.st_nlink, 0);
	SAME(pwrite(fd, "X", 1, 0), 1);
	SAME(pread(fd2, c, 1, 0), 1);
	SAME(c[0], 'X');
	return 0;
}

/* Unlinked here, but with another name that nobody told. */
static int linked_elsewhere_make(struct maker_ctx *ctx)
{
	char other[800];

	fd = make_file(ctx, "first", 5000, O_RDWR);
	CHECK(fd >= 0);
	snprintf(other, sizeof(other), "%s/second", ctx->dir);
	CHECK(!link(ctx->path, other));
	return unlink(ctx->path);
}

static int linked_elsewhere_use(struct maker_ctx *ctx)
{
	struct stat a, b;

	CHECK(!fstat(fd, &a));
	CHECK(!stat(in_dir(ctx, "second"), &b));
	SAME(a.st_ino, b.st_ino);
	SAME(a.st_nlink, 1);
	CHECK(access(in_dir(ctx, "first"), F_OK) < 0);
	return 0;
}

/* The same in another directory, mapped, and opened by both names. */

static char *elsewhere;

static int linked_mapped_make(struct maker_ctx *ctx)
{
	char other[800];

	CHECK(!mkdir(in_dir(ctx, "far"), 0755));
	snprintf(other, sizeof(other), "%s/far/second", ctx->dir);
	fd = make_file(ctx, "first", 5000, O_RDWR);
	CHECK(fd >= 0);
	elsewhere = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(elsewhere != MAP_FAILED && !link(ctx->path, other));
	fd2 = open(ctx->path, O_PATH | O_NOFOLLOW);
	CHECK(fd2 >= 0);
	return unlink(ctx->path);
}

static int linked_mapped_use(struct maker_ctx *ctx)
{
	struct stat a, b;
	char c;

	CHECK(!fstat(fd2, &a) && !stat(in_dir(ctx, "far/second"), &b));
	SAME(a.st_ino, b.st_ino);
	SAME(a.st_nlink, 1);
	elsewhere[7] = 'Q';
	SAME(pread(fd, &c, 1, 7), 1);
	SAME(c, 'Q');
	CHECK(access(in_dir(ctx, "first"), F_OK) < 0);
	return 0;
}

/* A directory that was removed: open, and worked in by two processes. */

static int same_directory(int f)
{
	struct stat a, b;

	CHECK(!fstat(f, &a) && !stat(".", &b));
	SAME(a.st_ino, b.st_ino);
	SAME(a.st_nlink, 0);
	SAME(a.st_mode, S_IFDIR | 0711);
	SAME(a.st_uid, 1007);
	return 0;
}

static int removed_kid(struct maker_ctx *ctx)
{
	return same_directory(fd);
}

static int removed_make(struct maker_ctx *ctx)
{
	CHECK(!mkdir(in_dir(ctx, "gone"), 0711) && !chown(ctx->path, 1007, 1008) && !chmod(ctx->path, 0711));
	fd = open(ctx->path, O_RDONLY | O_DIRECTORY);
	CHECK(fd >= 0 && !chdir(ctx->path));
	TRY(kid_start(ctx, NULL, removed_kid, NULL));
	return rmdir(ctx->path);
}

static int removed_use(struct maker_ctx *ctx)
{
	char path[800];

	TRY(same_directory(fd));
	CHECK(!getcwd(path, sizeof(path)));
	SAME(errno, ENOENT);
	SAME(open("new", O_CREAT | O_WRONLY, 0600), -1);
	SAME(errno, ENOENT);
	TRY(kids_finish(ctx));
	return access(in_dir(ctx, "gone"), F_OK) == 0;
}

/* Worked in only. */
static int removed_cwd_make(struct maker_ctx *ctx)
{
	CHECK(!mkdir(in_dir(ctx, "gone"), 0711) && !chdir(ctx->path));
	return rmdir(ctx->path);
}

static int removed_cwd_use(struct maker_ctx *ctx)
{
	char path[800];
	struct stat st;

	CHECK(!getcwd(path, sizeof(path)));
	SAME(errno, ENOENT);
	CHECK(!stat(".", &st));
	SAME(st.st_nlink, 0);
	SAME(st.st_mode & 07777, 0711);
	return 0;
}

static int renamed_make(struct maker_ctx *ctx)
{
	char other[800];

	fd = make_file(ctx, "first", 5000, O_RDWR);
	CHECK(fd >= 0);
	snprintf(other, sizeof(other), "%s/a new name \n\\040 (deleted)", ctx->dir);
	return rename(ctx->path, other);
}

static int renamed_use(struct maker_ctx *ctx)
{
	struct stat a, b;

	CHECK(!fstat(fd, &a));
	CHECK(!stat(in_dir(ctx, "a new name \n\\040 (deleted)"), &b));
	SAME(a.st_ino, b.st_ino);
	SAME(pwrite(fd, "x", 1, 0), 1);
	return 0;
}

/* A name that now belongs to another file. */
static int replaced_make(struct maker_ctx *ctx)
{
	fd = make_file(ctx, "data", 5000, O_RDONLY);
	CHECK(fd >= 0);
	CHECK(!unlink(ctx->path));
	fd2 = make_file(ctx, "data", 3000, O_RDONLY);
	CHECK(fd2 >= 0);
	return 0;
}

static int replaced_use(struct maker_ctx *ctx)
{
	SAME(lseek(fd, 0, SEEK_END), 5000);
	SAME(lseek(fd2, 0, SEEK_END), 3000);
	return 0;
}

/* Of another user and group. arg: a pipe, not an unlinked file. */

static int ends[2], owned_fd;

static int owned_make(struct maker_ctx *ctx)
{
	if (ctx->arg) {
		CHECK(!pipe(ends));
		owned_fd = ends[0];
	} else {
		owned_fd = open(in_dir(ctx, "owned"), O_CREAT | O_RDWR, 0600);
		CHECK(owned_fd >= 0 && !unlink(ctx->path));
		NEED(!fsetxattr(owned_fd, "trusted.maker", "value", 5, 0));
	}
	return fchown(owned_fd, 1005, 1006);
}

static int owned_use(struct maker_ctx *ctx)
{
	struct stat st;
	char value[8];

	SAME(fgetxattr(owned_fd, "trusted.maker", value, sizeof(value)), ctx->arg ? -1 : 5);
	CHECK(!fstat(owned_fd, &st));
	SAME(st.st_uid, 1005);
	SAME(st.st_gid, 1006);
	return 0;
}

const struct maker makers_nameless[] = {
	{ "unlinked", "an unlinked file with its contents", nameless_make, nameless_use, 0, UNLINKED },
	{ "unlinked-empty", "an empty one", nameless_make, nameless_use, 0, UNLINKED_EMPTY },
	{ "unlinked-sparse", "one of a terabyte, mostly holes", nameless_make, nameless_use, 0, UNLINKED_SPARSE },
	{ "unlinked-read-only", "one open for reading only", nameless_make, nameless_use, 0, UNLINKED_READONLY },
	{ "tmpfile", "O_TMPFILE, given a name in the end", nameless_make, nameless_use, 0, TMPFILE },
	{ "unlinked-owned", "one of another user and group", owned_make, owned_use, 0, 0 },
	{ "pipe-owned", "a pipe of another user and group", owned_make, owned_use, 0, 1 },
	ROW("unlinked-twice", "one opened twice and mapped", nameless_twice),
	{ "unlinked-nofollow", "one opened thrice with O_NOFOLLOW", nofollow_make, nofollow_use, 0, 0 },
	{ "unlinked-nofollow-tmpfile", "the same, made without a name", nofollow_make, nofollow_use, 0, 1 },
	ROW("linked-elsewhere", "an unlinked file with another name", linked_elsewhere),
	ROW("linked-mapped", "the same in another directory, mapped, opened twice", linked_mapped),
	ROW("removed-directory", "a removed directory, open and worked in", removed),
	ROW("removed-cwd", "a removed working directory", removed_cwd),
	ROW("renamed", "a renamed file, its new name odd", renamed),
	ROW("replaced", "a file whose name is now another's", replaced),
	{ 0 },
};
