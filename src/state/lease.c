/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/lease.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "state/file_owner.h"
#include "state/kernel_view.h"

#define MOST_LEASES 4096

/* --- checkpoint --- */

/* Of the leases on the inode (struct file_lease, which begins with a struct file_lock_core) that of the open file. */
static int read_type(struct kernel_peek *k, int fd, uint64_t *type)
{
	static const struct kernel_step way[] = { { "file", "f_inode" }, { "inode", "i_flctx" } };
	uint64_t found[ARRAY_SIZE(way)], file = 0, ignored, head = 0, node = 0, offset = 0, of = 0;
	int err = kernel_peek_file(k, fd, &file, &ignored);

	if (!err)
		err = kernel_peek_way(k, fd, way, ARRAY_SIZE(way), found);
	if (!err)
		err = kernel_peek_address(k, found[1], "file_lock_context", "flc_lease", &head);
	if (!err)
		err = kernel_peek_address(k, 0, "file_lock_core", "flc_list", &offset);
	if (!err)
		err = kernel_peek_member(k, head, "list_head", "next", &node);
	for (int n = 0; !err && node != head && n < MOST_LEASES; n++) {
		err = kernel_peek_member(k, node - offset, "file_lock_core", "flc_file", &of);
		if (!err && of == file)
			return kernel_peek_member(k, node - offset, "file_lock_core", "flc_type", type);
		if (!err)
			err = kernel_peek_member(k, node, "list_head", "next", &node);
	}
	return err ? err : -ENOENT;
}

int lease_look(struct capture *c, const struct file_look *f, const struct fdinfo_lock *l, struct lease_look *out)
{
	int fd = file_dup(c, f), err;
	uint64_t type = F_WRLCK;

	if (fd < 0)
		return fd;
	out->breaking = strcmp(l->mode, "READ") ? LEASE_GIVE_UP : LEASE_TO_READ;
	/* who may write can have but one for writing, and only that can become one for reading */
	err = out->breaking == LEASE_TO_READ || (f->flags & O_ACCMODE) != O_RDONLY ? 0
	      : c->kernel							   ? read_type(c->kernel, fd, &type)
										   : -ENODATA;
	if (err)
		return refused(c->ps, BLAME_FILE(f, .remedy = KERNEL_VIEW_REMEDY),
			"a lease that is being broken: what it was cannot be read here");
	out->exclusive = type == F_WRLCK;
	return c->writer ? changed(c->ps, BLAME_FILE(f),
				   "a lease that is being broken: its holder has the full time to answer again")
			 : 0;
}

/* --- restore --- */

/* As who breaks it would: by an open that does not wait. */
static int break_it(int fd, uint64_t breaking)
{
	char path[32];
	_cleanup_fd_ int opened = -1;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	opened = open(path, (breaking == LEASE_TO_READ ? O_RDONLY : O_WRONLY) | O_NONBLOCK | O_CLOEXEC);
	return opened < 0 ? errno == EWOULDBLOCK ? 0 : -errno : -EBADMSG;
}

int lease_settle(struct build *b, object_id file, uint64_t breaking)
{
	const struct file_state *s = restore_state(b->restore, file, "file");
	int fd = s ? restore_file(b->restore, file) : -EBADMSG, err;

	if (fd < 0)
		return fd;
	if (s->owner && !breaking)
		return 0;
	/* nobody is told while there is no owner */
	err = fcntl(fd, F_SETOWN, 0) < 0 ? -errno : breaking ? break_it(fd, breaking) : 0;
	if (!err)
		err = file_own_again(b, file, s);
	return err ? failed(b->ps, BLAME(.pid = b->process->pid), err, "a lease cannot be as it was: %s",
			     strerror(-err))
		   : 0;
}
