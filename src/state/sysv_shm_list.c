/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/sysv_shm_list.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "state/stand_in.h"

#define NAME_PREFIX "/SYSV"

bool sysv_shm_maps(const struct proc_map *m)
{
	return m->shared && m->deleted && !strncmp(m->name, NAME_PREFIX, strlen(NAME_PREFIX)) &&
	       strspn(m->name + strlen(NAME_PREFIX), "0123456789abcdef") == 8 &&
	       strlen(m->name) == strlen(NAME_PREFIX) + 8;
}

int segments_list(void *arg)
{
	struct segments *s = arg;
	struct shmid_ds ds;
	int last = shmctl(0, SHM_INFO, (struct shmid_ds *)(void *)&(struct shm_info){ 0 });

	s->n = 0;
	for (int i = 0; i <= last; i++) {
		int id = shmctl(i, SHM_STAT_ANY, &ds);

		if (id < 0)
			continue;
		if (s->n == s->room)
			return -ENOBUFS;
		s->list[s->n++] = (struct segment){ id, ds };
	}
	return 0;
}

static size_t count_segments(void)
{
	struct shm_info info = { 0 };

	return shmctl(0, SHM_INFO, (struct shmid_ds *)(void *)&info) < 0 ? 0 : (size_t)info.used_ids;
}

int segments_init(struct segments *s)
{
	s->n = 0;
	s->room = count_segments() + 64;
	s->list = stand_in_room(s->room * sizeof(*s->list));
	return s->list ? 0 : -ENOMEM;
}

void segments_free(struct segments *s)
{
	stand_in_room_free(s->list, s->room * sizeof(*s->list));
}

bool segments_have(const struct segments *s, uint64_t id)
{
	for (size_t i = 0; i < s->n; i++)
		if ((uint64_t)s->list[i].id == id)
			return true;
	return false;
}

static int by_id(const void *a, const void *b)
{
	const struct attachment *x = a, *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

static size_t attachments_fill(const struct tree *t, struct attachment *list)
{
	size_t n = 0;

	for (size_t i = 0; i < t->n_processes; i++)
		for (size_t k = 0; !t->processes[i]->zombie && k < t->processes[i]->maps.n; k++) {
			const struct proc_map *map = &t->processes[i]->maps.list[k];

			if (!sysv_shm_maps(map))
				continue;
			if (list)
				list[n] = (struct attachment){ (int)map->inode, t->processes[i], map };
			n++;
		}
	return n;
}

int attachments_find(const struct tree *t, struct attachments *a)
{
	a->n = attachments_fill(t, NULL);
	a->list = a->n ? calloc(a->n, sizeof(*a->list)) : NULL;
	if (!a->n)
		return 0;
	if (!a->list)
		return -ENOMEM;
	attachments_fill(t, a->list);
	qsort(a->list, a->n, sizeof(*a->list), by_id);
	return 0;
}

struct mapped attachments_of(const struct attachments *a, int id)
{
	const struct attachment *first =
		a->n ? bsearch(&(struct attachment){ .id = id }, a->list, a->n, sizeof(*a->list), by_id) : NULL;
	struct mapped m = { 0 };

	if (!first)
		return m;
	while (first > a->list && first[-1].id == id)
		first--;
	for (m.n = 1; first + m.n < a->list + a->n && first[m.n].id == id;)
		m.n++;
	m.process = first->process;
	m.start = first->map->start;
	m.end = first->map->end;
	m.name_key = strtoul(first->map->name + strlen(NAME_PREFIX), NULL, 16);
	return m;
}
