/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/on_demand.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <spore.h>

#include "base/cleanup.h"
#include "engine/tasks.h"
#include "state/memory_lazy.h"

#define NUMBER_FIRST                                                                                                   \
	64 /* of a userfaultfd in its process, for a moment: each its own, since two processes may share a table */

void on_demand_prepare(struct restore *r)
{
	int error = r->flags & SPORE_RESTORE_LAZY ? space_probe() : -ENOTSUP;

	r->lazy = error == 0;
	if (r->lazy || !(r->flags & SPORE_RESTORE_LAZY))
		return;
	changed(r->ps,
		BLAME(.object = "memory", .remedy = error == -EPERM
							    ? "run it with CAP_SYS_PTRACE in the initial user namespace"
							    : "use Linux 6.6 or newer, with CONFIG_USERFAULTFD"),
		"all of it was restored at once, since userfaultfd cannot be used: %s", strerror(-error));
}

/* --- what is not needed before --- */

static uint64_t pages_of_block(const struct image *img, unsigned int number, uint64_t block)
{
	uint64_t rest = page_file_pages(img, number) - block * PAGE_BLOCK;

	return MIN(rest, (uint64_t)PAGE_BLOCK);
}

static void count_run(struct later_blocks *l, const struct page_run *run, bool later)
{
	uint64_t at = run->at, left = run->pages, n;

	for (; left; left -= n, at += n) {
		struct later_block *b = &l->blocks[run->file][at / PAGE_BLOCK];

		n = MIN(left, PAGE_BLOCK - at % PAGE_BLOCK);
		b->now |= !later;
		if (later)
			b->pages = (uint16_t)MIN(b->pages + n, (uint64_t)UINT16_MAX);
	}
	l->total += later ? run->pages : 0;
}

static int count_runs(const struct restore *r, const struct memory_state *m, bool later, struct later_blocks *l)
{
	struct page_runs runs;
	int error = memory_lazy_runs(r, m, later, &runs);

	for (size_t i = 0; error == 0 && i < runs.n; i++)
		count_run(l, &runs.list[i], later);
	free(runs.list);
	return error;
}

int later_blocks_find(const struct restore *r, struct later_blocks *out)
{
	size_t n;
	const struct record *records = image_records(r->image, &component_memory.kind, &n);
	int error = 0;

	*out = (struct later_blocks){ .image = r->image };
	out->blocks = calloc(r->image->n_page_files + 1, sizeof(*out->blocks));
	if (!out->blocks)
		return -ENOMEM;
	for (; error == 0 && out->n < r->image->n_page_files; out->n++) {
		out->blocks[out->n] =
			calloc(page_file_pages(r->image, out->n) / PAGE_BLOCK + 1, sizeof(struct later_block));
		error = out->blocks[out->n] ? 0 : -ENOMEM;
	}
	for (size_t i = 0; error == 0 && i < n; i++) {
		error = count_runs(r, records[i].state, true, out);
		if (error == 0)
			error = count_runs(r, records[i].state, false, out);
	}
	return error;
}

/* Of an ancestor only memory is still needed; in page files of its own other things may lie too. */
bool later_blocks_need(const void *later, unsigned int number, uint64_t block, bool own)
{
	const struct later_blocks *l = later;
	const struct later_block *b = number < l->n ? &l->blocks[number][block] : NULL;

	return !b || b->now || (own && b->pages != pages_of_block(l->image, number, block));
}

void later_blocks_free(struct later_blocks *l)
{
	for (unsigned int i = 0; i < l->n; i++)
		free(l->blocks[i]);
	free(l->blocks);
	*l = (struct later_blocks){ 0 };
}

/* --- handing over --- */

/* One process that has memory to be filled later. */
struct handed {
	struct new_process *process;
	struct layout layout;
};

struct handing {
	struct plan *plan;
	struct handed *list;
	size_t n;
};

static int find(struct handing *h)
{
	struct restore *r = h->plan->r;

	h->list = calloc(r->n_processes, sizeof(*h->list));
	if (!h->list)
		return -ENOMEM;
	for (size_t i = 0; i < r->n_processes; i++) {
		struct pieces *pieces = &h->list[h->n].layout.pieces;
		struct page_runs runs = { 0 };
		int error = r->processes[i]->zombie
				    ? 0
				    : memory_lazy_runs(r, plan_memory(h->plan, r->processes[i]), true, &runs);

		for (size_t k = 0; error == 0 && k < runs.n; k++)
			error = pieces_add(pieces, runs.list[k].start, runs.list[k].pages, (uint32_t)runs.list[k].file,
				runs.list[k].at);
		free(runs.list);
		h->list[h->n].process = r->processes[i];
		h->n += pieces->missing > 0;
		if (error < 0)
			return error;
	}
	return 0;
}

