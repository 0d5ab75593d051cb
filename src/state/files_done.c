/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What can be told only when the descriptors of every process are known. */
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kernel/sched.h"
#include "state/dnotify.h"
#include "state/external.h"
#include "state/fdinfo.h"
#include "state/files_hidden.h"
#include "state/kernel_view.h"
#include "state/sockets.h"

struct table {
	struct process *p;
	uint64_t key; /* of its contents: equal for processes that share it */
	size_t place; /* in the tree: parents first */
};

static uint64_t key_of(const struct process *p)
{
	uint64_t h = p->n_files;

	for (size_t i = 0; i < p->n_files; i++)
		h = (h ^ p->files[i].file ^ (uint64_t)p->files[i].fd << 32 ^ (uint64_t)p->files[i].cloexec << 63) *
		    0x9e3779b97f4a7c15ull;
	return h;
}

/* A leader that has ended has no table, and two that have none are equal to kcmp. */
static int compare_tables(const struct table *x, const struct table *y)
{
	return kernel_kcmp(x->p->living_tid, y->p->living_tid, KCMP_FILES);
}

static int compare(const void *a, const void *b)
{
	const struct table *x = a, *y = b;
	int r;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	if (x == y)
		return 0;
	r = compare_tables(x, y);
	if (r == 1 || r == 2)
		return r == 1 ? -1 : 1;
	return x->place < y->place ? -1 : 1;
}

/* process->descriptors: the id of the first process that has the table. */
static int find_shared_tables(struct capture *c)
{
	struct tree *t = c->tree;
	struct table *tables = calloc(t->n_processes + 1, sizeof(*tables));
	size_t n = 0;

	if (!tables)
		return -ENOMEM;
	for (size_t i = 0; i < t->n_processes; i++) {
		t->processes[i]->descriptors = t->processes[i]->id;
		if (!t->processes[i]->zombie)
			tables[n++] =
				(struct table){ .p = t->processes[i], .key = key_of(t->processes[i]), .place = i };
	}
	qsort(tables, n, sizeof(*tables), compare);
	for (size_t i = 1; i < n; i++)
		if (tables[i].key == tables[i - 1].key && !compare_tables(&tables[i], &tables[i - 1]))
			tables[i].p->descriptors = tables[i - 1].p->descriptors;
	free(tables);
	return 0;
}

static bool guards(const char *info)
{
	uint32_t flags, event_flags;

	return fdinfo_fanotify_parse(info, &flags, &event_flags) < 0 ||
	       flags & (FAN_CLASS_CONTENT | FAN_CLASS_PRE_CONTENT);
}

static bool is_told(struct capture *c, const struct description *d)
{
	_cleanup_fd_ int fd = -1;

	if (!S_ISDIR(d->look->mode) || d->look->flags & O_PATH)
		return !strcmp(d->look->link, "anon_inode:inotify");
	fd = description_dup(d);
	return fd >= 0 && dnotify_watches(c->kernel, fd);
}

/* Before anything is read: what spore opens must not be told to the tree, nor wait for it. */
static int find_watchers(struct capture *c)
{
	struct descriptions *all = c->descriptions;
	int err = 0;

	for (const struct description *d = all->first; d; d = d->next) {
		bool fanotify = !strcmp(d->look->link, "anon_inode:[fanotify]");

		all->watched |= fanotify || is_told(c, d);
		all->leased |= S_ISREG(d->look->mode) && fdinfo_has_write_lease(d->look->info);
		if (fanotify && guards(d->look->info))
			err = refused(c->ps, BLAME_FILE(d->look, .remedy = "let the program close it"),
				"a fanotify group that is asked for leave (FAN_CLASS_CONTENT): to open a file there "
				"would be to "
				"wait for the stopped program");
	}
	return err;
}

int files_look_done(struct capture *c)
{
	int err = find_shared_tables(c);

	if (!err && c->kernel && kernel_peek_ready(c->kernel) == 0)
		kernel_tasks_find(c); /* who is not known then is asked one by one */
	if (!err)
		err = sockets_find(c);
	if (!err)
		err = files_hidden_read(c);
	if (!err)
		err = find_watchers(c);
	return err ? err : outside_find(c);
}
