/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which pages of a process are its own, and which of these it still shares with its parent since the fork. PAGEMAP_SCAN in ioctl_pagemap_scan(2), where
 * the kernel has it (6.7), else /proc/PID/pagemap: proc_pid_pagemap(5); fs/proc/task_mmu.c. Few calls for many small mappings: the address space is
 * scanned as a whole, and frames are read by the window.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kernel/procfs.h"
#include "kernel/uapi.h"
#include "state/written.h"

static int add(struct page_ranges *r, uint64_t start, uint64_t pages)
{
	return page_ranges_add(r, (struct page_range){ .start = start, .pages = pages });
}

static bool lies_over_file(const struct memory_area *a)
{
	return a->kind == AREA_PRIVATE;
}

/* What is found in one process. */
struct looking {
	const struct memory_state *state;
	const struct written *written; /* what tells which of its pages were written since the parent; NULL: nothing */
	int pagemap_fd;
	bool guards_known;
	struct page_ranges present, guards;
	struct page_ranges unchanged; /* present too */
};

static int add_found(void *looking, const struct page_region *run)
{
	struct looking *l = looking;

	return page_ranges_add_found(run->categories & SPORE_PAGE_IS_GUARD ? &l->guards : &l->present, run);
}

/*
 * -EINVAL, -ENOTTY: this kernel does not know the call or a category. That a page is the file's costs a look at the page itself, which takes five times as long:
 * not asked where no page can be.
 */
static int scan(struct looking *l, uint64_t start, uint64_t end, bool has_files)
{
	const uint64_t guard = l->guards_known ? SPORE_PAGE_IS_GUARD : 0;
	const uint64_t not_own = PAGE_IS_PFNZERO | (has_files ? PAGE_IS_FILE : 0);
	struct pm_scan_arg what = {
		.start = start,
		.end = end,
		.category_inverted = not_own,
		.category_mask = not_own,
		.category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED | guard,
		.return_mask = PAGE_IS_PRESENT | guard,
	};

	return page_scan(l->pagemap_fd, &what, add_found, l);
}

static int read_entries(int pagemap_fd, uint64_t start, uint64_t pages, uint64_t *entries)
{
	size_t want = pages * sizeof(*entries), got = 0;

	while (got < want) {
		ssize_t n = pread(pagemap_fd, (uint8_t *)entries + got, want - got,
			(off_t)(start / PAGE_SIZE * sizeof(*entries) + got));

		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		got += (size_t)n;
	}
	return 0;
}

static int scan_pagemap(int pagemap_fd, uint64_t start, uint64_t end, struct page_ranges *present)
{
	uint64_t entries[512] = { 0 };

	while (start < end) {
		uint64_t pages = MIN((end - start) / PAGE_SIZE, ARRAY_SIZE(entries));
		int r = read_entries(pagemap_fd, start, pages, entries);

		for (uint64_t i = 0; r == 0 && i < pages; i++)
			if ((entries[i] & PM_SWAPPED) || ((entries[i] & PM_PRESENT) && !(entries[i] & PM_FILE)))
				r = add(present, start + i * PAGE_SIZE, 1);
		if (r < 0)
			return r;
		start += pages * PAGE_SIZE;
	}
	return 0;
}

/* --- what is present --- */

static bool holds_own_pages(const struct memory_area *a)
{
	return a->kind == AREA_ANON || a->kind == AREA_PRIVATE;
}

#define LARGE (16ul << 20) /* an area of anonymous memory that is worth a call of its own */

/* One that is not, or not any more, counts as written. */
static bool is_tracked(const struct looking *l, const struct memory_area *a)
{
	return l->written && written_may_track(a) && written_add(l->written, l->pagemap_fd, a->start, a->end) == 0 &&
	       written_has(l->written, a->start, a->end);
}

/* Of what was written, some may not be there. */
static int scan_tracked(struct looking *l, uint64_t start, uint64_t end)
{
	struct page_ranges written = { 0 };
	int r = written_find(l->pagemap_fd, start, end, &written, &l->unchanged);

	for (size_t i = 0; r == 0 && i < written.n; i++)
		r = scan(l, written.list[i].start, written.list[i].start + written.list[i].pages * PAGE_SIZE, false);
	free(written.list);
	return r;
}

