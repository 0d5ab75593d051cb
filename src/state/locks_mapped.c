/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A lock by flock and an open-file-description lock are of an open file, and that stays as long as it is mapped: such a lock without a descriptor, as Java
 * has on its performance data, stands in /proc/locks alone. It is set again through the descriptor that the file is then mapped by. proc_locks(5); fs/locks.c.
 */
#include "state/locks_mapped.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#include "base/cleanup.h"
#include "base/macro.h"
#include "base/map.h"
#include "image/image.h"
#include "kernel/peek.h"
#include "object/descriptions.h"
#include "object/identity.h"
#include "state/fdinfo.h"
#include "state/inode.h"
#include "state/outsiders.h"

struct lock_mapped {
	object_id backing;
	bool ofd, exclusive;
	int64_t start, length;
};

static const struct field lock_mapped_fields[] = {
	FIELD_REF(struct lock_mapped, backing, "backing", NULL, REF_STRONG, "the file"),
	FIELD_BOOL(struct lock_mapped, ofd, "ofd", "an open-file-description lock; else flock"),
	FIELD_BOOL(struct lock_mapped, exclusive, "exclusive", "for writing"),
	FIELD_INT(struct lock_mapped, start, "start", "first byte"),
	FIELD_INT(struct lock_mapped, length, "length", "bytes; 0: to the end of the file"),
	FIELD_END,
};

/* --- checkpoint --- */

/* A line of /proc/locks, and a mapping of that file. */
struct line {
	const char *text; /* behind its number: as fdinfo shows the same lock */
	int length;
	struct fdinfo_lock lock;
	unsigned int major, minor;
	uint64_t ino;
	bool outside; /* a descriptor of another process has it */
	struct process *process;
	const struct proc_map *map;
};

static const char *behind_number(const char *line)
{
	const char *colon = strstr(line, ": ");

	return colon ? colon + 2 : line;
}

/* Who waits for one has not got it, and a POSIX lock goes with any descriptor. */
static bool parse(const char *text, struct line *l)
{
	l->text = behind_number(text);
	l->length = (int)strcspn(l->text, "\n");
	return strncmp(l->text, "->", 2) != 0 && fdinfo_lock_parse(text, &l->lock) == 0 &&
	       strcmp(l->lock.class, "POSIX") != 0 &&
	       sscanf(l->text, "%*s %*s %*s %*d %x:%x:%" SCNu64, &l->major, &l->minor, &l->ino) == 3;
}

static bool shows(const char *info, const struct line *l)
{
	const char *value;

	while (info && (value = fdinfo_next(&info, "lock"))) {
		const char *text = behind_number(value);

		if (!strncmp(text, l->text, (size_t)l->length) && (text[l->length] == '\n' || !text[l->length]))
			return true;
	}
	return false;
}

static bool has_descriptor(const struct descriptions *all, const struct line *l)
{
	for (const struct description *d = descriptions_of_ino(all, l->ino); d; d = d->same_ino)
		if (shows(d->look->info, l))
			return true;
	return false;
}

static bool is_of(const struct proc_map *m, const struct line *l)
{
	return m->inode == l->ino && m->dev_major == l->major && m->dev_minor == l->minor;
}

/* The first mapping of it. */
static bool find_mapping(const struct tree *t, struct line *l)
{
	for (size_t i = 0; i < t->n_processes; i++)
		for (size_t k = 0; !t->processes[i]->zombie && k < t->processes[i]->maps.n; k++)
			if (is_of(&t->processes[i]->maps.list[k], l)) {
				l->process = t->processes[i];
				l->map = &t->processes[i]->maps.list[k];
				return true;
			}
	return false;
}

/* Mapped twice, each may be of an open file of its own, and the lock of one of them; pieces of one mapping follow each other. */
static bool in_two_places(const struct process *p, const struct line *l)
{
	const struct proc_map *before = NULL;

	for (size_t k = 0; k < p->maps.n; k++) {
		const struct proc_map *m = &p->maps.list[k];

		if (!is_of(m, l))
			continue;
		if (before && (before->end != m->start || before->offset + (before->end - before->start) != m->offset ||
				      before->shared != m->shared))
			return true;
		before = m;
	}
	return false;
}

