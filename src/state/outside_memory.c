/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory that the tree shares with processes outside of it: a shared anonymous mapping, a memfd or an unlinked file that both map or hold open, and that one of
 * them may write. The tree would come back with a copy of its own, so it is refused. What has a name in a file system is shared by that name.
 * proc_pid_maps(5), proc_pid_fd(5). Only looked at.
 */
#include "object/component.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "object/descriptions.h"
#include "state/outsiders.h"
#include "state/owner.h"

/* A file without a name that the tree maps shared, or holds open. */
struct nameless {
	uint64_t dev, ino;
	bool written; /* by the tree */
	const struct process *process;
	char object[128];
};

struct nameless_list {
	struct nameless *list;
	size_t n, room;
};

static struct nameless *add(struct nameless_list *l, const struct process *p, uint64_t dev, uint64_t ino, bool written)
{
	struct nameless *grown;

	if (l->n == l->room) {
		grown = reallocarray(l->list, l->room ? 2 * l->room : 32, sizeof(*grown));
		if (!grown)
			return NULL;
		l->list = grown;
		l->room = l->room ? 2 * l->room : 32;
	}
	l->list[l->n] = (struct nameless){ .dev = dev, .ino = ino, .written = written, .process = p };
	return &l->list[l->n++];
}

static int by_inode(const void *a, const void *b)
{
	const struct nameless *x = a, *y = b;

	if (x->ino != y->ino)
		return x->ino < y->ino ? -1 : 1;
	return (x->dev > y->dev) - (x->dev < y->dev);
}

/* Of those with one inode only the first stays. */
static void merge(struct nameless_list *l)
{
	size_t n = 0;

	qsort(l->list, l->n, sizeof(*l->list), by_inode);
	for (size_t i = 0; i < l->n; i++)
		if (n && !by_inode(&l->list[n - 1], &l->list[i]))
			l->list[n - 1].written |= l->list[i].written;
		else
			l->list[n++] = l->list[i];
	l->n = n;
}

/*
 * Names of shared anonymous memory that a program gave hide that it is "deleted". The inode of a System V segment is its id, which another IPC namespace has too: the
 * segment itself tells who else has it (sysv_shm.c).
 */
static bool is_nameless(const struct proc_map *m)
{
	return m->shared && strncmp(m->name, "/SYSV", 5) != 0 && m->inode &&
	       (m->deleted || !strncmp(m->name, "[anon_shmem:", 12) || !strncmp(m->name, "socket:[", 8));
}

static uint64_t dev_of(const struct proc_map *m)
{
	return makedev(m->dev_major, m->dev_minor);
}

/* Of some file systems (btrfs, overlayfs) maps show another device than stat does of a descriptor. */
static bool stat_mapping(int dir, const struct proc_map *m, uint64_t *dev, uint64_t *ino)
{
	char name[64];
	struct statx st;

	snprintf(name, sizeof(name), "map_files/%lx-%lx", m->start, m->end);
	if (statx(dir, name, AT_STATX_DONT_SYNC, STATX_INO, &st) < 0)
		return false;
	*dev = makedev(st.stx_dev_major, st.stx_dev_minor);
	*ino = st.stx_ino;
	return *dev != dev_of(m) || *ino != m->inode;
}

/* --- the tree's --- */

static int add_mapping(
	struct nameless_list *l, const struct process *p, const struct proc_map *m, uint64_t dev, uint64_t ino)
{
	struct nameless *f = add(l, p, dev, ino, strstr(m->flags, "mw ") || m->prot & PROT_WRITE);

	if (!f)
		return -ENOMEM;
	snprintf(f->object, sizeof(f->object), "mapping %lx-%lx (%.70s)", m->start, m->end, m->name);
	return 0;
}

static int collect_mappings(struct nameless_list *l, const struct process *p)
{
	int err = 0;

	for (size_t i = 0; !err && i < p->maps.n; i++) {
		const struct proc_map *m = &p->maps.list[i];
		uint64_t dev, ino;

		if (!is_nameless(m))
			continue;
		err = add_mapping(l, p, m, dev_of(m), m->inode);
		if (!err && stat_mapping(p->living_fd, m, &dev, &ino))
			err = add_mapping(l, p, m, dev, ino);
	}
	return err;
}

static bool is_written(uint64_t flags)
{
	return !(flags & O_PATH) && (flags & O_ACCMODE) != O_RDONLY;
}

