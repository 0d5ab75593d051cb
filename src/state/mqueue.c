/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * POSIX message queues. mq_overview(7), mq_open(3), mq_notify(3); ipc/mqueue.c; selftests/mqueue. One record for each queue, whether anybody has it open or
 * not; of the host's namespace, only those that the tree has open.
 */
#include "state/mqueue.h"
#include "state/mqueue_view.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "state/ipc_namespace.h"
#include "state/owner.h"

#define MQUEUE_FS   0x19800202 /* MQUEUE_MAGIC of ipc/mqueue.c */
#define MQUEUE_SIZE 80	       /* FILENT_SIZE: what its files say their size is; few others need be asked */
#define DELETED	    " (deleted)"

static const struct field message_fields[] = {
	FIELD_UINT(struct mqueue_message, priority, "priority", ""),
	FIELD_BLOB(struct mqueue_message, text, "text", ""),
	FIELD_END,
};

static const struct field mqueue_fields[] = {
	FIELD_STRING(struct mqueue_state, name, "name", "without the slash; the last that it had"),
	FIELD_BOOL(
		struct mqueue_state, unlinked, "unlinked", "it has none any more, and goes with its last descriptor"),
	FIELD_UINT(struct mqueue_state, inode, "inode", "no other queue of the host's is taken for it"),
	FIELD_OCTAL(struct mqueue_state, mode, "mode", "permissions"),
	FIELD_UINT(struct mqueue_state, uid, "uid", "owner"),
	FIELD_UINT(struct mqueue_state, gid, "gid", "group"),
	FIELD_UINT(struct mqueue_state, max_messages, "max_messages", "mq_maxmsg"),
	FIELD_UINT(struct mqueue_state, message_size, "message_size", "mq_msgsize"),
	FIELD_INT(struct mqueue_state, atime_s, "atime", "last access, seconds since 1970"),
	FIELD_UINT(struct mqueue_state, atime_ns, "atime_ns", "and nanoseconds"),
	FIELD_INT(struct mqueue_state, mtime_s, "mtime", "last modification, seconds since 1970"),
	FIELD_UINT(struct mqueue_state, mtime_ns, "mtime_ns", "and nanoseconds"),
	FIELD_LIST(struct mqueue_state, list, n, "messages", message_fields, "in the order in which they are received"),
	FIELD_END,
};

bool mqueue_matches(const struct file_look *f)
{
	struct statfs fs;

	return S_ISREG(f->mode) && f->size == MQUEUE_SIZE && f->link[0] == '/' && file_statfs(f, &fs) == 0 &&
	       fs.f_type == MQUEUE_FS;
}

/* "QSIZE:129     NOTIFY:2    SIGNO:0    NOTIFY_PID:8260" */
int mqueue_notice_read(int fd, struct mqueue_notice *out)
{
	char text[128];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
	int pid;

	if (n < 0)
		return -errno;
	text[n] = '\0';
	if (sscanf(text, "QSIZE:%*u NOTIFY:%d SIGNO:%d NOTIFY_PID:%d", &out->how, &out->signo, &pid) != 3)
		return -EBADMSG;
	out->pid = pid;
	return 0;
}

/* --- one queue --- */

static int give_name(const struct file_look *f, struct mqueue_state *s)
{
	const char *slash = strrchr(f->link, '/') + 1;
	size_t length = strlen(slash), cut = strlen(DELETED);

	s->unlinked = f->nlink == 0;
	if (s->unlinked && length > cut && !strcmp(slash + length - cut, DELETED))
		length -= cut;
	s->name = strndup(slash, length);
	return s->name ? 0 : -ENOMEM;
}

static void give_inode(const struct stat *st, struct mqueue_state *s)
{
	s->inode = st->st_ino;
	s->mode = st->st_mode & 07777;
	s->uid = st->st_uid;
	s->gid = st->st_gid;
	s->atime_s = st->st_atim.tv_sec;
	s->atime_ns = (uint64_t)st->st_atim.tv_nsec;
	s->mtime_s = st->st_mtim.tv_sec;
	s->mtime_ns = (uint64_t)st->st_mtim.tv_nsec;
}

