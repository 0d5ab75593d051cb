/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Making sets again before anybody is born: adjustments at exit (SEM_UNDO) come after that, for setting a value forgets them. Then whoever was the last to
 * change a semaphore changes it again, and back.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sem.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "state/stand_in.h"
#include "state/sysv_sem.h"

#define VALUE_MAX   32767
#define NUMBERS_MAX 65535
#define OPS_AT_ONCE 30 /* a kernel's SEMOPM may be as low as 32 */

#define WHO(s, ...) BLAME(.object = sysv_name(&sysv_sem_kind, &(s)->o).s, __VA_ARGS__)

static int remove_set(int id, const char *unused)
{
	return semctl(id, 0, IPC_RMID) < 0 ? -errno : 0;
}

static int stat_set(int id, struct sysv_object *out)
{
	struct semid_ds ds = { 0 };

	if (semctl(id, 0, IPC_STAT, (union semun){ .set = &ds }) < 0)
		return -errno;
	*out = sysv_object_of(id, &ds.sem_perm, ds.sem_ctime);
	return 0;
}

const struct sysv_kind sysv_sem_kind = {
	.what = "System V semaphore set",
	.next_id = "kernel/sem_next_id",
	.letter = 's',
	.get = SYS_semget,
	.sized = true,
	.remove = remove_set,
	.stat = stat_set,
};

/* --- validate --- */

static bool is_sound(const struct sysv_sem_state *s)
{
	if (s->o.id > INT32_MAX || s->o.key > UINT32_MAX || s->o.mode > 0777 || !s->n || s->n > NUMBERS_MAX)
		return false;
	for (size_t i = 0; i < s->n; i++)
		if (s->list[i].value > VALUE_MAX || s->list[i].last > INT32_MAX)
			return false;
	return true;
}

static int find_left(struct restore *r, const struct sysv_sem_state *s)
{
	struct semid_ds ds = { 0 };
	int found = sysv_found(r, &sysv_sem_kind, &s->o);

	if (found <= 0 || semctl((int)s->o.id, 0, IPC_STAT, (union semun){ .set = &ds }) < 0)
		return found;
	if (ds.sem_nsems != s->n)
		return refused(r->ps, WHO(s, .remedy = "remove it if it is not needed (ipcrm -s)"),
			"its id is taken by another, of another size");
	return 1;
}

int sysv_sem_validate(struct restore *r, const struct record *rec)
{
	const struct sysv_sem_state *s = rec->state;

	if (!is_sound(s))
		return failed(r->ps, WHO(s), -EBADMSG, "the image has an impossible set of semaphores");
	return sysv_is_own(r) ? 0 : find_left(r, s);
}

/* --- making it --- */

static int give_owner(const struct sysv_sem_state *s)
{
	struct semid_ds ds = { 0 };

	if (semctl((int)s->o.id, 0, IPC_STAT, (union semun){ .set = &ds }) < 0)
		return -errno;
	if (ds.sem_perm.uid == s->o.uid && ds.sem_perm.gid == s->o.gid && (ds.sem_perm.mode & 0777) == s->o.mode)
		return 0;
	ds.sem_perm.uid = (uid_t)s->o.uid;
	ds.sem_perm.gid = (gid_t)s->o.gid;
	ds.sem_perm.mode = (mode_t)s->o.mode;
	return semctl((int)s->o.id, 0, IPC_SET, (union semun){ .set = &ds }) < 0 ? -errno : 0;
}

/* One that has only its first values keeps no trace of who gave them. */
static int give_values(const struct sysv_sem_state *s)
{
	_cleanup_free_ unsigned short *values = calloc(s->n, sizeof(*values));
	bool any = false;

	if (!values)
		return -ENOMEM;
	for (size_t i = 0; i < s->n; i++) {
		values[i] = (unsigned short)s->list[i].value;
		any |= values[i] || s->list[i].last;
	}
	return any && semctl((int)s->o.id, 0, SETALL, (union semun){ .array = values }) < 0 ? -errno : 0;
}

