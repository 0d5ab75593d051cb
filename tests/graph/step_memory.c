/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Steps on what has no descriptor: shared mappings, and IPC that a number leads to. */
#include <sys/shm.h>

#include "world.h"

/* A shared mapping of what a descriptor stands on: it outlives the descriptor. */
int step_map(struct world *w, int process)
{
	int fd = any_fd(w, process), slot = (int)draw(w, MAX_MAPS);
	const struct description *d;

	if (fd < 0)
		return 0;
	d = &w->descriptions[table_of(w, process)->fd[fd].description];
	if (!(kinds[w->objects[d->object].kind].traits & MAPS))
		return 0;
	if (is_real(w, process))
		CHECK(mmap(map_address(slot), 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) ==
			map_address(slot));
	set_map(w, process, slot, d->object);
	return 0;
}

int step_use_map(struct world *w, int process)
{
	uint64_t at = draw(w, MAX_PLACES), value = draw(w, 256);
	int slot = (int)draw(w, MAX_MAPS);

	for (int i = 0; i < MAX_MAPS; i++, slot = (slot + 1) % MAX_MAPS) {
		const struct map *m = &w->processes[process].maps[slot];
		volatile uint8_t *byte = (uint8_t *)map_address(slot) + at * 512;

		if (m->object < 0)
			continue;
		if (is_real(w, process)) {
			SAME(*byte, w->objects[m->object].value[at]);
			*byte = (uint8_t)value;
		}
		w->objects[m->object].value[at] = value;
		return 0;
	}
	return 0;
}

int step_unmap(struct world *w, int process)
{
	int slot = (int)draw(w, MAX_MAPS), object = w->processes[process].maps[slot].object;

	if (object < 0)
		return 0;
	if (is_real(w, process))
		SAME(w->objects[object].kind == K_SYSV_SHM ? shmdt(map_address(slot)) : munmap(map_address(slot), 4096),
			0);
	set_map(w, process, slot, -1);
	return 0;
}

int step_ipc(struct world *w, int process)
{
	int start = (int)draw(w, MAX_OBJECTS);

	for (int i = 0; i < MAX_OBJECTS; i++) {
		int index = (start + i) % MAX_OBJECTS;
		struct object *o = &w->objects[index];

		if (index < w->n_objects && !(kinds[o->kind].traits & HAS_FD))
			return kinds[o->kind].touch(w, process, NULL, o, is_real(w, process) ? 0 : -1);
	}
	return 0;
}
