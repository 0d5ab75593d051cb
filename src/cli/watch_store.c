/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* renameat2(2), flock(2) */
#include "cli/watch_store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "image/image.h"

/* Their first character keeps them from being taken for images that others need. */
#define NEW	   ".new"
#define OLD	   ".old"
#define LATEST	   "latest"
#define LATEST_NEW ".latest"

static const uint8_t none[16];

void store_name(uint64_t number, char name[static STORE_NAME])
{
	snprintf(name, STORE_NAME, "%06" PRIu64, number);
}

static bool is_number(const char *name, uint64_t *number)
{
	char again[STORE_NAME];

	if (sscanf(name, "%18" SCNu64, number) != 1)
		return false;
	store_name(*number, again);
	return !strcmp(name, again);
}

static int open_dir(int at, const char *name)
{
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int store_image(const struct store *s, const struct stored *one)
{
	char name[STORE_NAME];

	store_name(one->number, name);
	return open_dir(s->dir_fd, name);
}

static uint64_t bytes_in(int fd)
{
	_cleanup_fd_ int again = open_dir(fd, ".");
	_cleanup_dir_ DIR *dir = again < 0 ? NULL : fdopendir(again);
	uint64_t bytes = 0;
	struct dirent *e;
	struct stat st;

	if (dir)
		take_fd(&again);
	while (dir && (e = readdir(dir)))
		if (fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
			bytes += (uint64_t)st.st_size;
	return bytes;
}

/* What its head says. */
static int read_head(int fd, struct stored *out)
{
	static const struct record_kind *const nothing_else[] = { NULL };
	struct image *image = NULL;
	struct problems ignored;
	int r;

	problems_init(&ignored);
	r = image_open_kinds(fd, nothing_else, &ignored, &image);
	problems_free(&ignored);
	if (r < 0)
		return r;
	memcpy(out->id, image->head.id, sizeof(out->id));
	memcpy(out->parent, image->head.parent_id, sizeof(out->parent));
	image_free(image);
	out->bytes = bytes_in(fd);
	return 0;
}

static int list_add(struct store *s, const struct stored *one)
{
	struct stored *grown = reallocarray(s->list, s->n + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	s->list = grown;
	s->list[s->n++] = *one;
	s->next = MAX(s->next, one->number + 1);
	return 0;
}

static int by_number(const void *a, const void *b)
{
	const struct stored *x = a, *y = b;

	return (x->number > y->number) - (x->number < y->number);
}

/* --- opening --- */

/* One that has a number and cannot be read is left alone, and so is its number. */
static int look_at(struct store *s, const char *name)
{
	struct stored one = { 0 };
	_cleanup_fd_ int fd = -1;
	int r;

	if (!is_number(name, &one.number))
		return 0;
	s->next = MAX(s->next, one.number + 1);
	fd = open_dir(s->dir_fd, name);
	r = fd < 0 ? fd : read_head(fd, &one);
	if (r == 0)
		return list_add(s, &one);
	say_error("watch", "%s/%s: no image that can be read; it is left as it is", s->path, name);
	return 0;
}

static int look_at_all(struct store *s)
{
	_cleanup_fd_ int fd = open_dir(s->dir_fd, ".");
	_cleanup_dir_ DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	int r = 0;

	if (!dir)
		return fd < 0 ? fd : -errno;
	take_fd(&fd);
	while (r == 0 && (e = readdir(dir)))
		r = look_at(s, e->d_name);
	if (s->n)
		qsort(s->list, s->n, sizeof(*s->list), by_number);
	return r;
}

static int remove_named(const struct store *s, const char *name)
{
	_cleanup_fd_ int fd = open_dir(s->dir_fd, name);

	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	return image_remove(fd);
}

/* Of a watch that was killed; its keeper may be at it. */
static int remove_rest(const struct store *s)
{
	int r = -EBUSY;

	for (int tries = 0; r == -EBUSY && tries < 50; tries++) {
		if (tries)
			usleep(100000);
		r = remove_named(s, OLD);
		if (r == 0)
			r = remove_named(s, NEW);
	}
	return r;
}

int store_open(struct store *s, const char *path)
{
	bool made;
	int r;

	*s = (struct store){ .path = path, .next = 1, .dir_fd = new_directory("watch", path, &made) };
	if (s->dir_fd < 0)
		return STATUS_FAILED;
	if (flock(s->dir_fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK) {
		say_error("watch", "%s: another `spore watch` is at work there; choose another directory", path);
		return STATUS_FAILED;
	}
	r = look_at_all(s);
	if (r == 0)
		r = remove_rest(s);
	if (r < 0)
		say_error("watch", "%s: %s; choose another directory", path,
			r == -EBUSY ? "what a `spore watch` that was killed left is still being removed"
				    : strerror(-r));
	return r < 0 ? STATUS_FAILED : 0;
}

void store_close(struct store *s)
{
	close_fd(&s->dir_fd);
	free(s->list);
	s->list = NULL;
	s->n = 0;
}

const struct stored *store_newest(const struct store *s)
{
	return s->n ? &s->list[s->n - 1] : NULL;
}

/* --- adding --- */

int store_begin(const struct store *s)
{
	int r = remove_named(s, NEW);

	if (r == 0 && mkdirat(s->dir_fd, NEW, 0700) < 0)
		r = -errno;
	return r < 0 ? r : open_dir(s->dir_fd, NEW);
}

void store_drop(const struct store *s)
{
	remove_named(s, NEW);
}

static int sync_names(const struct store *s)
{
	return fsync(s->dir_fd) < 0 && errno != EINVAL ? -errno : 0;
}

static int point_latest(const struct store *s, const char *name)
{
	unlinkat(s->dir_fd, LATEST_NEW, 0);
	if (symlinkat(name, s->dir_fd, LATEST_NEW) < 0 || renameat(s->dir_fd, LATEST_NEW, s->dir_fd, LATEST) < 0)
		return -errno;
	return 0;
}

static int read_new(const struct store *s, struct stored *one)
{
	_cleanup_fd_ int fd = open_dir(s->dir_fd, NEW);

	return fd < 0 ? fd : read_head(fd, one);
}

int store_add(struct store *s)
{
	struct stored one = { .number = s->next };
	char name[STORE_NAME];
	int r = read_new(s, &one);

	store_name(one.number, name);
	if (r == 0 && renameat2(s->dir_fd, NEW, s->dir_fd, name, RENAME_NOREPLACE) < 0)
		r = -errno;
	if (r == 0)
		r = list_add(s, &one);
	if (r == 0)
		r = point_latest(s, name);
	return r < 0 ? r : sync_names(s);
}

int store_replace_newest(struct store *s)
{
	struct stored one = { .number = store_newest(s)->number };
	char name[STORE_NAME];
	int r = read_new(s, &one);

	store_name(one.number, name);
	if (r == 0 && renameat2(s->dir_fd, NEW, s->dir_fd, name, RENAME_EXCHANGE) < 0)
		r = -errno;
	if (r == 0)
		r = sync_names(s);
	if (r < 0)
		return r;
	s->list[s->n - 1] = one;
	return remove_named(s, NEW);
}

/* --- what needs what --- */

/* The one that it was made against; NULL: it stands alone, or that is not here. */
static struct stored *parent_of(const struct store *s, const struct stored *one)
{
	for (size_t i = 0; memcmp(one->parent, none, sizeof(none)) && i < s->n; i++)
		if (!memcmp(s->list[i].id, one->parent, sizeof(one->parent)) && s->list[i].number < one->number)
			return &s->list[i];
	return NULL;
}

size_t store_chain(const struct store *s, uint64_t *bytes, uint64_t *base)
{
	const struct stored *one = store_newest(s), *parent;
	size_t n = 0;

	*bytes = 0;
	for (; one && (parent = parent_of(s, one)); one = parent, n++)
		*bytes += one->bytes;
	*base = one ? one->bytes : 0;
	return n;
}

/* Without its number first, so that it is at no time a part of an image by that. */
static int take_away(const struct store *s, const struct stored *one)
{
	char name[STORE_NAME];
	int r = remove_named(s, OLD);

	store_name(one->number, name);
	if (r == 0 && renameat2(s->dir_fd, name, s->dir_fd, OLD, RENAME_NOREPLACE) < 0)
		r = -errno;
	return r < 0 && r != -ENOENT ? r : remove_named(s, OLD);
}

size_t store_prune(struct store *s, size_t keep)
{
	_cleanup_free_ bool *kept = calloc(s->n + 1, sizeof(*kept));
	size_t n = 0;

	if (!kept || !s->list)
		return 0;
	for (size_t i = s->n > keep ? s->n - keep : 0; i < s->n; i++)
		for (struct stored *one = &s->list[i]; one && !kept[one - s->list]; one = parent_of(s, one))
			kept[one - s->list] = true;
	/* the newest of them first: at no time is there one without those that it needs */
	for (size_t i = s->n, failed = 0; i-- > 0;)
		if (!kept[i] && (failed || take_away(s, &s->list[i]) < 0))
			failed = kept[i] = true;
	for (size_t i = 0; i < s->n; i++)
		if (kept[i])
			s->list[n++] = s->list[i];
	keep = s->n - n;
	s->n = n;
	return keep;
}

uint64_t store_bytes(const struct store *s)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < s->n; i++)
		bytes += s->list[i].bytes;
	return bytes;
}
