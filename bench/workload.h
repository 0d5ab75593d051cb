/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the programs that are saved and the floors beside them do alike. */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	PAGE = 4096,
	MAPPINGS = 25,
	MAPPING_PAGES = 4,
	DIRTY_PAGES = 30,
	STACK = 64 << 10,
};

static inline _Noreturn void die(const char *what)
{
	fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
	exit(1);
}

static inline double now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static inline uint64_t *map(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

/* No two pages alike, and none of them compressible. */
static inline void fill(uint64_t *words, size_t size, uint64_t seed)
{
	uint64_t x = seed * 0x9e3779b97f4a7c15 | 1;

	for (size_t i = 0; i < size / sizeof(*words); i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		words[i] = x;
	}
}

/* In four lanes, so that the memory is what it waits for, and not the last addition. Each word that changes, changes it. */
static inline uint64_t sum(const uint64_t *words, size_t size)
{
	uint64_t s[4] = { 0 };

	for (size_t i = 0; i < size / sizeof(*words); i += 4)
		for (size_t k = 0; k < 4; k++)
			s[k] = s[k] * 3 + words[i + k];
	return s[0] + 5 * s[1] + 7 * s[2] + 11 * s[3];
}

/* `new` renamed: a reader finds all of it or nothing. */
static inline void tell(const char *name, uint64_t checksum)
{
	FILE *f = fopen("new", "w");

	if (!f || fprintf(f, "%016llx %.6f\n", (unsigned long long)checksum, now(CLOCK_REALTIME)) < 0 ||
		fclose(f) < 0 || rename("new", name) < 0)
		die(name);
}

static inline void wait_go(void)
{
	while (access("go", F_OK) < 0)
		nanosleep(&(struct timespec){ 0, 500000 }, NULL);
}

static inline void get(int fd, void *p, size_t size)
{
	if (read(fd, p, size) != (ssize_t)size)
		exit(0); /* the parent has died */
}

static inline uint64_t get_sums(int fd, unsigned long n)
{
	uint64_t one, total = 0;

	for (unsigned long i = 0; i < n; i++) {
		get(fd, &one, sizeof(one));
		total += one;
	}
	return total;
}

/* A small process's memory: mappings that the kernel cannot merge, and pages that only it has. */
struct small {
	uint64_t *mapping[MAPPINGS];
};

static inline void small_map(struct small *s)
{
	for (int i = 0; i < MAPPINGS; i++) {
		s->mapping[i] = map(MAPPING_PAGES * PAGE);
		if (i % 2 && mprotect(s->mapping[i], MAPPING_PAGES * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC) < 0)
			die("mprotect");
	}
}

static inline void small_dirty(struct small *s, uint64_t seed)
{
	for (int i = 0; i < DIRTY_PAGES; i++)
		fill(s->mapping[i % MAPPINGS] + (size_t)(i / MAPPINGS) * PAGE / 8, PAGE, seed * 64 + (uint64_t)i);
}

static inline uint64_t small_sum(const struct small *s)
{
	uint64_t total = 0;

	for (int i = 0; i < DIRTY_PAGES; i++)
		total += sum(s->mapping[i % MAPPINGS] + (size_t)(i / MAPPINGS) * PAGE / 8, PAGE);
	return total;
}
