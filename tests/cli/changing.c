/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * changing MIB PAGES [MS]: a program of distinct pages that writes PAGES of them, scattered, every MS milliseconds (10), and would know an image that has one from another moment.
 *
 * Each page holds how often it was written, and what follows from its number and that; the sum over all pages is how many writes there were. Whoever finds it otherwise
 * ends with status 3. The name of the process tells how many rounds are done, each of which looks at every page.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define PAGE  4096
#define WORDS (PAGE / 8)

static uint64_t mix(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdull;
	x ^= x >> 33;
	x *= 0xc4ceb9fe1a85ec53ull;
	return x ^ x >> 33;
}

/* Of a page that was written n times. All its words follow; those in the midst are looked at now and then. */
static void fill(uint64_t *page, uint64_t number, uint64_t n)
{
	uint64_t x = mix(number * 0x9e3779b97f4a7c15ull + n);

	page[0] = n;
	page[1] = x;
	for (unsigned int i = 2; i < WORDS; i++)
		page[i] = x += 0x9e3779b97f4a7c15ull;
}

static int is_whole(const uint64_t *page, uint64_t number, int all)
{
	uint64_t x = mix(number * 0x9e3779b97f4a7c15ull + page[0]);

	if (page[1] != x || page[WORDS - 1] != x + (WORDS - 2) * 0x9e3779b97f4a7c15ull)
		return 0;
	for (unsigned int i = 2; all && i < WORDS; i++)
		if (page[i] != (x += 0x9e3779b97f4a7c15ull))
			return 0;
	return 1;
}

static void check(const uint64_t *memory, uint64_t pages, uint64_t writes, uint64_t round)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < pages; i++) {
		if (!is_whole(memory + i * WORDS, i, (i + round) % 16 == 0))
			_exit(3);
		sum += memory[i * WORDS];
	}
	if (sum != writes)
		_exit(3);
}

static void tell_round(uint64_t round)
{
	char name[16];

	snprintf(name, sizeof(name), "%lu", (unsigned long)round);
	prctl(PR_SET_NAME, name);
}

int main(int argc, char **argv)
{
	uint64_t pages = argc > 1 ? strtoull(argv[1], NULL, 10) << 8 : 0,
		 at_once = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
	struct timespec pause = { .tv_nsec = (argc > 3 ? atol(argv[3]) : 10) * 1000000 };
	uint64_t *memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t writes = 0;

	if (!pages || memory == MAP_FAILED)
		return 1;
	for (uint64_t i = 0; i < pages; i++)
		fill(memory + i * WORDS, i, 0);
	for (uint64_t round = 0;; round++) {
		tell_round(round);
		for (uint64_t i = 0; i < at_once; i++, writes++) {
			uint64_t number = mix(writes) % pages;

			fill(memory + number * WORDS, number, memory[number * WORDS] + 1);
		}
		check(memory, pages, writes, round);
		nanosleep(&pause, NULL);
	}
}
