/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What else /dev/shm holds and how else it is used: directories, links, fifos, attributes, programs, what is refused. tmpfs(5), xattr(7). */

#include "shm_base.h"

#include <dirent.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>

#ifndef F_GET_RW_HINT
#define F_GET_RW_HINT 1035
#define F_SET_RW_HINT 1036
#endif

static char path[256], path2[256], buf[SIZE];
static int fd = -1;

/* --- many names --- */
static int links_make(struct maker_ctx *ctx)
{
	TRY(make_base());
	TRY(make_file(path, "one", 5000, 7, O_RDWR, &fd));
	close(fd);
	SAME(mkdir(in_base(path2, "a directory"), 01700), 0);
	SAME(link(path, in_base(path2, "a directory/two")), 0);
	SAME(link(path, in_base(path2, "a directory/\xff\xfe")), 0);
	SAME(symlink("a directory/two", in_base(path2, "three")), 0);
	return look_before(path);
}

static int links_use(struct maker_ctx *ctx)
{
	struct stat one, two;
	char target[64] = "";

	TRY(same_stat(path));
	SAME(seen_before()->st_nlink, 3);
	SAME(stat(path, &one), 0);
	SAME(stat(in_base(path2, "a directory/\xff\xfe"), &two), 0);
	SAME(one.st_ino, two.st_ino);
	SAME(readlink(in_base(path2, "three"), target, sizeof(target) - 1), 15);
	SAME(strcmp(target, "a directory/two"), 0);
	fd = open(path2, O_WRONLY);
	SAME(pwrite(fd, "x", 1, 4999), 1);
	close(fd);
	fd = open(path, O_RDONLY);
	SAME(pread(fd, target, 1, 4999), 1);
	SAME(target[0], 'x');
	close(fd);
	SAME(unlink(path2), 0);
	SAME(unlink(in_base(path2, "a directory/two")), 0);
	SAME(unlink(in_base(path2, "a directory/\xff\xfe")), 0);
	SAME(rmdir(in_base(path2, "a directory")), 0);
	return leave(path);
}

/* Directories in directories, empty ones, dangling links, a fifo: each with its times, which are old. */
static const char *const branches[] = { "a", "a/b", "a/b/c", "empty" };

static int tree_make(struct maker_ctx *ctx)
{
	const struct timespec old[2] = { { 1100000000, 5 }, { 1200000000, 6 } };

	TRY(make_base());
	for (size_t i = 0; i < 4; i++)
		SAME(mkdir(in_base(path, branches[i]), (mode_t)(0700 + i)), 0);
	SAME(chown(in_base(path, "a/b"), 7, 8), 0);
	SAME(chmod(path, 02711), 0);
	TRY(make_file(path, "a/b/c/deep", 100, 8, O_WRONLY, &fd));
	close(fd);
	SAME(symlink("/nowhere", in_base(path, "dangling")), 0);
	SAME(lchown(path, 11, 12), 0);
	SAME(utimensat(AT_FDCWD, path, old, AT_SYMLINK_NOFOLLOW), 0);
	SAME(mkfifo(in_base(path, "fifo"), 0604), 0);
	for (size_t i = 0; i < 4; i++)
		SAME(utimensat(AT_FDCWD, in_base(path, branches[i]), old, 0), 0);
	SAME(utimensat(AT_FDCWD, in_base(path, "fifo"), old, 0), 0);
	return look_before(in_base(path, "a/b"));
}

static int tree_use(struct maker_ctx *ctx)
{
	struct stat st;

	TRY(same_stat(in_base(path, "a/b")));
	SAME(lstat(in_base(path, "fifo"), &st), 0);
	SAME(st.st_mode, S_IFIFO | 0604);
	SAME(st.st_mtim.tv_nsec, 6);
	SAME(unlink(path), 0);
	SAME(lstat(in_base(path, "dangling"), &st), 0);
	SAME(st.st_mtim.tv_sec, 1200000000);
	SAME(st.st_uid, 11);
	SAME(unlink(path), 0);
	TRY(same_contents(in_base(path, "a/b/c/deep"), 100, 8));
	SAME(unlink(path), 0);
	for (size_t i = 0; i < 3; i++)
		SAME(rmdir(in_base(path, branches[2 - i])), 0);
	SAME(rmdir(in_base(path, "empty")), 0);
	SAME(rmdir(base()), 0);
	return 0;
}

