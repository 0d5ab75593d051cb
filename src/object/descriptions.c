/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kernel/uapi.h"
#include "object/descriptions.h"

#include <fcntl.h>
#include <linux/kcmp.h>
#include <string.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "object/component.h"

/* Descriptions that only kcmp can tell apart, in its order. */
struct description_group {
	struct group_key {
		uint64_t ino, flags;
		int64_t mnt_id;
	} key;
	struct description_group *next, *same_ino;
	struct description **list;
	size_t n, room;
};

struct described_inode {
	uint64_t ino;
	struct described_inode *next;
	struct description_group *groups;
	struct description *first, **last;
};

static void open_root(struct descriptions *d)
{
	const struct process *root = d->tree->n_processes ? d->tree->processes[0] : NULL;

	d->root_fd = root ? openat(root->living_fd, "root", O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
	if (d->root_fd < 0 || fstatat(d->root_fd, "dev/pts", &d->devpts, 0) < 0)
		d->devpts = (struct stat){ 0 };
}

static void open_shm(struct descriptions *d)
{
	struct stat st;

	d->shm_fd = d->tree->container && d->root_fd >= 0 ? container_open_shm(d->root_fd) : -1;
	if (d->shm_fd >= 0 && fstat(d->shm_fd, &st) == 0)
		d->shm_dev = st.st_dev;
	else
		close_fd(&d->shm_fd);
}

int descriptions_new(struct tree *t, struct descriptions **out)
{
	struct descriptions *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	d->tree = t;
	d->last = &d->first;
	pthread_mutex_init(&d->lock, NULL);
	pthread_mutex_init(&d->contents_lock, NULL);
	open_root(d);
	open_shm(d);
	*out = d;
	return 0;
}

static void group_free(struct description_group *g)
{
	for (size_t i = 0; i < g->n; i++)
		free(g->list[i]);
	free(g->list);
	free(g);
}

void descriptions_free(struct descriptions *d)
{
	if (!d)
		return;
	for (struct description_group *g = d->all_groups, *next; g; g = next) {
		next = g->next;
		group_free(g);
	}
	for (struct described_inode *i = d->all_inodes, *next; i; i = next) {
		next = i->next;
		free(i);
	}
	map_free(&d->groups);
	map_free(&d->inodes);
	free(d->claimed.list);
	free(d->mapped.list);
	close_fd(&d->root_fd);
	close_fd(&d->shm_fd);
	pthread_mutex_destroy(&d->lock);
	pthread_mutex_destroy(&d->contents_lock);
	free(d);
}

static struct described_inode *inode_of(struct descriptions *d, uint64_t ino)
{
	struct described_inode *i = map_find(&d->inodes, &ino, sizeof(ino));

	if (i)
		return i;
	i = calloc(1, sizeof(*i));
	if (!i)
		return NULL;
	*i = (struct described_inode){ .ino = ino, .last = &i->first };
	if (map_add(&d->inodes, &i->ino, sizeof(i->ino), i) < 0) {
		free(i);
		return NULL;
	}
	i->next = d->all_inodes;
	d->all_inodes = i;
	return i;
}

/* By what never changes: an outsider with the same description may move its offset, and set its flags, between two looks at the stopped tree. */
static struct description_group *group_of(struct descriptions *d, const struct file_look *f)
{
	const struct group_key key = { .ino = f->ino, .flags = f->flags & (O_ACCMODE | O_PATH), .mnt_id = f->mnt_id };
	struct description_group *g = map_find(&d->groups, &key, sizeof(key));

	if (g)
		return g;
	g = calloc(1, sizeof(*g));
	if (!g)
		return NULL;
	g->key = key;
	if (map_add(&d->groups, &g->key, sizeof(g->key), g) < 0) {
		free(g);
		return NULL;
	}
	g->next = d->all_groups;
	d->all_groups = g;
	return g;
}

struct sought {
	const struct file_look *look;
	pid_t tid;
};

/* A descriptor that went away meanwhile (the tree may run) counts as greater. */
static int compare(const struct description *d, void *arg)
{
	const struct sought *s = arg;
	long r = syscall(SYS_kcmp, s->tid, d->tid, KCMP_FILE, s->look->fd, d->look->fd);

	return r == 0 ? 0 : r == 1 ? -1 : 1;
}

static struct description *search(
	const struct description_group *g, int (*order)(const struct description *d, void *arg), void *arg, size_t *at)
{
	size_t low = 0, high = g->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int r = order(g->list[middle], arg);

		if (!r)
			return g->list[middle];
		if (r < 0)
			high = middle;
		else
			low = middle + 1;
	}
	*at = low;
	return NULL;
}

