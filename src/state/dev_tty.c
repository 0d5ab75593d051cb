/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A terminal opened as /dev/tty: the terminal is the one that the opener had then, the path says less.
 * tty(4); drivers/tty/tty_io.c. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "state/pty.h"
#include "state/terminal.h"

struct dev_tty_state {
	object_id terminal;
};

static const struct field dev_tty_fields[] = {
	FIELD_REF(struct dev_tty_state, terminal, "terminal", NULL, REF_LATE, "a pty or external"),
	FIELD_END,
};

static bool dev_tty_matches(const struct file_look *f)
{
	return S_ISCHR(f->mode) && f->rdev == DEV_TTY && !(f->flags & O_PATH);
}

static int dev_tty_capture(struct capture *c, const struct file_look *f, void *state)
{
	struct dev_tty_state *s = state;
	unsigned int device = 0;
	int fd = file_dup(c, f);

	if (fd < 0)
		return fd;
	if (ioctl(fd, TIOCGDEV, &device) < 0)
		return refused(c->ps, BLAME_FILE(f, .remedy = "let the program close it"),
			"a terminal that has hung up, opened as /dev/tty");
	return terminal_backing(c, device, 0, &s->terminal);
}

struct opening {
	int root, slave;
	uint64_t flags;
};

/* Raw calls: the child shares this process's memory. Giving the terminal up hangs nothing up, since it is a
 * pty. */
static int open_as_leader(void *arg)
{
	const struct opening *o = arg;
	struct open_how how = { .flags = o->flags, .resolve = RESOLVE_IN_ROOT };
	long fd;

	if (setsid() < 0 || ioctl(o->slave, TIOCSCTTY, 0) < 0)
		return -errno;
	fd = syscall(SYS_openat2, o->root, "/dev/tty", &how, sizeof(how));
	fd = fd < 0 ? -errno : fd;
	ioctl(o->slave, TIOCNOTTY);
	return (int)fd;
}

static int dev_tty_open(struct restore *r, const struct record *rec, const struct file_state *file)
{
	const struct dev_tty_state *s = rec->state;
	int slave = terminal_descriptor(r, s->terminal), fd;
	struct opening o = {
		.root = r->root_fd, .slave = slave, .flags = (file->flags & ~(uint64_t)O_ASYNC) | O_NOCTTY | O_CLOEXEC
	};

	if (slave == -ENOENT)
		return file_settle(restore_open(r, "/dev/null", file->flags & O_ACCMODE, 0), file);
	if (slave < 0)
		return slave;
	fd = call_in_child(open_as_leader, &o);
	if (fd < 0)
		return failed(r->ps, BLAME(.object = "/dev/tty"), fd, "cannot be opened: %s", strerror(-fd));
	return file_settle(fd, file);
}

int terminal_open_aliases(struct restore *r, object_id backing)
{
	size_t n;
	const struct record *files = image_records(r->image, &component_file.kind, &n);

	for (size_t i = 0; i < n; i++) {
		const struct file_state *file = files[i].state;
		const struct dev_tty_state *s = restore_state(r, file->backing, "dev_tty");
		int fd = s && s->terminal == backing ? restore_file(r, files[i].id) : 0;

		if (fd < 0)
			return fd;
	}
	return 0;
}

const struct component component_dev_tty = {
	.kind = { .name = "dev_tty",
		.version = 1,
		.size = sizeof(struct dev_tty_state),
		.fields = dev_tty_fields,
		.doc = "a terminal opened as /dev/tty",
		.sources = "tty(4); drivers/tty/tty_io.c" },
	.scope = SCOPE_BACKING,
	.matches = dev_tty_matches,
	.by_description = true,
	.capture_file = dev_tty_capture,
	.open = dev_tty_open,
};
