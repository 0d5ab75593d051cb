/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image/ancestors.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "image/opening.h"

static const struct field ancestor_fields[] = {
	FIELD_BYTES(struct ancestor, image_id, "image", "the id that its head has"),
	FIELD_BYTES(struct ancestor, manifest, "manifest", "XXH3 (128 bits, seed 0, big endian) of its manifest"),
	FIELD_STRING(struct ancestor, path, "path",
		"its directory, from this one; where another is found there, those beside this one are looked at"),
	FIELD_UINT(struct ancestor, first, "first", "number of its first page file"),
	FIELD_UINT(struct ancestor, n_files, "files", "how many page files it has"),
	FIELD_END,
};

const struct record_kind ancestor_kind = {
	.name = "ancestor",
	.version = 1,
	.size = sizeof(struct ancestor),
	.fields = ancestor_fields,
	.doc = "an older image that some of this one's pages lie in",
	.sources = "xxhash(1)",
	.critical = true,
};

/* --- the way from one directory to another --- */

static int path_of(int fd, char path[static PATH_MAX])
{
	char link[32];
	struct stat st;
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, PATH_MAX - 1);
	if (n < 0)
		return -errno;
	path[n] = 0;
	if (fstat(fd, &st) < 0)
		return -errno;
	return path[0] == '/' && st.st_nlink ? 0 : -ENOENT;
}

static char *relative_path(const char *from, const char *to)
{
	size_t common = 0, ups = 0, room;
	char *path, *at;

	for (size_t i = 0;; i++) {
		bool from_ends = !from[i] || from[i] == '/', to_ends = !to[i] || to[i] == '/';

		if (from_ends && to_ends)
			common = i;
		if (!from[i] || !to[i] || from[i] != to[i])
			break;
	}
	for (const char *p = from + common; *p; p++)
		ups += p[0] == '/' && p[1];
	to += common;
	to += *to == '/';
	room = 3 * ups + strlen(to) + 2;
	path = at = malloc(room);
	if (!path)
		return NULL;
	for (; ups; ups--)
		at = stpcpy(at, "../");
	stpcpy(at, to);
	if (!*path)
		stpcpy(path, ".");
	return path;
}

/* --- writing --- */

static bool is_used(const struct older_image *o, const bool *used)
{
	for (unsigned int i = 0; i < o->n_files; i++)
		if (used[o->first + i])
			return true;
	return false;
}

static int write_one(struct image_writer *w, int dir_fd, const struct older_image *o, struct problems *ps)
{
	struct ancestor a = { .first = o->first, .n_files = o->n_files };
	char from[PATH_MAX] = "", to[PATH_MAX] = "";
	int r = path_of(dir_fd, from);

	if (r == 0)
		r = path_of(o->dir_fd, to);
	if (r < 0)
		return directory_failed(ps, o->dir_fd, "keep it until the checkpoint is complete", r,
			"the way to the parent's directory cannot be written down");
	memcpy(a.image_id, o->image_id, sizeof(a.image_id));
	memcpy(a.manifest, o->manifest, sizeof(a.manifest));
	a.path = relative_path(from, to);
	r = a.path ? image_add(w, &ancestor_kind, 0, &a) : -ENOMEM;
	free(a.path);
	return r;
}

static struct older_image itself(const struct image *img)
{
	struct older_image o = {
		.dir_fd = img->dir_fd,
		.first = img->private->first_own,
		.n_files = img->n_page_files - img->private->first_own,
	};

	memcpy(o.image_id, img->head.id, sizeof(o.image_id));
	memcpy(o.manifest, img->private->manifest_sum, sizeof(o.manifest));
	return o;
}

int ancestors_write(
	struct image_writer *w, int dir_fd, const struct image *parent, const bool *used, struct problems *ps)
{
	const struct older_image newest = itself(parent);
	int r = 0;

	for (size_t i = 0; r == 0 && i < parent->private->n_ancestors; i++)
		if (is_used(&parent->private->ancestors[i], used))
			r = write_one(w, dir_fd, &parent->private->ancestors[i], ps);
	return r == 0 && is_used(&newest, used) ? write_one(w, dir_fd, &newest, ps) : r;
}

static bool is_same_directory(int a, int b)
{
	struct stat x, y;

	return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

bool ancestors_include(const struct image *newest, int dir_fd)
{
	bool is = is_same_directory(newest->dir_fd, dir_fd);

	for (size_t i = 0; !is && i < newest->private->n_ancestors; i++)
		is = is_same_directory(newest->private->ancestors[i].dir_fd, dir_fd);
	return is;
}

/* --- reading --- */

int directory_has_manifest(int dir_fd, const uint8_t wanted[static 16])
{
	_cleanup_fd_ int fd = openat(dir_fd, MANIFEST, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	_cleanup_free_ uint8_t *data = NULL;
	uint8_t sum[16];
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISREG(st.st_mode) || st.st_size > (off_t)MANIFEST_MOST)
		return 0;
	data = malloc((size_t)st.st_size + 1);
	r = data ? read_at(fd, data, (size_t)st.st_size, 0) : -ENOMEM;
	if (r < 0)
		return r;
	checksum_128(data, (size_t)st.st_size, sum);
	return !memcmp(sum, wanted, sizeof(sum));
}

static int has_manifest(int dir_fd, const struct ancestor *a)
{
	return directory_has_manifest(dir_fd, a->manifest);
}

/* A directory that was renamed lies where it lay. */
static int find_beside(int dir_fd, const struct ancestor *a)
{
	_cleanup_fd_ int above = openat(dir_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_dir_ DIR *dir = above < 0 ? NULL : fdopendir(above);
	struct dirent *e;

	if (dir)
		take_fd(&above);
	while (dir && (e = readdir(dir))) {
		_cleanup_fd_ int fd = -1;

		if (e->d_name[0] == '.' || (e->d_type != DT_DIR && e->d_type != DT_UNKNOWN))
			continue;
		fd = openat(dirfd(dir), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd >= 0 && has_manifest(fd, a) > 0)
			return take_fd(&fd);
	}
	return -ENOENT;
}

int ancestor_open(int dir_fd, const struct ancestor *a, struct problems *ps, int *out)
{
	_cleanup_fd_ int fd = openat(dir_fd, a->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int has = fd < 0 ? -errno : has_manifest(fd, a);

	if (has <= 0) {
		close_fd(&fd);
		fd = find_beside(dir_fd, a);
	}
	if (fd >= 0) {
		*out = take_fd(&fd);
		return 0;
	}
	return failed(ps,
		BLAME(.object = a->path, .remedy = "put back the image that was there when this one was made"),
		-EBADMSG, "the older image that some of its pages lie in %s",
		has < 0 ? "cannot be opened" : "is not there: it was removed, or another has taken its place");
}
