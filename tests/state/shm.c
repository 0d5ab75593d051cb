/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files in /dev/shm, which under spore is the container's own. shm_open(3), sem_open(3), tmpfs(5), xattr(7). */

#include "maker.h"

#include <dirent.h>
#include <linux/fs.h>
#include <semaphore.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>

enum { SIZE = 3 * PAGE };

static char base[64], path[256], path2[256], buf[SIZE];
static struct stat before;
static int fd = -1;
static char *at;

/* A directory of this maker's own in /dev/shm; everything is made below it. */
static int make_base(void)
{
	snprintf(base, sizeof(base), "/dev/shm/maker-%d", getpid());
	NEED(mkdir(base, 0755) == 0);
	return 0;
}

static const char *in_base(char out[static 256], const char *name)
{
	snprintf(out, 256, "%s/%s", base, name);
	return out;
}

static int make_file(const char *name, size_t len, uint64_t seed, int flags)
{
	int f = open(in_base(path, name), O_CREAT | O_EXCL | flags, 0644);

	CHECK(f >= 0 && len <= sizeof(buf));
	fill(buf, sizeof(buf), seed);
	SAME(write(f, buf, len), len);
	fd = f;
	return 0;
}

static int look_before(const char *p)
{
	SAME(lstat(p, &before), 0);
	return 0;
}

/* Everything that stat tells but what the kernel counts by itself. */
static int same_stat(const char *p)
{
	struct stat now;

	SAME(lstat(p, &now), 0);
	SAME(now.st_mode, before.st_mode);
	SAME(now.st_uid, before.st_uid);
	SAME(now.st_gid, before.st_gid);
	SAME(now.st_nlink, before.st_nlink);
	SAME(now.st_size, before.st_size);
	SAME(now.st_blocks, before.st_blocks);
	SAME(now.st_atim.tv_sec, before.st_atim.tv_sec);
	SAME(now.st_atim.tv_nsec, before.st_atim.tv_nsec);
	SAME(now.st_mtim.tv_sec, before.st_mtim.tv_sec);
	SAME(now.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
	return 0;
}

static int same_contents(const char *p, size_t len, uint64_t seed)
{
	int f = open(p, O_RDONLY);
	ssize_t n;

	CHECK(f >= 0);
	memset(buf, 0, sizeof(buf));
	n = read(f, buf, sizeof(buf));
	close(f);
	SAME(n, len);
	return check_fill(buf, len, seed);
}

static int leave(void)
{
	SAME(unlink(path), 0);
	SAME(rmdir(base), 0);
	return 0;
}

/* --- a file that nobody has open; arg: bytes ------------------------------------------------------------------------------ */

static int file_make(struct maker_ctx *ctx)
{
	const struct timespec times[2] = { { 1000000001, 123456789 }, { 1000000002, 987654321 } };

	TRY(make_base());
	TRY(make_file("file", (size_t)ctx->arg, 1, O_WRONLY));
	SAME(fchown(fd, 1000, 1001), 0);
	SAME(fchmod(fd, 04751), 0);
	SAME(futimens(fd, times), 0);
	close(fd);
	return look_before(path);
}

static int file_use(struct maker_ctx *ctx)
{
	TRY(same_stat(path));
	TRY(same_contents(path, (size_t)ctx->arg, 1));
	return leave();
}

/* Without a time of its own choice, and the directory with it: nothing that looks at them leaves a trace. */
static int untouched_make(struct maker_ctx *ctx)
{
	TRY(make_base());
	TRY(make_file("file", 100, 1, O_WRONLY));
	close(fd);
	return look_before(path);
}

/* --- open, at an offset; arg: flags ---------------------------------------------------------------------------------------- */

static int open_make(struct maker_ctx *ctx)
{
	TRY(make_base());
	TRY(make_file("open", 5000, 2, O_WRONLY));
	close(fd);
	fd = open(path, (int)ctx->arg);
	CHECK(fd >= 0);
	SAME(lseek(fd, 1000, SEEK_SET), 1000);
	return 0;
}

static int open_use(struct maker_ctx *ctx)
{
	struct stat by_fd, by_name;
	char got[8];

	SAME(fstat(fd, &by_fd), 0);
	SAME(stat(path, &by_name), 0);
	SAME(by_fd.st_ino, by_name.st_ino);
	SAME(fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND), ctx->arg);
	fill(buf, sizeof(buf), 2);
	SAME(read(fd, got, 8), 8);
	CHECK(!memcmp(got, buf + 1000, 8));
	SAME(write(fd, "appended", 8), 8);
	SAME(stat(path, &by_name), 0);
	SAME(by_name.st_size, ctx->arg & O_APPEND ? 5008 : 5000);
	close(fd);
	return leave();
}

