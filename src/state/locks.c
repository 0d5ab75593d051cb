/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Locks on files: flock(2), fcntl(2) (of a process, and of an open file description) and leases. fdinfo lists
 * them: a process's own under every descriptor that it has of the file, the others under every descriptor of
 * the description. fs/locks.c; tools/testing/selftests/filelock.
 */
#include "state/locks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "state/descriptors.h"
#include "state/fdinfo.h"
#include "state/components.h"
#include "state/files.h"
#include "state/lease.h"

enum lock_class { LOCK_FLOCK, LOCK_POSIX, LOCK_OFD, LOCK_LEASE };

struct lock {
	uint64_t fd;	/* through which it is set again, */
	object_id file; /* or what is fetched for it, by */
	object_id by;	/* this other process, which has no descriptor of it; 0: by the process itself, through fd */
	uint64_t class; /* enum lock_class */
	bool exclusive;
	int64_t start, length;
	uint64_t breaking; /* of a lease: enum lease_break */
};

struct locks_state {
	object_id of;
	struct lock *list;
	size_t n;
};

static const struct field lock_fields[] = {
	FIELD_UINT(struct lock, fd, "fd", "a descriptor of the process"),
	FIELD_REF(struct lock, file, "file", "file", REF_STRONG,
		"where another process set it: the open file description"),
	FIELD_REF(struct lock, by, "by", "process", REF_STRONG, "that other process, which has closed it since"),
	FIELD_UINT(struct lock, class, "class", "0 flock, 1 the process's, 2 the open file description's, 3 a lease"),
	FIELD_BOOL(struct lock, exclusive, "exclusive", "for writing"),
	FIELD_INT(struct lock, start, "start", "first byte"),
	FIELD_INT(struct lock, length, "length", "bytes; 0: to the end of the file"),
	FIELD_SINCE(2, UINT, struct lock, breaking, "breaking",
		"a lease that its holder is asked to 1 make one for reading, 2 give up; 0: it is not"),
	FIELD_END,
};

static const struct field locks_fields[] = {
	FIELD_REF(struct locks_state, of, "of", "process", REF_STRONG, "whose descriptors they are set through"),
	FIELD_LIST(struct locks_state, list, n, "list", lock_fields, "in the order of the descriptors"),
	FIELD_END,
};

/* --- checkpoint --- */

static int class_of(const char *name)
{
	static const char *const names[] = {
		[LOCK_FLOCK] = "FLOCK", [LOCK_POSIX] = "POSIX", [LOCK_OFD] = "OFDLCK", [LOCK_LEASE] = "LEASE"
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(names[i], name))
			return (int)i;
	return -1;
}

/* A lock for writing needs a descriptor that writes, one for reading one that reads. */
static bool can_set(const struct file_look *f, const struct fdinfo_lock *l)
{
	uint64_t mode = f->flags & O_ACCMODE;

	return mode == O_RDWR || mode == (strcmp(l->mode, "WRITE") ? O_RDONLY : O_WRONLY);
}

/* The same POSIX lock stands under each descriptor of the file. */
static bool listed(
	const struct locks_state *s, const struct process *p, const struct file_look *f, const struct fdinfo_lock *l)
{
	for (size_t i = 0; i < s->n; i++) {
		const struct file_look *other;

		if (s->list[i].class != LOCK_POSIX || s->list[i].start != l->start || s->list[i].length != l->length)
			continue;
		other = process_file(p, (int)s->list[i].fd);
		if (other && other->dev == f->dev && other->ino == f->ino)
			return true;
	}
	return false;
}

static const struct file_look *holder(const struct process *p, object_id file)
{
	for (size_t i = 0; p && i < p->n_files; i++)
		if (p->files[i].file == file)
			return &p->files[i];
	return NULL;
}

static void tell_changed(struct capture *c, const struct file_look *f, const struct fdinfo_lock *l)
{
	if (l->pid > 0 && c->writer)
		changed(c->ps, BLAME_FILE(f),
			"its lock (%s) was set by process %d, which has ended: /proc/locks will name process %d",
			l->class, l->pid, c->process->pid);
}

/* A POSIX lock belongs to a descriptor table, and stands under each descriptor of the file. */
static bool sets_posix(
	struct capture *c, const struct file_look *f, const struct fdinfo_lock *l, const struct process *locker)
{
	const struct process *p = c->process;

	if (locker && locker->descriptors == p->descriptors)
		return locker == p;
	if (p->descriptors && p->descriptors != p->id)
		return false;
	tell_changed(c, f, l);
	return true;
}

/*
 * Everybody can see which process set it, so that one sets it again: through its own descriptor, or one that it fetches for that (*by) if it has closed its
 * own. Of a process that has ended the first that has the description does.
 */
static bool sets(struct capture *c, const struct file_look *f, const struct fdinfo_lock *l, const struct process **by)
{
	const struct process *locker = l->pid > 0 ? tree_find(c->tree, l->pid) : NULL;
	const struct file_look *own;

	*by = NULL;
	if (locker && locker->zombie)
		locker = NULL;
	if (!strcmp(l->class, "POSIX"))
		return sets_posix(c, f, l, locker);
	own = holder(locker, f->file);
	if (own || f != f->description->look)
		return f == own;
	*by = locker;
	if (!locker)
		tell_changed(c, f, l);
	return true;
}

