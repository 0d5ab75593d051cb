/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An open file description: open(2), fcntl(2). What it stands on is a record of its own; several descriptors,
 * of several processes, may refer to one description. fs/file_table.c, fs/fcntl.c;
 * tools/testing/selftests/core/.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <xxhash.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "kernel/uapi.h"
#include "kernel/unseen.h"
#include "state/dnotify.h"
#include "state/fdinfo.h"
#include "state/files.h"
#include "state/files_hidden.h"
#include "state/kernel_view.h"
#include "state/regular.h"

#define F_GETOWNER_UIDS_ 17

static const struct field file_fields[] = {
	FIELD_REF(struct file_state, backing, "backing", NULL, REF_STRONG, "what it stands on"),
	FIELD_OCTAL(struct file_state, flags, "flags", "access mode and status flags, as F_GETFL has them"),
	FIELD_INT(struct file_state, pos, "pos", "offset"),
	FIELD_INT(struct file_state, owner, "owner",
		"F_GETOWN_EX: thread, process or process group in the tree's pid namespace"),
	FIELD_UINT(struct file_state, owner_type, "owner_type", "F_GETOWN_EX: 0 thread, 1 process, 2 process group"),
	FIELD_UINT(struct file_state, owner_uid, "owner_uid", "F_GETOWNER_UIDS: real user id of who set the owner"),
	FIELD_UINT(
		struct file_state, owner_euid, "owner_euid", "F_GETOWNER_UIDS: effective user id of who set the owner"),
	FIELD_UINT(struct file_state, signal, "signal", "F_GETSIG"),
	FIELD_SINCE(2, BOOL, struct file_state, random, "random", "posix_fadvise: POSIX_FADV_RANDOM (hidden)"),
	FIELD_SINCE(2, BOOL, struct file_state, sequential, "sequential", "POSIX_FADV_SEQUENTIAL (hidden)"),
	FIELD_SINCE(2, BOOL, struct file_state, noreuse, "noreuse", "POSIX_FADV_NOREUSE (hidden)"),
	FIELD_END,
};

/* --- checkpoint --- */

const struct component *backing_component(const struct file_look *f)
{
	for (size_t i = 0; components[i]; i++)
		if (components[i]->scope == SCOPE_BACKING && components[i]->matches && components[i]->matches(f))
			return components[i];
	return NULL;
}

/*
 * A file that has a name is opened by it again, and by each of its names that was used: another mount's has other rights, and leads to
 * other mounts below. Of a file without one there is one copy.
 */
static uint64_t name_key(const struct component *k, const struct file_look *f)
{
	static const char deleted[] = " (deleted)";
	size_t n = f->link ? strlen(f->link) : 0, cut = sizeof(deleted) - 1;

	if (k != &component_regular || !f->nlink || (n > cut && !strcmp(f->link + n - cut, deleted)))
		return 1;
	return XXH3_64bits(f->link, n);
}

object_id backing_id(struct capture *c, const struct file_look *f)
{
	const struct component *k = backing_component(f);

	if (!k)
		return 0;
	if (k->number)
		return identity_of(c->identities, k->kind.name, k->number(f), 0, 0, NULL);
	if (k->by_description)
		return identity_of(c->identities, k->kind.name, f->file, 0, 0, NULL);
	return identity_of(c->identities, k->kind.name, f->dev, f->ino, name_key(k, f), NULL);
}

int file_statfs(const struct file_look *f, struct statfs *out)
{
	char path[64];

	if (f->carrier)
		snprintf(path, sizeof(path), "/proc/self/fd/%d", f->fd);
	else if (f->fd >= 0)
		snprintf(path, sizeof(path), "/proc/%d/fd/%d", f->process->pid, f->fd);
	else
		snprintf(path, sizeof(path), "/proc/self/fd/%d", f->dup);
	return statfs(path, out) < 0 ? -errno : 0;
}

/* By the handle that its file system gives a file: name_to_handle_at(2). 0: none. */
static uint64_t handle_of(int fd)
{
	struct {
		struct file_handle handle;
		uint8_t bytes[MAX_HANDLE_SZ];
	} h = { .handle.handle_bytes = MAX_HANDLE_SZ };
	int mount;

	if (fd < 0 || (name_to_handle_at(fd, "", &h.handle, &mount, AT_EMPTY_PATH | SPORE_AT_HANDLE_FID) < 0 &&
			      name_to_handle_at(fd, "", &h.handle, &mount, AT_EMPTY_PATH) < 0))
		return 0;
	return XXH3_64bits(&h, sizeof(h.handle) + h.handle.handle_bytes) | 1;
}

