/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Making queues again. Those that have lost their name come first: another may have it since. In the host's namespace a named queue outlives its tree: it is
 * found, and taken for the saved one if it is the same inode.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "isolate/watchdog.h"
#include "state/mqueue.h"
#include "state/sysv.h"

struct mqueue_object {
	char s[NAME_MAX + 32];
};

static struct mqueue_object object_of(const struct mqueue_state *s)
{
	struct mqueue_object o;

	snprintf(o.s, sizeof(o.s), "POSIX message queue /%.255s", s->name ? s->name : "?");
	return o;
}
#define WHO(s, ...) BLAME(.object = object_of(s).s, __VA_ARGS__)

#define KERNEL_LARGEFILE 0100000 /* O_LARGEFILE, which the C library has as 0 */

/* --- validate --- */

static bool is_sound(const struct mqueue_state *s)
{
	if (!s->name || !*s->name || strlen(s->name) > NAME_MAX || strchr(s->name, '/') || s->mode > 07777 ||
		!s->max_messages || s->max_messages > INT32_MAX || !s->message_size || s->message_size > INT32_MAX ||
		s->n > s->max_messages)
		return false;
	for (size_t i = 0; i < s->n; i++)
		if (s->list[i].priority > 32767 || s->list[i].text.size > s->message_size)
			return false;
	return true;
}

/*
 * By the name that the kernel's call takes, without the slash. The descriptor is always close-on-exec; O_CLOEXEC given with this call would stay among the
 * description's flags, and show as if every descriptor of it were.
 */
static int open_name(const struct mqueue_state *s)
{
	int fd = (int)syscall(SYS_mq_open, s->name, O_RDWR | O_NONBLOCK, 0, NULL);

	return fd < 0 ? -errno : fd;
}

/* The descriptor of the one that a killed tree has left; -ENOENT: there is none. */
static int open_left(struct restore *r, const struct mqueue_state *s)
{
	_cleanup_fd_ int fd = open_name(s);
	struct mq_attr attr;
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0 || mq_getattr(fd, &attr) < 0)
		return -errno;
	if (st.st_ino != s->inode || st.st_uid != s->uid || st.st_gid != s->gid || (st.st_mode & 07777) != s->mode ||
		attr.mq_maxmsg != (long)s->max_messages || attr.mq_msgsize != (long)s->message_size)
		return refused(r->ps, WHO(s, .remedy = "remove it if it is not needed (mq_unlink, rm in /dev/mqueue)"),
			"its name is taken by another queue of the host's");
	return take_fd(&fd);
}

int mqueue_validate(struct restore *r, const struct record *rec)
{
	const struct mqueue_state *s = rec->state;
	_cleanup_fd_ int fd = -1;

	if (!is_sound(s))
		return failed(r->ps, BLAME(.object = "mqueue"), -EBADMSG, "the image has an impossible message queue");
	if (sysv_is_own(r) || s->unlinked)
		return 0;
	fd = open_left(r, s);
	return fd == -ENOTSUP || fd == -EACCES ? fd : 0;
}

/* --- making one --- */

static int create(const struct mqueue_state *s, const char *name)
{
	struct mq_attr attr = { .mq_maxmsg = (long)s->max_messages, .mq_msgsize = (long)s->message_size };
	int fd = (int)syscall(SYS_mq_open, name, O_CREAT | O_EXCL | O_RDWR | O_NONBLOCK, s->mode & 0777, &attr);

	return fd < 0 ? -errno : fd;
}

/* Larger than the namespace's limits it needs CAP_SYS_RESOURCE, or a moment in which they are higher, where they are the tree's own. */
static int create_with_room(const struct mqueue_state *s, const char *name, bool own)
{
	static const char count[] = "fs/mqueue/msg_max", size[] = "fs/mqueue/msgsize_max";
	_cleanup_free_ char *old_count = NULL;
	_cleanup_free_ char *old_size = NULL;
	char text[24];
	int fd = create(s, name);

	if (fd != -EINVAL || !own || ipc_sysctl_read(count, &old_count) < 0 || ipc_sysctl_read(size, &old_size) < 0)
		return fd;
	snprintf(text, sizeof(text), "%lu", (unsigned long)s->max_messages);
	if (s->max_messages > strtoul(old_count, NULL, 10))
		ipc_sysctl_write(count, text);
	snprintf(text, sizeof(text), "%lu", (unsigned long)s->message_size);
	if (s->message_size > strtoul(old_size, NULL, 10))
		ipc_sysctl_write(size, text);
	fd = create(s, name);
	ipc_sysctl_write(count, old_count);
	ipc_sysctl_write(size, old_size);
	return fd;
}

static int give_owner(int fd, const struct mqueue_state *s)
{
	return fchown(fd, (uid_t)s->uid, (gid_t)s->gid) < 0 || fchmod(fd, (mode_t)s->mode) < 0 ? -errno : 0;
}

/* A new queue that is to lose its name, which in the host's namespace another may have. */
static int create_named(struct restore *r, const struct mqueue_state *s, char name[static NAME_MAX + 1], bool own)
{
	int fd;

	snprintf(name, NAME_MAX + 1, "%s", s->name);
	fd = create_with_room(s, name, own);
	if (fd != -EEXIST || !s->unlinked)
		return fd;
	snprintf(name, NAME_MAX + 1, "%.*s.%d", NAME_MAX - 12, s->name, getpid());
	changed(r->ps, WHO(s), "its descriptors show another name, %s: its own, which it had lost, is taken", name);
	return create_with_room(s, name, own);
}