struct description *descriptions_of_ino(const struct descriptions *d, uint64_t ino)
{
	const struct described_inode *i = map_find(&d->inodes, &ino, sizeof(ino));

	return i ? i->first : NULL;
}

struct description *descriptions_search(
	const struct descriptions *d, uint64_t ino, int (*order)(const struct description *d, void *arg), void *arg)
{
	const struct described_inode *i = map_find(&d->inodes, &ino, sizeof(ino));
	struct description *found = NULL;
	size_t at;

	for (const struct description_group *g = i ? i->groups : NULL; g && !found; g = g->same_ino)
		found = search(g, order, arg, &at);
	return found;
}

static int make_room(struct description_group *g)
{
	size_t room = g->room ? g->room * 2 : 4;
	struct description **grown;

	if (g->n < g->room)
		return 0;
	grown = reallocarray(g->list, room, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	g->list = grown;
	g->room = room;
	return 0;
}

/* The inode number that fstat tells may be another than fdinfo's, by which the group was found (overlayfs). */
static struct description *insert(struct descriptions *d, struct identities *ids, struct description_group *g,
	size_t at, const struct file_look *f)
{
	struct described_inode *inode = inode_of(d, f->ino);
	struct description *new;

	if (!inode || make_room(g) < 0)
		return NULL;
	new = calloc(1, sizeof(*new));
	if (!new)
		return NULL;
	memmove(&g->list[at + 1], &g->list[at], (g->n - at) * sizeof(*g->list));
	g->list[at] = new;
	if (!g->n++) {
		g->same_ino = inode->groups;
		inode->groups = g;
	}
	*d->last = new;
	d->last = &new->next;
	*inode->last = new;
	inode->last = &new->same_ino;
	new->file = identity_of(ids, "file", ++d->n, 0, 0, NULL);
	return new;
}

static int copy_look(struct file_look *f, const struct file_look *from)
{
	f->link = strdup(from->link);
	f->dev = from->dev;
	f->ino = from->ino;
	f->mode = from->mode;
	f->rdev = from->rdev;
	f->size = from->size;
	f->nlink = from->nlink;
	return f->link ? 0 : -ENOMEM;
}

/* What is told of a description is told of the parent that has it, not of the child that inherited it. */
static bool descends(const struct process *p, const struct process *from)
{
	for (p = p->parent; p; p = p->parent)
		if (p == from)
			return true;
	return false;
}

static int find_locked(
	struct descriptions *d, struct identities *ids, struct file_look *f, pid_t tid, look_fn *look, int dir)
{
	struct description_group *g = group_of(d, f);
	size_t at = 0;
	int err;

	if (!g)
		return -ENOMEM;
	f->description = search(g, compare, &(struct sought){ f, tid }, &at);
	if (f->description) {
		err = copy_look(f, f->description->look);
		if (!err && !f->carrier && descends(f->description->look->process, f->process)) {
			f->description->look = f;
			f->description->tid = tid;
		}
		f->file = f->description->file;
		return err;
	}
	err = look(f, dir);
	if (err)
		return err;
	f->description = insert(d, ids, g, at, f);
	if (!f->description)
		return -ENOMEM;
	f->description->look = f;
	f->description->tid = tid;
	f->file = f->description->file;
	return 0;
}

int description_find(
	struct descriptions *d, struct identities *ids, struct file_look *f, pid_t tid, look_fn *look, int dir)
{
	int err;

	pthread_mutex_lock(&d->lock);
	err = find_locked(d, ids, f, tid, look, dir);
	pthread_mutex_unlock(&d->lock);
	return err;
}

static int claim_locked(struct id_set *set, object_id id, uint64_t inode)
{
	size_t low = 0, high = set->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct claim *c = &set->list[middle];

		if (c->id == id)
			return inode && c->inode && c->inode != inode ? -ESTALE : 0;
		if (c->id < id)
			low = middle + 1;
		else
			high = middle;
	}
	if (set->n == set->room) {
		size_t room = set->room ? set->room * 2 : 64;
		struct claim *grown = reallocarray(set->list, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		set->list = grown;
		set->room = room;
	}
	memmove(&set->list[low + 1], &set->list[low], (set->n - low) * sizeof(*set->list));
	set->list[low] = (struct claim){ .id = id, .inode = inode };
	set->n++;
	return 1;
}

int descriptions_claim_inode(struct descriptions *d, object_id id, uint64_t inode)
{
	int r;

	pthread_mutex_lock(&d->lock);
	r = claim_locked(&d->claimed, id, inode);
	pthread_mutex_unlock(&d->lock);
	return r;
}

bool descriptions_claim(struct descriptions *d, object_id id)
{
	return descriptions_claim_inode(d, id, 0) != 0;
}

static size_t mapped_place(const struct mapped_backings *m, const struct mapped_key *key)
{
	size_t low = 0, high = m->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (memcmp(&m->list[middle].key, key, sizeof(*key)) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool mapped_at(const struct mapped_backings *m, size_t at, const struct mapped_key *key)
{
	return at < m->n && !memcmp(&m->list[at].key, key, sizeof(*key));
}

object_id mapped_backing(struct descriptions *d, struct mapped_key key)
{
	object_id id = 0;
	size_t at;

	pthread_mutex_lock(&d->lock);
	at = mapped_place(&d->mapped, &key);
	if (mapped_at(&d->mapped, at, &key))
		id = d->mapped.list[at].id;
	pthread_mutex_unlock(&d->lock);
	return id;
}

static void note_locked(struct mapped_backings *m, const struct mapped_key *key, object_id id)
{
	size_t at = mapped_place(m, key);

	if (mapped_at(m, at, key))
		return;
	if (m->n == m->room) {
		size_t room = m->room ? m->room * 2 : 64;
		struct mapped_file_backing *grown = reallocarray(m->list, room, sizeof(*grown));

		if (!grown)
			return; /* it will be looked at again */
		m->list = grown;
		m->room = room;
	}
	memmove(&m->list[at + 1], &m->list[at], (m->n - at) * sizeof(*m->list));
	m->list[at] = (struct mapped_file_backing){ *key, id };
	m->n++;
}

void mapped_backing_note(struct descriptions *d, struct mapped_key key, object_id id)
{
	pthread_mutex_lock(&d->lock);
	note_locked(&d->mapped, &key, id);
	pthread_mutex_unlock(&d->lock);
}

int description_dup(const struct description *d)
{
	const struct process *p = d->look->process;
	_cleanup_fd_ int pid_fd = -1;
	int fd;

	if (d->look->carrier) {
		fd = fcntl(d->look->fd, F_DUPFD_CLOEXEC, 0);
		return fd < 0 ? -errno : fd;
	}
	pid_fd = (int)syscall(SYS_pidfd_open, p->living_tid, p->living_tid == p->pid ? 0 : SPORE_PIDFD_THREAD);
	fd = pid_fd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pid_fd, d->look->fd, 0);

	return fd < 0 ? -errno : fd;
}