/* --- what only some file systems have --- */
static int xattr_make(struct maker_ctx *ctx)
{
	/* version 2: the owner rw-, user 1000 r--, the group ---, the mask r--, others --- */
	static const uint8_t acl[] = { 2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 232, 3, 0, 0, 4, 0, 0, 0,
		255, 255, 255, 255, 16, 0, 4, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255 };

	TRY(make_base());
	TRY(make_file(path, "named", 10, 9, O_WRONLY, &fd));
	close(fd);
	NEED(setxattr(path, "user.spore", "a\0b", 3, 0) == 0); /* tmpfs: since Linux 6.6 */
	SAME(setxattr(path, "trusted.empty", "", 0, 0), 0);
	SAME(setxattr(path, "system.posix_acl_access", acl, sizeof(acl), 0), 0);
	SAME(setxattr(base(), "user.of-directory", "d", 1, 0), 0);
	return look_before(path);
}

static int xattr_use(struct maker_ctx *ctx)
{
	char value[64];

	TRY(same_stat(path));
	SAME(getxattr(path, "user.spore", value, sizeof(value)), 3);
	CHECK(!memcmp(value, "a\0b", 3));
	SAME(getxattr(path, "trusted.empty", value, sizeof(value)), 0);
	SAME(getxattr(path, "system.posix_acl_access", value, sizeof(value)), 44);
	SAME(value[14], 4);
	SAME(getxattr(base(), "user.of-directory", value, sizeof(value)), 1);
	return leave(path);
}

/* chattr +a: opened for writing before, so that what is open can do more than who comes later. */
static int attributes_make(struct maker_ctx *ctx)
{
	int flags = FS_APPEND_FL | FS_NODUMP_FL;
	uint64_t hint = 4; /* RWH_WRITE_LIFE_LONG */

	TRY(make_base());
	TRY(make_file(path, "append-only", 100, 10, O_RDWR, &fd));
	NEED(!fcntl(fd, F_SET_RW_HINT, &hint));
	NEED(ioctl(fd, FS_IOC_SETFLAGS, &flags) == 0);
	return look_before(path);
}

static int attributes_use(struct maker_ctx *ctx)
{
	int flags = 0;
	uint64_t hint = 0;

	TRY(same_stat(path));
	SAME(fcntl(fd, F_GET_RW_HINT, &hint), 0);
	SAME(hint, 4);
	SAME(ioctl(fd, FS_IOC_GETFLAGS, &flags), 0);
	SAME(flags & (FS_APPEND_FL | FS_NODUMP_FL), FS_APPEND_FL | FS_NODUMP_FL);
	CHECK(open(path, O_WRONLY) < 0 && errno == EPERM);
	SAME(pwrite(fd, "x", 1, 0), 1);
	flags = 0;
	SAME(ioctl(fd, FS_IOC_SETFLAGS, &flags), 0);
	close(fd);
	return leave(path);
}

/* --- as other objects use it --- */
static int cwd_make(struct maker_ctx *ctx)
{
	TRY(make_base());
	SAME(mkdir(in_base(path, "work"), 0700), 0);
	SAME(chdir(path), 0);
	return 0;
}

static int cwd_use(struct maker_ctx *ctx)
{
	char cwd[256];

	CHECK(getcwd(cwd, sizeof(cwd)));
	SAME(strcmp(cwd, path), 0);
	fd = open("made here", O_CREAT | O_EXCL | O_WRONLY, 0600);
	CHECK(fd >= 0);
	SAME(unlink(in_base(path2, "work/made here")), 0);
	SAME(chdir("/"), 0);
	SAME(rmdir(path), 0);
	return rmdir(base());
}

/* A directory half read, and by O_PATH a symbolic link. */
static DIR *half;
static int link_fd;

static int opened_make(struct maker_ctx *ctx)
{
	TRY(make_base());
	for (int i = 0; i < 10; i++) {
		char name[8];

		snprintf(name, sizeof(name), "f%d", i);
		TRY(make_file(path, name, 1, 1, O_WRONLY, &fd));
		close(fd);
	}
	SAME(symlink("x", in_base(path2, "link")), 0);
	link_fd = open(path2, O_PATH | O_NOFOLLOW);
	fd = open(base(), O_RDONLY | O_DIRECTORY);
	CHECK(fd >= 0 && link_fd >= 0);
	return 0;
}

static int opened_use(struct maker_ctx *ctx)
{
	char target[8];
	int n = 0;

	SAME(readlinkat(link_fd, "", target, 8), 1);
	SAME(unlink(path2), 0);
	half = fdopendir(fd);
	CHECK(half);
	for (struct dirent *e; (e = readdir(half));)
		if (e->d_name[0] == 'f') {
			n++;
			SAME(unlinkat(fd, e->d_name, 0), 0);
		}
	SAME(n, 10);
	return rmdir(base());
}