static int collect_files(struct nameless_list *l, const struct descriptions *all)
{
	for (const struct description *d = all->first; d; d = d->next) {
		const struct file_look *look = d->look;
		struct nameless *f;

		if (!S_ISREG(look->mode) || look->nlink || look->flags & O_PATH)
			continue;
		f = add(l, look->process, look->dev, look->ino, is_written(look->flags));
		if (!f)
			return -ENOMEM;
		snprintf(f->object, sizeof(f->object), "fd %d (%.90s)", look->fd, look->link);
	}
	return 0;
}

/* --- the outside's --- */

/* True: it is of the tree too. */
static bool compare(struct capture *c, const struct nameless_list *l, uint64_t dev, uint64_t ino, bool written,
	pid_t pid, const char *how)
{
	const struct nameless key = { .dev = dev, .ino = ino };
	const struct nameless *found = bsearch(&key, l->list, l->n, sizeof(*l->list), by_inode);

	if (found && (found->written || written) && !is_spores_own(pid))
		refused(c->ps,
			BLAME_PROCESS(found->process, .object = found->object,
				.remedy = "give it up there, or name a tree that holds that process too"),
			"process %d, which is outside the tree, %s too, and would no longer share it", pid, how);
	return found;
}

static void compare_mappings(struct capture *c, const struct nameless_list *l, int dir, pid_t pid)
{
	struct proc_maps maps = { 0 };

	if (proc_maps_read(dir, &maps) < 0)
		return;
	for (size_t i = 0; i < maps.n; i++) {
		const struct proc_map *m = &maps.list[i];
		uint64_t dev, ino;

		if (!is_nameless(m))
			continue;
		if (!compare(c, l, dev_of(m), m->inode, m->prot & PROT_WRITE, pid, "maps it") &&
			stat_mapping(dir, m, &dev, &ino))
			compare(c, l, dev, ino, m->prot & PROT_WRITE, pid, "maps it");
	}
	proc_maps_free(&maps);
}

static bool is_open_for_writing(int dir, const char *number)
{
	_cleanup_free_ char *text = NULL;
	char name[32];
	uint64_t flags;

	snprintf(name, sizeof(name), "fdinfo/%.16s", number);
	return procfs_read(dir, name, &text, NULL) == 0 && proc_value_u64(text, "flags", 8, &flags) == 0 &&
	       is_written(flags);
}

/* The link alone tells which have no name. */
static void compare_descriptors(struct capture *c, const struct nameless_list *l, int dir, pid_t pid)
{
	_cleanup_dir_ DIR *fds = NULL;
	struct dirent *e;
	int fd = openat(dir, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	fds = fd < 0 ? NULL : fdopendir(fd);
	while (fds && (e = readdir(fds))) {
		char link[4096];
		ssize_t n = readlinkat(dirfd(fds), e->d_name, link, sizeof(link));
		struct stat st;

		if (n < 10 || memcmp(link + n - 10, " (deleted)", 10) != 0 ||
			fstatat(dirfd(fds), e->d_name, &st, 0) < 0 || !S_ISREG(st.st_mode))
			continue;
		compare(c, l, st.st_dev, st.st_ino, is_open_for_writing(dir, e->d_name), pid, "has it open");
	}
}

struct comparing {
	struct capture *c;
	const struct nameless_list *list;
};

static void compare_one(void *arg, pid_t pid, int dir)
{
	const struct comparing *w = arg;

	compare_mappings(w->c, w->list, dir, pid);
	compare_descriptors(w->c, w->list, dir, pid);
}

/* In the look that comes just before a capture: mappings were read then. */
static int outside_memory_look(struct capture *c)
{
	const struct tree *t = c->tree;
	struct nameless_list l = { 0 };
	int r = collect_files(&l, c->descriptions);
	bool read = false;

	for (size_t i = 0; r == 0 && i < t->n_processes; i++) {
		read |= t->processes[i]->maps.n > 0;
		r = collect_mappings(&l, t->processes[i]);
	}
	if (r == 0 && read && l.n) {
		merge(&l);
		r = outsiders_each(t, compare_one, &(struct comparing){ c, &l });
	}
	free(l.list);
	return r < 0 ? failed(c->ps, BLAME(.object = "shared memory"), r, "cannot be looked at: %s", strerror(-r)) : 0;
}

static const struct field no_fields[] = { FIELD_END };

const struct component component_outside_memory = {
	.kind = {
		.name = "outside_memory",
		.version = 1,
		.size = sizeof(object_id),
		.fields = no_fields,
		.doc = "only looked at: memory that a process outside of the tree shares is refused",
		.sources = "mmap(2), memfd_create(2); mm/shmem.c",
	},
	.scope = SCOPE_TREE,
	.look = outside_memory_look,
	.capture = capture_nothing,
};