/* Only a process itself can make a userfaultfd for its memory. The keeper fetches it, and then it is closed there. */
static int make_all(struct handing *h)
{
	struct step step = { .plan = h->plan, .name = "userfaultfd" };

	for (size_t i = 0; i < h->n; i++) {
		struct batch *b = step_add(&step, &h->list[i].process->threads[0]);
		uint32_t made;

		if (!b)
			return -ENOMEM;
		made = batch_call(b, "userfaultfd", SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
		batch_use(b, batch_call(b, "dup3 of a userfaultfd", SYS_dup3, 0, NUMBER_FIRST + i, O_CLOEXEC), 0, made);
		batch_use(b, batch_call(b, "close of a userfaultfd", SYS_close, 0), 0, made);
	}
	return step_run(&step);
}

static int close_all(struct handing *h)
{
	struct step step = { .plan = h->plan, .name = "userfaultfd" };

	for (size_t i = 0; i < h->n; i++) {
		struct batch *b = step_add(&step, &h->list[i].process->threads[0]);

		if (!b)
			return -ENOMEM;
		batch_call(b, "close of a userfaultfd", SYS_close, NUMBER_FIRST + i);
	}
	return step_run(&step);
}

static int fetch(const struct handing *h, size_t i)
{
	_cleanup_fd_ int pidfd = (int)syscall(SYS_pidfd_open, h->list[i].process->pid, 0);
	int fd = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, NUMBER_FIRST + i, 0);

	return fd < 0 ? -errno : fd;
}

/* Areas in a row are one call. */
static int register_areas(struct handing *h, const struct new_process *p, struct space *s)
{
	const struct memory_state *m = plan_memory(h->plan, p);
	int r = 0;

	for (size_t i = 0; r == 0 && i < m->n_areas; i++)
		if (memory_is_lazy(h->plan->r, m, &m->areas[i]))
			r = space_register(s, m->areas[i].start, m->areas[i].end - m->areas[i].start);
	return r;
}

static int hand_over(struct handing *h, size_t i, struct filler *f)
{
	struct new_process *p = h->list[i].process;
	int uffd = fetch(h, i), r;
	struct space *s = uffd < 0 ? NULL : space_new(uffd, &h->list[i].layout);
	char path[40];

	if (!s)
		return uffd < 0 ? uffd : -ENOMEM;
	snprintf(path, sizeof(path), "/proc/%d/pagemap", p->pid);
	s->pagemap = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/%d/smaps", p->pid);
	s->smaps = open(path, O_RDONLY | O_CLOEXEC);
	r = s->pagemap < 0 || s->smaps < 0 ? -errno : space_prepare(s);
	if (r == 0)
		r = register_areas(h, p, s);
	filler_add(f, s);
	return r;
}

static int begin(struct handing *h, struct filler **out)
{
	int r = filler_new(h->plan->r->image, out);

	for (size_t i = 0; r == 0 && i < h->n; i++) {
		r = hand_over(h, i, *out);
		if (r < 0)
			failed(h->plan->r->ps, BLAME(.pid = h->list[i].process->vpid, .object = "memory"), r,
				"its pages cannot be brought later: %s", strerror(-r));
	}
	return r < 0 ? r : filler_start(*out);
}

int on_demand_begin(struct plan *plan, struct filler **out)
{
	struct handing h = { .plan = plan };
	int r = plan->r->lazy ? find(&h) : 0;

	if (r == 0 && h.n) {
		r = make_all(&h);
		if (r == 0)
			r = begin(&h, out);
		if (r == 0)
			r = close_all(&h);
	}
	for (size_t i = 0; h.list && i < plan->r->n_processes; i++)
		layout_free(&h.list[i].layout);
	free(h.list);
	return r < 0 && !plan->r->ps->first_error
		       ? failed(plan->r->ps, NULL, r, "pages cannot be brought later: %s", strerror(-r))
		       : r;
}

/* The keeper's own child too: where that is pid 1 of a namespace, its end is everyone's. */
int on_demand_secure(struct restore *r, pid_t first, struct filler *f, struct deadman *deadman)
{
	struct doomed *roots = calloc(r->n_processes + 1, sizeof(*roots));
	size_t n = 0;
	int error;

	if (!roots)
		return failed(r->ps, NULL, -ENOMEM, "out of memory");
	roots[n++].pid = first;
	for (size_t i = 0; i < r->n_processes; i++)
		if (!r->processes[i]->zombie && r->processes[i]->pid != first)
			roots[n++].pid = r->processes[i]->pid;
	for (size_t i = 0; i < n; i++)
		roots[i].pidfd = (int)syscall(SYS_pidfd_open, roots[i].pid, 0);
	error = filler_secure(f, deadman, roots, n);
	return error < 0 ? failed(r->ps, NULL, error, "the tree cannot be tied to this process: %s", strerror(-error))
			 : 0;
}
