/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A hash map from byte strings to pointers. Keys and values stay the caller's, and keys must stay where they are. A struct as a key has no padding
 * that is not zeroed.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct map {
	struct map_entry *table; /* open addressing, a power of two */
	size_t room, n;
};

/* NULL: none. */
void *map_find(const struct map *m, const void *key, size_t size);
/* For a key that is not there yet. 0 or -ENOMEM. */
int map_add(struct map *m, const void *key, size_t size, void *value);
void map_free(struct map *m);
