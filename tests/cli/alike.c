/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * alike: large processes and small ones by turns, whose pages all hold the number of one generation: what the small ones hold in this one, the large ones write in the next.
 * SIGUSR1 to the root begins the next. A small one that finds anything but its generation ends, and then so does the root, with status 3. The name of the root counts its rounds.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAIRS 7
#define LARGE (6ul << 20)
#define SMALL (128ul << 10)

static volatile sig_atomic_t generation = 1;

static void next_generation(int sig)
{
	generation++;
}

static unsigned char *map(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		_exit(1);
	return p;
}

static void be_large(void)
{
	unsigned char *memory = map(LARGE);

	for (;; nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL))
		memset(memory, generation - 1, LARGE);
}

static void be_small(void)
{
	unsigned char *memory = map(SMALL);

	for (int is = 0;; nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL)) {
		for (size_t i = 0; i < SMALL; i++)
			if (memory[i] != is)
				_exit(3);
		if (is != generation)
			memset(memory, is = generation, SMALL);
	}
}

int main(void)
{
	pid_t children[2 * PAIRS];
	char name[16];

	signal(SIGUSR1, next_generation);
	for (int i = 0; i < 2 * PAIRS; i++) {
		children[i] = fork();
		if (!children[i]) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			i % 2 ? be_small() : be_large();
		}
	}
	for (int round = 0, is = 1;; round++) {
		snprintf(name, sizeof(name), "%d", round);
		prctl(PR_SET_NAME, name);
		for (; is < generation; is++)
			for (int i = 0; i < 2 * PAIRS; i++)
				kill(children[i], SIGUSR1);
		if (waitpid(-1, NULL, WNOHANG))
			return 3;
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	}
}
