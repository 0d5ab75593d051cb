/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * System V semaphores. semget(2), semop(2), semctl(2), sysvipc(7); ipc/sem.c. One record for each set. Adjustments at exit (SEM_UNDO) are semaphore_undo's.
 */
#include "state/sysv_sem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sem.h>

#include "base/cleanup.h"
#include "state/stand_in.h"

static const struct field semaphore_fields[] = {
	FIELD_UINT(struct semaphore, value, "value", "GETVAL"),
	FIELD_UINT(struct semaphore, last, "last", "GETPID, if it was of the tree"),
	FIELD_END,
};

static const struct field sysv_sem_fields[] = {
	SYSV_FIELDS(struct sysv_sem_state),
	FIELD_BOOL(struct sysv_sem_state, operated, "operated", "semop was called on it once"),
	FIELD_LIST(struct sysv_sem_state, list, n, "semaphores", semaphore_fields, "in their order"),
	FIELD_END,
};

object_id sysv_sem_id(struct capture *c, uint64_t id)
{
	return identity_of(c->identities, "sysv_sem", id, 0, 0, NULL);
}

bool sysv_sem_is_trees(const struct tree *t, int id, size_t n)
{
	bool any = false;

	for (size_t i = 0; i < n; i++) {
		int pid = semctl(id, (int)i, GETPID);

		if (pid < 0 || (pid && !tree_find(t, pid)))
			return false;
		any |= pid > 0;
	}
	return any;
}

/* --- checkpoint --- */

struct pids {
	int id;
	size_t n;
	int32_t list[];
};

/* As the caller's pid namespace counts. */
static int read_pids(void *arg)
{
	struct pids *p = arg;

	for (size_t i = 0; i < p->n; i++) {
		p->list[i] = semctl(p->id, (int)i, GETPID);
		if (p->list[i] < 0)
			return -errno;
	}
	return 0;
}

static int give_pids(struct capture *c, struct sysv_sem_state *s, bool own)
{
	size_t size = sizeof(struct pids) + s->n * sizeof(int32_t);
	struct pids *p = stand_in_room(size);
	bool unknown = false;
	int r;

	if (!p)
		return -ENOMEM;
	p->id = (int)s->o.id;
	p->n = s->n;
	r = read_pids(p);
	for (size_t i = 0; r == 0 && i < s->n; i++) {
		s->list[i].last = (uint64_t)sysv_vpid(c->tree, p->list[i]);
		unknown |= p->list[i] && !s->list[i].last;
	}
	/* Those who have ended have a number only inside. */
	if (r == 0 && own && unknown)
		r = stand_in(c->tree->processes[0]->living_fd, STAND_IN_ANYBODY, read_pids, p);
	for (size_t i = 0; r == 0 && own && unknown && i < s->n; i++)
		s->list[i].last = (uint64_t)p->list[i];
	stand_in_room_free(p, size);
	return r;
}

static int read_values(struct sysv_sem_state *s)
{
	_cleanup_free_ unsigned short *values = calloc(s->n, sizeof(*values));

	if (!values)
		return -ENOMEM;
	if (semctl((int)s->o.id, 0, GETALL, (union semun){ .array = values }) < 0)
		return -errno;
	for (size_t i = 0; i < s->n; i++)
		s->list[i].value = values[i];
	return 0;
}

static int save_set(struct capture *c, int id, const struct semid_ds *set, bool own)
{
	struct sysv_sem_state s = {
		.o = sysv_object_of(id, &set->sem_perm, set->sem_ctime),
		.operated = set->sem_otime != 0,
		.list = calloc(set->sem_nsems, sizeof(*s.list)),
		.n = set->sem_nsems,
	};
	int r = s.list ? read_values(&s) : -ENOMEM;

	if (r == 0)
		r = give_pids(c, &s, own);
	if (r == 0)
		r = image_add(c->writer, &component_sysv_sem.kind, sysv_sem_id(c, s.o.id), &s);
	if (r < 0)
		failed(c->ps, BLAME_PROCESS(c->process, .object = sysv_name(&sysv_sem_kind, &s.o).s), r,
			"cannot be saved: %s", strerror(-r));
	free(s.list);
	return r;
}

static int save_sets(struct capture *c, bool own)
{
	struct seminfo used = { 0 };
	int last = semctl(0, 0, SEM_INFO, (union semun){ .info = &used }), r = 0;

	for (int i = 0; r == 0 && used.semusz && i <= last; i++) {
		struct semid_ds set;
		int id = semctl(i, 0, SEM_STAT_ANY, (union semun){ .set = &set });

		if (id >= 0 && (own || sysv_sem_is_trees(c->tree, id, set.sem_nsems)))
			r = save_set(c, id, &set, own);
	}
	return r;
}

static int sysv_sem_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	struct ipc_place place;
	int r = ipc_enter(c->tree->processes[0]->living_fd, &place);

	if (r < 0)
		return r;
	r = save_sets(c, place.foreign);
	ipc_leave(&place);
	return r < 0 ? r : CAPTURE_NOTHING;
}

const struct component component_sysv_sem = {
	.kind = {
		.name = "sysv_sem",
		.version = 1,
		.size = sizeof(struct sysv_sem_state),
		.fields = sysv_sem_fields,
		.doc = "a set of System V semaphores",
		.sources = "semget(2), semop(2), semctl(2), sysvipc(7); ipc/sem.c",
		.critical = true,
	},
	.scope = SCOPE_TREE,
	.capture = sysv_sem_capture,
	.validate = sysv_sem_validate,
	.build[STAGE_NAMESPACES] = sysv_sem_make,
	.settle = sysv_sem_settle,
};