static int fifo_make(struct maker_ctx *ctx)
{
	TRY(make_base());
	SAME(mkfifo(in_base(path, "fifo"), 0600), 0);
	fd = open(path, O_RDWR);
	CHECK(fd >= 0);
	SAME(write(fd, "in a fifo", 9), 9);
	return look_before(path);
}

static int fifo_use(struct maker_ctx *ctx)
{
	TRY(same_stat(path));
	SAME(read(fd, buf, sizeof(buf)), 9);
	CHECK(!memcmp(buf, "in a fifo", 9));
	close(fd);
	return leave(path);
}

static int locked_make(struct maker_ctx *ctx)
{
	TRY(make_base());
	TRY(make_file(path, "locked", 10, 1, O_RDWR, &fd));
	SAME(flock(fd, LOCK_EX), 0);
	return 0;
}

static int locked_use(struct maker_ctx *ctx)
{
	int other = open(path, O_RDWR);

	CHECK(other >= 0);
	CHECK(flock(other, LOCK_EX | LOCK_NB) < 0);
	close(fd);
	SAME(flock(other, LOCK_EX | LOCK_NB), 0);
	close(other);
	return leave(path);
}

/* A program that runs from there. */
static int copy(const char *from, const char *to)
{
	int in = open(from, O_RDONLY), out = open(to, O_CREAT | O_EXCL | O_WRONLY, 0755);
	ssize_t n;

	CHECK(in >= 0 && out >= 0);
	while ((n = read(in, buf, sizeof(buf))) > 0)
		SAME(write(out, buf, (size_t)n), n);
	close(in);
	close(out);
	return 0;
}

static pid_t program;

static int program_make(struct maker_ctx *ctx)
{
	TRY(make_base());
	TRY(copy("/bin/sleep", in_base(path, "program")));
	program = fork();
	CHECK(program >= 0);
	if (!program) {
		execl(path, "program", "1000", NULL);
		_exit(99);
	}
	return until_blocked_in(program, SYS_clock_nanosleep);
}

static int program_use(struct maker_ctx *ctx)
{
	char link[64], target[256] = "";
	int status;

	snprintf(link, sizeof(link), "/proc/%d/exe", program);
	CHECK(readlink(link, target, sizeof(target) - 1) > 0);
	SAME(strcmp(target, path), 0);
	CHECK(open(path, O_WRONLY) < 0 && errno == ETXTBSY);
	SAME(kill(program, SIGTERM), 0);
	SAME(waitpid(program, &status, 0), program);
	SAME(status, SIGTERM);
	return leave(path);
}

/* --- refused --- */
static int socket_make(struct maker_ctx *ctx)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	int s = socket(AF_UNIX, SOCK_STREAM, 0);

	TRY(make_base());
	strcpy(name.sun_path, in_base(path, "socket"));
	SAME(bind(s, (struct sockaddr *)&name, sizeof(name)), 0);
	close(s);
	return 0;
}

static int node_make(struct maker_ctx *ctx)
{
	TRY(make_base());
	NEED(mknod(in_base(path, "null"), S_IFCHR | 0666, makedev(1, 3)) == 0);
	return 0;
}

static int refused_use(struct maker_ctx *ctx)
{
	return leave(path);
}

const struct maker makers_shm_tree[] = {
	IN_CONTAINER("links", "a file with three names, and a symbolic link to one", links_make, links_use, 0),
	IN_CONTAINER("tree", "directories in directories, with a fifo and links", tree_make, tree_use, 0),
	IN_CONTAINER("xattr", "extended attributes, and an access list", xattr_make, xattr_use, 0),
	IN_CONTAINER("append-only", "chattr +a on a file that is open for writing", attributes_make, attributes_use, 0),
	IN_CONTAINER("cwd", "a working directory", cwd_make, cwd_use, 0),
	IN_CONTAINER("opened", "an open directory, and a symbolic link by O_PATH", opened_make, opened_use, 0),
	IN_CONTAINER("fifo", "a fifo with something in it", fifo_make, fifo_use, 0),
	IN_CONTAINER("locked", "a file with a lock", locked_make, locked_use, 0),
	{ "program", "a program that runs from there", program_make, program_use, MAKER_CONTAINER | MAKER_BUSY },
	{ "socket", "a socket that nobody has bound any more", socket_make, refused_use,
		MAKER_CONTAINER | MAKER_MUST_REFUSE, 0, "/dev/shm/maker-.*/socket: a socket" },
	{ "device", "a device node", node_make, refused_use, MAKER_CONTAINER | MAKER_MUST_REFUSE, 0,
		"/dev/shm/maker-.*/null: a device" },
	{ 0 },
};
