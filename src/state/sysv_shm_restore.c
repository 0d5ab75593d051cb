/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making segments again before anybody is born, and setting right, when all are, what their births have touched. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "state/stand_in.h"
#include "state/sysv_shm.h"

#define WHO(s, ...) BLAME(.object = sysv_name(&sysv_shm_kind, &(s)->o).s, __VA_ARGS__)

static int remove_segment(int id, const char *unused)
{
	return shmctl(id, IPC_RMID, NULL) < 0 ? -errno : 0;
}

static int stat_segment(int id, struct sysv_object *out)
{
	struct shmid_ds ds;

	if (shmctl(id, IPC_STAT, &ds) < 0)
		return -errno;
	*out = sysv_object_of(id, &ds.shm_perm, ds.shm_ctime);
	return 0;
}

const struct sysv_kind sysv_shm_kind = {
	.what = "System V segment",
	.next_id = "kernel/shm_next_id",
	.letter = 'm',
	.get = SYS_shmget,
	.sized = true,
	.remove = remove_segment,
	.stat = stat_segment,
};

/* --- validate --- */

static bool is_sound(const struct sysv_shm_state *s)
{
	uint64_t used = s->size % PAGE_SIZE;

	return s->o.id <= INT32_MAX && s->o.key <= UINT32_MAX && s->name_key <= UINT32_MAX && s->o.mode <= 0777 &&
	       s->size && s->size < 1ull << 46 && s->creator <= INT32_MAX && s->last <= INT32_MAX &&
	       (!s->tail.size || (used && s->tail.size == PAGE_SIZE - used));
}

/* 1: what is there is the saved one. */
static int find_left(struct restore *r, const struct sysv_shm_state *s)
{
	struct shmid_ds ds;
	int found = sysv_found(r, &sysv_shm_kind, &s->o);

	if (found <= 0 || shmctl((int)s->o.id, IPC_STAT, &ds) < 0)
		return found;
	if (ds.shm_segsz != s->size)
		return refused(r->ps, WHO(s, .remedy = "remove it if it is not needed (ipcrm -m)"),
			"its id is taken by another, of another size");
	if (ds.shm_nattch)
		return refused(r->ps, WHO(s, .remedy = "end those who have it attached"),
			"it is in use: %lu attachments", (unsigned long)ds.shm_nattch);
	return 1;
}

int sysv_shm_validate(struct restore *r, const struct record *rec)
{
	const struct sysv_shm_state *s = rec->state;

	if (!is_sound(s))
		return failed(r->ps, WHO(s), -EBADMSG, "the image has an impossible segment");
	return sysv_is_own(r) ? 0 : find_left(r, s);
}

/* --- making it --- */

struct attached {
	uint8_t *at;
	int fd;
};

static void detach(struct attached *a)
{
	if (a->at)
		shmdt(a->at);
	close_fd(&a->fd);
}

static int attach(const struct sysv_shm_state *s, struct attached *a)
{
	size_t size = ALIGN_UP(s->size, PAGE_SIZE);
	char path[64];
	void *at = shmat((int)s->o.id, NULL, 0);

	if (at == (void *)-1)
		return -errno;
	a->at = at;
	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)at, (unsigned long)at + size);
	a->fd = open(path, O_RDWR | O_CLOEXEC);
	return a->fd < 0 ? -errno : 0;
}

/* What is there already, in one that a killed tree left, goes. */
static int give_contents(struct restore *r, const struct sysv_shm_state *s, struct attached *a)
{
	int error;

	if (fallocate(a->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)ALIGN_UP(s->size, PAGE_SIZE)) < 0)
		return -errno;
	error = contents_restore(r, a->fd, s->extents, s->n_extents, s->size, sysv_name(&sysv_shm_kind, &s->o).s);
	if (error == 0 && s->tail.size && a->at)
		memcpy(a->at + s->size, s->tail.data, s->tail.size);
	return error;
}

/* One that has lost its key has to be made under it all the same, since its mappings show it. */
static int create(struct restore *r, const struct sysv_shm_state *s, bool own)
{
	struct sysv_object o = s->o;

	if (s->destroyed && s->name_key && shmget((key_t)s->name_key, 0, 0) < 0)
		o.key = s->name_key;
	else if (s->destroyed && s->name_key)
		changed(r->ps, WHO(s), "its mappings show another name: the key 0x%08" PRIx64 " is taken", s->name_key);
	return sysv_create(r, &sysv_shm_kind, &o, s->size, (pid_t)s->creator, !own);
}

