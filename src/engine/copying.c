/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/copying.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "engine/tasks.h"
#include "kernel/procfs.h"
#include "kernel/uapi.h"
#include "state/memory_lazy.h"

#define NUMBER_FIRST                                                                                                   \
	64 /* of a userfaultfd in its process, for a moment: each its own, since two processes may share a table */

/* Where any memory may come as huge pages, it should: a userfaultfd gives small ones. */
static bool huge_is_usual(void)
{
	_cleanup_free_ char *text = NULL;
	size_t size;

	return procfs_read(AT_FDCWD, "/sys/kernel/mm/transparent_hugepage/enabled", &text, &size) == 0 &&
	       strstr(text, "[always]");
}

static bool has_areas(const struct restore *r, const struct memory_state *m)
{
	for (size_t i = 0; i < m->n_areas; i++)
		if (memory_is_copied(r, m, &m->areas[i]))
			return true;
	return false;
}

/* Only a process itself can make one for its memory; not everyone may (then it is not made, and -EBADF comes of the rest). */
static void add_making(struct batch *b, uint64_t number)
{
	uint32_t made =
		batch_call(b, "userfaultfd", SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | SPORE_UFFD_USER_MODE_ONLY);
	uint32_t dup = batch_call(b, "dup3 of a userfaultfd", SYS_dup3, 0, number, O_CLOEXEC);
	uint32_t close = batch_call(b, "close of a userfaultfd", SYS_close, 0);

	batch_use(b, dup, 0, made);
	batch_use(b, close, 0, made);
	batch_may_fail(b, made);
	batch_may_fail(b, dup);
	batch_may_fail(b, close);
}

static void add_closing(struct batch *b, uint64_t number)
{
	batch_may_fail(b, batch_call(b, "close of a userfaultfd", SYS_close, number));
}

static int in_all(const struct copying *c, struct plan *plan, void (*add)(struct batch *b, uint64_t number))
{
	struct step step = { .plan = plan, .name = "userfaultfd" };

	for (size_t i = 0; i < c->n; i++) {
		struct batch *b;

		if (!has_areas(plan->r, plan_memory(plan, c->processes[i])))
			continue;
		b = step_add(&step, &c->processes[i]->threads[0]);
		if (!b)
			return -ENOMEM;
		add(b, NUMBER_FIRST + i);
	}
	return step_run(&step);
}

static int fetch(pid_t pid, size_t i)
{
	_cleanup_fd_ int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);

	return pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, NUMBER_FIRST + i, 0);
}

/* All areas or, with the end of the userfaultfd, none. */
static bool register_all(int uffd, const struct restore *r, const struct memory_state *m)
{
	struct uffdio_api api = { .api = UFFD_API };

	if (ioctl(uffd, UFFDIO_API, &api) < 0)
		return false;
	for (size_t i = 0; i < m->n_areas; i++) {
		const struct memory_area *a = &m->areas[i];
		struct uffdio_register area = { .range = { a->start, a->end - a->start },
			.mode = UFFDIO_REGISTER_MODE_MISSING };

		if (memory_is_copied(r, m, a) && ioctl(uffd, UFFDIO_REGISTER, &area) < 0)
			return false;
	}
	return true;
}

int copying_begin(struct copying *c, struct plan *plan, struct new_process **processes, size_t n)
{
	int r;

	*c = (struct copying){ .processes = processes, .uffds = calloc(n, sizeof(*c->uffds)), .n = n };
	if (!c->uffds)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		c->uffds[i] = -1;
	if (huge_is_usual())
		return 0;
	r = in_all(c, plan, add_making);
	for (size_t i = 0; r == 0 && i < n; i++) {
		const struct memory_state *m = plan_memory(plan, processes[i]);

		c->uffds[i] = has_areas(plan->r, m) ? fetch(processes[i]->pid, i) : -1;
		if (c->uffds[i] >= 0 && !register_all(c->uffds[i], plan->r, m))
			close_fd(&c->uffds[i]);
	}
	return r < 0 ? r : in_all(c, plan, add_closing);
}

int copying_put(int uffd, uint64_t start, uint64_t pages, const uint8_t *bytes)
{
	uint64_t size = pages * PAGE_SIZE;

	for (uint64_t done = 0; done < size;) {
		struct uffdio_copy copy = { .dst = start + done,
			.src = (uintptr_t)(bytes + done),
			.len = size - done,
			.mode = UFFDIO_COPY_MODE_DONTWAKE };

		if (ioctl(uffd, UFFDIO_COPY, &copy) < 0 && errno != EAGAIN)
			return -errno;
		done += copy.copy > 0 ? (uint64_t)copy.copy : 0;
	}
	return 0;
}

void copying_end(struct copying *c)
{
	for (size_t i = 0; c->uffds && i < c->n; i++)
		close_fd(&c->uffds[i]);
	free(c->uffds);
	*c = (struct copying){ 0 };
}
