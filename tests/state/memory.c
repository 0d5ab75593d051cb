/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Memory and what is in it: mappings and their protection, the heap, stacks. mmap(2), mprotect(2), brk(2). */

#include "memory_look.h"

static char *area, *second;
static pid_t kid;

/* Plain private memory. arg: its size. */
static int private_make(struct maker_ctx *ctx)
{
	area = map_private((size_t)ctx->arg);
	CHECK(area);
	fill(area, (size_t)ctx->arg, 1);
	return 0;
}

static int private_use(struct maker_ctx *ctx)
{
	TRY(check_fill(area, (size_t)ctx->arg, 1));
	fill(area, (size_t)ctx->arg, 2);
	return check_fill(area, (size_t)ctx->arg, 2);
}

/* Every second page was never touched, every fourth read only, every eighth given back. */
static int holes_make(struct maker_ctx *ctx)
{
	volatile char c;

	area = map_private(256 * PAGE);
	CHECK(area);
	for (int i = 0; i < 256; i += 2) {
		if (i % 4 == 2)
			c = area[i * PAGE];
		else
			fill(area + i * PAGE, PAGE, (uint64_t)i);
	}
	(void)c;
	for (int i = 0; i < 256; i += 8)
		CHECK(!madvise(area + i * PAGE, PAGE, MADV_DONTNEED));
	return 0;
}

static int holes_use(struct maker_ctx *ctx)
{
	static const char zero[PAGE];

	for (int i = 0; i < 256; i++) {
		if (i % 8 == 4) {
			TRY(check_fill(area + i * PAGE, PAGE, (uint64_t)i));
		} else {
			CHECK(!(i & 1) || !present(area + i * PAGE));
			CHECK(!memcmp(area + i * PAGE, zero, PAGE));
		}
	}
	return 0;
}

/* Pages of zeros that were written: zeros again. */
static int zeros_make(struct maker_ctx *ctx)
{
	area = map_private(64 * PAGE);
	CHECK(area);
	memset(area, 1, 64 * PAGE);
	memset(area, 0, 64 * PAGE);
	area[10 * PAGE + 5] = 9;
	return 0;
}

static int zeros_use(struct maker_ctx *ctx)
{
	for (int i = 0; i < 64 * PAGE; i++)
		if (area[i] != (i == 10 * PAGE + 5 ? 9 : 0))
			SAME(i, -1);
	return 0;
}

/* A terabyte without reserve, with a few pages in it. */

static const size_t big = 1ul << 40;

static int sparse_make(struct maker_ctx *ctx)
{
	area = map(big, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE);
	NEED(area);
	for (size_t i = 0; i < 5; i++)
		fill(area + big / 5 * i / PAGE * PAGE, PAGE, i);
	fill(area + big - PAGE, PAGE, 99);
	return 0;
}

static int sparse_use(struct maker_ctx *ctx)
{
	for (size_t i = 0; i < 5; i++)
		TRY(check_fill(area + big / 5 * i / PAGE * PAGE, PAGE, i));
	TRY(check_fill(area + big - PAGE, PAGE, 99));
	SAME(area[big / 2], 0);
	CHECK(vm_flag(area, " nr"));
	CHECK(!munmap(area, big));
	return 0;
}

/* A page for each protection, and neighbours that differ in nothing else. */

static const int prots[] = { PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_EXEC,
	PROT_READ | PROT_WRITE | PROT_EXEC, PROT_EXEC };

static int prot_make(struct maker_ctx *ctx)
{
	area = map_private(6 * PAGE);
	CHECK(area);
	fill(area, 6 * PAGE, 3);
	for (int i = 0; i < 6; i++)
		CHECK(!mprotect(area + i * PAGE, PAGE, prots[i]));
	return 0;
}

static int prot_use(struct maker_ctx *ctx)
{
	for (int i = 0; i < 6; i++) {
		if (prots[i] & PROT_READ)
			SAME(fault_of(area + i * PAGE, false), 0);
		SAME(fault_of(area + i * PAGE, true), prots[i] & PROT_WRITE ? 0 : SIGSEGV);
		if (!(prots[i] & PROT_WRITE))
			SAME(fault_code(),
				prots[i] == PROT_EXEC && fault_code() == SEGV_PKUERR ? SEGV_PKUERR : SEGV_ACCERR);
	}
	CHECK(!mprotect(area, 6 * PAGE, PROT_READ));
	return check_fill(area, 6 * PAGE, 3);
}

