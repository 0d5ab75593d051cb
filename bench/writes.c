/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench-writes MIB: distinct random pages, of which it writes a word each, at random, as fast as it can. When there is a file "ask" in the working directory, it goes, and how many were
 * written is in "ready", with the time of day.
 */
#include "workload.h"

enum { BETWEEN = 4096 }; /* writes, between two looks at the file */

int main(int argc, char **argv)
{
	size_t pages = argc == 2 ? strtoul(argv[1], NULL, 10) << 8 : 0;
	uint64_t x = 88172645463325252ull, written = 0;
	uint64_t *words;

	if (!pages)
		return 2;
	words = map(pages * PAGE);
	madvise(words, pages * PAGE, MADV_NOHUGEPAGE);
	fill(words, pages * PAGE, 1);
	for (tell("ready", 0);; written += BETWEEN) {
		for (int i = 0; i < BETWEEN; i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			words[x % pages * (PAGE / 8) + (x >> 40) % (PAGE / 8)] = x;
		}
		if (unlink("ask") == 0)
			tell("ready", written);
	}
}
