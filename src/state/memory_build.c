/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Making an address space again, by batches that the process itself runs. Private areas are writable while pages are read into them, and have their
 * last protection before a child is forked, which so has it from birth. memory_finish gives advice and locks, once no more processes are to be forked.
 */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include <fcntl.h>
#include <linux/prctl.h>
#include <xxhash.h>

#include "base/cleanup.h"
#include "kernel/uapi.h"
#include "state/inode.h"
#include "state/memory.h"

#define TASK_END 0x7ffffffff000ull /* 47 bits: nothing of a program lies above unless it asked for it by address */
#define IOV_MAX_ 1024u
#define READ_MAX (1ull << 30)

static bool fills(const struct memory_area *a)
{
	return a->kind == AREA_ANON || a->kind == AREA_PRIVATE;
}

static bool is_vdso(const struct memory_area *a)
{
	return a->kind == AREA_VDSO || a->kind == AREA_VVAR;
}

/* Does any of the sorted ranges meet [start, end)? */
static bool meets(const void *list, size_t n, size_t stride, uint64_t start, uint64_t end)
{
	size_t low = 0;

	while (low < n) {
		size_t mid = low + (n - low) / 2;
		const struct page_range *r = (const void *)((const uint8_t *)list + mid * stride);

		if (r->start >= end)
			n = mid;
		else if (r->start + r->pages * PAGE_SIZE <= start)
			low = mid + 1;
		else
			return true;
	}
	return false;
}

/* A run begins as a range does. */
static_assert(offsetof(struct page_run, start) == offsetof(struct page_range, start), "runs are searched as ranges");
static_assert(offsetof(struct page_run, pages) == offsetof(struct page_range, pages), "runs are searched as ranges");

static bool has_runs(const struct memory_state *m, uint64_t start, uint64_t end)
{
	return meets(m->runs, m->n_runs, sizeof(m->runs[0]), start, end);
}

/* Protection while being made: what gets pages must be writable; what gets none need not be, and is then not charged for. */
static int making_prot(const struct memory_state *m, const struct memory_area *a)
{
	bool pages = fills(a) && has_runs(m, a->start, a->end);

	return pages ? (int)a->prot | PROT_READ | PROT_WRITE : (int)a->prot;
}

/* A label that lives as long as the batch. */
static PRINTF_LIKE(2, 3) const char *label(struct batch *b, const char *fmt, ...)
{
	char *s = area_alloc(b->area, 80);
	va_list args;

	if (!s)
		return "memory";
	va_start(args, fmt);
	vsnprintf(s, 80, fmt, args);
	va_end(args);
	return s;
}

/* --- descriptors: fetched from the keeper to fixed numbers -------------------------------------------------------------- */

struct fetched {
	struct backing_fd {
		object_id backing;
		bool write;
	} list[256];
	size_t n;
	unsigned int n_page_files;
};

static void fetch_to(struct build *b, const char *what, int keeper_fd, int number)
{
	uint32_t fetch = build_fetch(b, what, keeper_fd);
	uint32_t dup = batch_call(b->batch, what, SYS_dup3, 0, (uint64_t)number, O_CLOEXEC);
	uint32_t drop;

	batch_use(b->batch, dup, 0, fetch);
	drop = batch_call(b->batch, what, SYS_close, 0);
	batch_use(b->batch, drop, 0, fetch);
}

/* Fetched descriptors take the lowest free number for a moment: the fixed ones start above any that could be. */
#define FIXED_FIRST 64

static int page_file_number(unsigned int file)
{
	return FIXED_FIRST + (int)file;
}

/* Those that it has pages in. */
static void fetch_page_files(struct build *b, struct fetched *f, const struct memory_state *m)
{
	uint64_t last = UINT64_MAX;

	f->n_page_files = b->restore->image->n_page_files;
	for (size_t i = 0; i < m->n_runs; i++) {
		unsigned int file = (unsigned int)m->runs[i].file;
		bool known = file == last;

		last = file;
		for (size_t k = 0; k < i && !known; k++)
			known = m->runs[k].file == file;
		if (!known)
			fetch_to(b, "page file", page_file_fd(b->restore->image, file), page_file_number(file));
	}
}

struct mapped_file {
	object_id backing;
	bool write;
	int fd;
};

