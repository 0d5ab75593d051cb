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

#include "base/cleanup.h"
#include "kernel/uapi.h"
#include "state/aio.h"
#include "state/bpf_map.h"
#include "state/memory_build.h"
#include "state/memory_lazy.h"
#include "state/memory_parked.h"

#define TASK_END 0x7ffffffff000ull /* 47 bits: nothing of a program lies above unless it asked for it by address */
#define IOV_MAX_ 1024u
#define READ_MAX (1ull << 30)

static bool fills(const struct memory_area *a)
{
	return a->kind == AREA_ANON || a->kind == AREA_PRIVATE;
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

const char *memory_label(struct batch *b, const char *fmt, ...)
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

/* --- mapping --- */

/* One of a BPF map may be made writable only if it was that when it was made. */
static bool is_made_writable(const struct build *b, const struct memory_area *a)
{
	return a->backing && a->flags & AREA_MAYWRITE && !(a->prot & PROT_WRITE) &&
	       restore_state(b->restore, a->backing, component_bpf_map.kind.name);
}

static int map_area(struct build *b, struct fetched *f, const struct memory_state *m, const struct memory_area *a)
{
	int flags = MAP_FIXED, fd = -1, prot = making_prot(m, a);
	bool protect = is_made_writable(b, a);
	uint64_t at = parked_at(b->restore, m, a);
	uint32_t op;

	if (at) {
		parked_move(b, a, at);
		if (prot != (PROT_READ | PROT_WRITE)) /* as it is parked */
			batch_call(b->batch, "mprotect of shared pages", SYS_mprotect, a->start, a->end - a->start,
				(uint64_t)prot);
		return 0;
	}
	if (a->kind == AREA_AIO || a->kind == AREA_AIO_INHERITED || memory_is_ring(b->restore, a))
		return 0; /* when all else is mapped */
	if (memory_is_packet(b->restore, a))
		return memory_map_packet(b, f, m, a);
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
	op = batch_call(b->batch, memory_label(b->batch, "mmap of %lx-%lx", a->start, a->end), SYS_mmap, a->start,
		a->end - a->start, (uint64_t)(protect ? prot | PROT_WRITE : prot), (uint64_t)flags, (uint64_t)fd,
		a->offset);
	batch_expect(b->batch, op, (int64_t)a->start);
	if (protect)
		batch_call(
			b->batch, "mprotect of a BPF map", SYS_mprotect, a->start, a->end - a->start, (uint64_t)prot);
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
		batch_call(b->batch, memory_label(b->batch, "munmap of %lx-%lx", start, end), SYS_munmap, start,
			end - start);
}

/* What is parked for it and its descendants stays as well. */
static void keep_parked(const struct build *b, struct page_range *keep, size_t *n)
{
	const struct parked_process *p = parked_process_of(b->restore, b->process->id);

	if (p)
		keep[(*n)++] = (struct page_range){ p->from, (p->last - p->from) / PAGE_SIZE };
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

/* --- filling --- */

/* One run, by as many reads as its size takes. */
static void fill_run(struct build *b, const struct page_run *run)
{
	uint64_t size = run->pages * PAGE_SIZE, bytes;

	for (uint64_t done = 0; done < size; done += bytes) {
		uint32_t op;

		bytes = MIN(size - done, READ_MAX);
		op = batch_call(b->batch, "reading of pages", SYS_pread64,
			(uint64_t)page_file_number((unsigned int)run->file), run->start + done, bytes,
			run->at * PAGE_SIZE + done);
		batch_expect(b->batch, op, (int64_t)bytes);
	}
}

/* Runs that lie one behind the other in a page file are read by one call, wherever they go. How many were. */
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
		fill_run(b, &runs[0]);
		return 1;
	}
	where = batch_copy(b->batch, iov, i * sizeof(iov[0]));
	op = batch_call(b->batch, "reading of pages", SYS_preadv,
		(uint64_t)page_file_number((unsigned int)runs[0].file), where.v, i, runs[0].at * PAGE_SIZE, 0);
	batch_expect(b->batch, op, (int64_t)bytes);
	return i;
}

void memory_protect(struct build *b, const struct memory_state *m)
{
	for (size_t i = 0; i < m->n_areas; i++) {
		const struct memory_area *a = &m->areas[i];

		if (!is_vdso(a) && making_prot(m, a) != (int)a->prot)
			batch_call(b->batch, memory_label(b->batch, "mprotect of %lx", a->start), SYS_mprotect,
				a->start, a->end - a->start, a->prot);
	}
}

