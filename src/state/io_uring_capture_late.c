/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rings that only a process of the tree can make: those that a thread of the kernel's polls, which is one of that process's threads (IORING_SETUP_SQPOLL, io_uring/sqpoll.c), and
 * those that are in a process's own memory (IORING_SETUP_NO_MMAP, io_uring/memmap.c), which is found as that of registered buffers is.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "state/files.h"
#include "state/io_uring_tasks.h"
#include "state/io_uring_view.h"
#include "state/kernel_pages.h"

/* --- polled --- */

static uint64_t milliseconds(uint64_t jiffies)
{
	struct timespec tick = { .tv_nsec = 4000000 };

	clock_getres(CLOCK_MONOTONIC_COARSE, &tick);
	return jiffies * (uint64_t)tick.tv_nsec / 1000000;
}

static int capture_identity(struct ring *g, struct io_uring_poller *s)
{
	uint64_t cred = RING(g, "sq_creds");
	int err = g->error ? g->error : ring_identity_read(g->c, cred, &s->who);

	return err == -EXDEV ? ring_refuse(g, NULL, "that is polled as a user of another user namespace") : err;
}

#define PRIORITY_USUAL 120 /* DEFAULT_PRIO: nice 0 */

static void capture_scheduling(struct ring *g, uint64_t thread, struct io_uring_poller *s)
{
	s->nice = (int64_t)OF(g, thread, "task_struct", "static_prio") - PRIORITY_USUAL;
	if (OF(g, thread, "task_struct", "policy") != SCHED_OTHER && !g->error)
		changed(g->c->ps, BLAME_FILE(g->f),
			"the thread that polls the io_uring has the usual scheduling policy again");
}

static int capture_poller(struct ring *g, struct io_uring_state *s)
{
	struct io_uring_poller *p = &s->poller;
	uint64_t data = RING(g, "sq_data"), thread = OF(g, data, "io_sq_data", "thread"), leader, wq;
	struct thread *maker = NULL;
	int err = g->error;

	if (!err && !thread)
		return ring_refuse(g, "close it", "whose polling thread has ended with the process that made it");
	leader = OF(g, thread, "task_struct", "group_leader");
	err = g->error ? g->error : kernel_thread(g->c, leader, &maker);
	if (err == -ESRCH || (!err && !maker))
		return ring_refuse(g, NULL,
			"that is polled for a process outside of the tree, or one whose first thread has ended");
	if (err)
		return err;
	s->process = maker->process->id;
	p->group = identity_of(g->c->identities, "io_uring poller", data, 0, 0, NULL);
	p->idle = milliseconds(RING(g, "sq_thread_idle"));
	p->cpu = s->flags & IORING_SETUP_SQ_AFF ? (int32_t)OF(g, data, "io_sq_data", "sq_cpu") : -1;
	capture_scheduling(g, thread, p);
	wq = OF(g, OF(g, thread, "task_struct", "io_uring"), "io_uring_task", "io_wq");
	p->workers = io_uring_workers(g, wq, 1);
	err = io_uring_worker_cpus(g, thread, &p->cpus);
	return err ? err : capture_identity(g, p);
}

/* --- in memory --- */

#define AT_ONCE 4096 /* pages */

/* Where in that mapping the page is; 0: nowhere. */
static uint64_t find_page(
	const struct page_array *a, const struct process *p, const struct proc_map *m, uint64_t page, uint64_t *pages)
{
	for (uint64_t at = m->start; at < m->end; at += AT_ONCE * PAGE_SIZE) {
		size_t n = MIN((m->end - at) / PAGE_SIZE, (uint64_t)AT_ONCE);

		if (process_pages(a, p, at, pages, n) < 0)
			return 0;
		for (size_t i = 0; i < n; i++)
			if (pages[i] == page)
				return at + i * PAGE_SIZE;
	}
	return 0;
}

static bool has_all(const struct page_array *a, const struct process *p, uint64_t at, const uint64_t *wanted, size_t n)
{
	_cleanup_free_ uint64_t *pages = calloc(n, sizeof(*pages));

	return pages && process_pages(a, p, at, pages, n) == 0 && !memcmp(pages, wanted, n * sizeof(*pages));
}

static uint64_t find_region(const struct page_array *a, const struct process *p, const uint64_t *wanted, size_t n)
{
	_cleanup_free_ uint64_t *pages = calloc(AT_ONCE, sizeof(*pages));

	for (size_t i = 0; pages && i < p->maps.n; i++) {
		const struct proc_map *m = &p->maps.list[i];
		uint64_t at = m->prot & PROT_WRITE ? find_page(a, p, m, wanted[0], pages) : 0;

		if (at && has_all(a, p, at, wanted, n))
			return at;
	}
	return 0;
}

struct region {
	uint64_t *pages;
	size_t n;
};

static void region_free(struct region *r)
{
	free(r->pages);
}

static int read_pages(struct ring *g, uint64_t region, struct region *out)
{
	uint64_t list = OF(g, region, "io_mapped_region", "pages");

	out->n = OF(g, region, "io_mapped_region", "nr_pages");
	out->pages = calloc(out->n + 1, sizeof(*out->pages));
	if (!out->pages)
		return -ENOMEM;
	for (size_t i = 0; i < out->n; i++)
		out->pages[i] = ring_word_at(g, list + i * sizeof(uint64_t));
	return g->error ? g->error : out->n ? 0 : -EPROTO;
}

static int capture_places(struct ring *g, struct io_uring_state *s)
{
	_cleanup_(region_free)
	struct region rings = { 0 }, sqes = { 0 };
	struct page_array array;
	struct tree *t = g->c->tree;
	int err = read_pages(g, WITHIN(g, "ring_region"), &rings);

	if (!err)
		err = read_pages(g, WITHIN(g, "sq_region"), &sqes);
	if (!err)
		err = page_array_find(g->c, &array);
	for (size_t i = 0; !err && i < t->n_processes; i++) {
		struct process *p = t->processes[i];

		if (p->zombie || (s->process && s->process != p->id))
			continue;
		s->rings_at = find_region(&array, p, rings.pages, rings.n);
		s->sqes_at = s->rings_at ? find_region(&array, p, sqes.pages, sqes.n) : 0;
		if (s->sqes_at) {
			s->process = p->id;
			return 0;
		}
	}
	return err ? err : ring_refuse(g, NULL, "whose memory (IORING_SETUP_NO_MMAP) no process has in place any more");
}

#define USER_PROVIDED 2 /* IO_REGION_F_USER_PROVIDED */

int io_uring_find_region(struct ring *g, uint64_t region, uint64_t *address, object_id *process)
{
	_cleanup_(region_free)
	struct region all = { 0 };
	uint64_t flags = OF(g, region, "io_mapped_region", "flags");
	struct page_array array;
	struct tree *t = g->c->tree;
	int err = g->error ? g->error : flags & USER_PROVIDED ? read_pages(g, region, &all) : -ENOENT;

	if (!err)
		err = page_array_find(g->c, &array);
	for (size_t i = 0; !err && i < t->n_processes; i++) {
		*address = t->processes[i]->zombie ? 0 : find_region(&array, t->processes[i], all.pages, all.n);
		*process = t->processes[i]->id;
		if (*address)
			return 0;
	}
	return err ? err : -ENOENT;
}

int io_uring_capture_late(struct ring *g, struct io_uring_state *s)
{
	int err = s->flags & IORING_SETUP_SQPOLL ? capture_poller(g, s) : 0;

	return err || !(s->flags & IO_URING_NO_MMAP) ? err : capture_places(g, s);
}