/* All areas but large ones in few calls, others' between them included. */
static int scan_areas(struct looking *l)
{
	const struct memory_state *s = l->state;
	uint64_t at = s->areas[0].start;
	int r = 0;

	for (size_t i = 0; r == 0 && i < s->n_areas; i++) {
		const struct memory_area *a = &s->areas[i];
		bool tracked = is_tracked(l, a);

		if (!tracked && (a->kind != AREA_ANON || a->end - a->start < LARGE))
			continue;
		r = scan(l, at, a->start, true);
		if (r == 0)
			r = tracked ? scan_tracked(l, a->start, a->end) : scan(l, a->start, a->end, false);
		at = a->end;
	}
	return r < 0 ? r : scan(l, at, s->areas[s->n_areas - 1].end, true);
}

/* Before the call that the kernel did not know there may have been others, of what is tracked. */
static void forget_found(struct looking *l)
{
	l->present.n = l->guards.n = l->unchanged.n = 0;
}

static int find_present(struct looking *l)
{
	const struct memory_state *s = l->state;
	int r;

	l->guards_known = true;
	r = scan_areas(l);
	if (r == -EINVAL) {
		forget_found(l);
		l->guards_known = false;
		r = scan_areas(l);
	}
	if (r != -EINVAL && r != -ENOTTY)
		return r;
	forget_found(l);
	r = 0;
	for (size_t i = 0; r == 0 && i < s->n_areas; i++)
		if (holds_own_pages(&s->areas[i]))
			r = scan_pagemap(l->pagemap_fd, s->areas[i].start, s->areas[i].end, &l->present);
	return r;
}

/* --- what is shared by fork --- */

static bool is_part_of(const struct proc_maps *parts, const struct memory_area *a, const struct proc_map *own)
{
	for (size_t i = 0; i < parts->n && parts->list[i].start <= a->start; i++) {
		const struct proc_map *m = &parts->list[i];

		if (m->end >= a->end && m->shared == own->shared && m->inode == own->inode &&
			(!own->inode || m->offset + (a->start - m->start) == a->offset))
			return true;
	}
	return false;
}

/*
 * Of which areas may pages be left to the fork? Of those that lie in one mapping of the parent's, of the same stuff: another (a stack that grew
 * since) is mapped anew.
 */
static void find_forked(const struct process *p, const struct memory_state *s, bool *forked)
{
	size_t at = 0;

	for (size_t i = 0; i < s->n_areas; i++) {
		const struct memory_area *a = &s->areas[i];

		while (at < p->maps.n && p->maps.list[at].start < a->start)
			at++;
		forked[i] = at < p->maps.n && p->maps.list[at].start == a->start &&
			    is_part_of(&p->parent->maps, a, &p->maps.list[at]);
	}
}

#define WINDOW 512

/* Entries of the page map, read for a stretch of addresses at a time. */
struct window {
	int own_fd, parent_fd;
	bool inherits; /* the area at hand is one of the parent's too */
	uint64_t start, pages;
	uint64_t own[WINDOW], parent[WINDOW];
};

/* From `start` on, as far as the next ranges lie close together. */
static uint64_t window_end(const struct page_ranges *present, size_t at, uint64_t start)
{
	uint64_t end = start;

	for (; at < present->n && present->list[at].start <= end + WINDOW / 8 * PAGE_SIZE; at++)
		end = present->list[at].start + present->list[at].pages * PAGE_SIZE;
	return MIN(end, start + WINDOW * PAGE_SIZE);
}

/* Has another process the page too? */
static bool is_shared(uint64_t entry)
{
	return (entry & (PM_PRESENT | PM_FILE | PM_EXCLUSIVE)) == PM_PRESENT;
}

/* The parent's are of interest only where somebody else has a page too. */
static int window_read(struct window *w, uint64_t start, uint64_t end)
{
	bool needed = false;
	int r;

	w->start = start;
	w->pages = (end - start) / PAGE_SIZE;
	r = read_entries(w->own_fd, start, w->pages, w->own);
	for (uint64_t i = 0; r == 0 && i < w->pages && w->parent_fd >= 0; i++)
		needed |= is_shared(w->own[i]);
	if (!needed)
		memset(w->parent, 0, w->pages * sizeof(w->parent[0]));
	else if (r == 0)
		r = read_entries(w->parent_fd, start, w->pages, w->parent);
	return r;
}

static uint64_t frame_of(uint64_t entry)
{
	return (entry & PM_PRESENT) && !(entry & PM_FILE) ? entry & PM_FRAME : 0;
}

