/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Standard streams that belong to the outside: a terminal, a pipe or a socket whose other end the tree does
 * not hold. Restore attaches them to the streams it is given, and a terminal to the terminal it is given; to
 * /dev/null if there is none.
 */
#include "state/external.h"

#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/cleanup.h"

struct external_state {
	char *name;	  /* as /proc/PID/fd showed it */
	uint64_t streams; /* bits 0, 1, 2: of the tree's root */
	bool terminal;
};

static const struct field external_fields[] = {
	FIELD_STRING(struct external_state, name, "name", "what it was: the link of /proc/PID/fd"),
	FIELD_UINT(struct external_state, streams, "streams", "bits 0 to 2: the root's standard streams that it was"),
	FIELD_BOOL(struct external_state, terminal, "terminal", "a terminal"),
	FIELD_END,
};

static bool external_matches(const struct file_look *f)
{
	return f->description && f->description->external;
}

static int external_capture(struct capture *c, const struct file_look *f, void *state)
{
	struct external_state *s = state;

	s->terminal = S_ISCHR(f->mode);
	/* The streams of all descriptions of the inode, not only of this one. */
	for (const struct description *d = descriptions_of_ino(c->descriptions, f->ino); d; d = d->same_ino)
		if (d->external && d->look->dev == f->dev)
			s->streams |= d->streams;
	s->name = strdup(f->link);
	return s->name ? 0 : -ENOMEM;
}

/* The terminal of a tree that has no descriptor of it. */
int external_save_terminal(struct capture *c, uint64_t device, object_id *out)
{
	char name[48];
	struct external_state s = { .name = name, .terminal = true };

	snprintf(name, sizeof(name), "terminal %u:%u", major(device), minor(device));
	*out = identity_of(c->identities, "external", device, 0, 2, NULL);
	if (!descriptions_claim(c->descriptions, *out) || !c->writer)
		return 0;
	return image_add(c->writer, &component_external.kind, *out, &s);
}

uint32_t external_wants(const struct image *img)
{
	uint32_t wants = 0;
	size_t n;
	const struct record *recs = image_records(img, &component_external.kind, &n);

	for (size_t i = 0; i < n; i++) {
		const struct external_state *s = recs[i].state;

		wants |= s->terminal ? 8 : (uint32_t)s->streams & 7;
	}
	return wants;
}

static bool permits(int fd, uint64_t flags)
{
	int now = fcntl(fd, F_GETFL);
	uint64_t wanted = flags & O_ACCMODE;

	return now >= 0 && ((now & O_ACCMODE) == O_RDWR || ((uint64_t)now & O_ACCMODE) == wanted);
}

/* The stream given for one of those that it was, if it can be read or written as needed; else any that was
 * given for it. */
static int choose(const struct restore *r, const struct external_state *s, uint64_t flags)
{
	int fallback = -1;

	if (s->terminal && r->terminal >= 0)
		return r->terminal;
	for (int i = 0; i < 3; i++) {
		if (!(s->streams & 1u << i) || r->stdio[i] < 0)
			continue;
		if (permits(r->stdio[i], flags))
			return r->stdio[i];
		fallback = r->stdio[i];
	}
	return fallback;
}

/*
 * A description of its own where that is possible, so that setting flags does not change the outside's: of a
 * terminal or pipe. A file is shared, for its offset, and a socket cannot be opened.
 */
static int open_given(int given, const struct file_state *file)
{
	struct stat st;
	int fd;

	if (fstat(given, &st) < 0)
		return -errno;
	if (S_ISCHR(st.st_mode) || S_ISFIFO(st.st_mode)) {
		fd = reopen(given, file->flags);
		if (fd >= 0)
			return fd;
	}
	fd = fcntl(given, F_DUPFD_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

static int external_open(struct restore *r, const struct record *rec, const struct file_state *file)
{
	struct file_state at_start = *file;
	int given = choose(r, rec->state, file->flags);

	at_start.pos = 0;
	if (given < 0)
		return file_settle(
			restore_open(r, "/dev/null", file->flags & (O_ACCMODE | O_NONBLOCK | O_APPEND), 0), &at_start);
	return open_given(given, &at_start);
}

const struct component component_external = {
	.kind = { .name = "external",
		.version = 1,
		.size = sizeof(struct external_state),
		.fields = external_fields,
		.doc = "a standard stream or terminal that belongs to the outside",
		.sources = "stdio(3), tty(4)" },
	.scope = SCOPE_BACKING,
	.matches = external_matches,
	.capture_file = external_capture,
	.open = external_open,
};
