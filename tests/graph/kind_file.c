/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What has a path, or had one. */
#include "world.h"

static int keep(int fds[2], int fd)
{
	CHECK(fd >= 0);
	fds[0] = fd;
	return 0;
}

static int keep_page(int fds[2], int fd)
{
	TRY(keep(fds, fd));
	SAME(ftruncate(fd, 4096), 0);
	return 0;
}

int file_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	flags[0] = draw(w, 2) ? O_APPEND : 0;
	if (!real)
		return 0;
	return keep_page(fd,
		open(numbered(w, "file", object_index(w, o)), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | flags[0], 0644));
}

int unlinked_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	if (!real)
		return 0;
	TRY(keep_page(fd, open(numbered(w, "gone", object_index(w, o)), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600)));
	return unlink(w->ctx->path);
}

int memfd_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	return real ? keep_page(fd, memfd_create("graph", MFD_CLOEXEC | MFD_ALLOW_SEALING)) : 0;
}

int posix_shm_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	char name[64];

	if (!real)
		return 0;
	return keep_page(fd, shm_open(unique_name(w, object_index(w, o), name), O_RDWR | O_CREAT | O_EXCL, 0600));
}

/* value[]: the byte at each place. */
static int contents_touch(struct world *w, struct description *d, struct object *o, int fd)
{
	uint64_t at = draw(w, MAX_PLACES), value = draw(w, 256);
	uint8_t byte = 0, now = (uint8_t)value;

	if (fd >= 0) {
		SAME(pread(fd, &byte, 1, (off_t)at * 512), 1);
		SAME(byte, o->value[at]);
	}
	if (d->flags & O_APPEND) /* pwrite would append */
		return 0;
	if (fd >= 0)
		SAME(pwrite(fd, &now, 1, (off_t)at * 512), 1);
	o->value[at] = value;
	return 0;
}

static int position_touch(struct world *w, struct description *d, int fd)
{
	int64_t to = (int64_t)draw(w, 3000);

	if (fd >= 0) {
		SAME(lseek(fd, 0, SEEK_CUR), d->position);
		SAME(lseek(fd, to, SEEK_SET), to);
	}
	d->position = to;
	return 0;
}

int file_touch(struct world *w, int process, struct description *d, struct object *o, int fd)
{
	switch (draw(w, 5)) {
	case 0:
		return position_touch(w, d, fd);
	case 1:
		return flock_touch(w, process, d, o, fd);
	case 2:
	case 3:
		return byte_lock_touch(w, process, d, o, fd);
	default:
		return contents_touch(w, d, o, fd);
	}
}

int memfd_touch(struct world *w, int process, struct description *d, struct object *o, int fd)
{
	return draw(w, 2) ? position_touch(w, d, fd) : contents_touch(w, d, o, fd);
}

/* A file that nobody has open for writing: a lease for reading can be had. */
int leased_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	int f;

	if (!real)
		return 0;
	f = open(numbered(w, "leased", object_index(w, o)), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	CHECK(f >= 0);
	SAME(close(f), 0);
	return keep(fd, open(w->ctx->path, O_RDONLY | O_CLOEXEC));
}

int leased_touch(struct world *w, int process, struct description *d, struct object *o, int fd)
{
	if (fd >= 0) {
		SAME(fcntl(fd, F_GETLEASE), d->leased ? F_RDLCK : F_UNLCK);
		SAME(fcntl(fd, F_SETLEASE, d->leased ? F_UNLCK : F_RDLCK), 0);
	}
	d->leased = !d->leased;
	d->owner = d->leased ? process : -1; /* who is told of a breach */
	return 0;
}

int directory_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	if (!real)
		return 0;
	CHECK(!mkdir(numbered(w, "directory", object_index(w, o)), 0755));
	return keep(fd, open(w->ctx->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

int directory_touch(struct world *w, int process, struct description *d, struct object *o, int fd)
{
	if (fd >= 0) {
		int inside = openat(fd, "inside", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

		CHECK(inside >= 0);
		SAME(lseek(inside, 0, SEEK_END), o->value[0]);
		SAME(write(inside, "x", 1), 1);
		close(inside);
	}
	o->value[0]++;
	return 0;
}

int path_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	return real ? keep(fd, open(w->ctx->dir, O_PATH | O_CLOEXEC)) : 0;
}

int path_touch(struct world *w, int process, struct description *d, struct object *o, int fd)
{
	struct stat at, st;

	if (fd < 0)
		return 0;
	SAME(fstat(fd, &at), 0);
	SAME(stat(w->ctx->dir, &st), 0);
	SAME(at.st_ino, st.st_ino);
	return 0;
}

int device_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	o->number = (int)draw(w, 2);
	return real ? keep(fd, open(o->number ? "/dev/zero" : "/dev/null", O_RDWR | O_CLOEXEC)) : 0;
}

int device_touch(struct world *w, int process, struct description *d, struct object *o, int fd)
{
	char byte = 1;

	if (fd < 0)
		return 0;
	SAME(read(fd, &byte, 1), o->number);
	SAME(byte, !o->number);
	return 0;
}

/* A file of the root's directory in /proc, whose beginning does not change. */
int proc_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	static const char *const names[] = { "status", "limits", "comm" };
	char path[64];

	o->number = (int)draw(w, 3);
	if (!real)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/%s", w->common->pids[0], names[o->number]);
	return keep(fd, open(path, O_RDONLY | O_CLOEXEC));
}

int proc_touch(struct world *w, int process, struct description *d, struct object *o, int fd)
{
	static const char *const begins[] = { "Name:", "Limit", "spore" };
	int64_t to = (int64_t)draw(w, 6);
	char text[6] = "";

	if (fd >= 0) {
		SAME(lseek(fd, 0, SEEK_CUR), d->position);
		SAME(pread(fd, text, 5, 0), 5);
		CHECK(!strcmp(text, begins[o->number]));
		SAME(lseek(fd, to, SEEK_SET), to);
	}
	d->position = to;
	return 0;
}

static const char *const namespaces[] = { "uts", "ipc", "net", "mnt", "user", "cgroup", "pid", "time" };

int namespace_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	char path[64];

	o->number = (int)draw(w, sizeof(namespaces) / sizeof(*namespaces));
	if (!real)
		return 0;
	snprintf(path, sizeof(path), "/proc/self/ns/%s", namespaces[o->number]);
	return keep(fd, open(path, O_RDONLY | O_CLOEXEC));
}

int namespace_touch(struct world *w, int process, struct description *d, struct object *o, int fd)
{
	struct stat at, st;
	char path[64];

	if (fd < 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/self/ns/%s", namespaces[o->number]);
	SAME(fstat(fd, &at), 0);
	SAME(stat(path, &st), 0);
	SAME(at.st_ino, st.st_ino);
	return 0;
}
