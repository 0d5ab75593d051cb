/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * No interface shows it: it is read from the marks of the inode. Documentation/filesystems/dnotify.rst; fs/notify/dnotify/dnotify.c, include/linux/dnotify.h.
 */
#include "state/dnotify.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "base/macro.h"
#include "state/files.h"
#include "state/kernel_view.h"

#define MOST_MARKS 65536

/* As the kernel has them: include/linux/fsnotify_backend.h. */
static const struct {
	uint64_t ours;
	uint32_t kernels;
} events_by_mask[] = {
	{ DN_ACCESS, 0x1 },	      /* FS_ACCESS */
	{ DN_MODIFY, 0x2 },	      /* FS_MODIFY */
	{ DN_CREATE, 0x100 | 0x80 },  /* FS_CREATE, FS_MOVED_TO */
	{ DN_DELETE, 0x200 | 0x40 },  /* FS_DELETE, FS_MOVED_FROM */
	{ DN_RENAME, 0x10000000 },    /* FS_RENAME; FS_DN_RENAME before 5.17 */
	{ DN_ATTRIB, 0x4 },	      /* FS_ATTRIB */
	{ DN_MULTISHOT, 0x20000000 }, /* FS_DN_MULTISHOT */
};
#define ALWAYS 0x08000000 /* FS_EVENT_ON_CHILD */

const uint64_t dnotify_events =
	DN_ACCESS | DN_MODIFY | DN_CREATE | DN_DELETE | DN_RENAME | DN_ATTRIB | (uint32_t)DN_MULTISHOT;

/* One asked for: struct dnotify_struct. */
struct asked {
	uint64_t next, mask, fd, file, owner;
};

/* --- in the kernel --- */

static int read_asked(struct kernel_peek *k, uint64_t at, struct asked *out)
{
	int err = kernel_peek_member(k, at, "dnotify_struct", "dn_next", &out->next);

	if (!err)
		err = kernel_peek_member(k, at, "dnotify_struct", "dn_mask", &out->mask);
	if (!err)
		err = kernel_peek_member(k, at, "dnotify_struct", "dn_fd", &out->fd);
	if (!err)
		err = kernel_peek_member(k, at, "dnotify_struct", "dn_filp", &out->file);
	return err ? err : kernel_peek_member(k, at, "dnotify_struct", "dn_owner", &out->owner);
}

/* The first of the marks (struct fsnotify_mark) of a file's inode, as a node of their list; 0: it has none. */
static int first_mark(struct kernel_peek *k, int fd, uint64_t *file, uint64_t *node)
{
	uint64_t ignored, at, list;
	int err = kernel_peek_file(k, fd, file, &ignored);

	*node = 0;
	if (!err)
		err = kernel_peek_member(k, *file, "file", "f_inode", &at);
	if (!err)
		err = kernel_peek_member(k, at, "inode", "i_fsnotify_marks", &at);
	if (err || !at)
		return err;
	err = kernel_peek_address(k, at, "fsnotify_mark_connector", "list", &list);
	return err ? err : kernel_peek_member(k, list, "hlist_head", "first", node);
}

static int mark_of_node(struct kernel_peek *k, uint64_t node, uint64_t *mark, uint64_t *group)
{
	uint64_t offset;
	int err = kernel_peek_address(k, 0, "fsnotify_mark", "obj_list", &offset);

	*mark = node - offset;
	return err ? err : kernel_peek_member(k, *mark, "fsnotify_mark", "group", group);
}

