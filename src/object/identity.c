/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "object/identity.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "object/component.h"

struct entry {
	const char *kind; /* a literal */
	uint64_t key[3];
	object_id id; /* 0: free */
};

struct identities {
	pthread_mutex_t lock;
	struct entry *table; /* open addressing, a power of two */
	size_t room, used;
	object_id last;
};

struct identities *identities_new(void)
{
	struct identities *ids = calloc(1, sizeof(*ids));

	if (!ids)
		return NULL;
	ids->room = 1024;
	ids->table = calloc(ids->room, sizeof(*ids->table));
	if (!ids->table) {
		free(ids);
		return NULL;
	}
	pthread_mutex_init(&ids->lock, NULL);
	return ids;
}

void identities_free(struct identities *ids)
{
	if (!ids)
		return;
	pthread_mutex_destroy(&ids->lock);
	free(ids->table);
	free(ids);
}

static uint64_t mix(uint64_t h, uint64_t v)
{
	h = (h ^ v) * 0x9e3779b97f4a7c15ull;
	return h ^ (h >> 29);
}

static struct entry *probe(struct entry *table, size_t room, const char *kind, const uint64_t key[3])
{
	uint64_t h = 0;

	for (const char *c = kind; *c; c++)
		h = mix(h, (uint64_t)*c);
	for (int i = 0; i < 3; i++)
		h = mix(h, key[i]);
	for (size_t at = h & (room - 1);; at = (at + 1) & (room - 1)) {
		struct entry *e = &table[at];

		if (!e->id || (!memcmp(e->key, key, sizeof(e->key)) && !strcmp(e->kind, kind)))
			return e;
	}
}

static bool grow(struct identities *ids)
{
	size_t room = 2 * ids->room;
	struct entry *table = calloc(room, sizeof(*table));

	if (!table)
		return false;
	for (size_t i = 0; i < ids->room; i++)
		if (ids->table[i].id)
			*probe(table, room, ids->table[i].kind, ids->table[i].key) = ids->table[i];
	free(ids->table);
	ids->table = table;
	ids->room = room;
	return true;
}

object_id identity_of(struct identities *ids, const char *kind, uint64_t a, uint64_t b, uint64_t c, bool *is_new)
{
	const uint64_t key[3] = { a, b, c };
	object_id id = 0;
	struct entry *e;

	pthread_mutex_lock(&ids->lock);
	if (4 * ids->used < 3 * ids->room || grow(ids)) {
		e = probe(ids->table, ids->room, kind, key);
		if (is_new)
			*is_new = !e->id;
		if (!e->id) {
			*e = (struct entry){ .kind = kind, .key = { a, b, c }, .id = ++ids->last };
			ids->used++;
		}
		id = e->id;
	}
	pthread_mutex_unlock(&ids->lock);
	return id;
}

object_id identity_fresh(struct identities *ids)
{
	object_id id;

	pthread_mutex_lock(&ids->lock);
	id = ++ids->last;
	pthread_mutex_unlock(&ids->lock);
	return id;
}
