/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The hash map: many keys, of different lengths, found and not found. */
#include "base/map.h"
#include "unit.h"

enum { KEYS = 5000 };

static char keys[KEYS][16];

int main(void)
{
	struct map m = { 0 };

	CHECK(!map_find(&m, "0", 1));
	for (int i = 0; i < KEYS; i++) {
		size_t size = (size_t)snprintf(keys[i], sizeof(keys[i]), "%d", 7 * i);

		CHECK(!map_find(&m, keys[i], size));
		CHECK(map_add(&m, keys[i], size, keys[i]) == 0);
	}
	CHECK(m.n == KEYS);
	for (int i = 0; i < 7 * KEYS; i++) {
		char key[16];
		size_t size = (size_t)snprintf(key, sizeof(key), "%d", i);

		CHECK(map_find(&m, key, size) == (i % 7 ? NULL : keys[i / 7]));
	}
	CHECK(!map_find(&m, "7", 2)); /* the same byte, and one more */
	map_free(&m);
	CHECK(!map_find(&m, "7", 1));
	return 0;
}
