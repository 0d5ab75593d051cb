/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs a fuzzer's entry as an ordinary test: on each file of a corpus, on each cut of it, and on some
 * thousand changes of it that are the same every time. With clang, -Dfuzz=true builds the same entry with
 * libFuzzer instead.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LONGEST (1ul << 20)
#define CHANGES 2000

/* An allocation of the exact size, so that a sanitizer sees the byte beyond. */
static void run(const uint8_t *data, size_t size)
{
	_cleanup_free_ uint8_t *copy = malloc(size ? size : 1);

	if (!copy)
		exit(1);
	memcpy(copy, data, size);
	LLVMFuzzerTestOneInput(copy, size);
}

static void run_changed(const uint8_t *data, size_t size, unsigned int *seed)
{
	_cleanup_free_ uint8_t *copy = malloc(size);

	if (!copy)
		exit(1);
	memcpy(copy, data, size);
	for (int i = rand_r(seed) % 4; i >= 0; i--)
		copy[(size_t)rand_r(seed) % size] = (uint8_t)rand_r(seed);
	run(copy, size);
}

static int run_file(const char *path)
{
	_cleanup_file_ FILE *f = fopen(path, "re");
	_cleanup_free_ uint8_t *data = malloc(LONGEST);
	unsigned int seed = 1;
	size_t size;

	if (!f || !data) {
		perror(path);
		return -1;
	}
	size = fread(data, 1, LONGEST, f);
	run(data, size);
	for (size_t cut = 0; cut < size; cut++)
		run(data, cut);
	for (int i = 0; size && i < CHANGES; i++)
		run_changed(data, size, &seed);
	return 0;
}

static int run_corpus(const char *corpus)
{
	_cleanup_dir_ DIR *dir = opendir(corpus);
	struct dirent *e;
	char path[4096];
	int n = 0;

	while (dir && (e = readdir(dir))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", corpus, e->d_name);
		if (run_file(path) < 0)
			return -1;
		n++;
	}
	return n;
}

int main(int argc, char **argv)
{
	int n = argc == 2 ? run_corpus(argv[1]) : 0;

	if (n <= 0) {
		fprintf(stderr, "usage: %s CORPUS, a directory that holds files\n", argv[0]);
		return 1;
	}
	printf("%d files of the corpus, each cut at every byte and changed %d times\n", n, CHANGES);
	return 0;
}
