/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Mapped files: private and shared, written, unlinked, closed. mmap(2). */

#include "maker.h"

static int fd = -1;
static char buf[8192];

static int make_file(struct maker_ctx *ctx, const char *name, size_t len, int flags)
{
	fill(buf, sizeof(buf), 1);
	return new_file(ctx, name, buf, len, flags);
}

/* One unlinked file, opened twice and mapped. */
static char *view;

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

/* Pages of a private mapping that are all zero, over a file that is not: one zeroed by a child, in its copy alone, and one by its parent before. */
static int zeroed_kid_make(struct maker_ctx *ctx)
{
	memset(view + PAGE, 0, PAGE);
	return 0;
}

static int zeroed_check(int zero, int kept)
{
	static const char zeroes[PAGE];

	CHECK(!memcmp(view, zeroes, PAGE));
	CHECK(zero < 0 || !memcmp(view + (size_t)zero * PAGE, zeroes, PAGE));
	return kept < 0 ? 0 : memcmp(view + (size_t)kept * PAGE, "written", 7) != 0;
}

static int zeroed_kid_use(struct maker_ctx *ctx)
{
	return zeroed_check(1, -1);
}

static int zeroed_make(struct maker_ctx *ctx)
{
	fd = make_file(ctx, "mapped", 8192, O_RDONLY);
	CHECK(fd >= 0);
	view = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(view != MAP_FAILED);
	memset(view, 0, PAGE);
	memcpy(view + PAGE, "written", 7);
	return kid_start(ctx, zeroed_kid_make, zeroed_kid_use, NULL);
}

static int zeroed_use(struct maker_ctx *ctx)
{
	TRY(zeroed_check(-1, 1));
	return kids_finish(ctx);
}

const struct maker makers_mapped[] = {
	{ "private", "a private mapping", mapped_make, mapped_use, 0, 0 },
	{ "private-written", "a private mapping, written", mapped_make, mapped_use, 0, WRITTEN },
	{ "private-closed", "a private mapping, descriptor closed", mapped_make, mapped_use, 0, WRITTEN | CLOSED },
	{ "shared", "a shared mapping", mapped_make, mapped_use, 0, SHARED },
	{ "shared-written", "a shared mapping, written", mapped_make, mapped_use, 0, SHARED | WRITTEN },
	{ "shared-unlinked", "a shared mapping of an unlinked file", mapped_make, mapped_use, 0,
		SHARED | WRITTEN | GONE },
	{ "shared-unlinked-closed", "the same, descriptor closed", mapped_make, mapped_use, 0,
		SHARED | WRITTEN | GONE | CLOSED },
	{ "private-unlinked", "a private mapping of an unlinked file", mapped_make, mapped_use, 0,
		WRITTEN | GONE | CLOSED },
	ROW("zeroed", "pages of a private mapping that are zero, in two processes", zeroed),
	ROW("fork", "a private mapping with an offset in two processes", mapped_fork),
	{ 0 },
};
