/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lazy MIB GO RESULT HOW: fills its memory, calls itself "ready" and waits for the file GO. Then, while its memory may still be on its way, it does what HOW says, and writes to
 * RESULT whether its memory was, all the time, what it has to be.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE  4096ul
#define WORDS (PAGE / 8)

static uint8_t *memory;
static uint64_t pages;
static char **arguments;

static uint64_t word(uint64_t page, uint64_t i)
{
	uint64_t x = (page * WORDS + i + 1) * 0x9e3779b97f4a7c15ull;

	return (x ^ x >> 29) | 1;
}

/* Pages [first, last) of what was filled, wherever they are now. */
static bool is_whole(const uint8_t *at, uint64_t first, uint64_t last)
{
	for (uint64_t p = first; p < last; p++)
		for (uint64_t i = 0; i < WORDS; i += 31)
			if (((const volatile uint64_t *)(at + (p - first) * PAGE))[i] != word(p, i))
				return false;
	return true;
}

static bool is_zero(const uint8_t *at, uint64_t n)
{
	for (uint64_t i = 0; i < n * WORDS; i += 31)
		if (((const volatile uint64_t *)at)[i])
			return false;
	return true;
}

static uint8_t *page(uint64_t i)
{
	return memory + i * PAGE;
}

/* As long as it takes until nothing is registered any more: whatever is to come has come. */
static void await_all(void)
{
	char line[512];
	bool left = true;

	while (left) {
		FILE *f = fopen("/proc/self/smaps", "r");

		left = false;
		while (fgets(line, sizeof(line), f))
			left |= !strncmp(line, "VmFlags", 7) && strstr(line, " um");
		fclose(f);
		usleep(5000);
	}
}

static bool child_is_well(pid_t pid)
{
	int status;

	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

/* --- what it does --- */

static bool all(void)
{
	return is_whole(memory, 0, pages);
}

static void *touch_some(void *seed)
{
	uint64_t x = (uintptr_t)seed;

	for (uint64_t i = 0; i < pages; i++) {
		x = x * 6364136223846793005ull + 1442695040888963407ull;
		if (!is_whole(page((x >> 33) % pages), (x >> 33) % pages, (x >> 33) % pages + 1))
			return NULL;
	}
	return memory;
}

static bool threads(void)
{
	pthread_t t[4];
	void *well;
	bool ok = true;

	for (uintptr_t i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, touch_some, (void *)(i + 1));
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], &well);
		ok &= well != NULL;
	}
	return ok && all();
}

/* Those at the end come last. */
static bool backwards(void)
{
	for (uint64_t p = pages; p-- > 0;)
		if (!is_whole(page(p), p, p + 1))
			return false;
	return true;
}

static bool forks(void)
{
	pid_t child[6];
	bool ok = true;

	for (int i = 0; i < 6; i++) {
		child[i] = fork();
		if (child[i] == 0) {
			pid_t grandchild = i % 2 ? fork() : -1;

			if (grandchild == 0)
				_exit(i < 4 ? !backwards() : !is_whole(page(pages - 500), pages - 500, pages));
			if (i == 2)
				_exit(0);
			if (i == 4)
				execl(arguments[0], arguments[0], "well", NULL);
			ok = i < 4 ? backwards() : is_whole(memory, 0, pages - 1000);
			_exit(!ok || (i % 2 && !child_is_well(grandchild)));
		}
		if (i == 3) /* theirs, not those of the children before */
			memset(page(pages - 1000), 0xff, 500 * PAGE);
	}
	for (int i = 0; i < 6; i++)
		ok &= child_is_well(child[i]);
	return ok && is_whole(memory, 0, pages - 1000) && is_whole(page(pages - 500), pages - 500, pages);
}