/* The keeper opens each once, however many processes map it. */
static int open_mapped(struct restore *r, object_id backing, bool write)
{
	struct mapped_file *grown;
	int fd;

	for (size_t i = 0; i < r->n_mapped; i++)
		if (r->mapped[i].backing == backing && r->mapped[i].write == write)
			return r->mapped[i].fd;
	grown = reallocarray(r->mapped, r->n_mapped + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	r->mapped = grown;
	fd = backing_open(r, backing, write ? O_RDWR : O_RDONLY);
	if (fd >= 0)
		r->mapped[r->n_mapped++] = (struct mapped_file){ backing, write, fd };
	return fd;
}

void memory_close_mapped(struct restore *r)
{
	for (size_t i = 0; i < r->n_mapped; i++)
		close(r->mapped[i].fd);
	free(r->mapped);
	r->mapped = NULL;
	r->n_mapped = 0;
}

/* The number in the task of a descriptor of that backing. */
static int fetch_backing(struct build *b, struct fetched *f, object_id backing, bool write)
{
	int number = FIXED_FIRST + (int)f->n_page_files, fd;

	for (size_t i = 0; i < f->n; i++)
		if (f->list[i].backing == backing && f->list[i].write == write)
			return number + (int)i;
	fd = open_mapped(b->restore, backing, write);
	if (fd < 0)
		return fd;
	/* The table is a window: more backings than it holds take the place of the first again. */
	if (f->n == ARRAY_SIZE(f->list))
		f->n = 0;
	f->list[f->n] = (struct backing_fd){ backing, write };
	fetch_to(b, "mapped file", fd, number + (int)f->n);
	return number + (int)f->n++;
}

/* --- mapping ------------------------------------------------------------------------------------------------------------- */

static int map_area(struct build *b, struct fetched *f, const struct memory_state *m, const struct memory_area *a)
{
	int flags = MAP_FIXED, fd = -1;
	uint32_t op;

	if (a->kind == AREA_ANON)
		flags |= MAP_ANONYMOUS | (a->flags & AREA_DROPPABLE ? SPORE_MAP_DROPPABLE : MAP_PRIVATE);
	else
		flags |= a->kind == AREA_SHARED ? MAP_SHARED : MAP_PRIVATE;
	if (a->flags & AREA_GROWSDOWN)
		flags |= MAP_GROWSDOWN;
	if (a->flags & AREA_NORESERVE)
		flags |= MAP_NORESERVE;
	if (a->backing) {
		fd = fetch_backing(b, f, a->backing, a->kind == AREA_SHARED && (a->flags & AREA_MAYWRITE));
		if (fd < 0)
			return fd;
	}
	op = batch_call(b->batch, label(b->batch, "mmap of %lx-%lx", a->start, a->end), SYS_mmap, a->start,
		a->end - a->start, (uint64_t)making_prot(m, a), (uint64_t)flags, (uint64_t)fd, a->offset);
	batch_expect(b->batch, op, (int64_t)a->start);
	if (a->flags & (AREA_HUGEPAGE | AREA_NOHUGEPAGE)) {
		op = batch_call(b->batch, "madvise of huge pages", SYS_madvise, a->start, a->end - a->start,
			a->flags & AREA_HUGEPAGE ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
		batch_may_fail(b->batch, op); /* a kernel without THP does not know them */
	}
	return 0;
}

static void unmap(struct build *b, uint64_t start, uint64_t end)
{
	if (start < end)
		batch_call(b->batch, label(b->batch, "munmap of %lx-%lx", start, end), SYS_munmap, start, end - start);
}

/* Unmaps everything but the ranges to keep (sorted by address) and the stub's area. */
static void unmap_others(struct build *b, const struct page_range *keep, size_t n)
{
	uint64_t ours = b->restore->area.base.v, ours_end = ours + b->restore->area.size, at = 0;
	size_t i = 0;

	while (i < n || ours_end) {
		bool take_ours = ours_end && (i == n || ours < keep[i].start);
		uint64_t start = take_ours ? ours : keep[i].start,
			 end = take_ours ? ours_end : keep[i].start + keep[i].pages * PAGE_SIZE;

		unmap(b, at, start);
		at = MAX(at, end);
		if (take_ours)
			ours_end = 0;
		else
			i++;
	}
	unmap(b, at, TASK_END);
}

static void move_piece(struct build *b, uint64_t from, uint64_t to, uint64_t size)
{
	uint32_t op = batch_call(
		b->batch, "mremap of the vDSO", SYS_mremap, from, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, to);

	batch_expect(b->batch, op, (int64_t)to);
}

/* Moves the kernel's pages to where the program knew them; by way of the free room behind our area when the two places overlap. */
static void move_vdso(struct build *b, const struct vdso_pieces *from, uint64_t to)
{
	uint64_t start = from->list[0].start,
		 last = from->list[from->n - 1].start + from->list[from->n - 1].pages * PAGE_SIZE;
	uint64_t scratch = b->restore->area.base.v + b->restore->area.size;
	bool overlap = to < last && start < to + (last - start);

	if (to == start)
		return;
	for (int pass = overlap ? 0 : 1; pass < 2; pass++)
		for (size_t i = 0; i < from->n; i++) {
			uint64_t offset = from->list[i].start - start;

			move_piece(b, pass == 1 && overlap ? scratch + offset : start + offset,
				(pass == 0 ? scratch : to) + offset, from->list[i].pages * PAGE_SIZE);
		}
}

static uint64_t vdso_start(const struct memory_state *m)
{
	for (size_t i = 0; i < m->n_areas; i++)
		if (is_vdso(&m->areas[i]))
			return m->areas[i].start;
	return 0;
}

int vdso_pieces_of(pid_t pid, struct vdso_pieces *out)
{
	_cleanup_fd_ int dir = procfs_open_pid(pid);
	struct proc_maps maps = { 0 };
	int r = dir < 0 ? dir : proc_maps_read(dir, &maps);

	out->n = 0;
	for (size_t i = 0; i < maps.n; i++) {
		const struct proc_map *m = &maps.list[i];

		if ((!strncmp(m->name, "[vvar", 5) || !strcmp(m->name, "[vdso]")) && out->n < ARRAY_SIZE(out->list))
			out->list[out->n++] = (struct page_range){ m->start, (m->end - m->start) / PAGE_SIZE };
	}
	proc_maps_free(&maps);
	return r;
}

/* --- filling ------------------------------------------------------------------------------------------------------------- */

/* Runs that lie one behind the other in a page file are read by one call, wherever they go. */
static size_t fill_some(struct build *b, const struct page_run *runs, size_t n)
{
	struct iovec iov[IOV_MAX_];
	uint64_t bytes = 0, at = runs[0].at;
	struct remote_addr where;
	size_t i = 0;
	uint32_t op;

	while (i < n && i < IOV_MAX_ && runs[i].file == runs[0].file && runs[i].at == at &&
		bytes + runs[i].pages * PAGE_SIZE <= READ_MAX) {
		iov[i] = (struct iovec){ (void *)runs[i].start, runs[i].pages * PAGE_SIZE };
		bytes += runs[i].pages * PAGE_SIZE;
		at += runs[i].pages;
		i++;
	}
	if (i <= 1) {
		bytes = MIN(runs[0].pages * PAGE_SIZE, READ_MAX);
		op = batch_call(b->batch, "reading of pages", SYS_pread64,
			(uint64_t)page_file_number((unsigned int)runs[0].file), runs[0].start, bytes,
			runs[0].at * PAGE_SIZE);
		batch_expect(b->batch, op, (int64_t)bytes);
		for (uint64_t done = bytes; done < runs[0].pages * PAGE_SIZE; done += bytes) {
			bytes = MIN(runs[0].pages * PAGE_SIZE - done, READ_MAX);
			op = batch_call(b->batch, "reading of pages", SYS_pread64,
				(uint64_t)page_file_number((unsigned int)runs[0].file), runs[0].start + done, bytes,
				runs[0].at * PAGE_SIZE + done);
			batch_expect(b->batch, op, (int64_t)bytes);
		}
		return 1;
	}
	where = batch_copy(b->batch, iov, i * sizeof(iov[0]));
	op = batch_call(b->batch, "reading of pages", SYS_preadv,
		(uint64_t)page_file_number((unsigned int)runs[0].file), where.v, i, runs[0].at * PAGE_SIZE, 0);
	batch_expect(b->batch, op, (int64_t)bytes);
	return i;
}

static void fill(struct build *b, const struct memory_state *m)
{
	for (size_t i = 0; i < m->n_runs;)
		i += fill_some(b, &m->runs[i], m->n_runs - i);
	for (size_t i = 0; i < m->n_areas; i++) {
		const struct memory_area *a = &m->areas[i];

		if (!is_vdso(a) && making_prot(m, a) != (int)a->prot)
			batch_call(b->batch, label(b->batch, "mprotect of %lx", a->start), SYS_mprotect, a->start,
				a->end - a->start, a->prot);
	}
}

static int set_mm(struct build *b, struct fetched *f, const struct memory_state *m, bool with_exe)
{
	struct prctl_mm_map map = {
		.start_code = m->start_code,
		.end_code = m->end_code,
		.start_data = m->start_data,
		.end_data = m->end_data,
		.start_brk = m->start_brk,
		.brk = m->brk,
		.start_stack = m->start_stack,
		.arg_start = m->arg_start,
		.arg_end = m->arg_end,
		.env_start = m->env_start,
		.env_end = m->env_end,
		.auxv_size = (uint32_t)m->auxv.size,
		.exe_fd = (uint32_t)-1,
	};

	if (with_exe && m->exe) {
		int fd = fetch_backing(b, f, m->exe, false);

		if (fd < 0)
			return fd;
		map.exe_fd = (uint32_t)fd;
	}
	map.auxv = (void *)batch_copy(b->batch, m->auxv.data, m->auxv.size).v;
	batch_call(b->batch, "prctl(PR_SET_MM_MAP)", SYS_prctl, PR_SET_MM, PR_SET_MM_MAP,
		batch_copy(b->batch, &map, sizeof(map)).v, sizeof(map), 0);
	return 0;
}

static void close_fetched(struct build *b)
{
	batch_call(b->batch, "close_range", SYS_close_range, BARE_FD_FIRST, ~0u, 0);
}

int memory_make_bare(struct build *b, const struct memory_state *m, const struct vdso_pieces *seed)
{
	struct fetched f = { 0 };
	uint64_t to = vdso_start(m);
	int r = 0;

	unmap_others(b, seed->list, to ? seed->n : 0);
	if (to && seed->n)
		move_vdso(b, seed, to);
	fetch_page_files(b, &f, m);
	for (size_t i = 0; r == 0 && i < m->n_areas; i++)
		if (!is_vdso(&m->areas[i]))
			r = map_area(b, &f, m, &m->areas[i]);
	fill(b, m);
	if (r == 0)
		r = set_mm(b, &f, m, true);
	close_fetched(b);
	return r < 0 ? failed(b->ps, BLAME(.pid = b->process->vpid, .object = "memory"), r,
			       "a mapped file cannot be opened: %s", strerror(-r))
		     : 0;
}

/* --- forked ---------------------------------------------------------------------------------------------------------------- */

/* The parent's area that covers this one and is of the same stuff: what fork left in place can stay. NULL: none. */
static const struct memory_area *covering(const struct memory_state *parent, const struct memory_area *a)
{
	for (size_t i = 0; i < parent->n_areas; i++) {
		const struct memory_area *p = &parent->areas[i];

		if (p->start <= a->start && p->end >= a->end && p->kind == a->kind && p->backing == a->backing &&
			((p->flags ^ a->flags) & (AREA_GROWSDOWN | AREA_NORESERVE | AREA_DROPPABLE)) == 0 &&
			(!a->backing || p->offset - p->start == a->offset - a->start))
			return p;
	}
	return NULL;
}

/* Pages that the parent has of its own, and so a child has at its birth, are what was read into it and what it inherited itself. */
static void drop(struct build *b, const struct memory_state *parent, uint64_t start, uint64_t end)
{
	if (has_runs(parent, start, end) ||
		meets(parent->inherited, parent->n_inherited, sizeof(parent->inherited[0]), start, end))
		batch_call(b->batch, "madvise(MADV_DONTNEED)", SYS_madvise, start, end - start, MADV_DONTNEED);
}

/* What of [start, end) is not in the sorted ranges is given back: such pages are the parent's only. */
static void drop_outside(struct build *b, const struct memory_state *parent, uint64_t start, uint64_t end,
	const struct page_range *keep, size_t n)
{
	for (size_t i = 0; i < n && start < end; i++) {
		uint64_t keep_end = keep[i].start + keep[i].pages * PAGE_SIZE;

		if (keep_end <= start)
			continue;
		if (keep[i].start >= end)
			break;
		if (keep[i].start > start)
			drop(b, parent, start, keep[i].start);
		start = keep_end;
	}
	if (start < end)
		drop(b, parent, start, end);
}

int memory_make_forked(struct build *b, const struct memory_state *m, const struct memory_state *parent)
{
	_cleanup_free_ struct page_range *keep = calloc(m->n_areas + 1, sizeof(*keep));
	struct fetched f = { 0 };
	size_t n_keep = 0;
	int r = 0;

	if (!keep)
		return failed(b->ps, NULL, -ENOMEM, "out of memory");
	for (size_t i = 0; i < m->n_areas; i++)
		if (covering(parent, &m->areas[i]))
			keep[n_keep++] = (struct page_range){ m->areas[i].start,
				(m->areas[i].end - m->areas[i].start) / PAGE_SIZE };
	unmap_others(b, keep, n_keep);
	fetch_page_files(b, &f, m);
	for (size_t i = 0; r == 0 && i < m->n_areas; i++) {
		const struct memory_area *a = &m->areas[i], *from = covering(parent, a);

		if (is_vdso(a))
			continue;
		if (!from) {
			r = map_area(b, &f, m, a);
			continue;
		}
		if ((int)from->prot != making_prot(m, a))
			batch_call(b->batch, "mprotect", SYS_mprotect, a->start, a->end - a->start,
				(uint64_t)making_prot(m, a));
		if (fills(a))
			drop_outside(b, parent, a->start, a->end, m->inherited, m->n_inherited);
	}
	fill(b, m);
	if (r == 0)
		r = set_mm(b, &f, m, m->exe != parent->exe);
	close_fetched(b);
	return r < 0 ? failed(b->ps, BLAME(.pid = b->process->vpid, .object = "memory"), r,
			       "a mapped file cannot be opened: %s", strerror(-r))
		     : 0;
}

/* --- finishing --------------------------------------------------------------------------------------------------------------- */

static const struct {
	unsigned int flag;
	int advice;
} advice[] = {
	{ AREA_SEQUENTIAL, MADV_SEQUENTIAL },
	{ AREA_RANDOM, MADV_RANDOM },
	{ AREA_DONTFORK, MADV_DONTFORK },
	{ AREA_DONTDUMP, MADV_DONTDUMP },
	{ AREA_HUGEPAGE, MADV_HUGEPAGE },
	{ AREA_NOHUGEPAGE, MADV_NOHUGEPAGE },
	{ AREA_MERGEABLE, MADV_MERGEABLE },
	{ AREA_WIPEONFORK, MADV_WIPEONFORK },
};

static void finish_area(struct build *b, const struct memory_area *a)
{
	uint64_t size = a->end - a->start;

	for (size_t i = 0; i < ARRAY_SIZE(advice); i++)
		if (a->flags & advice[i].flag)
			batch_call(b->batch, label(b->batch, "madvise %d of %lx", advice[i].advice, a->start),
				SYS_madvise, a->start, size, (uint64_t)advice[i].advice);
	if (a->name)
		batch_call(b->batch, "naming of a mapping", SYS_prctl, PR_SET_VMA, PR_SET_VMA_ANON_NAME, a->start, size,
			batch_string(b->batch, a->name).v);
	if (a->flags & AREA_LOCKED) /* an area without access is locked all the same, but answers ENOMEM */
		batch_may_fail(b->batch, batch_call(b->batch, "mlock", SYS_mlock2, a->start, size,
						 a->flags & AREA_ONFAULT ? MLOCK_ONFAULT : 0));
}

int memory_finish(struct build *b, const struct memory_state *m)
{
	for (size_t i = 0; i < m->n_areas; i++)
		if (!is_vdso(&m->areas[i]))
			finish_area(b, &m->areas[i]);
	for (size_t i = 0; i < m->n_guards; i++)
		batch_call(b->batch, "guard pages", SYS_madvise, m->guards[i].start, m->guards[i].pages * PAGE_SIZE,
			SPORE_MADV_GUARD_INSTALL);
	for (size_t i = 0; i < m->n_areas; i++)
		if (m->areas[i].flags & AREA_SEALED)
			batch_call(b->batch, "mseal", SPORE_SYS_mseal, m->areas[i].start,
				m->areas[i].end - m->areas[i].start, 0);
	if (m->lock_future)
		batch_call(b->batch, "mlockall(MCL_FUTURE)", SYS_mlockall,
			MCL_FUTURE | (m->lock_onfault ? MCL_ONFAULT : 0));
	return 0;
}
