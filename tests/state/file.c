/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Open files: offsets, flags, descriptors that share them, files without a name, directories, devices.
 * open(2), fcntl(2). */

#include "maker.h"

#include <sys/prctl.h>

#include <dirent.h>
#include <sys/uio.h>

enum { F_SETSIG_ = 10, F_GETSIG_ = 11 };

static int fd = -1, fd2 = -1;
static char buf[8192];

static int offset_of(int f)
{
	return (int)lseek(f, 0, SEEK_CUR);
}

/* A file of that many bytes by the given name, opened with these flags. */
static int make_file(struct maker_ctx *ctx, const char *name, size_t len, int flags)
{
	int f = open(in_dir(ctx, name), O_CREAT | O_RDWR | O_TRUNC | O_CLOEXEC, 0644);

	fill(buf, sizeof(buf), 1);
	if (f < 0 || write(f, buf, len) != (ssize_t)len || close(f))
		return -1;
	return open(ctx->path, flags);
}

/* Read to the middle; arg: open flags. */

static int offset_make(struct maker_ctx *ctx)
{
	fd = make_file(ctx, "data", 5000, (int)ctx->arg);
	CHECK(fd >= 0);
	SAME(lseek(fd, 1234, SEEK_SET), 1234);
	return 0;
}

static int offset_use(struct maker_ctx *ctx)
{
	char c[16] = "";
	int mode = (int)ctx->arg & O_ACCMODE;

	SAME(fcntl(fd, F_GETFL) &
			(O_ACCMODE | O_APPEND | O_NONBLOCK | O_SYNC | O_DSYNC | O_DIRECT | O_NOATIME | O_ASYNC),
		ctx->arg & ~(O_CLOEXEC));
	SAME(fcntl(fd, F_GETFD), ctx->arg & O_CLOEXEC ? FD_CLOEXEC : 0);
	SAME(offset_of(fd), 1234);
	if (mode != O_WRONLY) {
		SAME(read(fd, c, 16), 16);
		CHECK(!memcmp(c, buf + 1234, 16));
		SAME(lseek(fd, 1234, SEEK_SET), 1234);
	} else {
		SAME(read(fd, c, 1), -1);
		SAME(errno, EBADF);
	}
	if (mode == O_RDONLY) {
		SAME(write(fd, c, 1), -1);
		SAME(errno, EBADF);
	} else {
		SAME(write(fd, "new", 3), 3);
		SAME(offset_of(fd), ctx->arg & O_APPEND ? 5003 : 1237);
	}
	return 0;
}

/* O_DIRECT needs aligned everything: only its flag and offset are looked at. */
static int direct_make(struct maker_ctx *ctx)
{
	fd = make_file(ctx, "data", 8192, O_RDONLY | O_DIRECT);
	NEED(fd >= 0);
	SAME(lseek(fd, 4096, SEEK_SET), 4096);
	return 0;
}

static int direct_use(struct maker_ctx *ctx)
{
	static _Alignas(4096) char page[4096];

	CHECK(fcntl(fd, F_GETFL) & O_DIRECT);
	SAME(read(fd, page, 4096), 4096);
	CHECK(!memcmp(page, buf + 4096, 4096));
	SAME(read(fd, page, 4096), 0);
	return 0;
}

static int path_make(struct maker_ctx *ctx)
{
	fd = make_file(ctx, "data", 10, O_PATH | O_CLOEXEC);
	fd2 = open(ctx->dir, O_PATH | O_DIRECTORY);
	CHECK(fd >= 0 && fd2 >= 0);
	return 0;
}

static int path_use(struct maker_ctx *ctx)
{
	struct stat a, b;

	CHECK(fcntl(fd, F_GETFL) & O_PATH);
	CHECK(fcntl(fd2, F_GETFL) & O_PATH);
	SAME(fcntl(fd, F_GETFD), FD_CLOEXEC);
	SAME(read(fd, buf, 1), -1);
	SAME(errno, EBADF);
	CHECK(!fstat(fd, &a));
	CHECK(!fstatat(fd2, "data", &b, 0));
	SAME(a.st_ino, b.st_ino);
	return 0;
}

static int symlink_path_make(struct maker_ctx *ctx)
{
	CHECK(!symlink("/nowhere at all", in_dir(ctx, "link")));
	fd = open(ctx->path, O_PATH | O_NOFOLLOW);
	CHECK(fd >= 0);
	return 0;
}