/* What is dropped is zero, now and later, in a child too. */
static bool dontneed(void)
{
	uint64_t half = pages / 2;
	pid_t child;

	if (madvise(page(half), (pages - half - 100) * PAGE, MADV_DONTNEED) < 0 || !is_zero(page(half + 1000), 1000))
		return false;
	child = fork();
	if (child == 0)
		_exit(!(is_zero(page(half), pages - half - 100) && is_whole(memory, 0, half) &&
			is_whole(page(pages - 100), pages - 100, pages)));
	if (!is_whole(memory, 0, half) || !child_is_well(child))
		return false;
	await_all();
	return is_zero(page(half), pages - half - 100) && is_whole(page(pages - 100), pages - 100, pages);
}

static bool unmaps(void)
{
	uint64_t first = pages / 2, n = pages / 4;

	munmap(page(first), n * PAGE);
	if (mmap(page(first), n * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
		MAP_FAILED)
		return false;
	memset(page(first), 0x77, PAGE);
	if (!is_zero(page(first + 1), 100) || !is_whole(page(first + n), first + n, pages))
		return false;
	await_all();
	return is_zero(page(first + 1), n - 1) && is_whole(memory, 0, first) && *page(first) == 0x77;
}

static bool moves(void)
{
	uint64_t quarter = pages / 4, first = pages - quarter, last = 3 * quarter - 1000;
	uint8_t *to, *kept, *grown;

	to = mremap(page(first), quarter * PAGE, quarter * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP);
	if (to == MAP_FAILED || !is_whole(to + PAGE, first + 1, first + 100) || !is_zero(page(first), quarter))
		return false;
	kept = mremap(page(last), 1000 * PAGE, 1000 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, page(first));
	if (kept != page(first) || !is_whole(kept, last, last + 1000))
		return false;
	grown = mremap(to, quarter * PAGE, 2 * quarter * PAGE, MREMAP_MAYMOVE);
	if (grown == MAP_FAILED || !is_zero(grown + quarter * PAGE, quarter))
		return false;
	return is_whole(grown, first, pages) && is_whole(memory, 0, last) &&
	       is_zero(page(first + 1000), quarter - 1000);
}

/* The kernel's own faults. */
static bool calls(void)
{
	uint8_t buffer[PAGE];
	int ends[2], zero = open("/dev/zero", O_RDONLY);

	if (pipe(ends) < 0)
		return false;
	for (uint64_t p = pages - 1; p > pages / 2; p -= 50) {
		if (write(ends[1], page(p), PAGE) != PAGE || read(ends[0], buffer, PAGE) != PAGE ||
			!is_whole(buffer, p, p + 1))
			return false;
		if (read(zero, page(p - 10), PAGE) != PAGE || !is_zero(page(p - 10), 1) ||
			!is_whole(page(p - 9), p - 9, p - 8))
			return false;
	}
	return true;
}

static bool protects(void)
{
	uint64_t half = pages / 2;

	for (uint64_t p = half; p < pages; p += 7)
		mprotect(page(p), PAGE, p % 2 ? PROT_NONE : PROT_READ);
	if (mlock(page(half / 2), 1000 * PAGE) < 0)
		return false;
	await_all();
	for (uint64_t p = half; p < pages; p += 7)
		mprotect(page(p), PAGE, PROT_READ | PROT_WRITE);
	return all();
}

static sigjmp_buf fault;

static void on_fault(int sig)
{
	siglongjmp(fault, sig);
}

static bool guards(void)
{
	volatile uint64_t guard = pages - 3;

	if (madvise(page(guard), PAGE, 102) < 0) /* MADV_GUARD_INSTALL */
		return errno == EINVAL;		 /* before Linux 6.13 */
	await_all();
	signal(SIGSEGV, on_fault);
	if (!sigsetjmp(fault, 1))
		return *(volatile uint8_t *)page(guard) == 1 && false;
	return is_whole(memory, 0, guard) && is_whole(page(guard + 1), guard + 1, pages);
}

static bool wipes(void)
{
	uint64_t first = pages - 1000;
	pid_t child;

	if (madvise(page(first), 500 * PAGE, MADV_WIPEONFORK) < 0)
		return false;
	child = fork();
	if (child == 0)
		_exit(!(is_zero(page(first), 500) && is_whole(page(first + 500), first + 500, pages)));
	return child_is_well(child) && all();
}

static bool goes_on_as_another(void)
{
	execl(arguments[0], arguments[0], "well", arguments[3], NULL);
	return false;
}

/* All at once. */
static volatile bool over;

static void *move_around(void *well)
{
	uint64_t first = pages / 4, n = pages / 4;
	uint8_t *at = page(first);

	for (int i = 0; !over; i++) {
		uint8_t *to = mremap(at, n * PAGE, n * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
			(uint8_t *)(0x100000000000ul + (uint64_t)(i % 5) * n * PAGE));

		if (to == MAP_FAILED)
			return NULL;
		at = to;
		if (!is_whole(at + (uint64_t)(i * 97) % n * PAGE, first + (uint64_t)(i * 97) % n,
			    first + (uint64_t)(i * 97) % n + 1))
			return NULL;
		usleep(300);
	}
	return is_whole(at, first, first + n) ? well : NULL;
}

static void *drop_and_write(void *well)
{
	uint64_t first = pages / 2, n = pages / 4;

	for (uint64_t i = 0; i < n; i += 3) {
		uint8_t *at = page(first + i);

		madvise(at, PAGE, MADV_DONTNEED);
		if (!is_zero(at, 1))
			return NULL;
		*at = (uint8_t)(i | 1);
		usleep(20);
	}
	await_all();
	for (uint64_t i = 0; i < n; i++)
		if (i % 3 ? !is_whole(page(first + i), first + i, first + i + 1) : *page(first + i) != (uint8_t)(i | 1))
			return NULL;
	return well;
}

static bool storm(void)
{
	pthread_t t[2];
	void *well[2];
	bool ok = true;

	pthread_create(&t[0], NULL, move_around, memory);
	pthread_create(&t[1], NULL, drop_and_write, memory);
	for (int i = 0; i < 15 && ok; i++) {
		pid_t child = fork();

		if (child == 0)
			_exit(!is_whole(memory, 0, pages / 4) ||
				!is_whole(page(3 * (pages / 4)), 3 * (pages / 4), pages));
		ok &= child_is_well(child);
	}
	over = true;
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], &well[i]);
	return ok && well[0] && well[1];
}

