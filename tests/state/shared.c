/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Memory that processes share, or still have in common after a fork. mmap(2), fork(2). */

#include "memory_look.h"

#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/xattr.h>

static char *area, *second;

/* Shared anonymous memory: what one writes the other reads. */
static int shared_kid(struct maker_ctx *ctx)
{
	TRY(check_fill(area, 8 * PAGE, 5));
	fill(area + 8 * PAGE, 8 * PAGE, 6);
	return 0;
}

static int shared_make(struct maker_ctx *ctx)
{
	area = map(32 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
	CHECK(area);
	fill(area + 24 * PAGE, 8 * PAGE, 4);
	return kid_start(ctx, NULL, shared_kid, NULL);
}

static int shared_use(struct maker_ctx *ctx)
{
	fill(area, 8 * PAGE, 5);
	TRY(kids_finish(ctx));
	TRY(check_fill(area + 8 * PAGE, 8 * PAGE, 6));
	SAME(area[20 * PAGE], 0);
	return check_fill(area + 24 * PAGE, 8 * PAGE, 4);
}

/* The same object mapped twice in one process, part of it, in another order. */
static int twice_make(struct maker_ctx *ctx)
{
	area = map(8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
	CHECK(area);
	second = mremap(area + 4 * PAGE, 0, 4 * PAGE, MREMAP_MAYMOVE);
	CHECK(second != MAP_FAILED);
	fill(second, 4 * PAGE, 8);
	return 0;
}

static int twice_use(struct maker_ctx *ctx)
{
	TRY(check_fill(area + 4 * PAGE, 4 * PAGE, 8));
	area[5 * PAGE] = 'n';
	SAME(second[PAGE], 'n');
	second[2 * PAGE] = 'm';
	SAME(area[6 * PAGE], 'm');
	return 0;
}

/* Pages that a child has from its parent: the same until one writes. */
static int cow_kid(struct maker_ctx *ctx)
{
	TRY(check_fill(area, 32 * PAGE, 11));
	TRY(check_fill(area + 32 * PAGE, 32 * PAGE, 12));
	fill(area, 8 * PAGE, 13);
	shared(ctx)->flag[1] = 1;
	return 0;
}

static int cow_kid_make(struct maker_ctx *ctx)
{
	fill(area + 32 * PAGE, 32 * PAGE, 12);
	return 0;
}

static int cow_make(struct maker_ctx *ctx)
{
	area = map_private(64 * PAGE);
	CHECK(area);
	fill(area, 64 * PAGE, 11);
	return kid_start(ctx, cow_kid_make, cow_kid, NULL);
}

static int cow_use(struct maker_ctx *ctx)
{
	TRY(kids_finish(ctx));
	return check_fill(area, 64 * PAGE, 11);
}

/* Shared memory belongs to who made it: seen through map_files. */

static char *owned, path_of_owned[100];
static const struct timespec times[2] = { { 1000000000, 1 }, { 1000000000, 123456789 } };

static void owned_path(void)
{
	snprintf(path_of_owned, sizeof(path_of_owned), "/proc/self/map_files/%lx-%lx", (unsigned long)owned,
		(unsigned long)owned + PAGE);
}

static int shared_owned_make(struct maker_ctx *ctx)
{
	setfsgid(1006);
	setfsuid(1005);
	owned = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	setfsuid(0);
	setfsgid(0);
	CHECK(!prctl(PR_SET_DUMPABLE, 1));
	CHECK(owned != MAP_FAILED);
	owned[0] = 1;
	owned_path();
	CHECK(!chmod(path_of_owned, 0640));
	CHECK(!setxattr(path_of_owned, "trusted.maker", "value", 5, 0));
	return utimensat(AT_FDCWD, path_of_owned, times, 0);
}

static int shared_owned_use(struct maker_ctx *ctx)
{
	struct stat st;
	char value[8];

	CHECK(!stat(path_of_owned, &st));
	SAME(st.st_mode & 07777, 0640);
	SAME(st.st_mtim.tv_sec, times[1].tv_sec);
	SAME(st.st_mtim.tv_nsec, times[1].tv_nsec);
	SAME(st.st_uid, 1005);
	SAME(st.st_gid, 1006);
	SAME(owned[0], 1);
	SAME(getxattr(path_of_owned, "trusted.maker", value, sizeof(value)), 5);
	CHECK(!memcmp(value, "value", 5));
	return 0;
}

const struct maker makers_shared[] = {
	ROW("anonymous", "shared memory of two processes", shared),
	ROW("owned", "shared memory of another user, with a mode, a time and an attribute", shared_owned),
	ROW("twice", "shared memory mapped twice", twice),
	ROW("copy-on-write", "pages shared by fork, some written since", cow),
	{ 0 },
};