/* Of one that is found by device and inode alone, what tells whether it is the one of that device and inode that was met before. 0: nothing does. */
static uint64_t inode_identity(struct capture *c, const struct component *k, const struct file_look *f)
{
	static const struct kernel_step way[] = { { "file", "f_inode" } };
	uint64_t inode = 0;

	if (k->by_description || name_key(k, f) != 1)
		return 0;
	if (!c->kernel || kernel_peek_ready(c->kernel) < 0)
		return k == &component_regular ? handle_of(file_dup(c, f)) : 0;
	if (f->description)
		return f->description->inode;
	return kernel_peek_way(c->kernel, f->dup, way, 1, &inode) < 0 ? 0 : inode;
}

int backing_save(struct capture *c, struct file_look *f, object_id *out)
{
	const struct component *k = backing_component(f);
	_cleanup_free_ void *state = NULL;
	int err;

	*out = backing_id(c, f);
	if (!*out)
		return refused(c->ps, BLAME_FILE(f), "spore does not know this kind of file");
	err = descriptions_claim_inode(c->descriptions, *out, inode_identity(c, k, f));
	if (err == -ESTALE)
		return refused(c->ps, BLAME_FILE(f, .remedy = "close one of them"),
			"another file that the tree has open shows the same device and inode number, so that the two "
			"could not "
			"be told apart");
	if (err <= 0)
		return err;
	state = calloc(1, k->kind.size);
	if (!state)
		return -ENOMEM;
	err = k->capture_file(c, f, state);
	if (!err && c->writer)
		err = image_add(c->writer, &k->kind, *out, state);
	fields_free(k->kind.fields, state);
	return err;
}

int64_t group_in_tree(const struct tree *t, pid_t pgrp)
{
	for (size_t i = 0; i < t->n_processes; i++)
		if (t->processes[i]->stat.pgrp == pgrp)
			return t->processes[i]->status.pgid_in_ns;
	return 0;
}

static int64_t owner_in_tree(const struct tree *t, const struct f_owner_ex *owner)
{
	const struct process *p;
	const struct thread *thread;

	switch (owner->type) {
	case F_OWNER_TID:
		thread = tree_find_tid(t, owner->pid);
		return thread ? thread->vtid : 0;
	case F_OWNER_PID:
		p = tree_find(t, owner->pid);
		return p ? p->vpid : 0;
	default:
		return group_in_tree(t, owner->pid);
	}
}

static int capture_owner(struct capture *c, struct file_look *f, struct file_state *s)
{
	struct f_owner_ex owner = { 0 };
	uid_t uids[2] = { 0 };
	int fd, sig;

	if (f->flags & O_PATH)
		return 0;
	fd = file_dup(c, f);
	if (fd < 0)
		return fd;
	sig = fcntl(fd, F_GETSIG);
	s->signal = sig > 0 ? (uint64_t)sig : 0;
	if (fcntl(fd, F_GETOWN_EX, &owner) < 0 || !owner.pid)
		return 0;
	s->owner = owner_in_tree(c->tree, &owner);
	s->owner_type = (uint64_t)owner.type;
	if (!s->owner)
		return refused(c->ps, BLAME_FILE(f, .remedy = "let the program set the owner again (F_SETOWN)"),
			"its signals (F_SETOWN) go to process %d, which is outside the tree", owner.pid);
	fcntl(fd, F_GETOWNER_UIDS_, uids);
	s->owner_uid = uids[0];
	s->owner_euid = uids[1];
	return 0;
}

/* mq_open(2) and TIOCGPTPEER leave O_CLOEXEC among the flags of the description. In fdinfo it is that of the descriptor. */
static int capture_flags(struct capture *c, const struct file_look *f, struct file_state *s)
{
	int fd = file_dup(c, f), flags = fd < 0 ? -1 : fcntl(fd, F_GETFL);

	if (fd < 0)
		return fd;
	if (flags < 0)
		return -errno;
	s->flags |= (uint64_t)(flags & O_CLOEXEC);
	return 0;
}

static void capture_advice(struct capture *c, const struct file_look *f, struct file_state *s)
{
	uint8_t advice = f->description ? f->description->advice : 0;

	s->random = advice & ADVICE_RANDOM;
	s->sequential = advice & ADVICE_SEQUENTIAL;
	s->noreuse = advice & ADVICE_NOREUSE;
	if (advice & ADVICE_OTHER)
		changed(c->ps, BLAME_FILE(f),
			"how far it is read ahead is that of its device when it was opened, which has another one now");
}

