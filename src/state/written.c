/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/written.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kernel/futex.h"
#include "kernel/uapi.h"
#include "kernel/write_watch.h"

/* Bytes. -Dtest_copies=true has another. */
#ifndef LEAST_TRACKED
#define LEAST_TRACKED (256ul << 10)
#endif
#define TIMEOUT_MS 5000
#define TURN_US	   10
#define NOT_YET	   INT64_MIN /* no call answers this */

bool written_may_track(const struct memory_area *a)
{
	return a->kind == AREA_ANON && a->end - a->start >= LEAST_TRACKED && !(a->flags & AREA_DROPPABLE);
}

bool written_may_track_map(const struct proc_map *m)
{
	return memory_is_anonymous(m) && m->end - m->start >= LEAST_TRACKED;
}

/*
 * The process makes it, waits until it was taken, and closes it, in one batch, which it ends also if spore dies meanwhile: so none is left to the program. `taken` is in
 * the area, where it waits for it, or for the word by which it knows that spore lives.
 */
struct handover {
	struct batch b;
	uint32_t made;
	uint32_t *taken;
};

/* No fault of it is ever asked about; by the program's own only, it needs no privilege. */
static void make_handover(struct handover *h, struct area *a)
{
	struct futex_waitv *wait;
	void *local;
	struct remote_addr at;
	uint32_t waits, closes;

	batch_init(&h->b, a);
	h->made = batch_call(&h->b, "userfaultfd", SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | SPORE_UFFD_USER_MODE_ONLY);
	at = batch_room(&h->b, sizeof(*h->taken) + 2 * sizeof(*wait), &local);
	waits = batch_call(&h->b, "futex_waitv", SYS_futex_waitv, at.v, 2, 0, 0, 0);
	batch_may_fail(&h->b, waits);
	closes = batch_call(&h->b, "close", SYS_close);
	batch_use(&h->b, closes, 0, h->made);
	if (h->b.error)
		return;
	wait = local;
	h->taken = (uint32_t *)(wait + 2);
	wait[0] = (struct futex_waitv){ .uaddr = area_remote(a, h->taken).v, .flags = FUTEX_32 };
	wait[1] = (struct futex_waitv){ .val = *a->own, .uaddr = area_remote(a, a->own).v, .flags = FUTEX_32 };
	h->b.ops[h->made].result = NOT_YET;
}

static int64_t wait_until_made(struct handover *h, struct stop *stop)
{
	int64_t *result = &h->b.ops[h->made].result, number;

	for (int turn = 0; turn < TIMEOUT_MS * (1000 / TURN_US); turn++) {
		number = __atomic_load_n(result, __ATOMIC_ACQUIRE);
		if (number != NOT_YET)
			return number;
		if (turn % 100 == 99 && !stop_alive(stop))
			return -ESRCH;
		usleep(TURN_US);
	}
	return -ETIMEDOUT;
}

static int take_theirs(struct process *p, struct thread *th, int *uffd)
{
	struct slot *slot = area_slot(&p->injection.area, th->slot);
	struct handover h;
	int64_t number;
	int r, ended;

	make_handover(&h, &p->injection.area);
	r = batch_submit(&h.b, slot);
	if (r == 0) {
		number = wait_until_made(&h, &th->stop);
		*uffd = number < 0 ? (int)number : (int)syscall(SYS_pidfd_getfd, p->pid_fd, (int)number, 0);
		r = *uffd < 0 ? (number < 0 ? (int)number : -errno) : 0;
		__atomic_store_n(h.taken, 1, __ATOMIC_RELEASE);
		futex_wake(h.taken, 1);
		ended = batch_wait(&h.b, slot, TIMEOUT_MS, stop_alive, &th->stop);
		r = r < 0 ? r : ended;
	}
	batch_free(&h.b);
	return r;
}

int written_begin(struct process *p, struct thread *th, struct written *w)
{
	_cleanup_fd_ int uffd = -1;
	int r = inject_enter(&p->injection, &th->stop, th->slot), taken;

	if (r < 0)
		return r;
	taken = take_theirs(p, th, &uffd);
	r = inject_leave(&p->injection, &th->stop);
	if (r == 0 && taken == 0 && write_watch_prepare(uffd) == 0)
		*w = (struct written){ .uffd = take_fd(&uffd) };
	return r;
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

/*
 * Only what is there: to protect what is not would cost page tables. And not the marks of guard pages, which would then seem to be unchanged pages (a kernel
 * that has the marks and cannot tell them, 6.13 and 6.14: docs/coverage.md).
 */
static int take(int pagemap_fd, uint64_t start, uint64_t end, uint64_t guard, struct page_ranges *out)
{
	struct pm_scan_arg what = {
		.flags = SPORE_PM_SCAN_WP_MATCHING | SPORE_PM_SCAN_CHECK_WPASYNC,
		.start = start,
		.end = end,
		.category_inverted = guard,
		.category_mask = SPORE_PAGE_IS_WRITTEN | guard,
		.category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
		.return_mask = SPORE_PAGE_IS_WRITTEN,
	};

	return page_scan(pagemap_fd, &what, page_ranges_add_found, out);
}

int written_take(int pagemap_fd, uint64_t start, uint64_t end, struct page_ranges *out)
{
	int r = take(pagemap_fd, start, end, SPORE_PAGE_IS_GUARD, out);

	if (r == -EINVAL)
		r = take(pagemap_fd, start, end, 0, out);
	if (r == 0)
		return 0;
	return page_ranges_add(out, (struct page_range){ .start = start, .pages = (end - start) / PAGE_SIZE });
}

/* --- in the stop --- */

/* Asked for this alone, the kernel looks at one bit of each entry. What is not there counts as written, but only where there is a page table. */
static int find_written(int pagemap_fd, uint64_t start, uint64_t end, struct page_ranges *out)
{
	struct pm_scan_arg what = {
		.flags = SPORE_PM_SCAN_CHECK_WPASYNC,
		.start = start,
		.end = end,
		.category_mask = SPORE_PAGE_IS_WRITTEN,
		.return_mask = SPORE_PAGE_IS_WRITTEN,
	};

	return page_scan(pagemap_fd, &what, page_ranges_add_found, out);
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
		start = page_range_end(&written->list[i]);
	}
	return r < 0 ? r : add_unchanged(&t, start, end, unchanged);
}

void written_end(struct written *w)
{
	close_fd(&w->uffd);
	free(w->before.list);
	free(w->settled.list);
	precopied_free(&w->copied);
	*w = (struct written){ .uffd = -1 };
}