static int symlink_path_use(struct maker_ctx *ctx)
{
	char to[64] = "";
	struct stat st;

	CHECK(!fstat(fd, &st) && S_ISLNK(st.st_mode));
	SAME(readlinkat(fd, "", to, sizeof(to)), 15);
	return 0;
}

/* A directory read half way: each name comes once, whatever the order. */

static char seen[200];

static int read_names(int want)
{
	struct {
		uint64_t ino, off;
		unsigned short len;
		unsigned char type;
		char name[];
	} * d;
	int n = 0;

	while (want < 0 || n < want) {
		long r = syscall(SYS_getdents64, fd, buf, want < 0 ? sizeof(buf) : 512);

		CHECK(r >= 0);
		if (!r)
			return 0;
		for (long at = 0; at < r; at += d->len) {
			d = (void *)(buf + at);
			if (d->name[0] == 'f')
				seen[atoi(d->name + 1)]++;
			n++;
		}
	}
	return 0;
}

static int directory_make(struct maker_ctx *ctx)
{
	char path[800];

	CHECK(!mkdir(in_dir(ctx, "many"), 0755));
	for (int i = 0; i < 200; i++) {
		snprintf(path, sizeof(path), "%s/f%d", ctx->path, i);
		CHECK(!close(open(path, O_CREAT | O_WRONLY, 0644)));
	}
	fd = open(ctx->path, O_RDONLY | O_DIRECTORY);
	CHECK(fd >= 0);
	return read_names(60);
}

