/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/outside_holders.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/cleanup.h"
#include "state/external.h"
#include "state/mqueue.h"

struct ends {
	struct description **list; /* by inode */
	size_t n;
};

static bool is_end(const struct description *d)
{
	const struct file_look *f = d->look;

	if (d->external || d->crosses || f->flags & O_PATH)
		return false;
	if (mqueue_matches(f))
		return true;
	return (S_ISFIFO(f->mode) && f->link[0] != '/') || (S_ISCHR(f->mode) && is_terminal_device(f->rdev));
}

static int by_inode(const void *a, const void *b)
{
	const struct file_look *x = (*(struct description *const *)a)->look,
			       *y = (*(struct description *const *)b)->look;

	return x->ino != y->ino ? (x->ino < y->ino ? -1 : 1) : (x->dev > y->dev) - (x->dev < y->dev);
}

static int collect(const struct capture *c, struct ends *e)
{
	e->list = calloc(c->descriptions->n + 1, sizeof(*e->list));
	if (!e->list)
		return -ENOMEM;
	for (struct description *d = c->descriptions->first; d; d = d->next)
		if (is_end(d))
			e->list[e->n++] = d;
	qsort(e->list, e->n, sizeof(*e->list), by_inode);
	return 0;
}

static const struct description *find(const struct ends *e, uint64_t dev, uint64_t ino)
{
	struct file_look look = { .dev = dev, .ino = ino };
	struct description key = { .look = &look }, *p = &key;
	struct description **found = bsearch(&p, e->list, e->n, sizeof(*e->list), by_inode);

	return found ? *found : NULL;
}

/* The link alone tells most descriptors apart; only a likely one is looked at. */
static bool may_be_end(const char *link)
{
	return !strncmp(link, "pipe:[", 6) || !strncmp(link, "/dev/pts/", 9) || !strncmp(link, "/dev/mqueue/", 12) ||
	       (link[0] == '/' && !strchr(link + 1, '/')); /* a message queue */
}

static void check_descriptor(struct capture *c, const struct ends *e, int dir, const char *name, pid_t pid)
{
	const struct description *d;
	char link[64];
	struct stat st;
	ssize_t n = readlinkat(dir, name, link, sizeof(link) - 1);

	if (n <= 0)
		return;
	link[n] = '\0';
	if (!may_be_end(link) || fstatat(dir, name, &st, 0) < 0)
		return;
	d = find(e, st.st_dev, st.st_ino);
	if (d)
		refused(c->ps,
			BLAME_FILE(d->look, .remedy = "close it there, or name a tree that holds that process too"),
			"process %d, which is outside the tree, has it open too (descriptor %s)", pid, name);
}

static void check_process(struct capture *c, const struct ends *e, pid_t pid)
{
	char path[32];
	_cleanup_dir_ DIR *dir = NULL;
	struct dirent *entry;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			check_descriptor(c, e, dirfd(dir), entry->d_name, pid);
}

int outside_holders(struct capture *c)
{
	_cleanup_free_ int *pids = NULL;
	struct ends e = { 0 };
	size_t n = 0;
	int err = collect(c, &e);

	if (!err && e.n)
		err = procfs_numbers(AT_FDCWD, "/proc", &pids, &n);
	for (size_t i = 0; i < n; i++)
		if (pids[i] != getpid() && !tree_find(c->tree, pids[i]))
			check_process(c, &e, pids[i]);
	free(e.list);
	return err;
}
