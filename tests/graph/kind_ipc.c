/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What has no descriptor: shared memory, and System V IPC, which is found by its number. */
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

#include "world.h"

enum { RECORD_SIZE = 64, N_SEMS = 3, TYPES = 3 };

void *map_address(int slot)
{
	return (void *)(0x100000000000 + (uintptr_t)slot * (1 << 20));
}

bool is_mapped(const struct world *w, int object)
{
	for (int p = 0; p < w->n_processes; p++)
		for (int slot = 0; w->processes[p].alive && slot < MAX_MAPS; slot++)
			if (w->processes[p].maps[slot].object == object)
				return true;
	return false;
}

void set_map(struct world *w, int process, int slot, int object)
{
	w->processes[process].maps[slot] = (struct map){ .object = object };
}

static void use(struct world *w, int process, struct object *o)
{
	o->users |= 1u << process;
}

static int keep_id(struct world *w, const struct object *o, int id)
{
	CHECK(id >= 0);
	w->common->ids[object_index(w, o)] = id;
	return 0;
}

static key_t key_of(const struct world *w, const struct object *o)
{
	return (key_t)((unique_number(w) << 8 | (unsigned)object_index(w, o)) & 0x7fffffff);
}

static int id_of(const struct world *w, const struct object *o)
{
	return w->common->ids[object_index(w, o)];
}

void remove_ipc(const struct world *w, const struct object *o)
{
	if (o->kind == K_SYSV_SHM && !o->gone)
		shmctl(id_of(w, o), IPC_RMID, NULL);
	else if (o->kind == K_SYSV_SEM)
		semctl(id_of(w, o), 0, IPC_RMID);
	else if (o->kind == K_SYSV_MSG)
		msgctl(id_of(w, o), IPC_RMID, NULL);
}

/* --- memory --- */

int anonymous_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	int slot = (int)draw(w, MAX_MAPS);

	if (real)
		CHECK(mmap(map_address(slot), 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1,
			      0) == map_address(slot));
	set_map(w, process, slot, object_index(w, o));
	return 0;
}

/* Once more in the same process: mremap(2) of nothing of it. */
int anonymous_touch(struct world *w, int process, struct description *d, struct object *o, int fd)
{
	const struct map *maps = w->processes[process].maps;
	int slot = (int)draw(w, MAX_MAPS), from = 0;

	while (from < MAX_MAPS && maps[from].object != object_index(w, o))
		from++;
	if (from == MAX_MAPS || from == slot)
		return 0;
	if (fd >= 0)
		CHECK(mremap(map_address(from), 0, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, map_address(slot)) ==
			map_address(slot));
	set_map(w, process, slot, object_index(w, o));
	return 0;
}

int sysv_shm_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	use(w, process, o);
	return real ? keep_id(w, o, shmget(key_of(w, o), 4096, IPC_CREAT | IPC_EXCL | 0600)) : 0;
}

/* Attached, or removed; what is removed and attached nowhere is no more. */
int sysv_shm_touch(struct world *w, int process, struct description *d, struct object *o, int fd)
{
	int slot = (int)draw(w, MAX_MAPS), index = object_index(w, o);
	bool attach = draw(w, 4);

	if (attach) {
		if (o->gone && !is_mapped(w, index))
			return 0;
		use(w, process, o);
		if (fd >= 0)
			CHECK(shmat(id_of(w, o), map_address(slot), SHM_REMAP) == map_address(slot));
		set_map(w, process, slot, index);
		return 0;
	}
	if (o->gone)
		return 0;
	if (fd >= 0) {
		SAME(shmget(key_of(w, o), 4096, 0), id_of(w, o));
		SAME(shmctl(id_of(w, o), IPC_RMID, NULL), 0);
	}
	o->gone = true;
	return 0;
}

/* --- semaphores --- */

/* value[]: the semaphores; the first may be put right when those end who changed it. */
int sysv_sem_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	return real ? keep_id(w, o, semget(key_of(w, o), N_SEMS, IPC_CREAT | IPC_EXCL | 0600)) : 0;
}

int sysv_sem_touch(struct world *w, int process, struct description *d, struct object *o, int fd)
{
	int sem = (int)draw(w, N_SEMS), add = (int)draw(w, 5) - 2;
	bool undone = !sem && add && draw(w, 2);

	if (add < 0 && o->value[sem] < (uint64_t)-add)
		add = -add;
	if (fd >= 0) {
		struct sembuf b = { (unsigned short)sem, (short)add, (short)(IPC_NOWAIT | (undone ? SEM_UNDO : 0)) };

		SAME(semctl(id_of(w, o), sem, GETVAL), o->value[sem]);
		if (add)
			SAME(semop(id_of(w, o), &b, 1), 0);
	}
	if (!add)
		return 0;
	o->value[sem] += (uint64_t)add;
	if (undone)
		o->undo[process] = (short)(o->undo[process] - add);
	use(w, process, o);
	o->last = process;
	return 0;
}

void undo_at_end(struct world *w, int process)
{
	for (int i = 0; i < w->n_objects; i++) {
		int64_t now = (int64_t)w->objects[i].value[0] + w->objects[i].undo[process];

		if (w->objects[i].kind == K_SYSV_SEM)
			w->objects[i].value[0] = now < 0 ? 0 : (uint64_t)now;
	}
}

/* --- message queues --- */

struct message {
	long type;
	uint8_t data[RECORD_SIZE];
};

static size_t message(uint64_t n, struct message *m)
{
	size_t size = 1 + (n * 29) % (RECORD_SIZE - 1);

	m->type = 1 + (long)(n % TYPES);
	for (size_t i = 0; i < size; i++)
		m->data[i] = (uint8_t)(n * 41 + i);
	return size;
}

int sysv_msg_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	use(w, process, o);
	return real ? keep_id(w, o, msgget(key_of(w, o), IPC_CREAT | IPC_EXCL | 0600)) : 0;
}

int sysv_msg_touch(struct world *w, int process, struct description *d, struct object *o, int fd)
{
	uint64_t there = o->written[0] - o->taken[0];
	bool in = draw(w, 2);
	struct message m, got;
	size_t size;

	use(w, process, o);
	if (in && there < MAX_RECORDS) {
		size = message(o->written[0]++, &m);
		if (fd >= 0)
			SAME(msgsnd(id_of(w, o), &m, size, IPC_NOWAIT), 0);
		return 0;
	}
	if (!there) {
		if (fd >= 0)
			SAME(msgrcv(id_of(w, o), &got, RECORD_SIZE, 0, IPC_NOWAIT), -1);
		return 0;
	}
	size = message(o->taken[0]++, &m);
	if (fd < 0)
		return 0;
	SAME(msgrcv(id_of(w, o), &got, RECORD_SIZE, 0, IPC_NOWAIT), size);
	SAME(got.type, m.type);
	SAME(memcmp(got.data, m.data, size), 0);
	return 0;
}
