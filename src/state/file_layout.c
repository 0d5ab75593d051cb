/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fs/ioctl.c, fs/file_attr.c; Documentation/filesystems/fiemap.rst. */
#include "state/file_layout.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"
#include "state/files.h"

#define OWN_XFLAGS                                                                                                     \
	(FS_XFLAG_EXTSIZE | FS_XFLAG_EXTSZINHERIT | FS_XFLAG_COWEXTSIZE | FS_XFLAG_NODEFRAG | FS_XFLAG_FILESTREAM)

static const struct field reserved_fields[] = {
	FIELD_UINT(struct reserved_room, offset, "offset", "where it begins"),
	FIELD_UINT(struct reserved_room, length, "length", "bytes"),
	FIELD_END,
};

const struct field file_layout_fields[] = {
	FIELD_HEX(struct file_layout, xflags, "xflags", "FS_XFLAG_*, of those that FS_IOC_GETFLAGS does not tell"),
	FIELD_UINT(struct file_layout, extent_size, "extent_size", "fsx_extsize"),
	FIELD_UINT(struct file_layout, cow_extent_size, "cow_extent_size", "fsx_cowextsize"),
	FIELD_UINT(struct file_layout, project, "project", "fsx_projid"),
	FIELD_LIST(struct file_layout, reserved, n_reserved, "reserved", reserved_fields,
		"room that it has, and has not written to (FIEMAP_EXTENT_UNWRITTEN)"),
	FIELD_END,
};

/* --- checkpoint --- */

static int add(struct file_layout *l, uint64_t offset, uint64_t length)
{
	struct reserved_room *last = l->n_reserved ? &l->reserved[l->n_reserved - 1] : NULL, *grown;

	if (last && last->offset + last->length == offset) {
		last->length += length;
		return 0;
	}
	grown = reallocarray(l->reserved, l->n_reserved + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	l->reserved = grown;
	grown[l->n_reserved++] = (struct reserved_room){ offset, length };
	return 0;
}

#define EXTENTS 64 /* asked for at once */

/* What was written there since and is not on the disk yet does not count: to reserve it once more changes nothing. */
static int read_reserved(int fd, uint64_t from, struct file_layout *l)
{
	_Alignas(struct fiemap) uint8_t room[sizeof(struct fiemap) + EXTENTS * sizeof(struct fiemap_extent)];
	struct fiemap *map = (struct fiemap *)room;
	int err = 0;

	for (bool more = true; !err && more;) {
		*map = (struct fiemap){ .fm_start = from, .fm_length = INT64_MAX - from, .fm_extent_count = EXTENTS };
		if (ioctl(fd, FS_IOC_FIEMAP, map) < 0)
			return -ENOTSUP;
		more = map->fm_mapped_extents == EXTENTS;
		for (uint32_t i = 0; !err && i < map->fm_mapped_extents; i++) {
			const struct fiemap_extent *e = &map->fm_extents[i];
			uint64_t start = MAX(e->fe_logical, from), end = e->fe_logical + e->fe_length;

			if (e->fe_flags & FIEMAP_EXTENT_UNWRITTEN && end > start)
				err = add(l, start, end - start);
			more &= !(e->fe_flags & FIEMAP_EXTENT_LAST) && end > from;
			from = MAX(from, end);
		}
	}
	return err;
}

int file_layout_read(const struct capture *c, int fd, uint64_t from, struct file_layout *l)
{
	_cleanup_fd_ int own = -1;
	struct fsxattr attributes = { 0 };

	if (fcntl(fd, F_GETFL) & O_PATH) {
		own = reopen_unseen(c, fd);
		fd = own;
	}
	if (fd < 0)
		return fd;
	if (ioctl(fd, FS_IOC_FSGETXATTR, &attributes) == 0) {
		l->xflags = attributes.fsx_xflags & OWN_XFLAGS;
		l->extent_size = attributes.fsx_extsize;
		l->cow_extent_size = attributes.fsx_cowextsize;
		l->project = attributes.fsx_projid;
	}
	return read_reserved(fd, from, l);
}

/* --- restore --- */

void file_layout_prepare(struct restore *r, const char *name, int fd, const struct file_layout *l)
{
	struct fsxattr now = { 0 }, wanted;

	if (ioctl(fd, FS_IOC_FSGETXATTR, &now) < 0)
		memset(&now, 0, sizeof(now));
	wanted = now;
	wanted.fsx_xflags = (now.fsx_xflags & ~(uint32_t)OWN_XFLAGS) | ((uint32_t)l->xflags & OWN_XFLAGS);
	wanted.fsx_extsize = (uint32_t)l->extent_size;
	wanted.fsx_cowextsize = (uint32_t)l->cow_extent_size;
	wanted.fsx_projid = (uint32_t)l->project;
	if (memcmp(&now, &wanted, sizeof(now)) != 0 && ioctl(fd, FS_IOC_FSSETXATTR, &wanted) < 0)
		changed(r->ps, BLAME(.object = name),
			"its project and the size of its extents (FS_IOC_FSSETXATTR) cannot be set here: %s",
			strerror(errno));
}

void file_layout_reserve(struct restore *r, const char *name, int fd, const struct file_layout *l)
{
	int err = 0;

	for (size_t i = 0; !err && i < l->n_reserved; i++)
		err = fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)l->reserved[i].offset, (off_t)l->reserved[i].length);
	if (err)
		changed(r->ps, BLAME(.object = name), "the room that it had reserved (fallocate) cannot be had: %s",
			strerror(errno));
}