/* By operations: SETVAL would change the time by which the next restore is to know the set. */
static int correct_values(const struct sysv_sem_state *s)
{
	for (size_t i = 0; i < s->n; i++) {
		int now = semctl((int)s->o.id, (int)i, GETVAL);
		struct sembuf op = { (unsigned short)i, (short)((int)s->list[i].value - now), IPC_NOWAIT };

		if (now < 0 || (op.sem_op && semop((int)s->o.id, &op, 1) < 0))
			return -errno;
	}
	return 0;
}

static int make(struct restore *r, const struct sysv_sem_state *s, bool own)
{
	int error;

	if (!own && sysv_found(r, &sysv_sem_kind, &s->o) == 1)
		return correct_values(s);
	error = sysv_create(r, &sysv_sem_kind, &s->o, s->n, 0, !own);
	if (error == 0)
		error = give_owner(s);
	return error < 0 ? error : give_values(s);
}

int sysv_sem_make(struct build *b, const void *state)
{
	const struct sysv_sem_state *s = state;
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

/* --- who changed them last --- */

static int tell(struct restore *r, const struct sysv_sem_state *s, uint64_t pid, int error)
{
	return error == -EEXIST
		       ? changed(r->ps, WHO(s), "who changed it last: %" PRIu64 " is another's number here", pid)
		       : error;
}

static int act(struct restore *r, const struct sysv_sem_state *s, uint64_t pid, const struct sembuf *ops, size_t n)
{
	struct acted_call call = { .what = "semop",
		.nr = SYS_semop,
		.args = { s->o.id, 0, n },
		.data = ops,
		.size = n * sizeof(*ops),
		.data_arg = 1 };

	return n ? tell(r, s, pid, act_as(r, (pid_t)pid, &call, 1)) : 0;
}

/* Up and down, or down and up: the value stays. */
static int operate_as(struct restore *r, const struct sysv_sem_state *s, uint64_t pid)
{
	struct sembuf ops[OPS_AT_ONCE];
	size_t n = 0;
	int error = 0;

	for (size_t i = 0; error == 0 && i < s->n; i++) {
		short first = s->list[i].value == VALUE_MAX ? -1 : 1;

		if (s->list[i].last != pid)
			continue;
		ops[n++] = (struct sembuf){ (unsigned short)i, first, IPC_NOWAIT };
		ops[n++] = (struct sembuf){ (unsigned short)i, (short)-first, IPC_NOWAIT };
		if (n == OPS_AT_ONCE) {
			error = act(r, s, pid, ops, n);
			n = 0;
		}
	}
	return error < 0 ? error : act(r, s, pid, ops, n);
}

/* No operation was ever made: it would show. */
static int set_as(struct restore *r, const struct sysv_sem_state *s, uint64_t pid)
{
	int error = 0;

	for (size_t i = 0; error == 0 && i < s->n; i++) {
		struct acted_call call = {
			.what = "semctl(SETVAL)", .nr = SYS_semctl, .args = { s->o.id, i, SETVAL, s->list[i].value }
		};

		if (s->list[i].last == pid)
			error = tell(r, s, pid, act_as(r, (pid_t)pid, &call, 1));
	}
	return error;
}

static bool is_first(const struct sysv_sem_state *s, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (s->list[k].last == s->list[i].last)
			return false;
	return s->list[i].last != 0;
}

int sysv_sem_settle(struct restore *r, const struct record *rec)
{
	const struct sysv_sem_state *s = rec->state;
	int error = 0;

	for (size_t i = 0; error == 0 && i < s->n; i++)
		if (is_first(s, i))
			error = s->operated	 ? operate_as(r, s, s->list[i].last)
				: sysv_is_own(r) ? set_as(r, s, s->list[i].last)
						 : 0;
	return error;
}