static int add_lock(struct capture *c, struct locks_state *s, const struct file_look *f, const struct fdinfo_lock *l)
{
	int class = class_of(l->class);
	const struct process *by;
	struct lease_look lease = { .exclusive = !strcmp(l->mode, "WRITE") };
	struct lock *grown;

	if (class < 0)
		return refused(c->ps, BLAME_FILE(f), "a lock of a kind that spore does not know (%s)", l->class);
	if (class == LOCK_POSIX && (!can_set(f, l) || listed(s, c->process, f, l)))
		return 0;
	if (!sets(c, f, l, &by))
		return 0;
	if (class == LOCK_LEASE && !strcmp(l->state, "BREAKING")) {
		int err = lease_look(c, f, l, &lease);

		if (err)
			return err;
	}
	grown = reallocarray(s->list, s->n + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	s->list = grown;
	grown[s->n++] = (struct lock){ .fd = (uint64_t)f->fd,
		.file = by ? f->file : 0,
		.by = by ? by->id : 0,
		.class = (uint64_t) class,
		.exclusive = lease.exclusive,
		.start = l->start,
		.length = l->length,
		.breaking = lease.breaking };
	return 0;
}

static int locks_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	struct locks_state *s = state;
	const struct process *p = c->process;

	s->of = p->id;
	for (size_t i = 0; i < p->n_files; i++) {
		const char *at = p->files[i].info, *value;

		while ((value = fdinfo_next(&at, "lock"))) {
			struct fdinfo_lock l;
			int err = fdinfo_lock_parse(value, &l);

			if (!err)
				err = add_lock(c, s, &p->files[i], &l);
			if (err)
				return err == -ENOTSUP ? err
						       : failed(c->ps, BLAME_FILE(&p->files[i]), err,
								 "its locks cannot be read");
		}
	}
	return s->n ? 0 : CAPTURE_NOTHING;
}

/* --- restore --- */

static uint32_t set_range(struct build *b, const struct lock *l)
{
	struct flock range = { .l_type = l->exclusive ? F_WRLCK : F_RDLCK,
		.l_whence = SEEK_SET,
		.l_start = l->start,
		.l_len = l->length };
	bool ofd = l->class == LOCK_OFD;

	return batch_call(b->batch, ofd ? "F_OFD_SETLK" : "F_SETLK", SYS_fcntl, l->fd,
		(uint64_t)(ofd ? F_OFD_SETLK : F_SETLK), batch_copy(b->batch, &range, sizeof(range)).v);
}

/* The call that sets it through l->fd. */
static uint32_t set_lock(struct build *b, const struct lock *l)
{
	switch (l->class) {
	case LOCK_FLOCK:
		return batch_call(
			b->batch, "flock", SYS_flock, l->fd, (uint64_t)(l->exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB);
	case LOCK_LEASE:
		return batch_call(b->batch, "F_SETLEASE", SYS_fcntl, l->fd, F_SETLEASE,
			(uint64_t)(l->exclusive ? F_WRLCK : F_RDLCK));
	default:
		return set_range(b, l);
	}
}

static int locks_validate(struct restore *r, const struct record *rec)
{
	const struct locks_state *s = rec->state;

	for (size_t i = 0; i < s->n; i++)
		if (s->list[i].class > LOCK_LEASE || !s->list[i].by != !s->list[i].file ||
			s->list[i].breaking > LEASE_GIVE_UP || (s->list[i].breaking && s->list[i].class != LOCK_LEASE))
			return failed(r->ps, BLAME(.object = "locks"), -EBADMSG, "the image has an impossible lock");
	return 0;
}

static int locks_attach(struct build *b, const void *state)
{
	const struct locks_state *s = state;

	for (size_t i = 0; i < s->n; i++)
		if (!s->list[i].by)
			set_lock(b, &s->list[i]);
	return 0;
}

int locks_attach_fetched(struct build *b)
{
	size_t n;
	const struct record *recs = image_records(b->restore->image, &component_locks.kind, &n);

	for (size_t i = 0; i < n; i++) {
		const struct locks_state *s = recs[i].state;

		for (size_t k = 0; k < s->n; k++) {
			int keeper_fd =
				s->list[k].by == b->process->id ? restore_file(b->restore, s->list[k].file) : -1;
			uint32_t fetched;

			if (s->list[k].by != b->process->id)
				continue;
			if (keeper_fd < 0)
				return keeper_fd;
			fetched = build_fetch(b, "fetching what is locked", keeper_fd);
			batch_use(b->batch, set_lock(b, &s->list[k]), 0, fetched);
			batch_use(b->batch, batch_call(b->batch, "close", SYS_close, 0), 0, fetched);
		}
	}
	return 0;
}

static int locks_arm(struct build *b, const void *state)
{
	const struct locks_state *s = state;
	const struct descriptors_state *own =
		descriptors_of(b->restore, descriptors_owner(b->restore, s->of)); /* it may use another's table */

	for (size_t i = 0; i < s->n; i++) {
		const struct lock *l = &s->list[i];
		const struct descriptor *d = l->file || !own ? NULL : descriptor_at(own, l->fd);
		int err = l->class == LOCK_LEASE ? lease_settle(b, d ? d->file : l->file, l->breaking) : 0;

		if (err)
			return err;
	}
	return 0;
}

const struct component component_locks = {
	.kind = { .name = "locks",
		.version = 2,
		.size = sizeof(struct locks_state),
		.fields = locks_fields,
		.doc = "the locks and leases on files that are set through a process's descriptors",
		.sources = "flock(2), fcntl(2); fs/locks.c; tools/testing/selftests/filelock" },
	.scope = SCOPE_PROCESS,
	.capture = locks_capture,
	.validate = locks_validate,
	.build = { [STAGE_ATTACH] = locks_attach, [STAGE_ARM] = locks_arm },
};
