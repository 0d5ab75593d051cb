/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A tree whose memory is known: cloned MIB [LOCK]. The first process has MIB of it, and a thread; a child was forked from it, changed some of that, and has a half as
 * much of its own; another called exec, and has as much; and a child of that one too. Each answers, in /dev/shm, which every container has to itself: when a file CHECK.N is there, for
 * the next N, it looks whether its memory is as it left it and says so in CHECK.N.ROLE; with WRITE.N it first writes to a part of it. QUIT ends all. LOCK: a file that
 * it locks, which a second tree cannot.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096ul
#define DIR  "/dev/shm/"

struct block {
	uint64_t *words;
	size_t pages;
	uint64_t seed;
	uint64_t changed; /* added to the value of each changed page */
	size_t step;	  /* every so many pages are changed; 0: none */
};

static struct block blocks[2]; /* of this process */
static size_t n_blocks;

static uint64_t value(const struct block *b, size_t page, size_t word)
{
	uint64_t v = (b->seed << 40) + page * 512 + word;

	if (b->step && page % b->step == 0)
		v += b->changed;
	v *= 0x9e3779b97f4a7c15;
	return v ^ v >> 29;
}

static void fill(const struct block *b, size_t step)
{
	for (size_t i = 0; i < b->pages; i += step)
		for (size_t k = 0; k < 512; k++)
			b->words[i * 512 + k] = value(b, i, k);
}

static void add_block(size_t pages, uint64_t seed)
{
	struct block *b = &blocks[n_blocks++];

	*b = (struct block){ .pages = pages, .seed = seed };
	b->words = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (b->words == MAP_FAILED)
		exit(1);
	fill(b, 1);
}

static void change(size_t step, uint64_t by)
{
	for (size_t i = 0; i < n_blocks; i++) {
		struct block *b = &blocks[i];
		size_t before = b->step;

		*b = (struct block){ .words = b->words, .pages = b->pages, .seed = b->seed };
		if (before)
			fill(b, before);
		b->step = step;
		b->changed = by;
		fill(b, step);
	}
}

static int is_right(void)
{
	for (size_t i = 0; i < n_blocks; i++)
		for (size_t page = 0; page < blocks[i].pages; page++)
			for (size_t k = 0; k < 512; k++)
				if (blocks[i].words[page * 512 + k] != value(&blocks[i], page, k))
					return 0;
	return 1;
}

static void say(const char *asked, const char *role, const char *what)
{
	char name[80];
	int fd;

	snprintf(name, sizeof(name), DIR "%s.%s", asked, role);
	fd = open(name, O_CREAT | O_WRONLY | O_TRUNC, 0600);
	if (fd < 0 || write(fd, what, strlen(what)) < 0)
		exit(1);
	close(fd);
}

static int is_there(const char *what, int n, char *name)
{
	char path[80];

	snprintf(name, 40, "%s.%d", what, n);
	snprintf(path, sizeof(path), DIR "%s", name);
	return access(path, F_OK) == 0;
}

static void serve(const char *role)
{
	say("READY", role, "1");
	for (int n = 0;;) {
		char asked[40];
		int writes = is_there("WRITE", n, asked);

		if (access(DIR "QUIT", F_OK) == 0)
			return;
		if (!writes && !is_there("CHECK", n, asked)) {
			usleep(20000);
			continue;
		}
		if (writes)
			change(3, (uint64_t)n + 7);
		say(asked, role, is_right() ? "right" : "WRONG");
		n++;
	}
}

static void *wait_for_ever(void *arg)
{
	for (;; pause())
		;
	return arg;
}

static void forked(size_t pages)
{
	if (fork())
		return;
	change(5, 99);
	add_block(pages / 2, 2);
	serve("forked");
	exit(0);
}

static void executed(char *self, size_t pages)
{
	char number[20];

	snprintf(number, sizeof(number), "%zu", pages);
	if (fork())
		return;
	execl(self, self, "executed", number, NULL);
	exit(1);
}

static int executed_main(size_t pages)
{
	if (fork() == 0) {
		add_block(pages / 2, 4);
		serve("grandchild");
		return 0;
	}
	add_block(pages / 2, 3);
	serve("executed");
	return wait(NULL) < 0;
}

int main(int argc, char **argv)
{
	size_t pages = (size_t)atol(argv[1]) << 8;
	pthread_t thread;

	if (strcmp(argv[1], "executed") == 0)
		return executed_main((size_t)atol(argv[2]));
	if (argc > 2 && flock(open(argv[2], O_CREAT | O_RDWR, 0600), LOCK_EX | LOCK_NB) < 0)
		return 1;
	add_block(pages, 1);
	forked(pages);
	executed(argv[0], pages);
	pthread_create(&thread, NULL, wait_for_ever, NULL);
	serve("first");
	while (wait(NULL) > 0)
		;
	return 0;
}
