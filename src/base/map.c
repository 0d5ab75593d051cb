/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/map.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

struct map_entry {
	const void *key; /* NULL: free */
	size_t size;
	uint64_t hash;
	void *value;
};

#define FIRST_ROOM 64

/* Where the key is, or would be. The table is never full. */
static struct map_entry *probe(struct map_entry *table, size_t room, const void *key, size_t size, uint64_t hash)
{
	for (size_t at = hash & (room - 1);; at = (at + 1) & (room - 1)) {
		struct map_entry *e = &table[at];

		if (!e->key || (e->hash == hash && e->size == size && !memcmp(e->key, key, size)))
			return e;
	}
}

void *map_find(const struct map *m, const void *key, size_t size)
{
	return m->n ? probe(m->table, m->room, key, size, XXH3_64bits(key, size))->value : NULL;
}

static int grow(struct map *m)
{
	size_t room = m->room ? 2 * m->room : FIRST_ROOM;
	struct map_entry *table = calloc(room, sizeof(*table));

	if (!table)
		return -ENOMEM;
	for (size_t i = 0; i < m->room; i++) {
		const struct map_entry *e = &m->table[i];

		if (e->key)
			*probe(table, room, e->key, e->size, e->hash) = *e;
	}
	free(m->table);
	m->table = table;
	m->room = room;
	return 0;
}

int map_add(struct map *m, const void *key, size_t size, void *value)
{
	uint64_t hash = XXH3_64bits(key, size);
	int err = 4 * m->n < 3 * m->room ? 0 : grow(m);

	if (err)
		return err;
	*probe(m->table, m->room, key, size, hash) = (struct map_entry){ key, size, hash, value };
	m->n++;
	return 0;
}

void map_free(struct map *m)
{
	free(m->table);
	*m = (struct map){ 0 };
}