/* --- mapped by two processes ------------------------------------------------------------------------------------------------- */

static int mapped_kid_use(struct maker_ctx *ctx)
{
	TRY(check_fill(at + 64, PAGE - 64, 3));
	at[0] = 'k';
	return 0;
}

static int mapped_make(struct maker_ctx *ctx)
{
	TRY(make_base());
	TRY(make_file("mapped", 0, 3, O_RDWR));
	SAME(ftruncate(fd, SIZE), 0);
	at = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(at != MAP_FAILED);
	close(fd);
	fill(at + 64, PAGE - 64, 3);
	at[2 * PAGE] = 'z';
	return kid_start(ctx, NULL, mapped_kid_use, NULL);
}

static int mapped_use(struct maker_ctx *ctx)
{
	char c;

	TRY(kids_finish(ctx));
	SAME(at[0], 'k');
	SAME(at[2 * PAGE], 'z');
	at[PAGE] = 'm';
	fd = open(path, O_RDONLY);
	SAME(pread(fd, &c, 1, PAGE), 1);
	SAME(c, 'm');
	close(fd);
	return leave();
}

/* Private, with one page of its own; the file goes on to show through the others. */
static int private_make(struct maker_ctx *ctx)
{
	TRY(make_base());
	TRY(make_file("private", SIZE, 4, O_RDWR));
	at = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(at != MAP_FAILED);
	at[PAGE] = 'p';
	return 0;
}

static int private_use(struct maker_ctx *ctx)
{
	char c;

	SAME(at[PAGE], 'p');
	SAME(pwrite(fd, "w", 1, 2 * PAGE), 1);
	SAME(at[2 * PAGE], 'w');
	SAME(pread(fd, &c, 1, PAGE), 1);
	fill(buf, sizeof(buf), 4);
	SAME(c, buf[PAGE]);
	close(fd);
	return leave();
}

/* shm_open(3), and the name removed while it is mapped and open. */
static int unlinked_make(struct maker_ctx *ctx)
{
	fd = shm_open("/maker-unlinked", O_RDWR | O_CREAT | O_EXCL, 0600);
	NEED(fd >= 0);
	SAME(ftruncate(fd, SIZE), 0);
	at = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(at != MAP_FAILED);
	fill(at, PAGE, 5);
	SAME(shm_unlink("/maker-unlinked"), 0);
	return 0;
}

static int unlinked_use(struct maker_ctx *ctx)
{
	char c;

	TRY(check_fill(at, PAGE, 5));
	at[PAGE] = 'u';
	SAME(pread(fd, &c, 1, PAGE), 1);
	SAME(c, 'u');
	CHECK(shm_open("/maker-unlinked", O_RDWR, 0) < 0);
	return 0;
}

/* --- semaphores ----------------------------------------------------------------------------------------------------------- */

static sem_t *sem;
static char sem_name[64];

static int sem_kid_make(struct maker_ctx *ctx)
{
	return 0;
}

static int sem_kid_use(struct maker_ctx *ctx)
{
	sem_t *own = ctx->arg ? sem : sem_open(sem_name, 0);

	CHECK(own != SEM_FAILED);
	SAME(sem_post(own), 0);
	return 0;
}

/* The mapping shows a name that sem_open has removed. arg: sem_unlink too */
static int sem_make(struct maker_ctx *ctx)
{
	snprintf(sem_name, sizeof(sem_name), "/maker-%d", getpid());
	sem = sem_open(sem_name, O_CREAT | O_EXCL, 0600, 2);
	NEED(sem != SEM_FAILED);
	SAME(sem_wait(sem), 0);
	if (ctx->arg)
		SAME(sem_unlink(sem_name), 0);
	return kid_start(ctx, sem_kid_make, sem_kid_use, NULL);
}

