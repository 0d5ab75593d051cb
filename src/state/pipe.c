/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pipes and fifos, with what is in them: pipe(7), fifo(7), tee(2); fs/pipe.c. */
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"
#include "state/files.h"
#include "state/pipe_view.h"
#include "state/tree.h"

struct pipe_piece {
	struct blob data;
};

struct pipe_state {
	char *path; /* a fifo's; NULL: a pipe */
	bool unlinked;
	uint64_t mode, uid, gid;
	uint64_t capacity;
	bool had_writer; /* a fifo: a reader whom no writer ever met sees no hang-up */
	bool packets;
	struct pipe_piece *pieces; /* one for each slot */
	size_t n_pieces;
};

static const struct field piece_fields[] = {
	FIELD_BLOB(struct pipe_piece, data, "data", "what is in one slot"),
	FIELD_END,
};

static const struct field pipe_fields[] = {
	FIELD_STRING(struct pipe_state, path, "path", "a fifo's, in the tree's root directory; a pipe has none"),
	FIELD_BOOL(struct pipe_state, unlinked, "unlinked", "the fifo has no name any more"),
	FIELD_OCTAL(struct pipe_state, mode, "mode", "type and permissions"),
	FIELD_UINT(struct pipe_state, uid, "uid", "owner"),
	FIELD_UINT(struct pipe_state, gid, "gid", "group"),
	FIELD_UINT(struct pipe_state, capacity, "capacity", "F_GETPIPE_SZ"),
	FIELD_BOOL(struct pipe_state, had_writer, "had_writer",
		"the fifo has or had a writer: a reader without one sees a hang-up"),
	FIELD_BOOL(struct pipe_state, packets, "packets", "each slot is a packet"),
	FIELD_LIST(struct pipe_state, pieces, n_pieces, "pieces", piece_fields, "unread contents"),
	FIELD_END,
};

/* --- checkpoint --- */

static bool pipe_matches(const struct file_look *f)
{
	return S_ISFIFO(f->mode) && !(f->flags & O_PATH && f->link[0] == '/');
}

static int name_fifo(struct capture *c, const struct file_look *f, struct pipe_state *s)
{
	static const char deleted[] = " (deleted)";
	size_t len = strlen(f->link), cut = strlen(deleted);
	struct stat st;

	if (f->link[0] != '/')
		return 0;
	s->path = strdup(f->link);
	if (!s->path)
		return -ENOMEM;
	if (!tree_stat(c, f->link, &st) && st.st_dev == f->dev && st.st_ino == f->ino)
		return 0;
	if (len <= cut || strcmp(f->link + len - cut, deleted) || f->nlink)
		return refused(c->ps, BLAME_FILE(f), "no path of the tree leads to this fifo any more");
	s->path[len - cut] = '\0';
	s->unlinked = true;
	return 0;
}

