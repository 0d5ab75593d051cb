/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who shares what with whom: kcmp(2) over all tasks of the tree, and pages shared by fork. */

#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "oracle.h"

struct member {
	struct task *task;
	uint64_t class;
};

static int compare_tasks(pid_t a, pid_t b, int what)
{
	long order = syscall(SYS_kcmp, a, b, what, 0, 0);

	return order == 1 ? -1 : order == 2 ? 1 : 0;
}

static int by_resource(const void *a, const void *b, void *what)
{
	return compare_tasks(
		((const struct member *)a)->task->tid, ((const struct member *)b)->task->tid, *(int *)what);
}

static int by_task(const void *a, const void *b)
{
	const struct task *x = ((const struct member *)a)->task, *y = ((const struct member *)b)->task;

	if (x->proc != y->proc)
		return x->proc < y->proc ? -1 : 1;
	return x < y ? -1 : x > y;
}

static size_t list_tasks(struct oracle *o, struct member **list)
{
	size_t n = 0, total = 0;

	for (size_t i = 0; i < o->nprocs; i++)
		total += o->procs[i].ntasks;
	*list = calloc(total, sizeof(**list));
	for (size_t i = 0; i < o->nprocs; i++)
		for (size_t j = 0; j < o->procs[i].ntasks; j++)
			if (o->procs[i].tasks[j].state != 'Z')
				(*list)[n++].task = &o->procs[i].tasks[j];
	return n;
}

/* Classes by first appearance, 1 and up; 0 for those that have none of the resource. */
static void classify(struct oracle *o, struct member *list, size_t n, int what)
{
	uint64_t class = 0;
	struct table seen = { 0 };

	qsort_r(list, n, sizeof(*list), by_resource, &what);
	for (size_t i = 0; i < n; i++) {
		if (i == 0 || compare_tasks(list[i - 1].task->tid, list[i].task->tid, what))
			class ++;
		list[i].class = compare_tasks(list[i].task->tid, o->blank, what) ? class : 0;
	}
	qsort(list, n, sizeof(*list), by_task);
	for (size_t i = 0; i < n; i++)
		if (list[i].class)
			list[i].class = ordinal(&seen, list[i].class, 0);
	table_free(&seen);
}

static void class_facts(struct oracle *o, struct member *list, size_t n, const char *key, bool only_shared)
{
	struct {
		size_t members, number; /* in the order of their first members */
	} *classes = calloc(n + 1, sizeof(*classes));
	size_t numbers = 0;
	char prefix[48];

	for (size_t i = 0; i < n; i++)
		classes[list[i].class].members++;
	for (size_t i = 0; i < n; i++) {
		size_t class = list[i].class;

		if (!class || (only_shared && classes[class].members < 2))
			continue;
		if (!classes[class].number)
			classes[class].number = ++numbers;
		thread_prefix(list[i].task, prefix);
		fact(o, prefix, key, "#%zu", classes[class].number);
	}
	free(classes);
}

void sharing_classes(struct oracle *o)
{
	static const struct {
		const char *key;
		int what;
		/* An I/O context comes into being with the first I/O, an undo list with the first SEM_UNDO, even one
		 * that fails: only that they are shared is a fact. */
		bool only_shared;
	} kinds[] = { { "address space", KCMP_VM, false }, { "descriptor table", KCMP_FILES, false },
		{ "directories", KCMP_FS, false }, { "signal handlers", KCMP_SIGHAND, false },
		{ "io context", KCMP_IO, true }, { "semaphore undo list", KCMP_SYSVSEM, true } };
	struct member *list;
	size_t n = list_tasks(o, &list);

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		classify(o, list, n, kinds[i].what);
		class_facts(o, list, n, kinds[i].key, kinds[i].only_shared);
		for (size_t j = 0; j < n && kinds[i].what == KCMP_FILES; j++)
			list[j].task->files = list[j].class;
	}
	free(list);
}

/* Bits of /proc/PID/pagemap */
#define PM_PRESENT   (1ULL << 63)
#define PM_FILE	     (1ULL << 61)
#define PM_EXCLUSIVE (1ULL << 56)
#define PM_PFN	     ((1ULL << 55) - 1)

struct frame {
	uint64_t pfn;
	size_t proc;
};

struct frames {
	struct frame *list;
	size_t count, room;
};

/* Every process maps this one without sharing anything. */
static uint64_t zero_page(void)
{
	unsigned char *page = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	_close_ int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry = 0;

	if (page == MAP_FAILED)
		return 0;
	if (*(volatile unsigned char *)page == 0 &&
		pread(fd, &entry, sizeof(entry), (uintptr_t)page / PAGE * sizeof(entry)) != sizeof(entry))
		entry = 0;
	munmap(page, PAGE);
	return entry & PM_PFN;
}

static void collect_range(struct frames *f, size_t proc, int pagemap, uint64_t start, uint64_t end, uint64_t zero)
{
	uint64_t entries[512];

	while (start < end) {
		size_t want = (end - start) / PAGE;
		ssize_t n;

		if (want > ARRAY_SIZE(entries))
			want = ARRAY_SIZE(entries);
		n = pread(pagemap, entries, want * 8, start / PAGE * 8);
		if (n < 8)
			return;
		for (ssize_t i = 0; i < n / 8; i++) {
			uint64_t pfn = entries[i] & PM_PFN;

			if ((entries[i] & (PM_PRESENT | PM_FILE | PM_EXCLUSIVE)) != PM_PRESENT || !pfn || pfn == zero)
				continue;
			if (f->count == f->room)
				f->list = reallocarray(f->list, f->room = f->room * 2 + 1024, sizeof(*f->list));
			f->list[f->count++] = (struct frame){ pfn, proc };
		}
		start += n / 8 * PAGE;
	}
}

static void collect_process(struct oracle *o, struct frames *f, size_t proc, uint64_t zero)
{
	_free_ char *maps = slurpf(NULL, "/proc/%d/maps", o->procs[proc].pid);
	char path[64], *save = NULL;
	_close_ int pagemap = -1;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", o->procs[proc].pid);
	pagemap = open(path, O_RDONLY | O_CLOEXEC);
	for (char *line = maps ? strtok_r(maps, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save)) {
		uint64_t start, end;
		char perms[5];

		if (sscanf(line, "%lx-%lx %4s", &start, &end, perms) == 3 && perms[3] == 'p' && end - start < 1UL << 40)
			collect_range(f, proc, pagemap, start, end, zero);
	}
}

static int by_frame(const void *a, const void *b)
{
	const struct frame *x = a, *y = b;

	if (x->pfn != y->pfn)
		return x->pfn < y->pfn ? -1 : 1;
	return x->proc < y->proc ? -1 : x->proc > y->proc;
}

void page_sharing(struct oracle *o)
{
	struct frames f = { 0 };
	_free_ size_t *shared = calloc(o->nprocs, sizeof(*shared));
	uint64_t zero = zero_page();

	for (size_t i = 0; i < o->nprocs; i++)
		collect_process(o, &f, i, zero);
	qsort(f.list, f.count, sizeof(*f.list), by_frame);
	for (size_t i = 0, to; i < f.count; i = to) {
		for (to = i; to < f.count && f.list[to].pfn == f.list[i].pfn;)
			to++;
		if (f.list[i].proc == f.list[to - 1].proc)
			continue;
		for (size_t j = i; j < to; j++)
			shared[f.list[j].proc]++;
	}
	for (size_t i = 0; i < o->nprocs; i++)
		fact(o, o->procs[i].prefix, "pages shared by fork", "%zu", shared[i]);
	free(f.list);
}