static int directory_use(struct maker_ctx *ctx)
{
	TRY(read_names(-1));
	for (int i = 0; i < 200; i++)
		SAME(seen[i] + 1000 * i, 1 + 1000 * i);
	return 0;
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
	SAME(offset_of(fd), 100);
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

/* Descriptors of one open file: dup, high numbers, a child's; and two opens of one file. */

static int dup_make(struct maker_ctx *ctx)
{
	fd = make_file(ctx, "data", 5000, O_RDONLY);
	CHECK(fd >= 0);
	SAME(fcntl(fd, F_DUPFD_CLOEXEC, 777), 777);
	SAME(dup2(fd, 60), 60);
	fd2 = open(ctx->path, O_RDONLY);
	CHECK(fd2 >= 0);
	SAME(lseek(fd, 50, SEEK_SET), 50);
	return 0;
}

static int dup_use(struct maker_ctx *ctx)
{
	SAME(offset_of(777), 50);
	SAME(fcntl(777, F_GETFD), FD_CLOEXEC);
	SAME(fcntl(60, F_GETFD), 0);
	SAME(lseek(60, 70, SEEK_SET), 70);
	SAME(offset_of(fd), 70);
	SAME(offset_of(777), 70);
	SAME(offset_of(fd2), 0);
	SAME(open("/dev/null", O_RDONLY), 5 + (fd2 - 4)); /* the lowest that is free */
	return 0;
}

static int inherits(struct maker_ctx *ctx)
{
	SAME(lseek(fd, 99, SEEK_SET), 99);
	SAME(lseek(fd2, 88, SEEK_SET), 88);
	return 0;
}

static int opens_again(struct maker_ctx *ctx)
{
	close(fd2);
	fd2 = open(in_dir(ctx, "data"), O_RDONLY);
	CHECK(fd2 >= 0);
	return 0;
}

static int inherited_make(struct maker_ctx *ctx)
{
	TRY(dup_make(ctx));
	return kid_start(ctx, opens_again, inherits, NULL);
}

static int inherited_use(struct maker_ctx *ctx)
{
	TRY(kids_finish(ctx));
	SAME(offset_of(fd), 99);
	SAME(offset_of(60), 99);
	SAME(offset_of(fd2), 0);
	return 0;
}

static int many_make(struct maker_ctx *ctx)
{
	fd = make_file(ctx, "data", 5000, O_RDONLY);
	CHECK(fd >= 0);
	for (int i = 0; i < 500; i++) {
		int f = open(ctx->path, O_RDONLY);

		CHECK(f >= 0);
		SAME(dup2(f, 1000 + 2 * i), 1000 + 2 * i);
		CHECK(!close(f));
		SAME(lseek(1000 + 2 * i, i, SEEK_SET), i);
	}
	return 0;
}

static int many_use(struct maker_ctx *ctx)
{
	for (int i = 0; i < 500; i++) {
		SAME(offset_of(1000 + 2 * i), i);
		SAME(fcntl(1001 + 2 * i, F_GETFD), -1);
	}
	return 0;
}

/* Who is told when something comes. A pipe, so that something can come. */

static int ends[2];
static volatile sig_atomic_t told, told_fd;

static void tell(int sig, siginfo_t *si, void *uc)
{
	told++;
	told_fd = si->si_fd;
}

static int owner_make(struct maker_ctx *ctx)
{
	struct sigaction sa = { .sa_sigaction = tell, .sa_flags = SA_SIGINFO };

	CHECK(!sigaction(SIGRTMIN + 7, &sa, NULL));
	CHECK(!pipe(ends));
	CHECK(!fcntl(ends[0], F_SETOWN, getpid()));
	CHECK(!fcntl(ends[0], F_SETSIG_, SIGRTMIN + 7));
	CHECK(!fcntl(ends[0], F_SETFL, O_ASYNC | O_NONBLOCK));
	return 0;
}

static int owner_use(struct maker_ctx *ctx)
{
	SAME(fcntl(ends[0], F_GETOWN), getpid());
	SAME(fcntl(ends[0], F_GETSIG_), SIGRTMIN + 7);
	SAME(fcntl(ends[0], F_GETFL) & (O_ASYNC | O_NONBLOCK), O_ASYNC | O_NONBLOCK);
	SAME(told, 0);
	SAME(write(ends[1], "x", 1), 1);
	CHECK(UNTIL(told == 1));
	SAME(told_fd, ends[0]);
	return 0;
}

static int owner_group_make(struct maker_ctx *ctx)
{
	struct f_owner_ex o = { F_OWNER_TID, tid_self() };

	TRY(owner_make(ctx));
	CHECK(!fcntl(ends[0], F_SETOWN_EX, &o));
	CHECK(!fcntl(ends[1], F_SETOWN, -getpgrp()));
	return 0;
}

static int owner_group_use(struct maker_ctx *ctx)
{
	struct f_owner_ex o;

	CHECK(!fcntl(ends[0], F_GETOWN_EX, &o));
	SAME(o.type, F_OWNER_TID);
	SAME(o.pid, tid_self());
	CHECK(!fcntl(ends[1], F_GETOWN_EX, &o));
	SAME(o.type, F_OWNER_PGRP);
	SAME(o.pid, getpgrp());
	return 0;
}

/* The identity with which the owner was set decides whom the signal reaches. */

#ifndef F_GETOWNER_UIDS
#define F_GETOWNER_UIDS 17
#endif

static int owner_uid_make(struct maker_ctx *ctx)
{
	uid_t uids[2];

	CHECK(!pipe(ends));
	CHECK(!syscall(SYS_setresuid, 1005, 1006, -1));
	CHECK(!fcntl(ends[0], F_SETOWN, getpid()));
	CHECK(!syscall(SYS_setresuid, 0, 0, -1));
	CHECK(!prctl(PR_SET_DUMPABLE, 1));
	NEED(!fcntl(ends[0], F_GETOWNER_UIDS, uids));
	return 0;
}

static int owner_uid_use(struct maker_ctx *ctx)
{
	uid_t uids[2];

	CHECK(!fcntl(ends[0], F_GETOWNER_UIDS, uids));
	SAME(uids[0], 1005);
	SAME(uids[1], 1006);
	return 0;
}

/* Of another user and group. arg: a pipe, not an unlinked file. */

static int owned_fd;

static int owned_make(struct maker_ctx *ctx)
{
	if (ctx->arg) {
		CHECK(!pipe(ends));
		owned_fd = ends[0];
	} else {
		owned_fd = open(in_dir(ctx, "owned"), O_CREAT | O_RDWR, 0600);
		CHECK(owned_fd >= 0 && !unlink(ctx->path));
	}
	return fchown(owned_fd, 1005, 1006);
}

static int owned_use(struct maker_ctx *ctx)
{
	struct stat st;

	CHECK(!fstat(owned_fd, &st));
	SAME(st.st_uid, 1005);
	SAME(st.st_gid, 1006);
	return 0;
}

/* Devices that anybody may open. */

static const char *const devices[] = { "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom" };
static int device_fds[5];

static int devices_make(struct maker_ctx *ctx)
{
	for (int i = 0; i < 5; i++)
		CHECK((device_fds[i] = open(devices[i], O_RDWR | (i & 1 ? O_CLOEXEC : O_NONBLOCK))) >= 0);
	return 0;
}

static int devices_use(struct maker_ctx *ctx)
{
	char c = 1;

	SAME(read(device_fds[0], &c, 1), 0);
	SAME(read(device_fds[1], &c, 1), 1);
	SAME(c, 0);
	SAME(write(device_fds[2], &c, 1), -1);
	SAME(errno, ENOSPC);
	SAME(read(device_fds[3], &c, 1), 1);
	SAME(read(device_fds[4], buf, 4096), 4096);
	return 0;
}

static int proc_make(struct maker_ctx *ctx)
{
	fd = open("/proc/self/status", O_RDONLY);
	fd2 = open("/proc/self", O_RDONLY | O_DIRECTORY);
	CHECK(fd >= 0 && fd2 >= 0);
	return 0;
}

static int proc_use(struct maker_ctx *ctx)
{
	char comm[32] = "";
	int f = openat(fd2, "comm", O_RDONLY);

	SAME(read(f, comm, 5), 5);
	CHECK(!memcmp(comm, "spore", 5));
	CHECK(read(fd, buf, 100) == 100 && !memcmp(buf, "Name:", 5));
	return 0;
}

/* Mapped files. arg: 1 shared, 2 written through the mapping, 4 unlinked, 8 read-only descriptor closed
 * before. */

enum { SHARED = 1, WRITTEN = 2, GONE = 4, CLOSED = 8 };

static int mapped_make(struct maker_ctx *ctx)
{
	long how = ctx->arg;

	fd = make_file(ctx, "mapped", 8192, how & SHARED ? O_RDWR : O_RDONLY);
	CHECK(fd >= 0);
	view = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, how & SHARED ? MAP_SHARED : MAP_PRIVATE, fd, 0);
	CHECK(view != MAP_FAILED);
	if (how & WRITTEN)
		memcpy(view + 100, "written", 7);
	if (how & GONE)
		CHECK(!unlink(ctx->path));
	if (how & CLOSED)
		CHECK(!close(fd));
	return 0;
}