static void look_at_outsider(void *arg, pid_t pid, int dir)
{
	struct line *l = arg;
	_cleanup_free_ int *numbers = NULL;
	size_t n = 0;

	if (l->outside || procfs_numbers(dir, "fdinfo", &numbers, &n) < 0)
		return;
	for (size_t i = 0; i < n && !l->outside; i++) {
		_cleanup_free_ char *info = NULL;
		char name[32];

		snprintf(name, sizeof(name), "fdinfo/%d", numbers[i]);
		l->outside = procfs_read(dir, name, &info, NULL) == 0 && shows(info, l);
	}
}

/* Is it a lock that only a mapping of the tree's has? */
static int is_ours(struct capture *c, struct line *l)
{
	int r;

	if (has_descriptor(c->descriptions, l) || !find_mapping(c->tree, l))
		return 0;
	r = tree_find(c->tree, l->lock.pid) ? 0 : outsiders_each(c->tree, look_at_outsider, l);
	return r < 0 ? r : !l->outside;
}

static int open_mapped(const struct process *p, const struct proc_map *m)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "map_files/%" PRIx64 "-%" PRIx64, m->start, m->end);
	fd = openat(p->living_fd, path, O_PATH | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static bool lists_any(struct kernel_peek *k, uint64_t context, const char *list)
{
	uint64_t head, first;
	int err = kernel_peek_address(k, context, "file_lock_context", list, &head);

	if (!err)
		err = kernel_peek_member(k, head, "list_head", "next", &first);
	return err || first != head;
}

static bool may_have_locks(struct kernel_peek *k, const struct process *p, const struct proc_map *m)
{
	static const struct kernel_step way[] = { { "file", "f_inode" }, { "inode", "i_flctx" } };
	_cleanup_fd_ int fd = open_mapped(p, m);
	uint64_t found[ARRAY_SIZE(way)];

	if (fd < 0 || kernel_peek_way(k, fd, way, ARRAY_SIZE(way), found) < 0)
		return true;
	return found[1] && (lists_any(k, found[1], "flc_flock") || lists_any(k, found[1], "flc_posix") ||
				   lists_any(k, found[1], "flc_lease"));
}

/* Whether one of a process's mapped files may have a lock; each file is asked about once. */
static bool any_mapped_in(struct kernel_peek *k, const struct process *p, struct map *asked)
{
	for (size_t i = 0; !p->zombie && i < p->maps.n; i++) {
		const struct proc_map *m = &p->maps.list[i], *other = map_find(asked, &m->inode, sizeof(m->inode));

		if (!m->inode || (other && other->dev_major == m->dev_major && other->dev_minor == m->dev_minor))
			continue;
		if (may_have_locks(k, p, m) || (!other && map_add(asked, &m->inode, sizeof(m->inode), (void *)m) < 0))
			return true;
	}
	return false;
}

/* To read /proc/locks takes tens of milliseconds, for all processors are waited for: so it is read where a look into the kernel does not tell that no mapped file has a lock. */
static bool any_mapped(struct capture *c)
{
	struct map asked = { 0 };
	bool any = !c->kernel || kernel_peek_ready(c->kernel) < 0;

	for (size_t i = 0; !any && i < c->tree->n_processes; i++)
		any = any_mapped_in(c->kernel, c->tree->processes[i], &asked);
	map_free(&asked);
	return any;
}

static int each_of_ours(struct capture *c, int (*fn)(struct capture *c, const struct line *l))
{
	_cleanup_free_ char *text = NULL;
	int r = any_mapped(c) ? procfs_read(AT_FDCWD, "/proc/locks", &text, NULL) : 0;

	for (char *at = text; r >= 0 && at && *at; at += strcspn(at, "\n"), at += *at == '\n') {
		struct line l = { 0 };

		r = parse(at, &l) ? is_ours(c, &l) : 0;
		if (r > 0)
			r = fn(c, &l);
	}
	if (r == -ENOENT || r == -ENOTSUP) /* a kernel without file locks; refused */
		return 0;
	return r < 0 ? failed(c->ps, BLAME(.object = "/proc/locks"), r, "cannot be read: %s", strerror(-r)) : 0;
}

static int look_at_lock(struct capture *c, const struct line *l)
{
	bool ofd = !strcmp(l->lock.class, "OFDLCK"), known = ofd || !strcmp(l->lock.class, "FLOCK"), twice = false;

	/* It takes a descriptor that writes, and a mapping that could not be written is given one that reads. */
	if (ofd && !strcmp(l->lock.mode, "WRITE") && !(l->map->shared && strstr(l->map->flags, "mw")))
		known = false;

	for (size_t i = 0; i < c->tree->n_processes; i++)
		twice |= !c->tree->processes[i]->zombie && in_two_places(c->tree->processes[i], l);
	if (known && !twice)
		return 0;
	return refused(c->ps,
		BLAME_PROCESS(
			l->process, .object = l->map->name, .remedy = "let the program unlock it, or keep it open"),
		known ? "a lock (%.*s) that one of several mappings of the file still holds"
		      : "a lease, or a lock for writing, (%.*s) that only a mapping of the file still holds",
		l->length, l->text);
}

static int locks_mapped_look(struct capture *c)
{
	return each_of_ours(c, look_at_lock);
}

static int backing_of(struct capture *c, const struct line *l, object_id *out)
{
	struct capture its = *c;
	_cleanup_fd_ int fd = -1;

	its.process = l->process;
	if (inode_backing_known(&its, l->map, out))
		return 0;
	fd = open_mapped(l->process, l->map);
	return fd < 0 ? fd : inode_backing_for_mapping(&its, l->map, fd, out);
}

static int save_lock(struct capture *c, const struct line *l)
{
	struct lock_mapped s = {
		.ofd = !strcmp(l->lock.class, "OFDLCK"),
		.exclusive = !strcmp(l->lock.mode, "WRITE"),
		.start = l->lock.start,
		.length = l->lock.length,
	};
	int r = backing_of(c, l, &s.backing);

	if (r < 0)
		return r;
	if (!s.ofd)
		changed(c->ps, BLAME_PROCESS(l->process, .object = l->map->name),
			"its lock, which only a mapping still holds: /proc/locks will name a process of spore's as who "
			"set it");
	return image_add(c->writer, &component_locks_mapped.kind, identity_fresh(c->identities), &s);
}

static int locks_mapped_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	int r = each_of_ours(c, save_lock);

	return r < 0 ? r : CAPTURE_NOTHING;
}

