/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * moving SEED: a program whose mappings come, go, move, are dropped, split, protected and forked, and which knows what must be in each. Every round does some of that and
 * then looks at all of them; whoever finds something else ends with status 3. The name of the process tells how many rounds are done.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE		    4096
#define REGIONS		    24
#define MOST		    1024 /* pages of a region: two huge ones */
#define EACH		    6	 /* changes in a round */
#define MADV_GUARD_INSTALL_ 102
#define MADV_GUARD_REMOVE_  103

/* What each page holds: 0 nothing, else a number that it is filled from. */
struct region {
	uint8_t *at;
	size_t pages;
	uint64_t holds[MOST];
	int guarded; /* its last page */
};

static struct region regions[REGIONS];
static uint64_t state;

static uint64_t draw(uint64_t below)
{
	state = state * 6364136223846793005ull + 1442695040888963407ull;
	return (state >> 33) % below;
}

static uint64_t word(uint64_t holds, size_t i)
{
	return holds ? holds * 0x9e3779b97f4a7c15ull + i : 0;
}

static void fill(struct region *r, size_t first, size_t n)
{
	for (size_t p = first; p < first + n && p < r->pages - (size_t)r->guarded; p++) {
		uint64_t *w = (uint64_t *)(r->at + p * PAGE);

		r->holds[p] = draw(1u << 30) + 1;
		for (size_t i = 0; i < PAGE / 8; i++)
			w[i] = word(r->holds[p], i);
	}
}

static void *map(void *at, size_t pages, int flags)
{
	void *p = mmap(at, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	if (p == MAP_FAILED)
		_exit(1);
	return p;
}

static void make(struct region *r)
{
	r->pages = draw(2) ? MOST : 64 + draw(400);
	r->at = map(NULL, r->pages, 0);
	r->guarded = 0;
	memset(r->holds, 0, sizeof(r->holds));
	if (draw(3) == 0)
		madvise(r->at, r->pages * PAGE, MADV_HUGEPAGE);
	if (draw(4))
		fill(r, 0, draw(r->pages) + 1);
}

static void drop(struct region *r)
{
	size_t first = draw(2) ? 0 : draw(r->pages), n = first ? draw(r->pages - first) + 1 : r->pages;

	if (madvise(r->at + first * PAGE, n * PAGE, MADV_DONTNEED) == 0)
		memset(r->holds + first, 0, n * sizeof(r->holds[0]));
}

static void move(struct region *r)
{
	uint8_t *to = map(NULL, r->pages, 0);

	if (mremap(r->at, r->pages * PAGE, r->pages * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) != to) {
		if (errno != EFAULT) /* it lies in several mappings, of which some may have been moved */
			_exit(1);
		munmap(to, r->pages * PAGE);
		munmap(r->at, r->pages * PAGE);
		make(r);
		return;
	}
	/* What comes to the old place is another mapping. */
	if (draw(2))
		munmap(map(r->at, r->pages, MAP_FIXED_NOREPLACE), r->pages * PAGE);
	r->at = to;
}

/* At the same place, and empty. */
static void replace(struct region *r)
{
	size_t first = draw(r->pages), n = draw(r->pages - first) + 1;

	map(r->at + first * PAGE, n, MAP_FIXED);
	memset(r->holds + first, 0, n * sizeof(r->holds[0]));
	if (first + n == r->pages)
		r->guarded = 0;
}

static void protect(struct region *r)
{
	mprotect(r->at, r->pages / 2 * PAGE, PROT_READ);
	mprotect(r->at, r->pages / 2 * PAGE, PROT_READ | PROT_WRITE);
}

static void guard(struct region *r)
{
	if (r->guarded) {
		madvise(r->at + (r->pages - 1) * PAGE, PAGE, MADV_GUARD_REMOVE_);
		r->guarded = 0;
	} else if (madvise(r->at + (r->pages - 1) * PAGE, PAGE, MADV_GUARD_INSTALL_) == 0) {
		r->guarded = 1;
		r->holds[r->pages - 1] = 0;
	}
}

static void remake(struct region *r)
{
	munmap(r->at, r->pages * PAGE);
	make(r);
}

static void change(struct region *r)
{
	switch (draw(9)) {
	case 0:
		drop(r);
		break;
	case 1:
		move(r);
		break;
	case 2:
		replace(r);
		break;
	case 3:
		protect(r);
		break;
	case 4:
		guard(r);
		break;
	case 5:
		remake(r);
		break;
	default:
		fill(r, draw(r->pages), draw(30) + 1);
	}
}

/* To look at a page that is not there makes one: not in every round, so that what was dropped is seen as it then is. */
static void check(const struct region *r, int empty_ones)
{
	for (size_t p = 0; p < r->pages - (size_t)r->guarded; p++) {
		const uint64_t *w = (const uint64_t *)(r->at + p * PAGE);

		for (size_t i = 0; i < PAGE / 8 && (r->holds[p] || empty_ones); i++)
			if (w[i] != word(r->holds[p], i))
				_exit(3);
	}
}

/* A child has the same, until it changes some of it; and so has the parent. */
static void fork_one(void)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		for (int i = 0; i < REGIONS; i++)
			check(&regions[i], 1);
		_exit(0);
	}
	if (pid > 0 && (waitpid(pid, &status, 0) != pid || status))
		_exit(3);
}

int main(int argc, char **argv)
{
	struct timespec pause = { .tv_nsec = 2000000 };

	state = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
	for (int i = 0; i < REGIONS; i++)
		make(&regions[i]);
	for (uint64_t round = 0;; round++) {
		char name[16];

		snprintf(name, sizeof(name), "%lu", (unsigned long)round);
		prctl(PR_SET_NAME, name);
		for (int i = 0; i < EACH; i++)
			change(&regions[draw(REGIONS)]);
		if (round % 32 == 0)
			fork_one();
		for (int i = 0; i < REGIONS; i++)
			check(&regions[i], round % 2);
		nanosleep(&pause, NULL);
	}
}