/* Code that was written and then made executable. */
static int code_make(struct maker_ctx *ctx)
{
	static const unsigned char body[] = { 0xb8, 0x2a, 0, 0, 0, 0xc3 }; /* mov $42,%eax; ret */

	area = map_private(PAGE);
	CHECK(area);
	memcpy(area, body, sizeof(body));
	return mprotect(area, PAGE, PROT_READ | PROT_EXEC);
}

static int code_use(struct maker_ctx *ctx)
{
	int (*call)(void);

	memcpy(&call, &area, sizeof(call));
	SAME(call(), 42);
	return 0;
}

/* The heap by brk. */
static int brk_make(struct maker_ctx *ctx)
{
	area = sbrk(0);
	CHECK(sbrk(50 * PAGE + 123) == area);
	second = sbrk(0);
	memset(area, 0x5c, 50 * PAGE);
	return 0;
}

static int brk_use(struct maker_ctx *ctx)
{
	CHECK(sbrk(0) == second);
	SAME(area[49 * PAGE], 0x5c);
	CHECK(sbrk(10 * PAGE) == second);
	second[9 * PAGE] = 1;
	CHECK(sbrk(-60 * PAGE) == second + 10 * PAGE);
	return 0;
}

/* A stack that grows by itself, as far as it may. */
static int growsdown_make(struct maker_ctx *ctx)
{
	char *p = map(1024 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_NORESERVE);

	CHECK(p && !munmap(p, 1024 * PAGE));
	area = mmap(p + 1000 * PAGE, 4 * PAGE, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
	CHECK(area != MAP_FAILED);
	area[-1] = 'g';
	area[-2 * PAGE] = 'h';
	return 0;
}

static int growsdown_use(struct maker_ctx *ctx)
{
	SAME(area[-1], 'g');
	SAME(area[-2 * PAGE], 'h');
	area[-3 * PAGE] = 'i';
	SAME(area[-3 * PAGE], 'i');
	CHECK(vm_flag(area - 3 * PAGE, " gd"));
	return 0;
}

/* A stack used deeply. */

static struct maker_shared *deep_page;

static int deep(int n)
{
	volatile char here[4096];

	for (size_t i = 0; i < sizeof(here); i += 64)
		here[i] = (char)(n + (int)i / 64);
	if (!n) {
		deep_page->up++;
		wait_for(&deep_page->go);
	} else {
		TRY(deep(n - 1));
	}
	for (size_t i = 0; i < sizeof(here); i += 64)
		SAME(here[i], (char)(n + (int)i / 64));
	return 0;
}

static int deep_make(struct maker_ctx *ctx)
{
	deep_page = shared(ctx);
	kid = fork();
	CHECK(kid >= 0);
	if (!kid)
		_exit(deep(400));
	ctx->kids[ctx->n_kids++] = kid;
	return kid_up(ctx, 0, kid);
}

/* Many mappings of a page each. */
static int mappings_make(struct maker_ctx *ctx)
{
	area = map_private(2000 * PAGE);
	CHECK(area);
	for (int i = 0; i < 2000; i++) {
		area[i * PAGE] = (char)i;
		if (i & 1)
			CHECK(!mprotect(area + i * PAGE, PAGE, PROT_READ));
	}
	return 0;
}

static int mappings_use(struct maker_ctx *ctx)
{
	for (int i = 0; i < 2000; i++)
		SAME(area[i * PAGE], (char)i);
	SAME(fault_of(area + 1999 * PAGE, true), SIGSEGV);
	SAME(fault_of(area + 1998 * PAGE, true), 0);
	return 0;
}

/* Near the ends of the address space. */
static int ends_make(struct maker_ctx *ctx)
{
	area = mmap((void *)0x10000, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
		-1, 0);
	NEED(area == (void *)0x10000);
	second = mmap((void *)0x7ffffffde000, PAGE, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	fill(area, PAGE, 71);
	if (second != MAP_FAILED)
		fill(second, PAGE, 72);
	return 0;
}

static int ends_use(struct maker_ctx *ctx)
{
	TRY(check_fill(area, PAGE, 71));
	return second == MAP_FAILED ? 0 : check_fill(second, PAGE, 72);
}

/* Heap of the C library: large and small, freed and used. */

static void *blocks[500];

static int malloc_make(struct maker_ctx *ctx)
{
	for (int i = 0; i < 500; i++) {
		size_t len = (size_t)(i + 1) * (size_t)(i + 1) * 8;

		blocks[i] = malloc(len);
		CHECK(blocks[i]);
		fill(blocks[i], len, (uint64_t)i);
	}
	for (int i = 0; i < 500; i += 3)
		free(blocks[i]);
	return 0;
}

static int malloc_use(struct maker_ctx *ctx)
{
	for (int i = 0; i < 500; i++)
		if (i % 3)
			TRY(check_fill(blocks[i], (size_t)(i + 1) * (size_t)(i + 1) * 8, (uint64_t)i));
	for (int i = 0; i < 500; i += 3)
		blocks[i] = malloc((size_t)(500 - i) * 64);
	for (int i = 0; i < 500; i++)
		free(blocks[i]);
	return 0;
}

/* A terabyte at each of the places, or memory of the program's own just there. arg: how many of them; 0: a shared mapping at the first. */

static const uint64_t spore_places[] = { 0x2c5e00000000, 0x1c5e00000000, 0x3c5e00000000, 0x0c5e00000000, 0x4c5e00000000,
	0x5c5e00000000 };

#define TERABYTE (1ul << 40)
#define LITTLE	 (3 * 65536ul)

static int reserved_make(struct maker_ctx *ctx)
{
	for (long i = 0; i < (ctx->arg ? ctx->arg : 1); i++) {
		void *at = (void *)(ctx->arg ? spore_places[i] - TERABYTE / 2 : spore_places[i]);
		void *p = mmap(at, ctx->arg ? TERABYTE : LITTLE, PROT_READ | PROT_WRITE,
			(ctx->arg ? MAP_PRIVATE | MAP_NORESERVE : MAP_SHARED) | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
			0);

		NEED(p == at);
		fill((void *)spore_places[i], LITTLE, (uint64_t)i);
	}
	return 0;
}

static int reserved_use(struct maker_ctx *ctx)
{
	for (long i = 0; i < (ctx->arg ? ctx->arg : 1); i++) {
		TRY(check_fill((void *)spore_places[i], LITTLE, (uint64_t)i));
		fill((void *)spore_places[i], LITTLE, (uint64_t)i + 1);
	}
	return 0;
}

/* The same, and its first page is to be executed, not written, as that of spore's own. */

static int reserved_code_make(struct maker_ctx *ctx)
{
	TRY(reserved_make(ctx));
	CHECK(!mprotect((void *)spore_places[0], 4096, PROT_READ | PROT_EXEC));
	return 0;
}

static int reserved_code_use(struct maker_ctx *ctx)
{
	CHECK(!mprotect((void *)spore_places[0], 4096, PROT_READ | PROT_WRITE));
	return reserved_use(ctx);
}

const struct maker makers_memory[] = {
	{ "private", "1 MiB of private memory", private_make, private_use, 0, 1 << 20 },
	{ "private-64m", "64 MiB of private memory", private_make, private_use, MAKER_SLOW, 64 << 20 },
	ROW("holes", "pages never touched, only read, and given back", holes),
	ROW("zeros", "pages of zeros", zeros),
	ROW("sparse", "a terabyte with six pages in it", sparse),
	ROW("protections", "a page of each protection", prot),
	ROW("code", "code written at run time", code),
	ROW("brk", "a grown heap", brk),
	ROW("growsdown", "MAP_GROWSDOWN, grown", growsdown),
	{ "deep-stack", "1.6 MiB of stack in use", deep_make },
	ROW("mappings", "two thousand mappings", mappings),
	ROW("ends", "the ends of the address space", ends),
	ROW("malloc", "the heap of the C library", malloc),
	{ "reserved", "a terabyte where spore would map its own", reserved_make, reserved_use, 0, 1 },
	{ "reserved-many", "six of them", reserved_make, reserved_use, 0, 6 },
	{ "reserved-shared", "shared memory at that place", reserved_make, reserved_use, 0, 0 },
	ROW("reserved-code", "shared memory there that begins with code", reserved_code),
	{ 0 },
};
