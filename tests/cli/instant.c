/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * instant MIB [dontfork] [wipeonfork] [segment]: threads that write all of their memory, and would know an image that is not of one instant.
 *
 * Each thread writes sequence numbers to its word of one page after the other, in a scattered order. Before it writes one, the word must hold the number of one
 * round before: a page that was saved later than the thread's registers holds a later one. Whoever finds another ends with status 3. The name of the process
 * tells how many rounds are done. Memory that a fork would not have must keep its contents too.
 */
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <unistd.h>

#define THREADS 2
#define PAGE	4096
#define OTHERS	(1 << 20)
#define PATTERN 0xa5

static uint8_t *memory;
static uint64_t pages;
static uint8_t *others[3];
static size_t n_others;

static void check_others(void)
{
	for (size_t i = 0; i < n_others; i++)
		for (size_t at = 0; at < OTHERS; at += 64)
			if (others[i][at] != PATTERN)
				_exit(4);
}

static void *anonymous(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		exit(1);
	return p;
}

static void add_other(const char *name)
{
	uint8_t *p = NULL;

	if (!strcmp(name, "segment")) {
		int id = shmget(IPC_PRIVATE, OTHERS, 0600);

		p = shmat(id, NULL, 0);
		if (p == (void *)-1 || shmctl(id, IPC_RMID, NULL) < 0)
			exit(1);
	} else {
		p = anonymous(OTHERS);
		if (madvise(p, OTHERS, !strcmp(name, "dontfork") ? MADV_DONTFORK : MADV_WIPEONFORK) < 0)
			exit(1);
	}
	memset(p, PATTERN, OTHERS);
	others[n_others++] = p;
}

/* The pages are a power of two, so any odd step meets each of them once. */
static volatile uint64_t *word(uint64_t thread, uint64_t sequence)
{
	return (uint64_t *)(memory + sequence * 40503 % pages * PAGE) + thread;
}

static void tell_round(uint64_t round)
{
	char name[16];

	snprintf(name, sizeof(name), "%lu", (unsigned long)round);
	prctl(PR_SET_NAME, name);
	check_others();
}

static void *write_all(void *arg)
{
	uint64_t thread = (uintptr_t)arg;

	for (uint64_t sequence = pages;; sequence++) {
		volatile uint64_t *w = word(thread, sequence);

		if (*w != sequence - pages)
			_exit(3);
		*w = sequence;
		if (!thread && sequence % pages == 0)
			tell_round(sequence / pages);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t t;

	if (argc < 2)
		return 2;
	pages = strtoull(argv[1], NULL, 10) * (1048576 / PAGE);
	memory = anonymous(pages * PAGE);
	madvise(memory, pages * PAGE, MADV_NOHUGEPAGE);
	for (int i = 2; i < argc; i++)
		add_other(argv[i]);
	for (uint64_t i = 0; i < pages; i++)
		for (uint64_t k = 0; k < THREADS; k++)
			*word(k, i) = i;
	for (uint64_t k = 1; k < THREADS; k++)
		if (pthread_create(&t, NULL, write_all, (void *)k))
			return 1;
	write_all(NULL);
}
