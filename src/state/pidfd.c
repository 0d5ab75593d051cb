/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* pidfd: a process, or a thread, behind a descriptor. pidfd_open(2); fs/pidfs.c;
 * tools/testing/selftests/pidfd. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "kernel/uapi.h"
#include "state/files.h"

struct pidfd_state {
	int64_t pid; /* in the tree's pid namespace */
	bool thread;
};

static const struct field pidfd_fields[] = {
	FIELD_INT(struct pidfd_state, pid, "pid", "the process or thread, in the tree's pid namespace"),
	FIELD_BOOL(struct pidfd_state, thread, "thread", "PIDFD_THREAD: of one thread"),
	FIELD_END,
};

static bool pidfd_matches(const struct file_look *f)
{
	return !strcmp(f->link, "anon_inode:[pidfd]");
}

static int pidfd_capture(struct capture *c, const struct file_look *f, void *state)
{
	struct pidfd_state *s = state;
	const char *text = proc_value(f->info, "Pid");
	pid_t pid = text ? (pid_t)strtol(text, NULL, 10) : -1;
	const struct process *p = tree_find(c->tree, pid);
	const struct thread *t = tree_find_tid(c->tree, pid);

	s->thread = f->flags & SPORE_PIDFD_THREAD;
	if (pid <= 0)
		return c->writer ? refused(c->ps, BLAME_FILE(f, .remedy = "let the program close it"),
					   "a pidfd of a process that is gone")
				 : 0;
	if (!p && !t)
		return c->writer ? refused(c->ps, BLAME_FILE(f, .remedy = "name a tree that holds that process too"),
					   "a pidfd of process %d, which is outside the tree", pid)
				 : 0;
	s->pid = s->thread && t ? t->vtid : p ? p->vpid : t->vtid;
	return 0;
}

/* In the keeper's pid namespace. */
static pid_t find_task(const struct restore *r, const struct pidfd_state *s)
{
	for (size_t i = 0; i < r->n_processes; i++) {
		const struct new_process *p = r->processes[i];

		if (!s->thread && p->vpid == s->pid)
			return p->pid;
		for (size_t k = 0; s->thread && k < p->n_threads; k++)
			if (p->threads[k].vtid == s->pid)
				return p->threads[k].tid;
	}
	return -1;
}

static int pidfd_component_open(struct restore *r, const struct record *rec, const struct file_state *file)
{
	const struct pidfd_state *s = rec->state;
	long fd = syscall(SYS_pidfd_open, find_task(r, s), (unsigned int)(s->thread ? SPORE_PIDFD_THREAD : 0));

	if (fd < 0)
		return failed(r->ps, BLAME(.object = "pidfd"), -errno, "a pidfd of process %lld cannot be had: %s",
			(long long)s->pid, strerror(errno));
	return file_settle((int)fd, file);
}

const struct component component_pidfd = {
	.kind = { .name = "pidfd",
		.version = 1,
		.size = sizeof(struct pidfd_state),
		.fields = pidfd_fields,
		.doc = "a process or thread behind a descriptor",
		.sources = "pidfd_open(2); fs/pidfs.c; tools/testing/selftests/pidfd" },
	.scope = SCOPE_BACKING,
	.matches = pidfd_matches,
	.by_description = true,
	.capture_file = pidfd_capture,
	.open = pidfd_component_open,
};
