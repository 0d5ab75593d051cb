/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/inode_marks.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "kernel/uapi.h"
#include "state/files.h"

const struct field inode_marks_fields[] = {
	FIELD_INT(struct inode_marks, atime_s, "atime", "last access, seconds since 1970"),
	FIELD_UINT(struct inode_marks, atime_ns, "atime_ns", "and nanoseconds"),
	FIELD_HEX(struct inode_marks, attributes, "attributes", "FS_IOC_GETFLAGS: those that a user may set"),
	FIELD_UINT(struct inode_marks, write_hint, "write_hint", "F_GET_RW_HINT: how long what is written will live"),
	FIELD_END,
};

void inode_marks_read(const struct capture *c, int fd, struct inode_marks *m)
{
	_cleanup_fd_ int own = -1;
	unsigned int attributes = 0;
	struct stat st;

	if (fstat(fd, &st) == 0) {
		m->atime_s = st.st_atim.tv_sec;
		m->atime_ns = (uint64_t)st.st_atim.tv_nsec;
	}
	if (fcntl(fd, F_GETFL) & O_PATH) {
		own = reopen_unseen(c, fd);
		fd = own;
	}
	if (fd < 0)
		return;
	if (ioctl(fd, FS_IOC_GETFLAGS, &attributes) == 0)
		m->attributes = attributes & FS_FL_USER_MODIFIABLE;
	fcntl(fd, F_GET_RW_HINT, &m->write_hint);
}

/* A new file has what its directory gives it. */
static int set_attributes(int fd, unsigned int wanted)
{
	unsigned int now = 0;

	if (ioctl(fd, FS_IOC_GETFLAGS, &now) < 0)
		return wanted ? -errno : 0;
	if ((now & FS_FL_USER_MODIFIABLE) == wanted)
		return 0;
	wanted |= now & ~(unsigned int)FS_FL_USER_MODIFIABLE;
	return ioctl(fd, FS_IOC_SETFLAGS, &wanted) < 0 ? -errno : 0;
}

static int set_write_hint(int fd, uint64_t wanted)
{
	uint64_t now = 0;

	if (fcntl(fd, F_GET_RW_HINT, &now) < 0 || now == wanted)
		return 0;
	return fcntl(fd, F_SET_RW_HINT, &wanted) < 0 ? -errno : 0;
}

void inode_marks_write(struct restore *r, const char *name, int fd, const struct inode_marks *m)
{
	const struct timespec times[2] = { { .tv_sec = m->atime_s, .tv_nsec = (long)(m->atime_ns % 1000000000) },
		{ .tv_nsec = UTIME_OMIT } };
	int err = m->atime_s || m->atime_ns ? futimens(fd, times) : 0;

	if (err)
		changed(r->ps, BLAME(.object = name), "its time of access cannot be set here: %s", strerror(errno));
	err = set_write_hint(fd, m->write_hint);
	if (err)
		changed(r->ps, BLAME(.object = name), "its hint for writes (F_SET_RW_HINT) cannot be set here: %s",
			strerror(-err));
	err = set_attributes(fd, (unsigned int)m->attributes);
	if (err)
		changed(r->ps, BLAME(.object = name), "its attributes (chattr) cannot be set here: %s", strerror(-err));
}