/* While the tree runs, a descriptor may be closed, or its process end, between two looks: nothing to complain
 * of. */
static bool went_away(const struct capture *c, int err)
{
	return !c->writer && (err == -EBADF || err == -ESRCH || err == -ENOENT);
}

int file_save(struct capture *c, struct file_look *f)
{
	struct file_state s = { .flags = f->flags, .pos = f->pos };
	int err;

	if (!descriptions_claim(c->descriptions, f->file))
		return 0;
	err = backing_save(c, f, &s.backing);
	if (!err)
		err = capture_flags(c, f, &s);
	if (!err)
		err = capture_owner(c, f, &s);
	if (!err && c->writer)
		capture_advice(c, f, &s);
	if (!err && S_ISDIR(f->mode) && !(f->flags & O_PATH))
		err = dnotify_look(c, f);
	close_fd(&f->dup);
	if (!err && c->writer)
		err = image_add(c->writer, &component_file.kind, f->file, &s);
	if (went_away(c, err))
		return 0;
	if (problems_told(c->ps, err))
		failed(c->ps, BLAME_FILE(f), err, "cannot be saved: %s", strerror(-err));
	return err;
}

/* --- restore --- */

static int file_validate(struct restore *r, const struct record *rec)
{
	const struct file_state *s = rec->state;
	const struct record *backing = image_find(r->image, s->backing);

	if (backing && backing->kind == &component_regular.kind)
		return regular_validate_use(r, backing, s);
	return 0;
}

int reopen(int fd, uint64_t flags)
{
	char path[32];
	int opened;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	flags &= ~(uint64_t)(O_CREAT | O_EXCL | O_NOFOLLOW | O_ASYNC);
	opened = open(path, (int)flags | O_CLOEXEC | (flags & O_PATH ? 0 : O_NOCTTY));
	return opened < 0 ? -errno : opened;
}

/* To open it, even to be denied, would break the lease, and tell its holder. */
bool file_is_leased(const struct capture *c, int fd)
{
	struct stat st;

	if (!c->descriptions->leased || fstat(fd, &st) < 0)
		return false;
	for (const struct description *d = descriptions_of_ino(c->descriptions, st.st_ino); d; d = d->same_ino)
		if (d->look->dev == st.st_dev && fdinfo_has_write_lease(d->look->info))
			return true;
	return false;
}

int reopen_unseen(const struct capture *c, int fd)
{
	char path[32];

	if (file_is_leased(c, fd))
		return -EBUSY;
	if (c->descriptions->watched)
		return unseen_open(fd);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return file_open_unseen(AT_FDCWD, path);
}

/* Of advice, SEQUENTIAL ends RANDOM. Where a file system takes none, there is none to lose. */
static void advise(int fd, const struct file_state *file)
{
	if (file->sequential)
		posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	if (file->random)
		posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	if (file->noreuse)
		posix_fadvise(fd, 0, 0, POSIX_FADV_NOREUSE);
}

#define SETTABLE (O_APPEND | O_DIRECT | O_NOATIME | O_NONBLOCK)

int file_settle(int fd, const struct file_state *file)
{
	int now, err;

	if (fd < 0 || file->flags & O_PATH)
		return fd;
	now = fcntl(fd, F_GETFL);
	if (now >= 0 && ((uint64_t)now & SETTABLE) != (file->flags & SETTABLE) &&
		fcntl(fd, F_SETFL, (int)((file->flags & SETTABLE) | ((uint64_t)now & O_ASYNC))) < 0)
		goto failed;
	if (file->pos && lseek(fd, file->pos, SEEK_SET) < 0 && errno != ESPIPE)
		goto failed;
	advise(fd, file);
	return fd;
failed:
	err = -errno;
	close(fd);
	return err;
}

int fdinfo_of_dup(int fd, char **text)
{
	char name[32];
	size_t size;

	snprintf(name, sizeof(name), "/proc/self/fdinfo/%d", fd);
	return procfs_read(AT_FDCWD, name, text, &size);
}

const struct component component_file = {
	.kind = { .name = "file",
		.version = 2,
		.size = sizeof(struct file_state),
		.fields = file_fields,
		.doc = "an open file description: what open(2) makes and dup(2), fork(2) and SCM_RIGHTS "
		       "share",
		.sources = "fcntl(2); fs/file_table.c, fs/fcntl.c; tools/testing/selftests/core" },
	.scope = SCOPE_OTHER,
	.validate = file_validate,
};