static int mapped_use(struct maker_ctx *ctx)
{
	long how = ctx->arg;
	char c[8] = "";

	CHECK(!memcmp(view, buf, 100));
	CHECK(!memcmp(view + 107, buf + 107, 8192 - 107));
	CHECK(!memcmp(view + 100, how & WRITTEN ? "written" : buf + 100, 7));
	view[5000] = 'z';
	if (how & CLOSED)
		return 0;
	SAME(pread(fd, c, 7, 100), 7);
	CHECK(!memcmp(c, how & SHARED && how & WRITTEN ? "written" : buf + 100, 7));
	SAME(pread(fd, c, 1, 5000), 1);
	SAME(c[0] == 'z', (how & SHARED) != 0);
	return 0;
}

/* A private mapping with an offset, shared among processes by fork, one page written by each. */

static int mapped_kid_make(struct maker_ctx *ctx)
{
	view[PAGE] = 'k';
	return 0;
}

static int mapped_kid_use(struct maker_ctx *ctx)
{
	SAME(view[PAGE], 'k');
	SAME(view[0], buf[PAGE]);
	return 0;
}

static int mapped_fork_make(struct maker_ctx *ctx)
{
	fd = make_file(ctx, "mapped", 8192, O_RDWR);
	CHECK(fd >= 0);
	SAME(pwrite(fd, buf, 8192, 8192), 8192);
	view = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, PAGE);
	CHECK(view != MAP_FAILED);
	return kid_start(ctx, mapped_kid_make, mapped_kid_use, NULL);
}

static int mapped_fork_use(struct maker_ctx *ctx)
{
	SAME(view[PAGE], buf[0]);
	return kids_finish(ctx);
}

#define ROW(name, what, of)                                                                                            \
	{                                                                                                              \
		name, what, of##_make, of##_use                                                                        \
	}

