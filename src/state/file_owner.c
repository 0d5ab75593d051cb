/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* To whom a description sends its signals: fcntl(2) F_SETOWN, F_SETSIG, O_ASYNC; fs/fcntl.c. */
#include "state/file_owner.h"

#include <fcntl.h>
#include <string.h>
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "state/files.h"
#include "state/process.h"

struct owning {
	int fd;
	struct f_owner_ex owner;
	uid_t uid, euid;
	int signal;
};

/* The kernel notes the user ids of who sets the owner, and checks them when it sends a signal: hence a child
 * that takes those. Raw calls, because the C library would change them for every thread. */
static int own(void *arg)
{
	const struct owning *o = arg;

	if (syscall(SYS_setresuid, o->uid, o->euid, -1) < 0)
		return -errno;
	if (o->signal && fcntl(o->fd, F_SETSIG, o->signal) < 0)
		return -errno;
	if (o->owner.pid && fcntl(o->fd, F_SETOWN_EX, &o->owner) < 0)
		return -errno;
	return 0;
}

/* A group's leader need not be of the tree, nor alive: any member tells its number. */
static pid_t owner_group(const struct restore *r, const struct file_state *s)
{
	for (size_t i = 0; i < r->n_processes; i++) {
		const struct process_state *p = r->processes[i]->record->state;

		if (p->group == (uint64_t)s->owner)
			return getpgid(r->processes[i]->pid);
	}
	return 0;
}

/* In the keeper's pid namespace; 0: no such task. */
static pid_t owner_pid(const struct restore *r, const struct file_state *s)
{
	pid_t group = s->owner_type == F_OWNER_PGRP ? owner_group(r, s) : 0;

	if (group > 0)
		return group;
	for (size_t i = 0; i < r->n_processes; i++) {
		const struct new_process *p = r->processes[i];

		if (s->owner_type != F_OWNER_TID && p->vpid == s->owner)
			return p->pid;
		for (size_t k = 0; s->owner_type == F_OWNER_TID && k < p->n_threads; k++)
			if (p->threads[k].vtid == s->owner)
				return p->threads[k].tid;
	}
	return 0;
}

static int set_owner(struct build *b, object_id id, const struct file_state *s)
{
	struct owning o = { .uid = (uid_t)s->owner_uid, .euid = (uid_t)s->owner_euid, .signal = (int)s->signal };
	int err;

	if (!s->owner && !s->signal)
		return 0;
	if (s->owner) {
		o.owner = (struct f_owner_ex){ .type = (int)s->owner_type, .pid = owner_pid(b->restore, s) };
		if (!o.owner.pid)
			return changed(b->ps, BLAME(.pid = b->process->pid),
				"the owner of a descriptor (F_SETOWN), process or group %lld, does not exist "
				"any more",
				(long long)s->owner);
	}
	o.fd = restore_file(b->restore, id);
	if (o.fd < 0)
		return o.fd;
	err = call_in_child(own, &o);
	return err ? failed(b->ps, BLAME(.pid = b->process->pid), err,
			     "the owner of a descriptor cannot be set (F_SETOWN): %s", strerror(-err))
		   : 0;
}

int file_own_again(struct build *b, object_id id, const struct file_state *s)
{
	return set_owner(b, id, s);
}

/* The signal tells the number of the descriptor through which O_ASYNC was set: that is for the task to do. */
int file_own(struct build *b, object_id id, const struct file_state *s, int fd)
{
	int err = set_owner(b, id, s);

	if (!err && s->flags & O_ASYNC)
		batch_call(b->batch, "F_SETFL of O_ASYNC", SYS_fcntl, (uint64_t)fd, F_SETFL,
			s->flags & ~(uint64_t)O_ACCMODE);
	return err;
}
