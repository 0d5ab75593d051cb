/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files in /dev/shm, which under spore is the container's own: with owner, mode, times and contents, open, mapped, without a name. shm_open(3), sem_open(3), tmpfs(5). */

#include "shm_base.h"

#include <semaphore.h>

static char path[256], path2[256], buf[SIZE];
static int fd = -1;
static char *at;

/* --- a file that nobody has open; arg: bytes --- */
static int file_make(struct maker_ctx *ctx)
{
	const struct timespec times[2] = { { 1000000001, 123456789 }, { 1000000002, 987654321 } };

	TRY(make_base());
	TRY(make_file(path, "file", (size_t)ctx->arg, 1, O_WRONLY, &fd));
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
	return leave(path);
}

/* Without a time of its own choice, and the directory with it: nothing that looks at them leaves a trace. */
static int untouched_make(struct maker_ctx *ctx)
{
	TRY(make_base());
	TRY(make_file(path, "file", 100, 1, O_WRONLY, &fd));
	close(fd);
	return look_before(path);
}

/* --- open, at an offset; arg: flags --- */
static int open_make(struct maker_ctx *ctx)
{
	TRY(make_base());
	TRY(make_file(path, "open", 5000, 2, O_WRONLY, &fd));
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
	return leave(path);
}

/* --- mapped by two processes --- */
static int mapped_kid_use(struct maker_ctx *ctx)
{
	TRY(check_fill(at + 64, PAGE - 64, 3));
	at[0] = 'k';
	return 0;
}

static int mapped_make(struct maker_ctx *ctx)
{
	TRY(make_base());
	TRY(make_file(path, "mapped", 0, 3, O_RDWR, &fd));
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
	return leave(path);
}

/* Private, with one page of its own; the file goes on to show through the others. */
static int private_make(struct maker_ctx *ctx)
{
	TRY(make_base());
	TRY(make_file(path, "private", SIZE, 4, O_RDWR, &fd));
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
	return leave(path);
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

/* --- semaphores --- */

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
	TRY(make_file(path, "old", 5000, 6, O_RDWR, &fd));
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
	return leave(path);
}

/* One page at the end of 64 GiB: holes cost nothing. */
static int sparse_make(struct maker_ctx *ctx)
{
	TRY(make_base());
	TRY(make_file(path, "sparse", 0, 11, O_RDWR, &fd));
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
	return leave(path);
}

/* Room that was set aside stays so: a full tmpfs is a SIGBUS for whoever touches a hole. */
static int allocated_make(struct maker_ctx *ctx)
{
	TRY(make_base());
	TRY(make_file(path, "allocated", 100, 12, O_RDWR, &fd));
	SAME(fallocate(fd, 0, 0, 50 * PAGE + 1), 0);
	close(fd);
	return look_before(path);
}

static int allocated_use(struct maker_ctx *ctx)
{
	TRY(same_stat(path));
	SAME(seen_before()->st_blocks, 51 * PAGE / 512);
	return leave(path);
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
	IN_CONTAINER("sparse", "64 GiB, all of it a hole but the end", sparse_make, sparse_use, 0),
	IN_CONTAINER("allocated", "room set aside by fallocate", allocated_make, allocated_use, 0),
	{ 0 },
};
