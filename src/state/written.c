/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/written.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kernel/uapi.h"
#include "kernel/write_watch.h"

/* Bytes. -Dtest_copies=true has another. */
#ifndef LEAST_TRACKED
#define LEAST_TRACKED (256ul << 10)
#endif
#define TIMEOUT_MS 5000

bool written_may_track(const struct memory_area *a)
{
	return a->kind == AREA_ANON && a->end - a->start >= LEAST_TRACKED && !(a->flags & AREA_DROPPABLE);
}

bool written_may_track_map(const struct proc_map *m)
{
	return memory_is_anonymous(m) && m->end - m->start >= LEAST_TRACKED;
}

static int run(struct process *p, struct thread *th, struct batch *b)
{
	struct slot *slot = area_slot(&p->injection.area, th->slot);
	int r = batch_submit(b, slot);

	return r < 0 ? r : batch_wait(b, slot, TIMEOUT_MS, stop_alive, &th->stop);
}

/* Only faults of the program's own are asked about, so that it needs no privilege; and these are none that anybody is asked about. */
static int make(struct process *p, struct thread *th, int *number)
{
	struct batch b;
	uint32_t made;
	int r;

	batch_init(&b, &p->injection.area);
	made = batch_call(&b, "userfaultfd", SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | SPORE_UFFD_USER_MODE_ONLY);
	r = run(p, th, &b);
	if (r == 0)
		*number = (int)batch_result(&b, made);
	batch_free(&b);
	return r;
}

static int close_theirs(struct process *p, struct thread *th, int number)
{
	struct batch b;
	int r;

	batch_init(&b, &p->injection.area);
	batch_call(&b, "close", SYS_close, (uint64_t)number);
	r = run(p, th, &b);
	batch_free(&b);
	return r;
}

static int take_theirs(struct process *p, struct thread *th, int *uffd)
{
	int number = -1, r = make(p, th, &number), closed;

	if (r < 0)
		return r;
	*uffd = (int)syscall(SYS_pidfd_getfd, p->pid_fd, number, 0);
	r = *uffd < 0 ? -errno : 0;
	closed = close_theirs(p, th, number);
	return r < 0 ? r : closed;
}

int written_begin(struct process *p, struct thread *th, struct written *w)
{
	_cleanup_fd_ int uffd = -1;
	int r = inject_enter(&p->injection, &th->stop, th->slot), left;

	if (r < 0)
		return r;
	r = take_theirs(p, th, &uffd);
	left = inject_leave(&p->injection, &th->stop);
	if (r < 0 || left < 0)
		return r < 0 ? r : left;
	r = write_watch_prepare(uffd);
	if (r < 0)
		return r;
	*w = (struct written){ .uffd = take_fd(&uffd) };
	return 0;
}

bool written_has(const struct written *w, uint64_t start, uint64_t end)
{
	return write_watch_add(w->uffd, start, end) == 0;
}

static bool is_watched(int pagemap_fd, uint64_t page)
{
	struct page_region found;
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.flags = SPORE_PM_SCAN_CHECK_WPASYNC,
		.start = page,
		.end = page + PAGE_SIZE,
		.vec = (uintptr_t)&found,
		.vec_len = 1,
		.category_mask = SPORE_PAGE_IS_WRITTEN,
		.return_mask = SPORE_PAGE_IS_WRITTEN,
	};

	return ioctl(pagemap_fd, PAGEMAP_SCAN, &arg) >= 0;
}

/*
 * A mapping that is watched no more may have pages that are marked all the same, and are written without a trace: mremap(2) takes the watch from what a mapping was moved
 * to, and with it from a neighbour that it was joined with there, whose marks stay (mremap_userfaultfd_prep() in fs/userfaultfd.c; seen on 6.18). Before 6.13 those
 * of what was moved stayed too. So one that is new, or new again, has its marks taken away; and one that is watched is not added, for it may be new a moment later.
 */
int written_add(const struct written *w, int pagemap_fd, uint64_t start, uint64_t end)
{
	int r;

	if (is_watched(pagemap_fd, start))
		return 0;
	r = write_watch_add(w->uffd, start, end);
	if (r < 0)
		return r;
	r = write_watch_reset(w->uffd, start, end);
	if (r < 0)
		write_watch_remove(w->uffd, start, end);
	return r;
}

#define NOWHERE                                                                                                        \
	(64ul << 10) /* an address from which no program has a mapping; should one have, its first page counts as written */

bool written_ended(const struct written *w)
{
	return write_watch_reset(w->uffd, NOWHERE, NOWHERE + PAGE_SIZE) == -ESRCH;
}

static int add_regions(struct page_ranges *to, const struct page_region *vec, int n)
{
	int r = 0;

	for (int i = 0; r == 0 && i < n; i++)
		r = page_ranges_add(to,
			(struct page_range){ .start = vec[i].start, .pages = (vec[i].end - vec[i].start) / PAGE_SIZE });
	return r;
}