/* --- restore --- */

static int locks_mapped_validate(struct restore *r, const struct record *rec)
{
	const struct lock_mapped *s = rec->state;

	return s->start >= 0 && s->length >= 0
		       ? 0
		       : failed(r->ps, BLAME(.object = "lock"), -EBADMSG, "the image has an impossible lock");
}

int locks_mapped_set(struct restore *r, object_id backing, int fd)
{
	size_t n;
	const struct record *recs = image_records(r->image, &component_locks_mapped.kind, &n);

	for (size_t i = 0; i < n; i++) {
		const struct lock_mapped *s = recs[i].state;
		struct flock l = {
			.l_type = s->exclusive ? F_WRLCK : F_RDLCK, .l_start = s->start, .l_len = s->length
		};

		if (s->backing != backing)
			continue;
		if ((s->ofd ? fcntl(fd, F_OFD_SETLK, &l) : flock(fd, (s->exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB)) < 0)
			return failed(r->ps, BLAME(.object = "lock", .remedy = "let who has it now give it up"), -errno,
				"the lock of a mapped file cannot be set: %m");
	}
	return 0;
}

const struct component component_locks_mapped = {
	.kind = {
		.name = "locks_mapped",
		.version = 1,
		.size = sizeof(struct lock_mapped),
		.fields = lock_mapped_fields,
		.doc = "a lock that a mapping alone still holds",
		.sources = "proc_locks(5), flock(2); fs/locks.c",
		.critical = true,
	},
	.scope = SCOPE_TREE,
	.look = locks_mapped_look,
	.capture = locks_mapped_capture,
	.validate = locks_mapped_validate,
};
