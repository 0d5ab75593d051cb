/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Devices without state: null(4), full(4), random(4). drivers/char/mem.c, drivers/char/random.c. */
#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/cleanup.h"
#include "state/files.h"

struct device_state {
	char *path;
	uint64_t major, minor;
};

static const struct field device_fields[] = {
	FIELD_STRING(struct device_state, path, "path", "in the tree's root directory"),
	FIELD_UINT(struct device_state, major, "major", "device number"),
	FIELD_UINT(struct device_state, minor, "minor", "device number"),
	FIELD_END,
};

static bool device_matches(const struct file_look *f)
{
	static const unsigned int minors[] = { 3 /* null */, 5 /* zero */, 7 /* full */, 8 /* random */,
		9 /* urandom */ };

	if (!S_ISCHR(f->mode) || major(f->rdev) != 1 || f->link[0] != '/')
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(minors); i++)
		if (minor(f->rdev) == minors[i])
			return true;
	return false;
}

static int device_capture(struct capture *c, const struct file_look *f, void *state)
{
	struct device_state *s = state;
	struct stat st;
	int err = tree_stat(c, f->link, &st);

	if (err || st.st_rdev != f->rdev)
		return refused(c->ps, BLAME_FILE(f), "no path of the tree leads to this device any more");
	s->major = major(f->rdev);
	s->minor = minor(f->rdev);
	s->path = strdup(f->link);
	return s->path ? 0 : -ENOMEM;
}

static int device_open(struct restore *r, const struct record *rec, const struct file_state *file)
{
	const struct device_state *s = rec->state;
	_cleanup_fd_ int fd = -1;
	struct stat st;

	if (!s->path || s->path[0] != '/')
		return failed(r->ps, BLAME(.object = "device"), -EBADMSG, "the image has a device without a path");
	/* Looked at before it is opened: to open the wrong device may do harm. */
	fd = restore_open(r, s->path, O_PATH | O_NOFOLLOW, 0);
	if (fd < 0 || fstat(fd, &st) < 0)
		return failed(r->ps, BLAME(.object = s->path), fd < 0 ? fd : -errno, "the device is missing");
	if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(s->major, s->minor) || major(st.st_rdev) != 1)
		return refused(r->ps, BLAME(.object = s->path), "this is another device now");
	return file_settle(restore_open(r, s->path, (file->flags & ~(uint64_t)O_ASYNC) | O_NOCTTY, 0), file);
}

const struct component component_device = {
	.kind = { .name = "device",
		.version = 1,
		.size = sizeof(struct device_state),
		.fields = device_fields,
		.doc = "a device without state: null, zero, full, random, urandom",
		.sources = "null(4), random(4); drivers/char/mem.c" },
	.scope = SCOPE_BACKING,
	.matches = device_matches,
	.capture_file = device_capture,
	.open = device_open,
};
