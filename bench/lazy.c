/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bench-lazy MIB: distinct random pages; waits for the file "go", and writes to "first" when it ran, to "done" when it has summed all of them, in seconds since 1970. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define WORDS 512

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void tell(const char *name, double when, uint64_t sum)
{
	FILE *f = fopen("telling", "w");

	if (!f || fprintf(f, "%.6f %lx\n", when, (unsigned long)sum) < 0 || fclose(f) != 0 ||
		rename("telling", name) < 0)
		exit(1);
}

int main(int argc, char **argv)
{
	uint64_t n = argc > 1 ? strtoul(argv[1], NULL, 10) << 8 : 0, x = 88172645463325252ull, sum = 0;
	uint64_t *memory = mmap(NULL, n * WORDS * 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	double first;

	if (!n || memory == MAP_FAILED)
		return 2;
	for (uint64_t i = 0; i < n * WORDS; i++) {
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		memory[i] = x;
	}
	for (uint64_t i = 0; i < n * WORDS; i += WORDS)
		sum += memory[i];
	tell("ready", now(), sum);
	while (access("go", F_OK) < 0)
		usleep(100);
	first = now();
	sum = 0;
	for (uint64_t i = 0; i < n * WORDS; i += WORDS)
		sum += memory[i];
	tell("done", now(), sum);
	tell("first", first, 0);
	pause();
	return 0;
}