/*
 * Only what is there: to protect what is not would cost page tables. And not the marks of guard pages, which would then seem to be unchanged pages (a kernel
 * that has the marks and cannot tell them, 6.13 and 6.14: docs/coverage.md).
 */
static int take(int pagemap_fd, uint64_t start, uint64_t end, struct page_ranges *out)
{
	struct page_region vec[512];
	uint64_t guard = SPORE_PAGE_IS_GUARD;

	while (start < end) {
		struct pm_scan_arg arg = {
			.size = sizeof(arg),
			.flags = SPORE_PM_SCAN_WP_MATCHING | SPORE_PM_SCAN_CHECK_WPASYNC,
			.start = start,
			.end = end,
			.vec = (uintptr_t)vec,
			.vec_len = ARRAY_SIZE(vec),
			.category_inverted = guard,
			.category_mask = SPORE_PAGE_IS_WRITTEN | guard,
			.category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
			.return_mask = SPORE_PAGE_IS_WRITTEN,
		};
		int n = ioctl(pagemap_fd, PAGEMAP_SCAN, &arg), r;

		if (n < 0 && errno == EINVAL && guard) {
			guard = 0;
			continue;
		}
		r = n < 0 ? -errno : add_regions(out, vec, n);
		if (r < 0)
			return r;
		if (arg.walk_end <= start)
			break;
		start = arg.walk_end;
	}
	return 0;
}

int written_take(int pagemap_fd, uint64_t start, uint64_t end, struct page_ranges *out)
{
	if (take(pagemap_fd, start, end, out) == 0)
		return 0;
	return page_ranges_add(out, (struct page_range){ .start = start, .pages = (end - start) / PAGE_SIZE });
}

/* --- in the stop --- */

/* Asked for this alone, the kernel looks at one bit of each entry. What is not there counts as written, but only where there is a page table. */
static int find_written(int pagemap_fd, uint64_t start, uint64_t end, struct page_ranges *out)
{
	struct page_region vec[512];

	while (start < end) {
		struct pm_scan_arg arg = {
			.size = sizeof(arg),
			.flags = SPORE_PM_SCAN_CHECK_WPASYNC,
			.start = start,
			.end = end,
			.vec = (uintptr_t)vec,
			.vec_len = ARRAY_SIZE(vec),
			.category_mask = SPORE_PAGE_IS_WRITTEN,
			.return_mask = SPORE_PAGE_IS_WRITTEN,
		};
		int n = ioctl(pagemap_fd, PAGEMAP_SCAN, &arg);
		int r = n < 0 ? -errno : add_regions(out, vec, n);

		if (r < 0)
			return r;
		if (arg.walk_end <= start)
			break;
		start = arg.walk_end;
	}
	return 0;
}

#define TABLE_SPAN (2ul << 20) /* of one page table */

/* Whether there is a page table for the address; the last answer is kept. */
struct tables {
	int pagemap_fd;
	uint64_t last;
	bool there, known;
};

/* `address` is not among what was written: it is there, or nothing of its page table is. */
static int has_table(struct tables *t, uint64_t address)
{
	uint64_t entry;
	ssize_t n;

	if (t->known && t->last == address / TABLE_SPAN)
		return t->there;
	n = pread(t->pagemap_fd, &entry, sizeof(entry), (off_t)(address / PAGE_SIZE * sizeof(entry)));
	if (n != sizeof(entry))
		return n < 0 ? -errno : -EIO;
	t->known = true;
	t->last = address / TABLE_SPAN;
	t->there = entry & (PM_PRESENT | PM_SWAPPED);
	return t->there;
}

static int add_unchanged(struct tables *t, uint64_t start, uint64_t end, struct page_ranges *unchanged)
{
	int r = 0;

	for (uint64_t to; r >= 0 && start < end; start = to) {
		to = MIN(end, ALIGN_DOWN(start, TABLE_SPAN) + TABLE_SPAN);
		r = has_table(t, start);
		if (r > 0)
			r = page_ranges_add(
				unchanged, (struct page_range){ .start = start, .pages = (to - start) / PAGE_SIZE });
	}
	return MIN(r, 0);
}

int written_find(
	int pagemap_fd, uint64_t start, uint64_t end, struct page_ranges *written, struct page_ranges *unchanged)
{
	struct tables t = { .pagemap_fd = pagemap_fd };
	size_t before = written->n;
	int r = find_written(pagemap_fd, start, end, written);

	for (size_t i = before; r == 0 && i < written->n; i++) {
		r = add_unchanged(&t, start, written->list[i].start, unchanged);
		start = written->list[i].start + written->list[i].pages * PAGE_SIZE;
	}
	return r < 0 ? r : add_unchanged(&t, start, end, unchanged);
}

void written_end(struct written *w)
{
	close_fd(&w->uffd);
	free(w->before.list);
	*w = (struct written){ .uffd = -1 };
}
