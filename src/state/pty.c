/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The master of a pseudoterminal, with the terminal itself: both ends have one set of modes, one size and two
 * queues. pty(7). */
#include "state/pty.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <termios.h>

#include "base/cleanup.h"
#include "state/kernel_view.h"
#include "state/pty_view.h"

static const struct field modes_fields[] = {
	FIELD_OCTAL(struct terminal_modes, iflag, "iflag", "c_iflag"),
	FIELD_OCTAL(struct terminal_modes, oflag, "oflag", "c_oflag"),
	FIELD_OCTAL(struct terminal_modes, cflag, "cflag", "c_cflag"),
	FIELD_OCTAL(struct terminal_modes, lflag, "lflag", "c_lflag"),
	FIELD_UINT(struct terminal_modes, line, "line", "c_line"),
	FIELD_UINT(struct terminal_modes, ispeed, "ispeed", "c_ispeed"),
	FIELD_UINT(struct terminal_modes, ospeed, "ospeed", "c_ospeed"),
	FIELD_END,
};

static const struct field pty_fields[] = {
	FIELD_STRING(struct pty_state, path, "path", "ptmx, in the tree's root directory"),
	FIELD_UINT(struct pty_state, index, "index", "N of /dev/pts/N"),
	FIELD_STRUCT(struct pty_state, modes, "modes", modes_fields, "termios2"),
	FIELD_BLOB(struct pty_state, cc, "cc", "c_cc"),
	FIELD_UINT(struct pty_state, rows, "rows", "window size"),
	FIELD_UINT(struct pty_state, columns, "columns", "window size"),
	FIELD_UINT(struct pty_state, xpixel, "xpixel", "window size in pixels"),
	FIELD_UINT(struct pty_state, ypixel, "ypixel", "window size in pixels"),
	FIELD_BOOL(struct pty_state, packet, "packet", "TIOCPKT"),
	FIELD_BOOL(struct pty_state, locked, "locked", "TIOCSPTLCK: the slave cannot be opened yet"),
	FIELD_BOOL(struct pty_state, exclusive, "exclusive", "TIOCEXCL of the slave"),
	FIELD_BOOL(struct pty_state, stopped, "stopped", "output was stopped (^S)"),
	FIELD_BOOL(struct pty_state, held, "held", "by tcflow(TCOOFF)"),
	FIELD_UINT(struct pty_state, slave, "slave", "0 never opened, 1 open, 2 closed (the master sees a hang-up)"),
	FIELD_OCTAL(struct pty_state, slave_mode, "slave_mode", "permissions of /dev/pts/N"),
	FIELD_UINT(struct pty_state, slave_uid, "slave_uid", "owner of /dev/pts/N"),
	FIELD_UINT(struct pty_state, slave_gid, "slave_gid", "group of /dev/pts/N"),
	FIELD_BLOB(struct pty_state, output, "output", "written by the slave, not read by the master"),
	FIELD_BLOB(struct pty_state, input, "input", "written by the master, not read by the slave"),
	FIELD_SINCE(2, BOOL, struct pty_state, master_held, "master_held",
		"input was stopped, by tcflow(TCOOFF) of the master"),
	FIELD_SINCE(2, HEX, struct pty_state, status, "status", "of packet mode, not read: TIOCPKT_*"),
	FIELD_SINCE(3, UINT, struct pty_state, column, "column", "in which what is printed next stands (hidden)"),
	FIELD_SINCE(3, UINT, struct pty_state, line_column, "line_column",
		"in which the line stands that is being typed (hidden)"),
	FIELD_END,
};

/* --- checkpoint --- */

bool pty_index(const struct capture *c, const struct file_look *f, uint64_t *index)
{
	unsigned int m = major(f->rdev);

	if (!S_ISCHR(f->mode) || m < 136 || m > 143 || f->dev != c->descriptions->devpts.st_dev)
		return false;
	*index = minor(f->rdev) + 256ull * (m - 136);
	return true;
}

