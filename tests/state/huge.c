/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Huge pages of hugetlbfs: memfd_create(2) with MFD_HUGETLB, mmap(2) with MAP_HUGETLB. They need a pool (/proc/sys/vm/nr_hugepages). */

#include "memory_look.h"

enum { HUGE = 2 << 20 };

static int fd = -1;
static char *view;

static int page_is(const char *at, int c)
{
	for (int i = 0; i < HUGE; i++)
		if (at[i] != c)
			return 0;
	return 1;
}

/* Of a file: one page with contents, one that is all zero, one that it has not. arg: its seals. */

static int memfd_make(struct maker_ctx *ctx)
{
	struct stat st;

	fd = memfd_create("huge", MFD_HUGETLB | MFD_ALLOW_SEALING);
	NEED(fd >= 0);
	NEED(!ftruncate(fd, 3 * HUGE));
	view = mmap(NULL, 3 * HUGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	NEED(view != MAP_FAILED);
	fill(view + PAGE, HUGE - PAGE, 1);
	view[HUGE] = 0;
	CHECK(!fstat(fd, &st));
	SAME(st.st_blocks * 512, 2 * HUGE);
	SAME(lseek(fd, 12345, SEEK_SET), 12345);
	return ctx->arg ? fcntl(fd, F_ADD_SEALS, ctx->arg) : 0;
}

static int memfd_use(struct maker_ctx *ctx)
{
	struct stat st;
	char c[4];

	CHECK(!fstat(fd, &st));
	SAME(st.st_size, 3 * HUGE);
	SAME(st.st_blksize, HUGE);
	SAME(st.st_blocks * 512, 2 * HUGE);
	SAME(fcntl(fd, F_GET_SEALS), ctx->arg ? ctx->arg : 0);
	TRY(check_fill(view + PAGE, HUGE - PAGE, 1));
	CHECK(page_is(view + HUGE, 0) && page_is(view + 2 * HUGE, 0));
	memcpy(view + 2 * HUGE, "new", 3);
	SAME(lseek(fd, 0, SEEK_CUR), 12345);
	SAME(pread(fd, c, 3, 2 * HUGE), 3);
	CHECK(!memcmp(c, "new", 3));
	CHECK(vm_flag(view, " ht"));
	return 0;
}

/* Private: with contents, never touched, protected. arg: flags of mmap. */

static int private_make(struct maker_ctx *ctx)
{
	view = mmap(NULL, 4 * HUGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	NEED(view != MAP_FAILED); /* to touch one that is not there is fatal */
	CHECK(!munmap(view, 4 * HUGE));
	view = mmap(NULL, 4 * HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | (int)ctx->arg,
		-1, 0);
	NEED(view != MAP_FAILED);
	fill(view, HUGE, 2);
	fill(view + 2 * HUGE, HUGE, 3);
	CHECK(!mprotect(view + 2 * HUGE, HUGE, PROT_READ));
	return munmap(view + 3 * HUGE, HUGE);
}

static int private_use(struct maker_ctx *ctx)
{
	TRY(check_fill(view, HUGE, 2));
	TRY(check_fill(view + 2 * HUGE, HUGE, 3));
	CHECK(page_is(view + HUGE, 0));
	CHECK(vm_flag(view, " ht") && vm_flag(view + 2 * HUGE, " ht"));
	SAME(vm_flag(view, " nr"), (ctx->arg & MAP_NORESERVE) != 0);
	SAME(vm_flag(view + 2 * HUGE, " wr"), 0);
	view[HUGE] = 1;
	return 0;
}

/* Of two processes. arg: MAP_SHARED or MAP_PRIVATE. */

static int forked_kid_make(struct maker_ctx *ctx)
{
	memset(view + HUGE, 'c', HUGE);
	return 0;
}

static int forked_kid_use(struct maker_ctx *ctx)
{
	TRY(check_fill(view, HUGE, 4));
	CHECK(page_is(view + HUGE, 'c'));
	view[HUGE] = 'd';
	return 0;
}

static int forked_make(struct maker_ctx *ctx)
{
	view = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE, (int)ctx->arg | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	NEED(view != MAP_FAILED);
	fill(view, HUGE, 4);
	memset(view + HUGE, 'p', HUGE);
	return kid_start(ctx, forked_kid_make, forked_kid_use, NULL);
}

static int forked_use(struct maker_ctx *ctx)
{
	bool shared = ctx->arg == MAP_SHARED;

	TRY(check_fill(view, HUGE, 4));
	CHECK(page_is(view + HUGE, shared ? 'c' : 'p'));
	TRY(kids_finish(ctx));
	SAME(view[HUGE], shared ? 'd' : 'p');
	return 0;
}

const struct maker makers_huge[] = {
	ROW_ARG("memfd", "a memfd of huge pages", memfd, 0),
	ROW_ARG("memfd-sealed", "one that is sealed", memfd, F_SEAL_SHRINK | F_SEAL_GROW),
	ROW_ARG("private", "private memory of huge pages, in parts", private, 0),
	ROW_ARG("private-unreserved", "the same, for which none are set aside", private, MAP_NORESERVE),
	ROW_ARG("shared", "huge pages that two processes share", forked, MAP_SHARED),
	ROW_ARG("forked", "private ones of two processes, some of them shared since the fork", forked, MAP_PRIVATE),
	{ 0 },
};
