/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/kernel_view.h"

#include <errno.h>
#include <fcntl.h>

#include "base/cleanup.h"

/* What stands behind an open /proc/PID/mem is that memory. */
int kernel_mm(struct capture *c, const struct process *p, uint64_t *mm)
{
	_cleanup_fd_ int fd = openat(p->living_fd, "mem", O_RDONLY | O_CLOEXEC);
	uint64_t file;

	return fd < 0 ? -errno : kernel_peek_file(c->kernel, fd, &file, mm);
}

struct process *kernel_mm_owner(struct capture *c, uint64_t mm)
{
	uint64_t other = 0;

	for (size_t i = 0; i < c->tree->n_processes; i++) {
		struct process *p = c->tree->processes[i];

		if (!p->zombie && kernel_mm(c, p, &other) == 0 && other == mm)
			return p;
	}
	return NULL;
}

int kernel_object(struct capture *c, const struct file_look *f, uint64_t *object)
{
	int fd = file_dup(c, f);
	uint64_t file;

	return fd < 0 ? fd : kernel_peek_file(c->kernel, fd, &file, object);
}
