/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The slave of a pseudoterminal whose master the tree has too, or which is hung up: nobody has its master any
 * more. pty(7); drivers/tty/pty.c. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/cleanup.h"
#include "state/pty.h"

struct pty_slave_state {
	object_id pty; /* 0: hung up */
	uint64_t index;
};

static const struct field pty_slave_fields[] = {
	FIELD_REF(struct pty_slave_state, pty, "pty", "pty", REF_STRONG, "the pseudoterminal; none: it is hung up"),
	FIELD_UINT(struct pty_slave_state, index, "index", "N of /dev/pts/N"),
	FIELD_END,
};

/* After external, which takes those whose master is outside. */
static bool pty_slave_matches(const struct file_look *f)
{
	unsigned int m = major(f->rdev);

	return S_ISCHR(f->mode) && m >= 136 && m <= 143 && !(f->flags & O_PATH) && f->description &&
	       !f->description->crosses;
}

static int pty_slave_capture(struct capture *c, const struct file_look *f, void *state)
{
	struct pty_slave_state *s = state;
	const struct description *master;

	s->index = minor(f->rdev) + 256ull * (major(f->rdev) - 136);
	master = pty_master_of(c, s->index);
	s->pty = master ? backing_id(c, master->look) : 0;
	return 0;
}

/* A pty whose master is closed when all descriptions are open: that hangs it up. */
static int hung_up_master(struct restore *r, const struct record *rec, const struct pty_slave_state *s)
{
	struct made *made = restore_made(r, rec->id);

	if (!made)
		return -ENOMEM;
	if (made->fd[0] < 0)
		made->fd[0] = pty_allocate(r, "/dev/ptmx", s->index, O_RDWR | O_NOCTTY);
	return made->fd[0];
}

static int pty_slave_open(struct restore *r, const struct record *rec, const struct file_state *file)
{
	const struct pty_slave_state *s = rec->state;
	const struct record *pty = s->pty ? image_find(r->image, s->pty) : NULL;
	uint64_t flags = (file->flags & ~(uint64_t)O_ASYNC) | O_NOCTTY;
	int master = pty ? pty_restore_slave(r, pty) : hung_up_master(r, rec, s), fd;

	if (master < 0)
		return failed(r->ps, BLAME(.object = "pty"), master, "/dev/pts/%llu cannot be made: %s",
			(unsigned long long)s->index, strerror(-master));
	if (pty)
		master = restore_made(r, s->pty)->fd[0];
	fd = ioctl(master, TIOCGPTPEER, (int)flags);
	/* Given with the call, O_CLOEXEC would stay among the description's flags for ever. */
	if (fd < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;
	return file_settle(fd, file);
}

static int pty_slave_fill(struct restore *r, const struct record *rec)
{
	const struct pty_slave_state *s = rec->state;
	struct made *made = restore_made(r, rec->id);

	if (!s->pty && made)
		close_fd(&made->fd[0]);
	return 0;
}

const struct component component_pty_slave = {
	.kind = { .name = "pty_slave",
		.version = 1,
		.size = sizeof(struct pty_slave_state),
		.fields = pty_slave_fields,
		.doc = "the slave of a pseudoterminal",
		.sources = "pty(7); drivers/tty/pty.c; tools/testing/selftests/tty" },
	.scope = SCOPE_BACKING,
	.matches = pty_slave_matches,
	.capture_file = pty_slave_capture,
	.open = pty_slave_open,
	.fill = pty_slave_fill,
};