/* Reads a page now and then: it may be ended any time. */
static bool lives_on(void)
{
	for (uint64_t p = pages; p-- > 0; usleep(20000))
		if (!is_whole(page(p), p, p + 1))
			return false;
	return true;
}

static const struct {
	const char *name;
	bool (*fn)(void);
} ways[] = {
	{ "all", all },
	{ "threads", threads },
	{ "backwards", backwards },
	{ "forks", forks },
	{ "dontneed", dontneed },
	{ "unmaps", unmaps },
	{ "moves", moves },
	{ "calls", calls },
	{ "protects", protects },
	{ "guards", guards },
	{ "wipes", wipes },
	{ "exec", goes_on_as_another },
	{ "storm", storm },
	{ "lives", lives_on },
};

static void tell(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);

	if (write(fd, text, strlen(text)) < 0)
		_exit(1);
	close(fd);
}

int main(int argc, char **argv)
{
	bool (*way)(void) = NULL;

	arguments = argv;
	if (argc >= 2 && !strcmp(argv[1], "well")) {
		if (argc > 2)
			tell(argv[2], "well\n");
		return 0;
	}
	if (argc != 5)
		return 2;
	pages = strtoul(argv[1], NULL, 10) << 8;
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		if (!strcmp(ways[i].name, argv[4]))
			way = ways[i].fn;
	memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!way || memory == MAP_FAILED)
		return 2;
	for (uint64_t p = 0; p < pages; p++)
		for (uint64_t i = 0; i < WORDS; i++)
			((uint64_t *)page(p))[i] = word(p, i);
	prctl(PR_SET_NAME, "ready");
	while (access(argv[2], F_OK) < 0)
		usleep(1000);
	tell(argv[3], way() ? "well\n" : "wrong\n");
	return 0;
}