const struct maker makers_file[] = {
	{ "read", "a file read half way", offset_make, offset_use, 0, O_RDONLY },
	{ "write", "a file written half way", offset_make, offset_use, 0, O_WRONLY },
	{ "read-write", "a file open for both, close-on-exec", offset_make, offset_use, 0, O_RDWR | O_CLOEXEC },
	{ "append", "O_APPEND", offset_make, offset_use, 0, O_RDWR | O_APPEND },
	{ "sync", "O_SYNC", offset_make, offset_use, 0, O_WRONLY | O_SYNC },
	{ "dsync", "O_DSYNC, non-blocking", offset_make, offset_use, 0, O_RDWR | O_DSYNC | O_NONBLOCK },
	{ "noatime", "O_NOATIME", offset_make, offset_use, 0, O_RDONLY | O_NOATIME },
	ROW("direct", "O_DIRECT", direct),
	ROW("path", "O_PATH of a file and of a directory", path),
	ROW("path-symlink", "O_PATH of a symbolic link", symlink_path),
	ROW("directory", "a directory read half way", directory),
	{ "unlinked", "an unlinked file with its contents", nameless_make, nameless_use, 0, UNLINKED },
	{ "unlinked-empty", "an empty one", nameless_make, nameless_use, 0, UNLINKED_EMPTY },
	{ "unlinked-sparse", "one of a terabyte, mostly holes", nameless_make, nameless_use, 0, UNLINKED_SPARSE },
	{ "unlinked-read-only", "one open for reading only", nameless_make, nameless_use, 0, UNLINKED_READONLY },
	{ "tmpfile", "O_TMPFILE, given a name in the end", nameless_make, nameless_use, 0, TMPFILE },
	{ "unlinked-owned", "one of another user and group", owned_make, owned_use, 0, 0 },
	{ "pipe-owned", "a pipe of another user and group", owned_make, owned_use, 0, 1 },
	ROW("owner-uid", "an owner set by another user", owner_uid),
	ROW("unlinked-twice", "one opened twice and mapped", nameless_twice),
	{ "unlinked-nofollow", "one opened thrice with O_NOFOLLOW", nofollow_make, nofollow_use, 0, 0 },
	{ "unlinked-nofollow-tmpfile", "the same, made without a name", nofollow_make, nofollow_use, 0, 1 },
	{ "linked-elsewhere", "an unlinked file with another name", linked_elsewhere_make, linked_elsewhere_use,
		MAKER_MAY_REFUSE },
	ROW("renamed", "a renamed file, its new name odd", renamed),
	ROW("replaced", "a file whose name is now another's", replaced),
	ROW("dup", "descriptors of one open file", dup),
	ROW("inherited", "a child's descriptors of the same open file, and its own", inherited),
	ROW("many", "five hundred descriptors", many),
	ROW("owner", "O_ASYNC with an owner and a signal", owner),
	ROW("owner-kinds", "a thread and a group as owners", owner_group),
	ROW("devices", "null, zero, full, random, urandom", devices),
	{ "proc", "a file and a directory of /proc/self", proc_make, proc_use, MAKER_MAY_REFUSE },
	{ "mapped-private", "a private mapping", mapped_make, mapped_use, 0, 0 },
	{ "mapped-private-written", "a private mapping, written", mapped_make, mapped_use, 0, WRITTEN },
	{ "mapped-private-closed", "a private mapping, descriptor closed", mapped_make, mapped_use, 0,
		WRITTEN | CLOSED },
	{ "mapped-shared", "a shared mapping", mapped_make, mapped_use, 0, SHARED },
	{ "mapped-shared-written", "a shared mapping, written", mapped_make, mapped_use, 0, SHARED | WRITTEN },
	{ "mapped-shared-unlinked", "a shared mapping of an unlinked file", mapped_make, mapped_use, 0,
		SHARED | WRITTEN | GONE },
	{ "mapped-shared-unlinked-closed", "the same, descriptor closed", mapped_make, mapped_use, 0,
		SHARED | WRITTEN | GONE | CLOSED },
	{ "mapped-private-unlinked", "a private mapping of an unlinked file", mapped_make, mapped_use, 0,
		WRITTEN | GONE | CLOSED },
	ROW("mapped-fork", "a private mapping with an offset in two processes", mapped_fork),
	{ 0 },
};