static int give_contents(struct capture *c, const struct file_look *f, int fd, struct mqueue_state *s)
{
	struct mqueue_notice notice = { 0 };
	struct mq_attr attr = { 0 };
	int r = mq_getattr(fd, &attr) < 0 ? -errno : mqueue_notice_read(fd, &notice);

	if (r < 0)
		return r;
	s->max_messages = (uint64_t)attr.mq_maxmsg;
	s->message_size = (uint64_t)attr.mq_msgsize;
	if (!c->writer)
		return 0;
	if (mqueue_view_messages(c->kernel, fd, (size_t)attr.mq_curmsgs, &s->list, &s->n) == 0)
		return 0;
	r = mqueue_read(fd, &attr, notice.pid != 0, &s->list, &s->n);
	return r == -EBUSY ? refused(c->ps, BLAME_FILE(f, .remedy = "let the program receive it first"),
				     "its one message cannot be read without its notification (mq_notify)")
			   : r;
}

static int mqueue_capture(struct capture *c, const struct file_look *f, void *state)
{
	struct mqueue_state *s = state;
	int dup = file_dup(c, f), r;
	_cleanup_fd_ int own = dup < 0 ? dup : reopen(dup, O_RDWR | O_NONBLOCK);
	struct stat st;

	if (own < 0)
		return own;
	if (fstat(own, &st) < 0)
		return -errno;
	give_inode(&st, s);
	r = give_name(f, s);
	if (r == 0)
		r = give_contents(c, f, own, s);
	/* Reading shows in its times. */
	futimens(own, (const struct timespec[]){ st.st_atim, st.st_mtim });
	return r;
}

const struct component component_mqueue = {
	.kind = {
		.name = "mqueue",
		.version = 2,
		.size = sizeof(struct mqueue_state),
		.fields = mqueue_fields,
		.doc = "a POSIX message queue",
		.sources = "mq_overview(7), mq_open(3); ipc/mqueue.c; selftests/mqueue",
		.critical = true,
	},
	.scope = SCOPE_BACKING,
	.matches = mqueue_matches,
	.capture_file = mqueue_capture,
	.validate = mqueue_validate,
	.open = mqueue_open,
	.fill = mqueue_fill,
};

/* --- those that nobody has open --- */

int mqueue_mount(void)
{
	_cleanup_fd_ int fs = (int)syscall(SYS_fsopen, "mqueue", FSOPEN_CLOEXEC);
	_cleanup_fd_ int root = -1;
	int fd;

	if (fs < 0 || syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	root = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
	fd = root < 0 ? -1 : openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* the mount's own is O_PATH */
	return fd < 0 ? -errno : fd;
}

static int save_named(struct capture *c, int dir, const char *name)
{
	_cleanup_free_ char *link = NULL;
	_cleanup_fd_ int fd = openat(dir, name, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	struct file_look f = { .process = c->process, .fd = -1, .dup = fd, .flags = O_RDWR };
	struct stat st;
	object_id id;

	if (fd < 0 || fstat(fd, &st) < 0 || asprintf(&link, "/%s", name) < 0)
		return -errno;
	f.link = link;
	f.dev = st.st_dev;
	f.ino = st.st_ino;
	f.mode = st.st_mode;
	f.nlink = st.st_nlink;
	f.size = (uint64_t)st.st_size;
	return backing_save(c, &f, &id);
}

static int save_all(struct capture *c, int fd)
{
	_cleanup_dir_ DIR *dir = fdopendir(fd);
	int r = dir ? 0 : -errno;

	for (struct dirent *d; dir && r == 0 && (d = readdir(dir));)
		if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0) {
			r = save_named(c, fd, d->d_name);
			if (r < 0 && r != -ENOTSUP)
				failed(c->ps, BLAME_PROCESS(c->process, .object = d->d_name), r,
					"the message queue cannot be saved: %s", strerror(-r));
		}
	return r;
}

static int mqueues_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	struct ipc_place place;
	int r = ipc_enter(c->tree->processes[0]->living_fd, &place), fd;

	if (r < 0 || !place.foreign)
		return r < 0 ? r : CAPTURE_NOTHING;
	fd = mqueue_mount();
	ipc_leave(&place);
	/* A kernel without message queues has no such file system. */
	r = fd == -ENODEV ? 0 : fd < 0 ? fd : save_all(c, fd);
	return r < 0 ? r : CAPTURE_NOTHING;
}

static const struct field no_fields[] = { FIELD_END };

const struct component component_mqueues = {
	.kind = {
		.name = "mqueues",
		.version = 1,
		.size = sizeof(object_id),
		.fields = no_fields,
		.doc = "only looked at: queues of the tree's own namespace that nobody has open",
		.sources = "mq_overview(7); ipc/mqueue.c",
	},
	.scope = SCOPE_TREE,
	.capture = mqueues_capture,
};