static int sem_use(struct maker_ctx *ctx)
{
	int value;

	SAME(sem_getvalue(sem, &value), 0);
	SAME(value, 1);
	TRY(kids_finish(ctx));
	SAME(sem_getvalue(sem, &value), 0);
	SAME(value, 2);
	if (!ctx->arg)
		SAME(sem_unlink(sem_name), 0);
	return 0;
}

/* A name that was removed, and the file has another; arg: the old name belongs to another file now */
static int renamed_make(struct maker_ctx *ctx)
{
	TRY(make_base());
	TRY(make_file("old", 5000, 6, O_RDWR));
	SAME(link(path, in_base(path2, "new")), 0);
	SAME(unlink(path), 0);
	return 0;
}

static int renamed_use(struct maker_ctx *ctx)
{
	struct stat by_fd, by_name;

	SAME(fstat(fd, &by_fd), 0);
	SAME(stat(path2, &by_name), 0);
	SAME(by_fd.st_ino, by_name.st_ino);
	SAME(by_fd.st_nlink, 1);
	CHECK(access(path, F_OK) < 0);
	strcpy(path, path2);
	TRY(same_contents(path, 5000, 6));
	return leave();
}

/* --- many names ------------------------------------------------------------------------------------------------------------ */

static int links_make(struct maker_ctx *ctx)
{
	TRY(make_base());
	TRY(make_file("one", 5000, 7, O_RDWR));
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
	SAME(before.st_nlink, 3);
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
	return leave();
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
	TRY(make_file("a/b/c/deep", 100, 8, O_WRONLY));
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
	SAME(rmdir(base), 0);
	return 0;
}

/* --- what only some file systems have ---------------------------------------------------------------------------------------- */

static int xattr_make(struct maker_ctx *ctx)
{
	/* version 2: the owner rw-, user 1000 r--, the group ---, the mask r--, others --- */
	static const uint8_t acl[] = { 2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 232, 3, 0, 0, 4, 0, 0, 0,
		255, 255, 255, 255, 16, 0, 4, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255 };

	TRY(make_base());
	TRY(make_file("named", 10, 9, O_WRONLY));
	close(fd);
	NEED(setxattr(path, "user.spore", "a\0b", 3, 0) == 0); /* tmpfs: since Linux 6.6 */
	SAME(setxattr(path, "trusted.empty", "", 0, 0), 0);
	SAME(setxattr(path, "system.posix_acl_access", acl, sizeof(acl), 0), 0);
	SAME(setxattr(base, "user.of-directory", "d", 1, 0), 0);
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
	SAME(getxattr(base, "user.of-directory", value, sizeof(value)), 1);
	return leave();
}

/* chattr +a: opened for writing before, so that what is open can do more than who comes later. */
static int attributes_make(struct maker_ctx *ctx)
{
	int flags = FS_APPEND_FL | FS_NODUMP_FL;

	TRY(make_base());
	TRY(make_file("append-only", 100, 10, O_RDWR));
	NEED(ioctl(fd, FS_IOC_SETFLAGS, &flags) == 0);
	return look_before(path);
}

static int attributes_use(struct maker_ctx *ctx)
{
	int flags = 0;

	TRY(same_stat(path));
	SAME(ioctl(fd, FS_IOC_GETFLAGS, &flags), 0);
	SAME(flags & (FS_APPEND_FL | FS_NODUMP_FL), FS_APPEND_FL | FS_NODUMP_FL);
	CHECK(open(path, O_WRONLY) < 0 && errno == EPERM);
	SAME(pwrite(fd, "x", 1, 0), 1);
	flags = 0;
	SAME(ioctl(fd, FS_IOC_SETFLAGS, &flags), 0);
	close(fd);
	return leave();
}

