/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a file without a name has beside its contents, owner and mode: a time of access, attributes (chattr(1)), a hint for writes. ioctl_iflags(2), fcntl(2). */

#include "maker.h"

#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

#ifndef F_GET_RW_HINT
#define F_GET_RW_HINT 1035
#define F_SET_RW_HINT 1036
#endif

enum { UNLINKED, TMPFILE, MEMFD, DIRECTORY, BY_PATH_ALONE, SHARED };
enum { ROOM = 1 << 20 };

static const struct timespec accessed = { .tv_sec = 1234567890, .tv_nsec = 123456789 };
static const unsigned int marks = FS_APPEND_FL | FS_NODUMP_FL | FS_NOATIME_FL;
static const uint64_t hint = 3; /* RWH_WRITE_LIFE_MEDIUM */
static int fd = -1;

/* The file behind shared memory, of which /proc tells. */
static int behind_memory(void)
{
	char *at = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), path[80];

	CHECK(at != MAP_FAILED);
	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)at, (unsigned long)at + ROOM);
	fd = open(path, O_RDWR);
	return 0;
}

static int nameless(struct maker_ctx *ctx)
{
	switch (ctx->arg) {
	case TMPFILE:
		fd = open(ctx->dir, O_TMPFILE | O_RDWR, 0600);
		break;
	case MEMFD:
		fd = memfd_create("marked", 0);
		break;
	case SHARED:
		TRY(behind_memory());
		break;
	case DIRECTORY:
		CHECK(!mkdir(in_dir(ctx, "gone"), 0700));
		fd = open(ctx->path, O_RDONLY | O_DIRECTORY);
		CHECK(!rmdir(ctx->path));
		break;
	default:
		fd = new_file(ctx, "gone", "", 0, O_RDWR);
		CHECK(!unlink(ctx->path));
	}
	NEED(fd >= 0);
	return 0;
}

static int marked_make(struct maker_ctx *ctx)
{
	const struct timespec times[2] = { accessed, { .tv_nsec = UTIME_OMIT } };
	unsigned int now = 0;
	char self[32];
	int path;

	TRY(nameless(ctx));
	SAME(write(fd, "contents", 8), ctx->arg == DIRECTORY ? -1 : 8);
	NEED(!ioctl(fd, FS_IOC_GETFLAGS, &now));
	CHECK(!futimens(fd, times));
	NEED(!fcntl(fd, F_SET_RW_HINT, &hint));
	now |= marks;
	NEED(!ioctl(fd, FS_IOC_SETFLAGS, &now)); /* it was open for more before */
	if (ctx->arg == BY_PATH_ALONE) {
		snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
		path = open(self, O_PATH);
		CHECK(path >= 0 && !close(fd));
		fd = path;
	}
	return 0;
}

static int marked_use(struct maker_ctx *ctx)
{
	unsigned int now = 0;
	uint64_t hinted = 0;
	struct stat st;
	char self[32];

	CHECK(!fstat(fd, &st));
	SAME(st.st_atim.tv_sec, accessed.tv_sec);
	SAME(st.st_atim.tv_nsec, accessed.tv_nsec);
	if (ctx->arg == BY_PATH_ALONE) {
		snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
		fd = open(self, O_RDONLY);
	}
	CHECK(!ioctl(fd, FS_IOC_GETFLAGS, &now));
	SAME(now & marks, marks);
	CHECK(!fcntl(fd, F_GET_RW_HINT, &hinted));
	SAME(hinted, hint);
	CHECK(fchmod(fd, 0644)); /* nobody may, of one that may only grow */
	now &= ~marks;
	CHECK(!ioctl(fd, FS_IOC_SETFLAGS, &now));
	if (ctx->arg != DIRECTORY && ctx->arg != BY_PATH_ALONE)
		SAME(pwrite(fd, "C", 1, 0), 1);
	return 0;
}

/* Room that was set aside, and not used. */