static int give_owner(const struct sysv_shm_state *s)
{
	struct shmid_ds ds;

	if (shmctl((int)s->o.id, IPC_STAT, &ds) < 0)
		return -errno;
	if (ds.shm_perm.uid == s->o.uid && ds.shm_perm.gid == s->o.gid && (ds.shm_perm.mode & 0777) == s->o.mode)
		return 0;
	ds.shm_perm.uid = (uid_t)s->o.uid;
	ds.shm_perm.gid = (gid_t)s->o.gid;
	ds.shm_perm.mode = (mode_t)s->o.mode;
	return shmctl((int)s->o.id, IPC_SET, &ds) < 0 ? -errno : 0;
}

struct held {
	void *at;
};

/* The keeper has it attached until those are born who had: it goes when the keeper does. */
static int destroy_held(struct restore *r, const struct sysv_shm_state *s)
{
	struct made *made = restore_made_of(r, s);
	struct held *held = made ? malloc(sizeof(*held)) : NULL;

	if (!held)
		return -ENOMEM;
	made->data = held;
	held->at = shmat((int)s->o.id, NULL, SHM_RDONLY);
	return held->at == (void *)-1 ? -errno : remove_segment((int)s->o.id, NULL);
}

static int set_lock(const struct sysv_shm_state *s, bool own)
{
	if (!s->locked && own)
		return 0;
	return shmctl((int)s->o.id, s->locked ? SHM_LOCK : SHM_UNLOCK, NULL) < 0 ? -errno : 0;
}

/* What was never attached is empty, and would be seen to have been. */
static bool is_to_fill(const struct sysv_shm_state *s)
{
	struct shmid_ds ds;

	return s->used || shmctl((int)s->o.id, IPC_STAT, &ds) < 0 || ds.shm_atime;
}

static int make(struct restore *r, const struct sysv_shm_state *s, bool own)
{
	_cleanup_(detach)
	struct attached a = { NULL, -1 };
	int error = 0;

	if (own || sysv_found(r, &sysv_shm_kind, &s->o) == 0)
		error = create(r, s, own);
	else if (s->creator && is_numbered_elsewhere(r))
		changed(r->ps, WHO(s), "who made it: %" PRIu64 " is a number of the host's, and shows as 0",
			s->creator);
	if (error == 0)
		error = give_owner(s);
	if (error == 0 && is_to_fill(s)) {
		error = attach(s, &a);
		if (error == 0)
			error = give_contents(r, s, &a);
	}
	if (error == 0)
		error = set_lock(s, own);
	return error < 0 || !s->destroyed ? error : destroy_held(r, s);
}

static int make_entered(struct build *b, const struct sysv_shm_state *s)
{
	struct ipc_place place;
	int error = sysv_enter(b->restore, &place);

	if (error < 0)
		return error;
	error = make(b->restore, s, place.foreign);
	ipc_leave(&place);
	if (error < 0 && !b->ps->first_error)
		failed(b->ps, WHO(s), error, "cannot be made again: %s", strerror(-error));
	return error;
}

/* Those that are removed have once had keys that others may have now: they are made with the first. */
int sysv_shm_make(struct build *b, const void *state)
{
	size_t n;
	const struct record *rec = image_records(b->restore->image, &component_sysv_shm.kind, &n);
	const struct sysv_shm_state *s = state;
	int error = 0;

	for (size_t i = 0; error == 0 && rec->state == state && i < n; i++)
		if (((const struct sysv_shm_state *)rec[i].state)->destroyed)
			error = make_entered(b, rec[i].state);
	return error < 0 || s->destroyed ? error : make_entered(b, s);
}

/* --- when all are born --- */

static void let_go(struct restore *r, const struct sysv_shm_state *s)
{
	struct made *made = restore_made_of(r, s);
	struct held *held = made ? made->data : NULL;

	if (!held)
		return;
	shmdt(held->at);
	free(held);
	made->data = NULL;
}

int sysv_shm_settle(struct restore *r, const struct record *rec)
{
	const struct sysv_shm_state *s = rec->state;
	struct acted_call calls[] = {
		{ .what = "shmat", .nr = SYS_shmat, .args = { s->o.id, 0, SHM_RDONLY } },
		{ .what = "shmdt", .nr = SYS_shmdt, .from = 1 },
	};
	int error;

	let_go(r, s);
	if (!s->used)
		return 0;
	error = act_as(r, (pid_t)s->last, calls, ARRAY_SIZE(calls));
	return error == -EEXIST
		       ? changed(r->ps, WHO(s),
				 "who attached or detached it last: %" PRIu64 " is another's number here", s->last)
		       : error;
}
