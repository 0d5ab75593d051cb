/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The directory that an image is written to: taken, cleared of an older image or the rest of one, and given back. flock(2) */
#include "image/directory.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

static bool is_image_file(const char *name)
{
	unsigned int number;
	char kind[32];

	return !strcmp(name, MANIFEST) || !strcmp(name, MANIFEST_TMP) || kind_file_name(name, kind) ||
	       page_file_name(name, &number);
}

static int open_listing(int dir_fd, DIR **dir)
{
	_cleanup_fd_ int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	*dir = fdopendir(fd);
	if (!*dir)
		return -errno;
	take_fd(&fd);
	return 0;
}

/* An image, the rest of one that was never finished, or neither. */
struct found {
	bool manifest, head, anything;
};

static int look_at_directory(int dir_fd, struct found *found)
{
	_cleanup_dir_ DIR *dir = NULL;
	struct dirent *e;
	int r = open_listing(dir_fd, &dir);

	while (dir && (e = readdir(dir))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		found->anything = true;
		found->manifest |= !strcmp(e->d_name, MANIFEST);
		found->head |= !strcmp(e->d_name, "head.cbor");
	}
	return r;
}

static int remove_image_files(int dir_fd)
{
	_cleanup_dir_ DIR *dir = NULL;
	struct dirent *e;
	int r = open_listing(dir_fd, &dir);

	while (dir && (e = readdir(dir)))
		if (is_image_file(e->d_name) && unlinkat(dir_fd, e->d_name, 0) < 0 && errno != ENOENT)
			r = -errno;
	return r;
}

/* The manifest first: what is left is no image from then on, wherever this ends. */
static int remove_image(int dir_fd)
{
	if (unlinkat(dir_fd, MANIFEST, 0) < 0 && errno != ENOENT)
		return -errno;
	if (fsync(dir_fd) < 0 && errno != EINVAL)
		return -errno;
	return remove_image_files(dir_fd);
}

void directory_clear(int dir_fd)
{
	remove_image(dir_fd);
}

static int judge_directory(int dir_fd, bool force, struct problems *ps, struct found *found)
{
	int r = look_at_directory(dir_fd, found);

	if (r < 0)
		return file_failed(ps, dir_fd, "", r, "the directory cannot be read");
	if (found->manifest && !force)
		return directory_failed(ps, dir_fd, "choose another directory, or give --force to replace it", -EEXIST,
			"the directory holds an image already");
	if (found->head && !force)
		return directory_failed(ps, dir_fd, "choose another directory, or give --force to replace it",
			-ENOTEMPTY, "the directory holds an image that was never finished");
	if (found->anything && !found->manifest && !found->head)
		return directory_failed(ps, dir_fd, "choose an empty or a new directory", -ENOTEMPTY,
			"the directory is not empty, and holds no image");
	return 0;
}

int image_may_create(int dir_fd, bool force, struct problems *ps)
{
	return judge_directory(dir_fd, force, ps, &(struct found){ 0 });
}

/* By its name, which is not known to be what the caller once used: only if that is this directory. */
static void remove_directory(int dir_fd)
{
	_cleanup_fd_ int parent = openat(dir_fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
	char link[32], path[PATH_MAX];
	struct stat own, named;
	const char *name;
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", dir_fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n <= 0)
		return;
	path[n] = 0;
	name = strrchr(path, '/');
	if (name && !fstat(dir_fd, &own) && !fstatat(parent, name + 1, &named, AT_SYMLINK_NOFOLLOW) &&
		own.st_dev == named.st_dev && own.st_ino == named.st_ino)
		unlinkat(parent, name + 1, AT_REMOVEDIR);
}

void image_remove_unfinished(int dir_fd, bool directory_too)
{
	_cleanup_fd_ int dir = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct found found = { 0 };

	if (dir < 0 || flock(dir, LOCK_EX | LOCK_NB) < 0 || look_at_directory(dir, &found) < 0 || found.manifest)
		return;
	remove_image_files(dir);
	if (directory_too)
		remove_directory(dir);
}

int image_remove(int dir_fd)
{
	_cleanup_fd_ int dir = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (dir < 0)
		return -errno;
	if (flock(dir, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
		return -EBUSY;
	r = remove_image(dir);
	if (r == 0)
		remove_directory(dir);
	return r;
}

/* One that another checkpoint made, and removes since it failed, is gone when that is over. */
static bool is_removed(int dir_fd)
{
	struct stat st;

	return fstat(dir_fd, &st) == 0 && st.st_nlink == 0;
}

static int clear(int dir_fd, bool force, struct problems *ps)
{
	struct found found = { 0 };
	int r = judge_directory(dir_fd, force, ps, &found);

	if (r < 0)
		return r;
	r = found.anything ? remove_image(dir_fd) : 0;
	return r < 0 ? file_failed(ps, dir_fd, "", r, "the old image cannot be removed") : 0;
}

int directory_take(int dir_fd, bool force, struct problems *ps, int *out)
{
	_cleanup_fd_ int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (fd < 0)
		return file_failed(ps, dir_fd, "", -errno, "the directory cannot be opened");
	if ((flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK) || is_removed(fd))
		return file_failed(ps, dir_fd, "", -EBUSY, "another checkpoint is being written there");
	r = clear(fd, force, ps); /* a file system without flock goes without */
	if (r == 0)
		*out = take_fd(&fd);
	return r;
}