const struct description *pty_master_of(const struct capture *c, uint64_t index)
{
	uint64_t n;

	for (const struct description *d = c->descriptions->first; d; d = d->next)
		if (d->look->rdev == DEV_PTMX && S_ISCHR(d->look->mode) &&
			!proc_value_u64(d->look->info, "tty-index", 10, &n) && n == index)
			return d;
	return NULL;
}

const struct description *pty_slave_of(const struct capture *c, uint64_t index)
{
	uint64_t n;

	for (const struct description *d = c->descriptions->first; d; d = d->next)
		if (pty_index(c, d->look, &n) && n == index && !d->external && !(d->look->flags & O_PATH))
			return d;
	return NULL;
}

static bool pty_matches(const struct file_look *f)
{
	return S_ISCHR(f->mode) && f->rdev == DEV_PTMX && !(f->flags & O_PATH);
}

/* Modes that only a privileged process may change: ioctl_tty(2). The queues are read in modes of spore's own, which they would hinder. */
static bool has_locked_modes(int fd)
{
	struct terminal_modes locked = { 0 };
	static const struct terminal_modes none;

	return ioctl(fd, TIOCGLCKTRMIOS, &locked) == 0 && memcmp(&locked, &none, sizeof(none)) != 0;
}

static int capture_modes(int fd, struct pty_state *s)
{
	struct winsize size = { 0 };
	int packet = 0, locked = 0;

	if (ioctl(fd, TERMINAL_GET, &s->modes) < 0 || ioctl(fd, TIOCGWINSZ, &size) < 0 ||
		ioctl(fd, TIOCGPKT, &packet) < 0 || ioctl(fd, TIOCGPTLCK, &locked) < 0)
		return -errno;
	s->rows = size.ws_row;
	s->columns = size.ws_col;
	s->xpixel = size.ws_xpixel;
	s->ypixel = size.ws_ypixel;
	s->packet = packet;
	s->locked = locked;
	s->cc = (struct blob){ .data = malloc(sizeof(s->modes.cc)), .size = sizeof(s->modes.cc) };
	if (!s->cc.data)
		return -ENOMEM;
	memcpy(s->cc.data, s->modes.cc, sizeof(s->modes.cc));
	return 0;
}

static void capture_node(struct capture *c, struct pty_state *s)
{
	char path[32];
	struct stat st;

	snprintf(path, sizeof(path), "/dev/pts/%u", (unsigned int)s->index);
	if (tree_stat(c, path, &st) < 0)
		return;
	s->slave_mode = st.st_mode & 07777;
	s->slave_uid = st.st_uid;
	s->slave_gid = st.st_gid;
}

/* A slave's descriptor in the keeper, or negative. */
static int dup_slave(struct capture *c, const struct pty_state *s)
{
	const struct description *d = pty_slave_of(c, s->index);

	return d ? description_dup(d) : -ENOENT;
}

static bool poll_says(int fd, short events, short wanted)
{
	struct pollfd p = { .fd = fd, .events = events };

	return poll(&p, 1, 0) >= 0 && p.revents & wanted;
}

/* tcflow(TCOOFF) and ^S stop alike, but each only starts what it stopped. A master in packet mode would be told. */
static int try_start(void *arg)
{
	int slave = *(const int *)arg;
	bool started;

	ioctl(slave, TCXONC, TCOON);
	started = poll_says(slave, POLLOUT, POLLOUT);
	if (started)
		ioctl(slave, TCXONC, TCOOFF);
	return started;
}

static int capture_slave(struct capture *c, const struct file_look *f, int slave, struct pty_state *s)
{
	int exclusive = 0, line = 0;

	s->slave = SLAVE_OPEN;
	if (ioctl(slave, TIOCGEXCL, &exclusive) < 0 || ioctl(slave, TIOCGETD, &line) < 0)
		return -errno;
	if (line)
		return refused(c->ps, BLAME_FILE(f), "a terminal with a line discipline (number %d)", line);
	s->exclusive = exclusive;
	/* Nothing tells but that it takes no output, although little is waiting. */
	s->stopped = !poll_says(slave, POLLOUT, POLLOUT);
	return 0;
}

