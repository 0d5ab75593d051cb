/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Open files: offsets, flags, descriptors that share them, directories, devices. open(2), fcntl(2), dup(2). */

#include "maker.h"

static int fd = -1, fd2 = -1;
static char buf[8192];

static int offset_of(int f)
{
	return (int)lseek(f, 0, SEEK_CUR);
}

static int make_file(struct maker_ctx *ctx, const char *name, size_t len, int flags)
{
	fill(buf, sizeof(buf), 1);
	return new_file(ctx, name, buf, len, flags);
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

/* Two names of one file, each opened: neither is shown, and reached, by the other's. */

static int names_make(struct maker_ctx *ctx)
{
	char other[sizeof(ctx->dir) + 8];

	fd = make_file(ctx, "data", 10, O_RDONLY);
	CHECK(fd >= 0);
	snprintf(other, sizeof(other), "%s/other", ctx->dir);
	CHECK(!link(in_dir(ctx, "data"), other));
	fd2 = open(other, O_RDWR);
	CHECK(fd2 >= 0);
	return 0;
}

static int is_named(int which, const char *name)
{
	char link[32], path[300] = "";

	snprintf(link, sizeof(link), "/proc/self/fd/%d", which);
	CHECK(readlink(link, path, sizeof(path) - 1) > 0 && strrchr(path, '/'));
	CHECK(!strcmp(strrchr(path, '/') + 1, name));
	return 0;
}

static int names_use(struct maker_ctx *ctx)
{
	TRY(is_named(fd, "data"));
	TRY(is_named(fd2, "other"));
	SAME(pwrite(fd2, "new", 3, 0), 3);
	SAME(pread(fd, buf, 3, 0), 3);
	CHECK(!memcmp(buf, "new", 3));
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

/*
 * Many descriptions of one file, which only kcmp can tell apart, of three processes: each child has what another has not, some twice, and its own.
 * Each offset that the parent sets is then seen by all who share it, and by nobody else.
 */
enum { SHARED = 300, SHARED_AT = 100, TWICE_AT = 500, OWN_AT = 900 };
static int which;

static int shared_kid_make(struct maker_ctx *ctx)
{
	for (int i = 0; i < SHARED; i++) {
		if (i % 5 == which)
			SAME(dup2(SHARED_AT + i, TWICE_AT + i), TWICE_AT + i);
		if (i % 4 == which)
			CHECK(!close(SHARED_AT + i));
		if (i % 3 == which) {
			int f = open(in_dir(ctx, "data"), O_RDONLY);

			CHECK(f >= 0 && dup2(f, OWN_AT + i) >= 0 && !close(f));
		}
	}
	return 0;
}

static int shared_kid_use(struct maker_ctx *ctx)
{
	for (int i = 0; i < SHARED; i++) {
		SAME(offset_of(SHARED_AT + i), i % 4 == which ? -1 : i + 1);
		SAME(offset_of(TWICE_AT + i), i % 5 == which ? i + 1 : -1);
		SAME(offset_of(OWN_AT + i), i % 3 == which ? 0 : -1);
	}
	return 0;
}

static int shared_many_make(struct maker_ctx *ctx)
{
	fd = make_file(ctx, "data", 5000, O_RDONLY);
	for (int i = 0; i < SHARED; i++) {
		int f = open(ctx->path, O_RDONLY);

		CHECK(f >= 0 && dup2(f, SHARED_AT + i) >= 0 && !close(f));
	}
	for (which = 0; which < 2; which++)
		TRY(kid_start(ctx, shared_kid_make, shared_kid_use, NULL));
	return 0;
}

static int shared_many_use(struct maker_ctx *ctx)
{
	for (int i = 0; i < SHARED; i++)
		SAME(lseek(SHARED_AT + i, i + 1, SEEK_SET), i + 1);
	return kids_finish(ctx);
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

/* Told that it is read in no order: nothing is read ahead. arg: also once, and in order. */
enum { ADVISED = 1 << 20 };

static int pages_cached(int f)
{
	char *at = mmap(NULL, ADVISED, PROT_READ, MAP_SHARED, f, 0);
	unsigned char in[ADVISED / PAGE];
	int n = 0;

	if (at == MAP_FAILED || mincore(at, ADVISED, in) < 0)
		return -1;
	for (size_t i = 0; i < sizeof(in); i++)
		n += in[i] & 1;
	munmap(at, ADVISED);
	return n;
}

static int read_uncached(int f)
{
	char c;

	return fdatasync(f) < 0 || posix_fadvise(f, 0, 0, POSIX_FADV_DONTNEED) || pages_cached(f) ||
			       pread(f, &c, 1, 0) != 1
		       ? -1
		       : pages_cached(f);
}

static int advised_make(struct maker_ctx *ctx)
{
	fd = make_file(ctx, "data", 5000, O_RDWR);
	CHECK(fd >= 0 && !posix_fallocate(fd, 0, ADVISED));
	fd2 = open(ctx->path, O_RDWR);
	NEED(read_uncached(fd2) > 1);
	if (ctx->arg)
		CHECK(!posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL) && !posix_fadvise(fd, 0, 0, POSIX_FADV_NOREUSE));
	CHECK(!posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM));
	NEED(read_uncached(fd) == 1);
	return 0;
}

static int advised_use(struct maker_ctx *ctx)
{
	CHECK(read_uncached(fd2) > 1);
	SAME(read_uncached(fd), 1);
	return 0;
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
	ROW("dup", "descriptors of one open file", dup),
	ROW("inherited", "a child's descriptors of the same open file, and its own", inherited),
	ROW("many", "five hundred descriptors", many),
	ROW("shared-many", "many open files of three processes, each with another part", shared_many),
	ROW("devices", "null, zero, full, random, urandom", devices),
	ROW("names", "two names of one file", names),
	{ "proc", "a file and a directory of /proc/self", proc_make, proc_use },
	ROW_ARG("advised", "a file that is read in no order (posix_fadvise)", advised, 0),
	ROW_ARG("advised-all", "in no order, once, and further ahead", advised, 1),
	{ 0 },
};
