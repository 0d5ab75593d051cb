/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench-gap MIB THREADS PAGES: distinct random pages, of which so many threads write PAGES a second in all, scattered (0: as many as they can); and one that looks at the
 * clock all the time. When there is a file "ask" in the working directory, it goes, and the longest time between two looks since the last is in "gap", in seconds; of
 * a file "fork", how long a fork of all this takes.
 */
#include "workload.h"

static uint64_t *words;
static size_t n_pages;
static double rate; /* of each thread */

static uint64_t next(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

static void pause_until(double when)
{
	double left = when - now(CLOCK_MONOTONIC);
	struct timespec t = { .tv_nsec = (long)((left < 0.5 ? left : 0.5) * 1e9) };

	if (left > 0)
		nanosleep(&t, NULL);
}

static void *writer(void *seed)
{
	uint64_t x = ((uintptr_t)seed + 1) * 88172645463325252ull;
	double begin = now(CLOCK_MONOTONIC);

	for (uint64_t n = 0;; n++) {
		words[next(&x) % n_pages * (PAGE / 8) + x % (PAGE / 8)] = x;
		if (rate > 0 && n % 16 == 0)
			pause_until(begin + (double)n / rate);
	}
	return NULL;
}

static void answer(const char *question, double seconds)
{
	FILE *f = fopen("gap.new", "we");

	if (!f || fprintf(f, "%.6f\n", seconds) < 0 || fclose(f) || rename("gap.new", "gap"))
		die("gap");
	unlink(question);
}

static double time_of_fork(void)
{
	double begin = now(CLOCK_MONOTONIC), took;
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (!pid)
		_exit(0);
	took = now(CLOCK_MONOTONIC) - begin;
	waitpid(pid, NULL, 0);
	return took;
}

static bool is_asked(const char *question)
{
	return access(question, F_OK) == 0;
}

/* It sleeps a little between its looks: two writers and it are to share two processors. */
static void look(void)
{
	const struct timespec little = { .tv_nsec = 100000 };
	double last = now(CLOCK_MONOTONIC), longest = 0;

	for (;;) {
		double at = now(CLOCK_MONOTONIC);

		if (at - last > longest)
			longest = at - last;
		last = at;
		if (is_asked("fork")) {
			answer("fork", time_of_fork());
		} else if (is_asked("ask")) {
			answer("ask", longest);
			longest = 0;
			last = now(CLOCK_MONOTONIC);
		}
		nanosleep(&little, NULL);
	}
}

int main(int argc, char **argv)
{
	size_t mib = argc == 4 ? strtoul(argv[1], NULL, 10) : 0;
	unsigned int threads = argc == 4 ? (unsigned int)strtoul(argv[2], NULL, 10) : 0;
	uint64_t x = 88172645463325252ull;
	pthread_t ignored;

	if (!mib || !threads)
		return 2;
	n_pages = mib << 8;
	rate = strtod(argv[3], NULL) / threads;
	words = mmap(NULL, n_pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (words == MAP_FAILED)
		die("mmap");
	madvise(words, n_pages * PAGE, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < n_pages * (PAGE / 8); i++)
		words[i] = next(&x);
	for (unsigned int i = 0; i < threads; i++)
		if (pthread_create(&ignored, NULL, writer, (void *)(uintptr_t)i))
			die("pthread_create");
	answer("ask", 0);
	look();
}