/* Where the kernel cannot be looked at. */
static int try_queues(struct capture *c, const struct file_look *f, int fd, int slave, struct pty_state *s)
{
	int err;

	if (slave >= 0 && s->stopped && !s->packet)
		s->held = call_in_child(try_start, &slave) == 1;

	/* To read it would be to take it away, and what sets it would be done again. */
	if (s->packet && poll_says(fd, POLLPRI, POLLPRI))
		return refused(c->ps, BLAME_FILE(f, .remedy = "let the program that has the master read it first"),
			"a terminal in packet mode whose master has not read its status");
	err = pty_queues_read(fd, slave, s);
	if (err == -EBUSY)
		return refused(c->ps, BLAME_FILE(f, .remedy = "let the program that has the master read it first"),
			"a terminal whose output is stopped (^S) or full, with output that its master has "
			"not read");
	return err ? failed(c->ps, BLAME_FILE(f), err, "the terminal's queues cannot be read: %s", strerror(-err)) : 0;
}

static int capture_queues(struct capture *c, const struct file_look *f, int fd, int slave, struct pty_state *s)
{
	struct pty_view v;
	const char *why;

	if (pty_view_read(c->kernel, fd, s, &v) < 0) {
		if (c->kernel)
			changed(c->ps, BLAME_FILE(f, .remedy = KERNEL_VIEW_REMEDY),
				"whether something was typed that is not echoed yet, a ^V without what it quotes, a "
				"status "
				"of packet mode that was not read, or input that its master has held, cannot be read "
				"here: "
				"if so, it is lost, as is the column that it counts for tabs");
		return try_queues(c, f, fd, slave, s);
	}
	why = pty_status_hindrance(s);
	if (why)
		return refused(c->ps, BLAME_FILE(f, .remedy = "let the program that has the master read it first"),
			"a terminal in packet mode %s, whose master has not read its status", why);
	if (v.echoes)
		return refused(c->ps, BLAME_FILE(f, .remedy = "let its output go on (^Q), and be read"),
			"a terminal at which something was typed that is not echoed yet");
	return v.quotes ? refused(c->ps, BLAME_FILE(f, .remedy = "type on"),
				  "a terminal at which ^V was typed, and not yet what it quotes")
			: 0;
}

static int pty_capture(struct capture *c, const struct file_look *f, void *state)
{
	struct pty_state *s = state;
	_cleanup_fd_ int slave = -1;
	int fd = file_dup(c, f), err;

	if (fd < 0)
		return fd;
	if (proc_value_u64(f->info, "tty-index", 10, &s->index) < 0)
		return -EBADMSG;
	s->path = strdup(f->link);
	if (!s->path)
		return -ENOMEM;
	if (has_locked_modes(fd))
		return refused(c->ps, BLAME_FILE(f), "a terminal with locked modes (TIOCSLCKTRMIOS)");
	err = capture_modes(fd, s);
	if (err)
		return err;
	capture_node(c, s);
	slave = dup_slave(c, s);
	if (slave >= 0)
		err = capture_slave(c, f, slave, s);
	else
		s->slave = poll_says(fd, POLLIN, POLLHUP) ? SLAVE_CLOSED : SLAVE_NEVER_OPENED;
	return err || !c->writer ? err : capture_queues(c, f, fd, slave, s);
}

/* --- restore --- */

#define MAX_TRIES 4096

static int open_ptmx(struct restore *r, const char *ptmx, uint64_t flags, uint64_t *index)
{
	unsigned int n = 0;
	int fd = restore_open(r, ptmx, (flags & ~(uint64_t)O_ASYNC) | O_NOCTTY, 0), off = 0;

	if (fd < 0)
		return fd;
	if (ioctl(fd, TIOCGPTN, &n) < 0 || ioctl(fd, TIOCSPTLCK, &off) < 0) {
		close(fd);
		return -errno;
	}
	*index = n;
	return fd;
}