static int fill(struct build *b, const struct memory_state *m)
{
	struct page_runs runs;
	int r;

	if (b->restore->streamed || memory_is_large(b->restore, m)) /* engine/streamed_memory.c, engine/fill.c */
		return 0;
	r = memory_runs_now(b->restore, m, &runs);
	for (size_t i = 0; r == 0 && i < runs.n;)
		i += page_file_is_compressed(b->restore->image, (unsigned int)runs.list[i].file)
			     ? 1 /* engine/fill.c */
			     : fill_some(b, &runs.list[i], runs.n - i);
	memory_runs_done(&runs);
	if (!image_is_compressed(b->restore->image))
		memory_protect(b, m);
	return r;
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

static int end_making(struct build *b, int r)
{
	batch_call(b->batch, "close_range", SYS_close_range, BARE_FD_FIRST, ~0u, 0);
	return r < 0 ? failed(b->ps, BLAME(.pid = b->process->vpid, .object = "memory"), r,
			       "a mapped file cannot be opened: %s", strerror(-r))
		     : 0;
}

int memory_make_bare(struct build *b, const struct memory_state *m, const struct vdso_pieces *seed)
{
	struct page_range keep[ARRAY_SIZE(seed->list) + 1];
	bool forked = parked_process_of(b->restore, b->process->id) != NULL;
	struct fetched f = { 0 };
	uint64_t to = vdso_start(m);
	size_t n_keep = to ? seed->n : 0;
	int r = 0;

	memcpy(keep, seed->list, n_keep * sizeof(keep[0]));
	keep_parked(b, keep, &n_keep);
	page_ranges_sort(keep, n_keep);
	unmap_others(b, keep, n_keep);
	if (to && seed->n)
		move_vdso(b, seed, to);
	r = fetch_page_files(b, &f, m);
	if (r == 0 && forked) /* while nothing of it is mapped: it may have been its creator's too (EBUSY) */
		r = set_mm(b, &f, m, true);
	for (size_t i = 0; r == 0 && i < m->n_areas; i++)
		if (!is_vdso(&m->areas[i]) && !memory_segment(b->restore, &m->areas[i]))
			r = map_area(b, &f, m, &m->areas[i]);
	if (r == 0)
		r = memory_attach(b, m, NULL);
	if (r == 0)
		r = aio_make(b, m, NULL);
	if (r == 0)
		r = memory_map_rings(b, &f, m, NULL);
	if (r == 0)
		r = fill(b, m);
	if (r == 0 && !forked)
		r = set_mm(b, &f, m, true);
	parked_hold_back(b);
	return end_making(b, r);
}

/* --- forked --- */

static bool is_same_stuff(const struct memory_area *parent, const struct memory_area *a)
{
	if (a->kind == AREA_AIO) /* its own, wherever the parent has one */
		return false;
	return parent->kind == a->kind || (a->kind == AREA_AIO_INHERITED && parent->kind == AREA_AIO);
}

const struct memory_area *memory_covering(const struct memory_state *parent, const struct memory_area *a)
{
	for (size_t i = 0; i < parent->n_areas; i++) {
		const struct memory_area *p = &parent->areas[i];

		if (p->start <= a->start && p->end >= a->end && is_same_stuff(p, a) && p->backing == a->backing &&
			((p->flags ^ a->flags) & (AREA_GROWSDOWN | AREA_NORESERVE | AREA_DROPPABLE | AREA_MAYWRITE)) ==
				0 &&
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

/* The parent's vDSO, where the child is to have it elsewhere: its creator is not the one that it was forked by. */
static void vdso_to_move(const struct memory_state *m, const struct memory_state *parent, struct vdso_pieces *out)
{
	out->n = 0;
	if (!vdso_start(m) || vdso_start(m) == vdso_start(parent))
		return;
	for (size_t i = 0; i < parent->n_areas && out->n < ARRAY_SIZE(out->list); i++)
		if (is_vdso(&parent->areas[i]))
			out->list[out->n++] = (struct page_range){ parent->areas[i].start,
				(parent->areas[i].end - parent->areas[i].start) / PAGE_SIZE };
}

static const struct memory_area *covering(const struct build *b, const struct memory_state *m,
	const struct memory_state *parent, const struct memory_area *a)
{
	return memory_is_packet(b->restore, a) || memory_is_parked(b->restore, m, a) ? NULL
										     : memory_covering(parent, a);
}

/* What an area of the parent's is like at the fork. */
static int forked_prot(const struct build *b, const struct memory_state *parent, const struct memory_area *a)
{
	return b->restore->streamed ? making_prot(parent, a) : (int)a->prot;
}

int memory_make_forked(struct build *b, const struct memory_state *m, const struct memory_state *parent)
{
	struct vdso_pieces moved;
	_cleanup_free_ struct page_range *keep = calloc(m->n_areas + ARRAY_SIZE(moved.list) + 2, sizeof(*keep));
	struct fetched f = { 0 };
	size_t n_keep = 0;
	int r = 0;

	if (!keep)
		return failed(b->ps, NULL, -ENOMEM, "out of memory");
	for (size_t i = 0; i < m->n_areas; i++)
		if (covering(b, m, parent, &m->areas[i]))
			keep[n_keep++] = (struct page_range){ m->areas[i].start,
				(m->areas[i].end - m->areas[i].start) / PAGE_SIZE };
	vdso_to_move(m, parent, &moved);
	for (size_t i = 0; i < moved.n; i++)
		keep[n_keep++] = moved.list[i];
	keep_parked(b, keep, &n_keep);
	page_ranges_sort(keep, n_keep);
	unmap_others(b, keep, n_keep);
	if (moved.n)
		move_vdso(b, &moved, vdso_start(m));
	r = fetch_page_files(b, &f, m);
	for (size_t i = 0; r == 0 && i < m->n_areas; i++) {
		const struct memory_area *a = &m->areas[i], *from = covering(b, m, parent, a);

		if (is_vdso(a))
			continue;
		if (!from) {
			r = memory_segment(b->restore, a) ? 0 : map_area(b, &f, m, a);
			continue;
		}
		if (forked_prot(b, parent, from) != making_prot(m, a))
			batch_call(b->batch, "mprotect", SYS_mprotect, a->start, a->end - a->start,
				(uint64_t)making_prot(m, a));
		if (fills(a))
			drop_outside(b, parent, a->start, a->end, m->inherited, m->n_inherited);
	}
	if (r == 0)
		r = memory_attach(b, m, parent);
	if (r == 0)
		r = aio_make(b, m, parent);
	if (r == 0)
		r = memory_map_rings(b, &f, m, parent);
	if (r == 0)
		r = fill(b, m);
	if (r == 0)
		r = set_mm(b, &f, m, m->exe != parent->exe);
	parked_hold_back(b);
	return end_making(b, r);
}
