/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Memory: what is mapped, with which protection, and what is in it. mmap(2), mprotect(2), madvise(2),
 * mlock(2). */

#include "maker.h"

#include <sys/fsuid.h>

#include <setjmp.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
enum { ADV_GUARD_INSTALL = 102, MAP_DROP = 0x08, NR_mseal = 462 };

static char *area, *second;
static pid_t kid;

static char *map(size_t len, int prot, int flags)
{
	char *p = mmap(NULL, len, prot, flags | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static char *map_private(size_t len)
{
	return map(len, PROT_READ | PROT_WRITE, MAP_PRIVATE);
}

/* Does touching this address fault, and by which signal? */

static sigjmp_buf escape;
static int fault_code;

static void on_fault(int sig, siginfo_t *si, void *uc)
{
	fault_code = si->si_code;
	siglongjmp(escape, sig);
}

static int fault_of(volatile char *p, bool write)
{
	struct sigaction sa = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO }, segv, bus;
	int sig;

	sigaction(SIGSEGV, &sa, &segv);
	sigaction(SIGBUS, &sa, &bus);
	sig = sigsetjmp(escape, 1);
	if (!sig) {
		char c = *p;

		if (write)
			*p = c;
	}
	sigaction(SIGSEGV, &segv, NULL);
	sigaction(SIGBUS, &bus, NULL);
	return sig;
}

/* The VmFlags of the mapping that starts there hold this flag. */
static bool vm_flag(const void *start, const char *flag)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	bool here = false, found = false;
	char line[512], head[32];

	if (!f)
		return false;
	snprintf(head, sizeof(head), "%lx-", (unsigned long)start);
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, head, strlen(head)))
			here = true;
		if (here && !strncmp(line, "VmFlags:", 8)) {
			found = strstr(line, flag) != NULL;
			break;
		}
	}
	fclose(f);
	return found;
}

/* Resident pages of a range. */
static long resident(void *p, size_t len)
{
	static unsigned char vec[65536];
	long n = 0;

	if (mincore(p, len, vec))
		return -1;
	for (size_t i = 0; i < len / PAGE; i++)
		n += vec[i] & 1;
	return n;
}

/* Is the page there by the process's own page table? */
static bool present(const void *p)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry = 0;
	ssize_t n = pread(fd, &entry, sizeof(entry), (off_t)((uintptr_t)p / PAGE * sizeof(entry)));

	close(fd);
	return n == sizeof(entry) && entry >> 62;
}

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
			SAME(fault_code,
				prots[i] == PROT_EXEC && fault_code == SEGV_PKUERR ? SEGV_PKUERR : SEGV_ACCERR);
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

/* Shared anonymous memory: what one writes the other reads. */

static int shared_kid(struct maker_ctx *ctx)
{
	TRY(check_fill(area, 8 * PAGE, 5));
	fill(area + 8 * PAGE, 8 * PAGE, 6);
	return 0;
}