static int add_piece(struct pipe_state *s, const void *data, size_t size)
{
	struct pipe_piece *grown = reallocarray(s->pieces, s->n_pieces + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	s->pieces = grown;
	grown[s->n_pieces].data = (struct blob){ .data = malloc(size), .size = size };
	if (!grown[s->n_pieces].data.data)
		return -ENOMEM;
	memcpy(grown[s->n_pieces++].data.data, data, size);
	return 0;
}

static void close_pair(int (*pair)[2])
{
	close_fd(&(*pair)[0]);
	close_fd(&(*pair)[1]);
}

static int make_pair(int (*pair)[2], uint64_t capacity)
{
	if (pipe2(*pair, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	return fcntl((*pair)[1], F_SETPIPE_SZ, (int)capacity) < 0 ? -errno : 0;
}

/* How full a pipe is, is counted in slots: a copy of one slot tells where each one ends. */
static int take_slot(int from, struct pipe_state *s, void *buffer, size_t left)
{
	_cleanup_(close_pair)
	int slot[2] = { -1, -1 };
	int err = make_pair(&slot, PAGE_SIZE);
	ssize_t n;

	if (err)
		return err;
	n = tee(from, slot[1], left, SPLICE_F_NONBLOCK);
	if (n <= 0 || read(from, buffer, (size_t)n) != n)
		return -EIO;
	err = add_piece(s, buffer, (size_t)n);
	return err ? err : (int)n;
}

static int take_slots(int from, struct pipe_state *s, void *buffer, size_t total)
{
	while (total) {
		int n = take_slot(from, s, buffer, total);

		if (n < 0)
			return n;
		total -= (size_t)n;
	}
	return 0;
}

/* A read of a packet ends where the packet does. */
static int copy_contents(int fd, struct pipe_state *s, size_t total)
{
	_cleanup_(close_pair)
	int copy[2] = { -1, -1 }, again[2] = { -1, -1 };
	_cleanup_free_ void *buffer = malloc(total);
	_cleanup_fd_ int reader = -1;
	int err = buffer ? make_pair(&copy, s->capacity) : -ENOMEM;

	if (!err)
		err = make_pair(&again, s->capacity);
	if (err)
		return err;
	/* Of a descriptor that only writes, a second one is opened: nobody can wait for a reader while there is something to read. */
	if ((fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY) {
		reader = reopen(fd, O_RDONLY | O_NONBLOCK);
		if (reader < 0)
			return reader;
		fd = reader;
	}
	if (tee(fd, copy[1], total, SPLICE_F_NONBLOCK) != (ssize_t)total ||
		tee(fd, again[1], total, SPLICE_F_NONBLOCK) != (ssize_t)total)
		return -EIO;
	s->packets = read(again[0], buffer, total) != (ssize_t)total;
	return take_slots(copy[0], s, buffer, total);
}

static bool hung_up(int fd)
{
	struct pollfd p = { .fd = fd };

	return poll(&p, 1, 0) == 1 && p.revents & POLLHUP;
}

static bool is_written_to(const struct capture *c, const struct file_look *f)
{
	for (const struct description *d = descriptions_of_ino(c->descriptions, f->ino); d; d = d->same_ino)
		if (d->look->dev == f->dev && (d->look->flags & O_ACCMODE) != O_RDONLY && !(d->look->flags & O_PATH))
			return true;
	return false;
}

/* A reader that opened a fifo when no writer had it sees no hang-up before one has come and gone. How many do, and do not. */
static int count_hung_up(const struct capture *c, const struct file_look *f, size_t *hung, size_t *waiting)
{
	*hung = *waiting = 0;
	for (const struct description *d = descriptions_of_ino(c->descriptions, f->ino); d; d = d->same_ino) {
		_cleanup_fd_ int fd = -1;

		if (d->look->dev != f->dev || d->look->flags & O_PATH || (d->look->flags & O_ACCMODE) == O_WRONLY)
			continue;
		fd = description_dup(d);
		if (fd < 0)
			return fd;
		++*(hung_up(fd) ? hung : waiting);
	}
	return 0;
}

static int capture_writer(struct capture *c, const struct file_look *f, bool data, struct pipe_state *s)
{
	size_t hung, waiting;
	int err;

	if (!s->path || is_written_to(c, f)) {
		s->had_writer = s->path;
		return 0;
	}
	err = count_hung_up(c, f, &hung, &waiting);
	s->had_writer = hung || data;
	if (!err && s->had_writer && waiting)
		return refused(c->ps,
			BLAME_FILE(f, .remedy = "let the program close it, or open it for writing once more"),
			"a fifo of which some readers have met a writer, and others came when all had gone");
	return err;
}

/* Another description of it that may read, for the caller to close; -1: there is none. */
static int reading_twin(const struct capture *c, const struct file_look *f)
{
	for (const struct description *d = descriptions_of_ino(c->descriptions, f->ino); d; d = d->same_ino)
		if (d->look->dev == f->dev && !(d->look->flags & O_PATH) && (d->look->flags & O_ACCMODE) != O_WRONLY)
			return description_dup(d);
	return -1;
}

/* A watch (inotify, fanotify) of the tree's own would tell that it was opened. */
static bool must_not_open(const struct capture *c, const struct pipe_state *s)
{
	return c->descriptions->watched && s->path;
}

static int refuse_to_open(struct capture *c, const struct file_look *f)
{
	return refused(c->ps, BLAME_FILE(f, .remedy = "let the program open it for reading too, or end its watches"),
		"a fifo that has to be opened to be read, in a tree that watches files (inotify, fanotify) and would "
		"be told");
}

static int add_seen(void *arg, const void *data, size_t size)
{
	return add_piece(arg, data, size);
}

static int view_queue(struct capture *c, const struct file_look *f, int fd, struct pipe_state *s)
{
	struct pipe_view v = { .add = add_seen, .arg = s };

	if (!c->writer)
		return 0;
	if (pipe_view_read(c, fd, &v) < 0)
		return refuse_to_open(c, f);
	s->capacity = v.capacity;
	s->packets = v.packets;
	return capture_writer(c, f, s->n_pieces, s);
}

static int capture_queue(struct capture *c, const struct file_look *f, int fd, struct pipe_state *s)
{
	int capacity = fcntl(fd, F_GETPIPE_SZ), total = 0, err = 0;

	if (capacity < 0 || ioctl(fd, FIONREAD, &total) < 0)
		return -errno;
	s->capacity = (uint64_t)capacity;
	if (total > 0 && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY && must_not_open(c, s))
		return view_queue(c, f, fd, s);
	err = capture_writer(c, f, total > 0, s);
	if (!err && total > 0 && c->writer)
		err = copy_contents(fd, s, (size_t)total);
	if (!err || err == -ENOTSUP)
		return err;
	return failed(c->ps, BLAME_FILE(f), err, "the contents of the pipe cannot be read: %s", strerror(-err));
}

/* Such a one has a size of its own: to give it the one that it has is a change of nothing. pipe(2), fs/pipe.c. */
static bool is_of_notifications(int fd)
{
	int size = fcntl(fd, F_GETPIPE_SZ);

	return size > 0 && fcntl(fd, F_SETPIPE_SZ, size) < 0 && errno == EBUSY;
}

static int pipe_capture(struct capture *c, const struct file_look *f, void *state)
{
	struct pipe_state *s = state;
	_cleanup_fd_ int own = -1;
	struct stat st;
	int fd = file_dup(c, f), err;

	if (fd < 0)
		return fd;
	if (f->description->crosses)
		return refused(c->ps, BLAME_FILE(f, .remedy = "name a tree that holds both ends"),
			"a pipe whose other end is outside the tree, and which is no standard stream of its "
			"root");
	if (fstat(fd, &st) < 0)
		return -errno;
	s->mode = st.st_mode;
	s->uid = st.st_uid;
	s->gid = st.st_gid;
	if (is_of_notifications(fd))
		return refused(c->ps, BLAME_FILE(f), "a pipe for notifications of the kernel (O_NOTIFICATION_PIPE)");
	err = name_fifo(c, f, s);
	if (err)
		return err;
	if (f->flags & O_PATH || (f->flags & O_ACCMODE) == O_WRONLY) {
		own = reading_twin(c, f);
		fd = own >= 0 ? own : fd;
	}
	if (f->flags & O_PATH && own < 0) {
		if (must_not_open(c, s))
			return view_queue(c, f, fd, s);
		own = reopen(fd, O_RDWR | O_NONBLOCK);
		fd = own;
	}
	return fd < 0 ? fd : capture_queue(c, f, fd, s);
}

/* --- restore --- */

static int pipe_validate(struct restore *r, const struct record *rec)
{
	const struct pipe_state *s = rec->state;
	_cleanup_fd_ int fd = -1;
	struct stat st;

	if (!s->path || s->unlinked || tree_brings(r, s->path))
		return 0;
	fd = restore_open(r, s->path, O_PATH | O_NOFOLLOW, 0);
	if (fd < 0 || fstat(fd, &st) < 0)
		return refused(
			r->ps, BLAME(.object = s->path, .remedy = "put it back (mkfifo)"), "the fifo is missing");
	if (r->clone)
		return refused(r->ps, BLAME(.object = s->path, .remedy = "restore one tree"),
			"several clones would have one fifo, and what is in it, between them");
	if (!S_ISFIFO(st.st_mode))
		return refused(
			r->ps, BLAME(.object = s->path, .remedy = "put it back (mkfifo)"), "this is no fifo any more");
	return 0;
}

static int open_unlinked_fifo(struct restore *r, const struct pipe_state *s, int flags)
{
	const char *slash = strrchr(s->path, '/');
	_cleanup_free_ char *dir_path = slash ? strndup(s->path, (size_t)(slash - s->path)) : NULL;
	_cleanup_fd_ int dir = -1;
	int fd;

	if (!dir_path)
		return slash ? -ENOMEM : -EBADMSG;
	dir = restore_open(r, dir_path[0] ? dir_path : "/", O_PATH | O_DIRECTORY, 0);
	if (dir < 0)
		return dir;
	if (mkfifoat(dir, slash + 1, 0600) < 0)
		return -errno;
	fd = openat(dir, slash + 1, flags | O_CLOEXEC);
	fd = fd < 0 ? -errno : fd;
	unlinkat(dir, slash + 1, 0);
	return fd;
}

/* fd[0] reads, fd[1] writes; of a fifo both are one. A pipe's two are given away as they are: only they lack
 * O_LARGEFILE. */
static int make_pipe(struct restore *r, const struct pipe_state *s, struct made *made)
{
	if (made->fd[0] >= 0)
		return 0;
	if (!s->path) {
		if (pipe2(made->fd, O_CLOEXEC) < 0)
			return -errno;
	} else {
		int flags = (s->had_writer ? O_RDWR : O_RDONLY) | O_NONBLOCK | O_NOFOLLOW;
		int fd = s->unlinked ? open_unlinked_fifo(r, s, flags) : restore_open(r, s->path, (uint64_t)flags, 0);

		if (fd < 0)
			return fd;
		made->fd[0] = fd;
	}
	if ((!s->path || s->unlinked) &&
		(fchown(made->fd[0], (uid_t)s->uid, (gid_t)s->gid) < 0 || fchmod(made->fd[0], s->mode & 07777) < 0))
		return -errno;
	/* Above the limit of unprivileged users only what has been so before. */
	return s->capacity && fcntl(made->fd[0], F_SETPIPE_SZ, (int)MIN(s->capacity, (uint64_t)INT32_MAX)) < 0 ? -errno
													       : 0;
}

#define KERNEL_O_LARGEFILE 0100000

static int open_end(const struct pipe_state *s, const struct made *made, const struct file_state *file)
{
	int end = (file->flags & O_ACCMODE) == O_WRONLY;
	int fd;

	if (s->path || file->flags & (KERNEL_O_LARGEFILE | O_PATH) || (file->flags & O_ACCMODE) == O_RDWR)
		return reopen(
			made->fd[0], (file->flags & ~(uint64_t)O_DIRECT) | (file->flags & O_PATH ? 0 : O_NONBLOCK));
	fd = fcntl(made->fd[end], F_DUPFD_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

static int pipe_open(struct restore *r, const struct record *rec, const struct file_state *file)
{
	const struct pipe_state *s = rec->state;
	struct made *made = restore_made(r, rec->id);
	int err;

	if (!made)
		return -ENOMEM;
	err = make_pipe(r, s, made);
	if (err)
		return failed(r->ps, BLAME(.object = s->path ? s->path : "pipe"), err, "the pipe cannot be made: %s",
			strerror(-err));
	return file_settle(open_end(s, made, file), file);
}

/* Packets are kept apart by a writer in packet mode (O_DIRECT). */
static bool has_packets(const struct restore *r, object_id id, const struct pipe_state *s)
{
	size_t n;
	const struct record *const *files = restore_uses(r, id, &n);

	for (size_t i = 0; i < n; i++)
		if (((const struct file_state *)files[i]->state)->flags & O_DIRECT)
			return true;
	return s->packets;
}

/* What is spliced keeps a slot of its own; what is written may join the one before, as the last may be joined by what comes. */
static int fill_slot(int fd, const struct blob *data, bool last)
{
	_cleanup_(close_pair)
	int helper[2] = { -1, -1 };

	if (last)
		return write(fd, data->data, data->size) == (ssize_t)data->size ? 0 : -EBADMSG;
	if (pipe2(helper, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	if (write(helper[1], data->data, data->size) != (ssize_t)data->size)
		return -EBADMSG;
	return splice(helper[0], NULL, fd, NULL, data->size, SPLICE_F_NONBLOCK) == (ssize_t)data->size ? 0 : -EBADMSG;
}

static int pipe_fill(struct restore *r, const struct record *rec)
{
	const struct pipe_state *s = rec->state;
	const struct made *made = restore_made(r, rec->id);
	bool packets = has_packets(r, rec->id, s);
	_cleanup_fd_ int fd = -1;
	int err;

	if (!made || made->fd[0] < 0 || !s->n_pieces)
		return 0;
	fd = reopen(made->fd[0], O_WRONLY | O_NONBLOCK);
	err = fd < 0 ? fd : packets && fcntl(fd, F_SETFL, O_NONBLOCK | O_DIRECT) < 0 ? -errno : 0;
	for (size_t i = 0; i < s->n_pieces && !err; i++)
		err = fill_slot(fd, &s->pieces[i].data, packets || i + 1 == s->n_pieces);
	if (err)
		return failed(r->ps, BLAME(.object = s->path ? s->path : "pipe"), err,
			"its contents cannot be put back: %s", strerror(-err));
	return 0;
}

const struct component component_pipe = {
	.kind = { .name = "pipe",
		.version = 1,
		.size = sizeof(struct pipe_state),
		.fields = pipe_fields,
		.doc = "a pipe or a fifo, with what is in it",
		.sources = "pipe(7), fifo(7); fs/pipe.c" },
	.scope = SCOPE_BACKING,
	.matches = pipe_matches,
	.capture_file = pipe_capture,
	.validate = pipe_validate,
	.open = pipe_open,
	.fill = pipe_fill,
};