static int room_make(struct maker_ctx *ctx)
{
	struct stat st;

	TRY(nameless(ctx));
	SAME(pwrite(fd, "contents", 8, ROOM / 2), 8);
	NEED(!fallocate(fd, 0, 0, ROOM));
	CHECK(!fstat(fd, &st));
	CHECK(st.st_blocks * 512 >= ROOM);
	return 0;
}

static int room_use(struct maker_ctx *ctx)
{
	struct stat st;
	char got[8];

	(void)ctx;
	CHECK(!fstat(fd, &st));
	SAME(st.st_size, ROOM);
	CHECK(st.st_blocks * 512 >= ROOM);
	SAME(pread(fd, got, 8, ROOM / 2), 8);
	CHECK(!memcmp(got, "contents", 8));
	return 0;
}

/* Room in the middle and behind the end. */

enum { SIZE = ROOM / 2, MIDDLE = ROOM / 4, PART = ROOM / 16 };

/* Is there such an extent that was not written to? */
static bool is_reserved(uint64_t offset)
{
	_Alignas(struct fiemap) uint8_t room[sizeof(struct fiemap) + sizeof(struct fiemap_extent)];
	struct fiemap *m = (struct fiemap *)room;

	*m = (struct fiemap){
		.fm_start = offset, .fm_length = PAGE, .fm_flags = FIEMAP_FLAG_SYNC, .fm_extent_count = 1
	};
	return !ioctl(fd, FS_IOC_FIEMAP, m) && m->fm_mapped_extents &&
	       m->fm_extents[0].fe_flags & FIEMAP_EXTENT_UNWRITTEN;
}

static int room_part_make(struct maker_ctx *ctx)
{
	TRY(nameless(ctx));
	SAME(pwrite(fd, "contents", 8, SIZE - 8), 8);
	NEED(!fallocate(fd, FALLOC_FL_KEEP_SIZE, MIDDLE, PART));
	CHECK(!fallocate(fd, FALLOC_FL_KEEP_SIZE, ROOM, PART));
	NEED(is_reserved(MIDDLE) && is_reserved(MIDDLE + PART - PAGE) && is_reserved(ROOM));
	return 0;
}

static int room_part_use(struct maker_ctx *ctx)
{
	struct stat st;
	char got[8];

	CHECK(!fstat(fd, &st));
	SAME(st.st_size, SIZE);
	SAME(pread(fd, got, 8, SIZE - 8), 8);
	CHECK(!memcmp(got, "contents", 8));
	CHECK(is_reserved(MIDDLE) && is_reserved(MIDDLE + PART - PAGE) && is_reserved(ROOM + PART - PAGE));
	CHECK(!is_reserved(MIDDLE - PAGE) && !is_reserved(MIDDLE + PART) && !is_reserved(ROOM - PAGE));
	return 0;
}

#define MARKED(name, what, how)                                                                                        \
	{                                                                                                              \
		name, what, marked_make, marked_use, 0, how, NULL                                                      \
	}

const struct maker makers_marked[] = {
	MARKED("unlinked", "an unlinked file", UNLINKED),
	MARKED("unlinked-path", "one that is open by O_PATH alone", BY_PATH_ALONE),
	MARKED("tmpfile", "a file that never had a name", TMPFILE),
	MARKED("memfd", "a memfd", MEMFD),
	MARKED("shared", "shared anonymous memory", SHARED),
	MARKED("directory", "a removed directory", DIRECTORY),
	{ "room-unlinked", "room that an unlinked file has reserved", room_make, room_use, 0, UNLINKED, NULL },
	ROW_ARG("room-part", "room for a part of itself, and behind its end", room_part, UNLINKED),
	{ "room-shared", "room that shared anonymous memory has reserved", room_make, room_use, 0, SHARED, NULL },
	{ "room-memfd", "room that a memfd has reserved", room_make, room_use, 0, MEMFD, NULL },
	{ 0 },
};