/*
 * The descriptions of a queue are opened as soon as it is there, and have its name, which it may then lose. mq_open(2) leaves no O_LARGEFILE: who opened it as a
 * file has that.
 */
struct opened {
	size_t n;
	struct {
		const struct file_state *file;
		int fd;
	} list[];
};

static int open_one(int queue, const char *name, const struct file_state *file)
{
	uint64_t flags = file->flags & (O_ACCMODE | O_NONBLOCK | O_CLOEXEC);
	int fd;

	if (file->flags & (KERNEL_LARGEFILE | O_PATH))
		return reopen(queue, file->flags);
	fd = (int)syscall(SYS_mq_open, name, flags, 0, NULL);
	return fd < 0 ? -errno : fd;
}

static int open_descriptions(struct restore *r, const struct record *rec, const char *name, struct made *made)
{
	size_t n;
	const struct record *const *files = restore_uses(r, rec->id, &n);
	struct opened *o = malloc(sizeof(*o) + n * sizeof(o->list[0]));

	if (!o)
		return -ENOMEM;
	o->n = 0;
	made->data = o;
	for (size_t i = 0; i < n; i++) {
		const struct file_state *file = files[i]->state;
		int fd = open_one(made->fd[0], name, file);

		if (fd < 0)
			return fd;
		o->list[o->n].file = file;
		o->list[o->n++].fd = fd;
	}
	return 0;
}

static int remove_queue(int unused, const char *name)
{
	return syscall(SYS_mq_unlink, name) < 0 ? -errno : 0;
}

static int make(struct restore *r, const struct record *rec, struct made *made, bool own)
{
	const struct mqueue_state *s = rec->state;
	char name[NAME_MAX + 1];
	int error = 0;

	snprintf(name, sizeof(name), "%s", s->name);
	made->fd[0] = own || s->unlinked ? -ENOENT : open_left(r, s);
	if (made->fd[0] == -ENOENT) {
		made->fd[0] = create_named(r, s, name, own);
		error = made->fd[0] < 0 ? made->fd[0] : give_owner(made->fd[0], s);
		if (made->fd[0] >= 0 && !own)
			watchdog_unmake(r->watchdog, remove_queue, 0, name);
	}
	if (error == 0 && made->fd[0] < 0)
		error = made->fd[0];
	if (error == 0)
		error = open_descriptions(r, rec, name, made);
	if (error == 0 && s->unlinked && syscall(SYS_mq_unlink, name) < 0)
		error = -errno;
	return error;
}

static int make_entered(struct restore *r, const struct record *rec, struct made *made)
{
	const struct mqueue_state *s = rec->state;
	struct ipc_place place;
	int error = sysv_enter(r, &place);

	if (error < 0)
		return error;
	error = make(r, rec, made, place.foreign);
	ipc_leave(&place);
	if (error < 0 && !r->ps->first_error)
		failed(r->ps, WHO(s), error, "cannot be made again: %s", strerror(-error));
	return error;
}

static int make_those(struct restore *r, bool unlinked)
{
	size_t n;
	const struct record *rec = image_records(r->image, &component_mqueue.kind, &n);
	int error = 0;

	for (size_t i = 0; error == 0 && i < n; i++) {
		struct made *made = restore_made(r, rec[i].id);

		if (made->fd[0] < 0 && ((const struct mqueue_state *)rec[i].state)->unlinked == unlinked)
			error = make_entered(r, &rec[i], made);
	}
	return error;
}

static int make_all(struct restore *r)
{
	int error = make_those(r, true);

	return error < 0 ? error : make_those(r, false);
}

int mqueue_open(struct restore *r, const struct record *rec, const struct file_state *file)
{
	int error = make_all(r);
	struct opened *o = error < 0 ? NULL : restore_made(r, rec->id)->data;

	for (size_t i = 0; o && i < o->n; i++)
		if (o->list[i].file == file)
			return file_settle(o->list[i].fd, file);
	return error < 0 ? error : -EBADMSG;
}

/* --- messages --- */

static int empty(int fd, const struct mqueue_state *s)
{
	_cleanup_free_ void *room = malloc(s->message_size);

	if (!room)
		return -ENOMEM;
	while (mq_receive(fd, room, s->message_size, NULL) >= 0)
		;
	return errno == EAGAIN ? 0 : -errno;
}

int mqueue_fill(struct restore *r, const struct record *rec)
{
	const struct mqueue_state *s = rec->state;
	const struct timespec times[2] = { { s->atime_s, (long)(s->atime_ns % 1000000000) },
		{ s->mtime_s, (long)(s->mtime_ns % 1000000000) } };
	int error = make_all(r), fd;

	if (error < 0)
		return error;
	fd = restore_made(r, rec->id)->fd[0];
	error = empty(fd, s);
	for (size_t i = 0; error == 0 && i < s->n; i++)
		if (mq_send(fd, (const char *)s->list[i].text.data, s->list[i].text.size,
			    (unsigned int)s->list[i].priority) < 0)
			error = -errno;
	if (error == 0 && futimens(fd, times) < 0)
		error = -errno;
	return error < 0 ? failed(r->ps, WHO(s), error, "its messages cannot be put back: %s", strerror(-error)) : 0;
}