static int shared_make(struct maker_ctx *ctx)
{
	area = map(32 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
	CHECK(area);
	fill(area + 24 * PAGE, 8 * PAGE, 4);
	return kid_start(ctx, NULL, shared_kid, NULL);
}

static int shared_use(struct maker_ctx *ctx)
{
	fill(area, 8 * PAGE, 5);
	TRY(kids_finish(ctx));
	TRY(check_fill(area + 8 * PAGE, 8 * PAGE, 6));
	SAME(area[20 * PAGE], 0);
	return check_fill(area + 24 * PAGE, 8 * PAGE, 4);
}

/* The same object mapped twice in one process, part of it, in another order. */
static int twice_make(struct maker_ctx *ctx)
{
	area = map(8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
	CHECK(area);
	second = mremap(area + 4 * PAGE, 0, 4 * PAGE, MREMAP_MAYMOVE);
	CHECK(second != MAP_FAILED);
	fill(second, 4 * PAGE, 8);
	return 0;
}

static int twice_use(struct maker_ctx *ctx)
{
	TRY(check_fill(area + 4 * PAGE, 4 * PAGE, 8));
	area[5 * PAGE] = 'n';
	SAME(second[PAGE], 'n');
	second[2 * PAGE] = 'm';
	SAME(area[6 * PAGE], 'm');
	return 0;
}

/* Pages that a child has from its parent: the same until one writes. */

static int cow_kid(struct maker_ctx *ctx)
{
	TRY(check_fill(area, 32 * PAGE, 11));
	TRY(check_fill(area + 32 * PAGE, 32 * PAGE, 12));
	fill(area, 8 * PAGE, 13);
	shared(ctx)->flag[1] = 1;
	return 0;
}

static int cow_kid_make(struct maker_ctx *ctx)
{
	fill(area + 32 * PAGE, 32 * PAGE, 12);
	return 0;
}

static int cow_make(struct maker_ctx *ctx)
{
	area = map_private(64 * PAGE);
	CHECK(area);
	fill(area, 64 * PAGE, 11);
	return kid_start(ctx, cow_kid_make, cow_kid, NULL);
}

static int cow_use(struct maker_ctx *ctx)
{
	TRY(kids_finish(ctx));
	return check_fill(area, 64 * PAGE, 11);
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

/* mlock. */

static int mlock_make(struct maker_ctx *ctx)
{
	area = map_private(16 * PAGE);
	CHECK(area);
	CHECK(!mlock(area, 4 * PAGE));
	NEED(!mlock2(area + 8 * PAGE, 4 * PAGE, MLOCK_ONFAULT));
	area[9 * PAGE] = 1;
	return 0;
}

static int mlock_use(struct maker_ctx *ctx)
{
	SAME(resident(area, 4 * PAGE), 4);
	CHECK(vm_flag(area, " lo"));
	CHECK(!vm_flag(area + 4 * PAGE, " lo"));
	CHECK(vm_flag(area + 8 * PAGE, " lo"));
	CHECK(present(area + 9 * PAGE) && !present(area + 10 * PAGE));
	SAME(proc_number("/proc/self/status", "VmLck", 10), 32);
	CHECK(!munlock(area, 16 * PAGE));
	SAME(proc_number("/proc/self/status", "VmLck", 10), 0);
	return 0;
}

static int mlockall_make(struct maker_ctx *ctx)
{
	CHECK(!mlockall((int)ctx->arg));
	area = map_private(4 * PAGE);
	CHECK(area);
	return 0;
}

static int mlockall_use(struct maker_ctx *ctx)
{
	SAME(vm_flag(area, " lo"), (ctx->arg & MCL_FUTURE) != 0);
	second = map_private(8 * PAGE);
	CHECK(second);
	SAME(vm_flag(second, " lo"), (ctx->arg & MCL_FUTURE) != 0);
	SAME(present(second + PAGE), (ctx->arg & MCL_FUTURE) && !(ctx->arg & MCL_ONFAULT));
	CHECK(!munlockall());
	return 0;
}

/* Advice that stays with the mapping. */

static const struct {
	int advice;
	const char *flag;
} advices[] = {
	{ MADV_DONTFORK, " dc" },
	{ MADV_WIPEONFORK, " wf" },
	{ MADV_DONTDUMP, " dd" },
	{ MADV_MERGEABLE, " mg" },
	{ MADV_HUGEPAGE, " hg" },
	{ MADV_NOHUGEPAGE, " nh" },
	{ MADV_SEQUENTIAL, " sr" },
	{ MADV_RANDOM, " rr" },
};

static int advice_make(struct maker_ctx *ctx)
{
	area = map_private(4 * PAGE);
	CHECK(area);
	fill(area, 4 * PAGE, 21);
	NEED(!madvise(area, 2 * PAGE, advices[ctx->arg].advice));
	return 0;
}

static int advice_use(struct maker_ctx *ctx)
{
	static const char zero[PAGE];

	TRY(check_fill(area, 4 * PAGE, 21));
	CHECK(vm_flag(area, advices[ctx->arg].flag));
	CHECK(!vm_flag(area + 2 * PAGE, advices[ctx->arg].flag));
	kid = fork();
	CHECK(kid >= 0);
	if (!kid) {
		if (advices[ctx->arg].advice == MADV_DONTFORK)
			_exit(fault_of(area, false) != SIGSEGV || fault_of(area + 2 * PAGE, false));
		if (advices[ctx->arg].advice == MADV_WIPEONFORK)
			_exit(memcmp(area, zero, PAGE) || !memcmp(area + 2 * PAGE, zero, PAGE));
		_exit(check_fill(area, 4 * PAGE, 21));
	}
	return reap_ok(kid);
}

/* Huge pages. */

static int huge_make(struct maker_ctx *ctx)
{
	size_t huge = 2ul << 20;
	char *p = map_private(3 * huge);

	CHECK(p);
	area = (char *)(((uintptr_t)p + huge - 1) & ~(huge - 1));
	NEED(!madvise(area, 2 * huge, MADV_HUGEPAGE));
	fill(area, 2 * huge, 31);
	return 0;
}

static int huge_use(struct maker_ctx *ctx)
{
	CHECK(vm_flag(area, " hg"));
	return check_fill(area, 4ul << 20, 31);
}

/* A name for anonymous memory; kernels without it say so. */

static int named_make(struct maker_ctx *ctx)
{
	area = map_private(4 * PAGE);
	CHECK(area);
	NEED(!prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, area, 2 * PAGE, "a name, (odd)"));
	return 0;
}

static int named_use(struct maker_ctx *ctx)
{
	CHECK(file_has("/proc/self/maps", "[anon:a name, (odd)]"));
	return 0;
}

/* Guard regions: pages that fault without a mapping of their own. */

static int guard_make(struct maker_ctx *ctx)
{
	area = map_private(16 * PAGE);
	CHECK(area);
	fill(area, 16 * PAGE, 41);
	NEED(!madvise(area + 4 * PAGE, 2 * PAGE, ADV_GUARD_INSTALL));
	return 0;
}

static int guard_use(struct maker_ctx *ctx)
{
	TRY(check_fill(area, 4 * PAGE, 41));
	SAME(fault_of(area + 4 * PAGE, false), SIGSEGV);
	SAME(fault_of(area + 5 * PAGE, true), SIGSEGV);
	SAME(fault_of(area + 6 * PAGE, true), 0);
	return 0;
}

static int droppable_make(struct maker_ctx *ctx)
{
	area = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_DROP | MAP_ANONYMOUS, -1, 0);
	NEED(area != MAP_FAILED);
	fill(area, PAGE, 51);
	return 0;
}

static int droppable_use(struct maker_ctx *ctx)
{
	CHECK(vm_flag(area, " dp"));
	area[1] = 2;
	return 0;
}

static int sealed_make(struct maker_ctx *ctx)
{
	area = map_private(4 * PAGE);
	CHECK(area);
	fill(area, 4 * PAGE, 61);
	NEED(!syscall(NR_mseal, area, 2 * PAGE, 0));
	return 0;
}

static int sealed_use(struct maker_ctx *ctx)
{
	TRY(check_fill(area, 4 * PAGE, 61));
	SAME(munmap(area, PAGE), -1);
	SAME(errno, EPERM);
	SAME(mprotect(area + PAGE, PAGE, PROT_NONE), -1);
	CHECK(!munmap(area + 2 * PAGE, 2 * PAGE));
	return 0;
}

/* Memory policy: of a mapping and of the task. */

enum { POLICY_BIND = 2, POLICY_INTERLEAVE = 3 };

static int policy_make(struct maker_ctx *ctx)
{
	unsigned long nodes = 1;

	area = map_private(4 * PAGE);
	CHECK(area);
	NEED(!syscall(SYS_mbind, area, 2 * PAGE, POLICY_BIND, &nodes, 64, 0));
	area[0] = 1;
	return 0;
}

static int policy_use(struct maker_ctx *ctx)
{
	unsigned long nodes = 0;
	int mode = -1;

	CHECK(!syscall(SYS_get_mempolicy, &mode, &nodes, 64, area, 2 /* MPOL_F_ADDR */));
	SAME(mode, POLICY_BIND);
	SAME(nodes, 1);
	CHECK(!syscall(SYS_get_mempolicy, &mode, &nodes, 64, area + 2 * PAGE, 2));
	SAME(mode, 0);
	return 0;
}

static int task_policy_make(struct maker_ctx *ctx)
{
	unsigned long nodes = 1;

	NEED(!syscall(SYS_set_mempolicy, POLICY_INTERLEAVE, &nodes, 64));
	return 0;
}

static int task_policy_use(struct maker_ctx *ctx)
{
	unsigned long nodes = 0;
	int mode = -1;

	CHECK(!syscall(SYS_get_mempolicy, &mode, &nodes, 64, NULL, 0));
	SAME(mode, POLICY_INTERLEAVE);
	SAME(nodes, 1);
	return 0;
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

/* Shared memory belongs to who made it: seen through map_files. */

static char *owned, path_of_owned[100];
static const struct timespec times[2] = { { 1000000000, 1 }, { 1000000000, 123456789 } };

static void owned_path(void)
{
	snprintf(path_of_owned, sizeof(path_of_owned), "/proc/self/map_files/%lx-%lx", (unsigned long)owned,
		(unsigned long)owned + PAGE);
}

static int shared_owned_make(struct maker_ctx *ctx)
{
	setfsgid(1006);
	setfsuid(1005);
	owned = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	setfsuid(0);
	setfsgid(0);
	CHECK(!prctl(PR_SET_DUMPABLE, 1));
	CHECK(owned != MAP_FAILED);
	owned[0] = 1;
	owned_path();
	CHECK(!chmod(path_of_owned, 0640));
	return utimensat(AT_FDCWD, path_of_owned, times, 0);
}

static int shared_owned_use(struct maker_ctx *ctx)
{
	struct stat st;

	CHECK(!stat(path_of_owned, &st));
	SAME(st.st_mode & 07777, 0640);
	SAME(st.st_mtim.tv_sec, times[1].tv_sec);
	SAME(st.st_mtim.tv_nsec, times[1].tv_nsec);
	SAME(st.st_uid, 1005);
	SAME(st.st_gid, 1006);
	SAME(owned[0], 1);
	return 0;
}

const struct maker makers_memory[] = {
	{ "private", "1 MiB of private memory", private_make, private_use, 0, 1 << 20 },
	{ "private-64m", "64 MiB of private memory", private_make, private_use, MAKER_SLOW, 64 << 20 },
	ROW("holes", "pages never touched, only read, and given back", holes),
	ROW("zeros", "pages of zeros", zeros),
	ROW("sparse", "a terabyte with six pages in it", sparse),
	ROW("protections", "a page of each protection", prot),
	ROW("code", "code written at run time", code),
	ROW("shared", "shared memory of two processes", shared),
	ROW("shared-owned", "shared memory of another user, with a mode and a time", shared_owned),
	ROW("shared-twice", "shared memory mapped twice", twice),
	ROW("copy-on-write", "pages shared by fork, some written since", cow),
	ROW("brk", "a grown heap", brk),
	ROW("growsdown", "MAP_GROWSDOWN, grown", growsdown),
	{ "deep-stack", "1.6 MiB of stack in use", deep_make },
	ROW("mlock", "mlock, and mlock2 on fault", mlock),
	{ "mlockall", "mlockall of now", mlockall_make, mlockall_use, 0, MCL_CURRENT },
	{ "mlockall-future", "mlockall of the future", mlockall_make, mlockall_use, 0, MCL_FUTURE },
	{ "mlockall-onfault", "mlockall of the future, on fault", mlockall_make, mlockall_use, 0,
		MCL_FUTURE | MCL_ONFAULT },
	{ "dontfork", "MADV_DONTFORK", advice_make, advice_use, 0, 0 },
	{ "wipeonfork", "MADV_WIPEONFORK", advice_make, advice_use, 0, 1 },
	{ "dontdump", "MADV_DONTDUMP", advice_make, advice_use, 0, 2 },
	{ "mergeable", "MADV_MERGEABLE", advice_make, advice_use, 0, 3 },
	{ "hugepage", "MADV_HUGEPAGE", advice_make, advice_use, 0, 4 },
	{ "nohugepage", "MADV_NOHUGEPAGE", advice_make, advice_use, 0, 5 },
	{ "sequential", "MADV_SEQUENTIAL", advice_make, advice_use, 0, 6 },
	{ "random", "MADV_RANDOM", advice_make, advice_use, 0, 7 },
	ROW("huge", "4 MiB of huge pages", huge),
	ROW("named", "named anonymous memory", named),
	{ "guard", "guard regions", guard_make, guard_use, MAKER_MAY_REFUSE, 0, "guard" },
	{ "droppable", "MAP_DROPPABLE", droppable_make, droppable_use, MAKER_MAY_REFUSE },
	{ "sealed", "mseal", sealed_make, sealed_use, MAKER_MAY_REFUSE },
	{ "policy", "the policy of a mapping", policy_make, policy_use, MAKER_MAY_REFUSE },
	{ "task-policy", "the policy of the task", task_policy_make, task_policy_use, MAKER_MAY_REFUSE },
	ROW("mappings", "two thousand mappings", mappings),
	ROW("ends", "the ends of the address space", ends),
	ROW("malloc", "the heap of the C library", malloc),
	{ 0 },
};
