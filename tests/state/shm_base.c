/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "shm_base.h"

static char directory[64], buf[SIZE];
static struct stat before;

int make_base(void)
{
	snprintf(directory, sizeof(directory), "/dev/shm/maker-%d", getpid());
	NEED(mkdir(directory, 0755) == 0);
	return 0;
}

const char *base(void)
{
	return directory;
}

const char *in_base(char out[static 256], const char *name)
{
	snprintf(out, 256, "%s/%s", directory, name);
	return out;
}

int make_file(char path[static 256], const char *name, size_t len, uint64_t seed, int flags, int *fd)
{
	int f = open(in_base(path, name), O_CREAT | O_EXCL | flags, 0644);

	CHECK(f >= 0 && len <= sizeof(buf));
	fill(buf, sizeof(buf), seed);
	SAME(write(f, buf, len), len);
	*fd = f;
	return 0;
}

int look_before(const char *path)
{
	SAME(lstat(path, &before), 0);
	return 0;
}

const struct stat *seen_before(void)
{
	return &before;
}

int same_stat(const char *path)
{
	struct stat now;

	SAME(lstat(path, &now), 0);
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

int same_contents(const char *path, size_t len, uint64_t seed)
{
	int f = open(path, O_RDONLY);
	ssize_t n;

	CHECK(f >= 0);
	memset(buf, 0, sizeof(buf));
	n = read(f, buf, sizeof(buf));
	close(f);
	SAME(n, len);
	return check_fill(buf, len, seed);
}

int leave(const char *path)
{
	SAME(unlink(path), 0);
	SAME(rmdir(directory), 0);
	return 0;
}