/* The kernel gives the lowest index that is free: those below are taken too, until the right one comes. */
int pty_allocate(struct restore *r, const char *ptmx, uint64_t index, uint64_t flags)
{
	_cleanup_free_ int *aside = calloc(MAX_TRIES, sizeof(*aside));
	size_t n = 0;
	int fd = -ENOMEM;
	uint64_t got = 0;

	while (aside && n < MAX_TRIES) {
		fd = open_ptmx(r, ptmx, flags, &got);
		if (fd < 0 || got >= index)
			break;
		aside[n++] = fd;
		fd = -EMFILE;
	}
	while (n)
		close(aside[--n]);
	if (fd >= 0 && got != index)
		changed(r->ps, BLAME(.object = "pty"), "/dev/pts/%llu is taken: the terminal is /dev/pts/%llu now",
			(unsigned long long)index, (unsigned long long)got);
	return fd;
}

/* The flags with which the first description of the master was opened: what is made first is handed to it. */
static uint64_t master_flags(const struct restore *r, object_id id)
{
	size_t n;
	const struct record *const *files = restore_uses(r, id, &n);

	return n ? ((const struct file_state *)files[0]->state)->flags : O_RDWR;
}

int pty_restore_master(struct restore *r, const struct record *rec, uint64_t flags)
{
	const struct pty_state *s = rec->state;
	struct made *made = restore_made(r, rec->id);

	if (!made)
		return -ENOMEM;
	if (made->fd[0] < 0)
		made->fd[0] = pty_allocate(r, s->path ? s->path : "/dev/ptmx", s->index, flags);
	if (made->fd[0] < 0)
		return failed(r->ps, BLAME(.object = "pty"), made->fd[0], "/dev/pts/%llu cannot be made: %s",
			(unsigned long long)s->index, strerror(-made->fd[0]));
	return made->fd[0];
}

int pty_restore_slave(struct restore *r, const struct record *rec)
{
	struct made *made = restore_made(r, rec->id);
	int master = pty_restore_master(r, rec, master_flags(r, rec->id));

	if (master < 0)
		return master;
	if (made->fd[1] < 0)
		made->fd[1] = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY);
	if (made->fd[1] >= 0)
		fcntl(made->fd[1], F_SETFD, FD_CLOEXEC);
	return made->fd[1] < 0 ? -errno : made->fd[1];
}

static int pty_open(struct restore *r, const struct record *rec, const struct file_state *file)
{
	int fd = pty_restore_master(r, rec, file->flags);

	if (fd < 0)
		return fd;
	fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return file_settle(fd < 0 ? -errno : fd, file);
}

static int give_node(struct restore *r, const struct pty_state *s, int slave)
{
	if (!s->slave_mode)
		return 0;
	return fchown(slave, (uid_t)s->slave_uid, (gid_t)s->slave_gid) < 0 || fchmod(slave, s->slave_mode & 07777) < 0
		       ? -errno
		       : 0;
}

/* ^S does what it did, if it is still what stops. A worker of the kernel brings it to the slave, and a look at the slave does. */
static int stop_output(int master, int slave, const struct terminal_modes *m)
{
	struct terminal_modes with = *m;
	uint8_t stop = pty_flows(m) ? 023 : 1; /* in packet mode the master would be told of another */
	int err = -ETIMEDOUT;

	with.iflag |= IXON;
	with.lflag &= ~(uint32_t)EXTPROC;
	with.cc[VSTOP] = stop;
	ioctl(master, TERMINAL_SET, &with);
	if (write(master, &stop, 1) != 1)
		err = -errno;
	for (int n = 0; err == -ETIMEDOUT && n < 1000; n++) {
		if (!poll_says(slave, POLLOUT, POLLOUT))
			err = 0;
		else
			usleep(1000);
	}
	ioctl(master, TERMINAL_SET, m);
	return err;
}

static int set_size(int master, int slave, const struct pty_state *s)
{
	struct winsize size = { .ws_row = (unsigned short)s->rows,
		.ws_col = (unsigned short)s->columns,
		.ws_xpixel = (unsigned short)s->xpixel,
		.ws_ypixel = (unsigned short)s->ypixel };

	if (ioctl(master, TIOCSWINSZ, &size) < 0)
		return -errno;
	return s->exclusive && ioctl(slave, TIOCEXCL, 0) < 0 ? -errno : 0;
}