/* Which marks are dnotify's one of our own tells, on a directory of which nobody else is told. */
static int own_group(struct kernel_peek *k, uint64_t *group)
{
	_cleanup_fd_ int fd = open("/proc/thread-self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	uint64_t file = 0, node = 0, mark = 0, at = 0;
	struct asked ours = { 0 };
	int err;

	if (fd < 0 || fcntl(fd, F_NOTIFY, DN_RENAME) < 0)
		return -errno;
	err = first_mark(k, fd, &file, &node);
	if (!err)
		err = node ? mark_of_node(k, node, &mark, group) : -ENOENT;
	if (!err)
		err = kernel_peek_member(k, mark, "dnotify_mark", "dn", &at);
	if (!err)
		err = read_asked(k, at, &ours);
	return err ? err : ours.file == file ? 0 : -ENOENT;
}

/* The first of those asked for, by whomever, of that file's inode. An inode has one mark of dnotify. */
static int first_asked(struct kernel_peek *k, int fd, uint64_t *file, uint64_t *at)
{
	uint64_t node = 0, dnotify = 0, mark = 0, group = 0;
	int err = first_mark(k, fd, file, &node);

	*at = 0;
	if (err || !node)
		return err;
	err = own_group(k, &dnotify);
	for (int n = 0; !err && node; n++) {
		err = n < MOST_MARKS ? mark_of_node(k, node, &mark, &group) : -E2BIG;
		if (!err && group == dnotify)
			return kernel_peek_member(k, mark, "dnotify_mark", "dn", at);
		if (!err)
			err = kernel_peek_member(k, node, "hlist_node", "next", &node);
	}
	return err;
}

/* The next of those asked for through that open file, from *at on. 1, 0: none, or negative errno. */
static int next_asked(struct kernel_peek *k, uint64_t file, uint64_t *at, struct asked *out)
{
	for (int n = 0; *at; n++) {
		int err = n < MOST_MARKS ? read_asked(k, *at, out) : -E2BIG;

		if (err)
			return err;
		*at = out->next;
		if (out->file == file)
			return 1;
	}
	return 0;
}

/* --- checkpoint --- */

static bool has_owner(int fd)
{
	struct f_owner_ex owner = { 0 };

	return fcntl(fd, F_GETOWN_EX, &owner) == 0 && owner.pid;
}

bool dnotify_watches(struct kernel_peek *kernel, int fd)
{
	uint64_t file, at = 0;

	if (kernel && first_asked(kernel, fd, &file, &at) == 0)
		return at;
	return has_owner(fd);
}

static int refuse(struct capture *c, const struct file_look *f, const char *why)
{
	return refused(c->ps, BLAME_FILE(f, .remedy = "let the program close it, or use inotify"),
		"a directory that %s (F_NOTIFY)", why);
}

/* The table of descriptors of a process (struct files_struct), by which the kernel notes who asked. */
static int table_of(struct capture *c, struct process *p, uint64_t *files)
{
	uint64_t task;
	int err = kernel_task(c, p, &task);

	return err ? err : kernel_peek_member(c->kernel, task, "task_struct", "files", files);
}

static bool is_ours(struct capture *c, uint64_t owner)
{
	uint64_t files = 0;

	for (size_t i = 0; i < c->tree->n_processes; i++)
		if (!c->tree->processes[i]->zombie && table_of(c, c->tree->processes[i], &files) == 0 && files == owner)
			return true;
	return false;
}

static int to_events(uint64_t mask, uint64_t *events)
{
	*events = 0;
	mask &= ~(uint64_t)ALWAYS;
	for (size_t i = 0; i < ARRAY_SIZE(events_by_mask); i++)
		if ((mask & events_by_mask[i].kernels) == events_by_mask[i].kernels) {
			*events |= (uint32_t)events_by_mask[i].ours;
			mask &= ~(uint64_t)events_by_mask[i].kernels;
		}
	return mask ? -ENODATA : 0;
}

int dnotify_look(struct capture *c, const struct file_look *f)
{
	uint64_t file = 0, at = 0, events;
	struct asked one;
	int fd = file_dup(c, f), err;

	if (fd < 0 || !c->kernel)
		return fd < 0 ? fd : 0;
	err = first_asked(c->kernel, fd, &file, &at);
	if (err)
		return has_owner(fd) ? refuse(c, f, "may tell of changes by a signal, which cannot be read here") : 0;
	while ((err = next_asked(c->kernel, file, &at, &one)) > 0) {
		if (!is_ours(c, one.owner))
			return refuse(c, f, "a process outside of the tree has tell of changes by a signal");
		if (to_events(one.mask, &events) < 0)
			return refuse(c, f, "tells of changes that spore does not know by a signal");
	}
	return err;
}

int dnotify_capture(struct capture *c, const struct file_look *f, uint64_t *events)
{
	uint64_t file = 0, at = 0, files = 0;
	struct asked one;
	int fd = file_dup(c, f), err;

	*events = 0;
	if (fd < 0 || !c->kernel)
		return fd < 0 ? fd : 0;
	if (first_asked(c->kernel, fd, &file, &at) < 0 || !at)
		return 0; /* dnotify_look() has refused what may be lost by that */
	err = table_of(c, c->process, &files);
	while (!err && (err = next_asked(c->kernel, file, &at, &one)) > 0)
		err = one.owner == files && one.fd == (uint64_t)f->fd ? to_events(one.mask, events) : 0;
	return err;
}

/* --- restore --- */

/* It makes the task the owner where there is none: there may have been none. */
void dnotify_ask(struct build *b, int fd, uint64_t events, bool owned)
{
	batch_call(b->batch, "F_NOTIFY", SYS_fcntl, (uint64_t)fd, F_NOTIFY, events);
	if (!owned)
		batch_call(b->batch, "F_SETOWN", SYS_fcntl, (uint64_t)fd, F_SETOWN, 0);
}
