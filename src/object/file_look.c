/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernel/uapi.h"
#include "object/component.h"

/* A descriptor that another worker opened at the same time serves as well: the later one is closed. */
static int keep_first(int *where, int fd)
{
	int none = -1;

	if (__atomic_compare_exchange_n(where, &none, fd, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		return fd;
	close(fd);
	return none;
}

int process_pidfd(struct process *p)
{
	int fd = __atomic_load_n(&p->pid_fd, __ATOMIC_ACQUIRE);

	if (fd >= 0)
		return fd;
	fd = (int)syscall(SYS_pidfd_open, p->living_tid, p->living_tid == p->pid ? 0 : SPORE_PIDFD_THREAD);
	return fd < 0 ? -errno : keep_first(&p->pid_fd, fd);
}

static int by_number(const void *a, const void *b)
{
	const struct file_look *x = a, *y = b;

	return x->fd < y->fd ? -1 : x->fd > y->fd;
}

const struct file_look *process_file(const struct process *p, int fd)
{
	const struct file_look key = { .fd = fd };

	return p->n_files ? bsearch(&key, p->files, p->n_files, sizeof(key), by_number) : NULL;
}

int file_dup(struct capture *c, const struct file_look *f)
{
	int *where = (int *)&f->dup; /* a look is constant but for what it keeps */
	int pid_fd, fd = __atomic_load_n(where, __ATOMIC_ACQUIRE);

	if (fd >= 0)
		return fd;
	if (f->carrier) {
		fd = fcntl(f->fd, F_DUPFD_CLOEXEC, 0);
		return fd < 0 ? -errno : keep_first(where, fd);
	}
	pid_fd = process_pidfd(f->process);
	if (pid_fd < 0)
		return pid_fd;
	fd = (int)syscall(SYS_pidfd_getfd, pid_fd, f->fd, 0);
	return fd < 0 ? -errno : keep_first(where, fd);
}

struct object_name file_name(const struct file_look *f)
{
	struct object_name n;

	if (f->carrier)
		snprintf(n.s, sizeof(n.s), "%.120s in flight in fd %d (%.40s)", f->link ? f->link : "?", f->carrier->fd,
			f->carrier->link);
	else if (f->fd < 0)
		snprintf(n.s, sizeof(n.s), "mapped %.170s", f->link ? f->link : "?");
	else
		snprintf(n.s, sizeof(n.s), "fd %d (%.170s)", f->fd, f->link ? f->link : "?");
	return n;
}