static int stop(int master, int slave, const struct pty_state *s, const struct terminal_modes *m)
{
	if (!s->stopped)
		return 0;
	if (!s->held)
		return stop_output(master, slave, m);
	return ioctl(slave, TCXONC, TCOOFF) < 0 ? -errno : 0;
}

static int set_packet_mode(int master, const struct pty_state *s)
{
	int packet = s->packet;

	return ioctl(master, TIOCPKT, &packet) < 0 ? -errno : 0;
}

/* Packet mode comes last: the master is not told of what the restore does. */
static int set_up(int master, int slave, const struct pty_state *s, const struct terminal_modes *m)
{
	int err = pty_queues_write(master, slave, &s->output, &s->input, m);

	if (!err)
		err = ioctl(master, TERMINAL_SET, m) < 0 ? -errno : stop(master, slave, s, m);
	return err ? err : set_packet_mode(master, s);
}

/* But of what it is to be told. To be stopped is told unless that was read before. */
static int set_up_and_tell(int master, int slave, const struct pty_state *s, const struct terminal_modes *m)
{
	const bool tell = s->status & TIOCPKT_STOP;
	int err = ioctl(master, TERMINAL_SET, m) < 0 ? -errno : 0;

	if (!err && !tell)
		err = stop(master, slave, s, m);
	if (!err)
		err = set_packet_mode(master, s);
	if (!err)
		err = pty_status_cause(slave, s, m);
	if (!err)
		err = pty_queues_write(master, slave, &s->output, &s->input, m);
	return !err && tell ? stop(master, slave, s, m) : err;
}

static int fill(struct restore *r, const struct record *rec, const struct pty_state *s)
{
	struct terminal_modes modes = s->modes;
	int master = pty_restore_master(r, rec, master_flags(r, rec->id)), slave = -1, err;
	struct made *made = restore_made(r, rec->id);
	int locked = s->locked;

	if (master < 0)
		return master;
	if (s->cc.size != sizeof(modes.cc) || !pty_status_possible(s))
		return -EBADMSG;
	memcpy(modes.cc, s->cc.data, sizeof(modes.cc));
	slave = pty_restore_slave(r, rec);
	if (slave < 0)
		return slave;
	err = give_node(r, s, slave);
	if (!err)
		err = pty_columns_set(master, slave, s, &modes);
	if (!err)
		err = s->status ? set_up_and_tell(master, slave, s, &modes) : set_up(master, slave, s, &modes);
	if (!err)
		err = set_size(master, slave, s);
	if (s->slave == SLAVE_CLOSED)
		close_fd(&made->fd[1]);
	if (s->slave == SLAVE_NEVER_OPENED)
		pty_close_unseen(master, take_fd(&made->fd[1]));
	if (!err && ioctl(master, TIOCSPTLCK, &locked) < 0)
		err = -errno;
	return !err && s->master_held && ioctl(master, TCXONC, TCOOFF) < 0 ? -errno : err;
}

static int pty_fill(struct restore *r, const struct record *rec)
{
	int err = fill(r, rec, rec->state);

	return err ? failed(r->ps, BLAME(.object = "pty"), err, "the terminal cannot be set up: %s", strerror(-err))
		   : 0;
}

const struct component component_pty = {
	.kind = { .name = "pty",
		.version = 3,
		.size = sizeof(struct pty_state),
		.fields = pty_fields,
		.doc = "a pseudoterminal: its master, its modes and what is in its queues",
		.sources = "pty(7), ioctl_tty(2), termios(3); drivers/tty/pty.c, drivers/tty/n_tty.c; "
			   "tools/testing/selftests/tty" },
	.scope = SCOPE_BACKING,
	.matches = pty_matches,
	.by_description = true,
	.capture_file = pty_capture,
	.open = pty_open,
	.fill = pty_fill,
};