/* One page at the end of 64 GiB: holes cost nothing. */
static int sparse_make(struct maker_ctx *ctx)
{
	TRY(make_base());
	TRY(make_file("sparse", 0, 11, O_RDWR));
	SAME(ftruncate(fd, 64LL << 30), 0);
	SAME(pwrite(fd, "end", 3, (64LL << 30) - 3), 3);
	close(fd);
	return look_before(path);
}

static int sparse_use(struct maker_ctx *ctx)
{
	char c[4] = "";

	TRY(same_stat(path));
	fd = open(path, O_RDONLY);
	SAME(pread(fd, c, 4, (64LL << 30) - 3), 3);
	SAME(strcmp(c, "end"), 0);
	close(fd);
	return leave();
}

/* Room that was set aside stays so: a full tmpfs is a SIGBUS for whoever touches a hole. */
static int allocated_make(struct maker_ctx *ctx)
{
	TRY(make_base());
	TRY(make_file("allocated", 100, 12, O_RDWR));
	SAME(fallocate(fd, 0, 0, 50 * PAGE + 1), 0);
	close(fd);
	return look_before(path);
}

static int allocated_use(struct maker_ctx *ctx)
{
	TRY(same_stat(path));
	SAME(before.st_blocks, 51 * PAGE / 512);
	return leave();
}

/* --- as other objects use it --------------------------------------------------------------------------------------------------- */

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
	return rmdir(base);
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
		TRY(make_file(name, 1, 1, O_WRONLY));
		close(fd);
	}
	SAME(symlink("x", in_base(path2, "link")), 0);
	link_fd = open(path2, O_PATH | O_NOFOLLOW);
	fd = open(base, O_RDONLY | O_DIRECTORY);
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
	return rmdir(base);
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
	return leave();
}

static int locked_make(struct maker_ctx *ctx)
{
	TRY(make_base());
	TRY(make_file("locked", 10, 1, O_RDWR));
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
	return leave();
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
	return leave();
}

/* --- refused -------------------------------------------------------------------------------------------------------------------- */

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
	return leave();
}

#define IN_CONTAINER(name, what, make, use, arg)                                                                       \
	{                                                                                                              \
		name, what, make, use, MAKER_CONTAINER, arg                                                            \
	}

const struct maker makers_shm[] = {
	IN_CONTAINER("file", "a file in /dev/shm, with owner, mode and times", file_make, file_use, 5000),
	IN_CONTAINER("file-empty", "an empty one", file_make, file_use, 0),
	IN_CONTAINER("file-page", "one of whole pages", file_make, file_use, 2 * PAGE),
	IN_CONTAINER("untouched", "one that was never read since", untouched_make, file_use, 100),
	IN_CONTAINER("open", "one that is open", open_make, open_use, O_RDWR),
	IN_CONTAINER("open-append", "one that is open for appending", open_make, open_use, O_RDWR | O_APPEND),
	IN_CONTAINER("mapped", "one mapped by two processes", mapped_make, mapped_use, 0),
	IN_CONTAINER("private", "one mapped privately, and written there", private_make, private_use, 0),
	IN_CONTAINER("unlinked", "shm_open, and shm_unlink while it is mapped", unlinked_make, unlinked_use, 0),
	IN_CONTAINER("semaphore", "sem_open, used by two processes", sem_make, sem_use, 0),
	IN_CONTAINER("semaphore-unlinked", "and sem_unlink", sem_make, sem_use, 1),
	IN_CONTAINER(
		"renamed", "an open file whose name was removed, but it has another", renamed_make, renamed_use, 0),
	IN_CONTAINER("links", "a file with three names, and a symbolic link to one", links_make, links_use, 0),
	IN_CONTAINER("tree", "directories in directories, with a fifo and links", tree_make, tree_use, 0),
	IN_CONTAINER("xattr", "extended attributes, and an access list", xattr_make, xattr_use, 0),
	IN_CONTAINER("append-only", "chattr +a on a file that is open for writing", attributes_make, attributes_use, 0),
	IN_CONTAINER("sparse", "64 GiB, all of it a hole but the end", sparse_make, sparse_use, 0),
	IN_CONTAINER("allocated", "room set aside by fallocate", allocated_make, allocated_use, 0),
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