/*
 * Pages [start, end) of one range of those present: those whose frame the parent has at the same address are shared by fork with it. Others may be with its
 * other children.
 */
static int split_shared(struct memory_plan *plan, const struct memory_area *a, struct window *w,
	const struct page_ranges *present, size_t at, uint64_t start, uint64_t end)
{
	int r = 0;

	for (; r == 0 && start < end; start += PAGE_SIZE) {
		uint64_t i, frame;

		if (start < w->start || start >= w->start + w->pages * PAGE_SIZE)
			r = window_read(w, start, window_end(present, at, start));
		if (r < 0)
			return r;
		i = (start - w->start) / PAGE_SIZE;
		frame = frame_of(w->own[i]);
		if (w->inherits && frame && frame == frame_of(w->parent[i]))
			r = add(&plan->inherited, start, 1);
		else
			r = page_ranges_add(
				&plan->present, (struct page_range){ start, 1, is_shared(w->own[i]), lies_over_file(a),
							plan->knows && written_may_track(a) });
	}
	return r;
}

/* --- all --- */

/* What of the sorted ranges lies in the area; *at moves on to the first that may reach behind it. */
static int divide(struct memory_plan *plan, const struct memory_area *a, const struct page_ranges *from, size_t *at,
	struct page_ranges *to, struct window *w)
{
	int r = 0;

	while (*at < from->n && from->list[*at].start + from->list[*at].pages * PAGE_SIZE <= a->start)
		(*at)++;
	for (size_t i = *at; r == 0 && i < from->n && from->list[i].start < a->end; i++) {
		uint64_t start = MAX(from->list[i].start, a->start),
			 end = MIN(from->list[i].start + from->list[i].pages * PAGE_SIZE, a->end);

		r = w ? split_shared(plan, a, w, from, i, start, end)
		      : page_ranges_add(to, (struct page_range){ .start = start,
						    .pages = (end - start) / PAGE_SIZE,
						    .over = lies_over_file(a),
						    .changed = plan->knows && written_may_track(a) });
	}
	return r;
}

static int divide_all(struct memory_plan *plan, const struct page_ranges *present, const struct page_ranges *guards,
	const bool *forked, bool has_children, struct window *w)
{
	size_t at_present = 0, at_guard = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < plan->state.n_areas; i++) {
		const struct memory_area *a = &plan->state.areas[i];

		if (!holds_own_pages(a))
			continue;
		w->inherits = forked[i];
		r = divide(plan, a, present, &at_present, &plan->present, forked[i] || has_children ? w : NULL);
		if (r == 0)
			r = divide(plan, a, guards, &at_guard, &plan->guards, NULL);
	}
	return r;
}

static bool has_forked(const struct tree *t, const struct process *p)
{
	for (size_t i = 0; i < t->n_processes; i++)
		if (t->processes[i]->parent == p && t->processes[i]->stat.flags & PF_FORKNOEXEC)
			return true;
	return false;
}

int memory_find_pages(struct capture *c, struct memory_plan *plan)
{
	struct process *parent = plan->state.forked_from ? c->process->parent : NULL;
	_cleanup_fd_ int own = openat(c->process->living_fd, "pagemap", O_RDONLY | O_CLOEXEC);
	_cleanup_fd_ int theirs = parent ? openat(parent->living_fd, "pagemap", O_RDONLY | O_CLOEXEC) : -1;
	_cleanup_free_ bool *forked = calloc(plan->state.n_areas + 1, sizeof(*forked));
	const struct written *written = c->process->written;
	struct looking l = { .state = &plan->state,
		.written =
			plan->older && written && written->known && written->settled_by == plan->older ? written : NULL,
		.pagemap_fd = own };
	struct window w = { .own_fd = own, .parent_fd = theirs };
	int r = !forked ? -ENOMEM : own < 0 ? -errno : 0;

	plan->knows = l.written;
	if (r == 0 && theirs >= 0)
		find_forked(c->process, &plan->state, forked);
	if (r == 0 && plan->state.n_areas)
		r = find_present(&l);
	if (r == 0 && l.unchanged.n)
		r = memory_take_settled(&l.unchanged, written, &l.present);
	if (r == 0)
		r = divide_all(plan, &l.present, &l.guards, forked, has_forked(c->tree, c->process), &w);
	plan->settled = l.unchanged;
	plan->settled_by = written;
	free(l.present.list);
	free(l.guards.list);
	return r;
}
