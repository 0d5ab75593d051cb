/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/fill.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "base/cleanup.h"
#include "engine/copying.h"
#include "engine/tasks.h"
#include "state/memory_lazy.h"

/* Part of a run that lies within one block. */
struct part {
	const struct new_process *process;
	int uffd; /* -1: it is written */
	struct page_run run;
};

struct fill {
	struct plan *plan;
	struct part *parts; /* in the order of the page files */
	size_t n, room;
	size_t *blocks; /* the first part of each, and then n */
	size_t n_blocks;
	struct copying copying;
	atomic_size_t next;
	_Atomic int error; /* the first */
};

/* --- what is to be done --- */

static int add_part(struct fill *f, const struct new_process *p, int uffd, const struct page_run *run)
{
	if (f->n == f->room) {
		size_t room = f->room ? 2 * f->room : 64;
		struct part *grown = reallocarray(f->parts, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		f->parts = grown;
		f->room = room;
	}
	f->parts[f->n++] = (struct part){ .process = p, .uffd = uffd, .run = *run };
	return 0;
}

static int add_run(struct fill *f, const struct new_process *p, int uffd, const struct page_run *run)
{
	struct page_run rest = *run;
	int r = 0;

	while (rest.pages && r == 0) {
		struct page_run part = rest;

		part.pages = MIN(rest.pages, PAGE_BLOCK - rest.at % PAGE_BLOCK);
		r = add_part(f, p, uffd, &part);
		rest.start += part.pages * PAGE_SIZE;
		rest.at += part.pages;
		rest.pages -= part.pages;
	}
	return r;
}

/* all: else those that lie compressed; the others it has read by itself. */
static int add_runs(struct fill *f, const struct new_process *p, int uffd, bool all, const struct page_runs *runs)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < runs->n; i++)
		if (all || page_file_is_compressed(f->plan->r->image, (unsigned int)runs->list[i].file))
			r = add_run(f, p, uffd, &runs->list[i]);
	return r;
}

static int add_process(struct fill *f, const struct new_process *p, int uffd)
{
	const struct restore *r = f->plan->r;
	const struct memory_state *m = plan_memory(f->plan, p);
	bool large = memory_is_large(r, m);
	struct page_runs copied = { 0 }, others;
	int error = uffd >= 0 ? memory_copied_runs(r, m, true, &copied) : 0;

	if (error == 0)
		error = add_runs(f, p, uffd, large, &copied);
	memory_runs_done(&copied);
	if (error < 0)
		return error;
	error = uffd >= 0 ? memory_copied_runs(r, m, false, &others) : memory_runs_now(r, m, &others);
	if (error == 0)
		error = add_runs(f, p, -1, large, &others);
	memory_runs_done(&others);
	return error;
}

static int by_place(const void *a, const void *b)
{
	const struct part *x = a, *y = b;

	if (x->run.file != y->run.file)
		return x->run.file < y->run.file ? -1 : 1;
	if (x->run.at != y->run.at)
		return x->run.at < y->run.at ? -1 : 1;
	return (x->process > y->process) - (x->process < y->process);
}

static bool is_same_block(const struct part *a, const struct part *b)
{
	return a->run.file == b->run.file && a->run.at / PAGE_BLOCK == b->run.at / PAGE_BLOCK;
}

static int find_blocks(struct fill *f)
{
	f->blocks = calloc(f->n + 1, sizeof(*f->blocks));
	if (!f->blocks)
		return -ENOMEM;
	for (size_t i = 0; i < f->n; i++)
		if (!i || !is_same_block(&f->parts[i - 1], &f->parts[i]))
			f->blocks[f->n_blocks++] = i;
	f->blocks[f->n_blocks] = f->n;
	return 0;
}

/* --- one block --- */

static int write_parts(const struct part *parts, size_t n, uint8_t *block)
{
	struct iovec from[PAGE_BLOCK], to[PAGE_BLOCK];
	size_t bytes = 0;
	ssize_t written;

	for (size_t i = 0; i < n; i++) {
		const struct page_run *run = &parts[i].run;

		from[i] = (struct iovec){ block + run->at % PAGE_BLOCK * PAGE_SIZE, run->pages * PAGE_SIZE };
		to[i] = (struct iovec){ (void *)run->start, run->pages * PAGE_SIZE };
		bytes += run->pages * PAGE_SIZE;
	}
	written = process_vm_writev(parts[0].process->pid, from, n, to, n, 0);
	if (written == (ssize_t)bytes)
		return 0;
	return written < 0 ? -errno : -EFAULT;
}

static int put_parts(const struct part *parts, size_t n, uint8_t *block)
{
	const struct page_run *run = &parts[0].run;

	if (parts[0].uffd < 0)
		return write_parts(parts, n, block);
	return copying_put(parts[0].uffd, run->start, run->pages, block + run->at % PAGE_BLOCK * PAGE_SIZE);
}

/* How many of them one call puts there: those of one process that follow one another in the file; but a userfaultfd copies one stretch. */
static size_t count_together(const struct part *parts, size_t n)
{
	size_t k = 1;

	while (parts[0].uffd < 0 && k < n && k < PAGE_BLOCK && parts[k].process == parts[0].process &&
		parts[k].uffd < 0)
		k++;
	return k;
}

static int fill_block(struct fill *f, const struct part *parts, size_t n, uint8_t *block)
{
	struct restore *r = f->plan->r;
	int error =
		page_file_load(r->image, (unsigned int)parts[0].run.file, parts[0].run.at / PAGE_BLOCK, block, r->ps);

	for (size_t i = 0, k; i < n && error == 0; i += k) {
		k = count_together(&parts[i], n - i);
		error = put_parts(&parts[i], k, block);
		if (error < 0)
			failed(r->ps, BLAME(.pid = parts[i].process->vpid, .object = "memory"), error,
				"pages cannot be put there: %s", strerror(-error));
	}
	return error;
}

static int fill_blocks(unsigned int worker, void *arg)
{
	struct fill *f = arg;
	_cleanup_free_ uint8_t *block = aligned_alloc(PAGE_SIZE, PAGE_BLOCK * PAGE_SIZE);
	int r = block ? 0 : -ENOMEM;
	size_t i;

	while (r == 0 && !f->error && (i = atomic_fetch_add(&f->next, 1)) < f->n_blocks)
		r = fill_block(f, &f->parts[f->blocks[i]], f->blocks[i + 1] - f->blocks[i], block);
	if (r < 0)
		f->error = r;
	return r;
}

/* --- all --- */

static bool is_filled_outside(const struct plan *plan, const struct new_process *p)
{
	return image_is_compressed(plan->r->image) || memory_is_large(plan->r, plan_memory(plan, p));
}

static bool is_to_be_filled(const struct plan *plan, const struct new_process *p)
{
	return !p->zombie && birth_of(p)->has_memory && !birth_of(p)->filled && is_filled_outside(plan, p);
}

static int protect(struct plan *plan, struct new_process **list, size_t n)
{
	struct step s = { .plan = plan, .name = "protection of memory" };

	for (size_t i = 0; i < n; i++) {
		struct build b;

		if (!step_add(&s, &list[i]->threads[0])) {
			step_abandon(&s);
			return -ENOMEM;
		}
		b = step_build(&s, &list[i]->threads[0]);
		memory_protect(&b, plan_memory(plan, list[i]));
		birth_of(list[i])->filled = true;
	}
	return step_run(&s);
}

static int fill_all(struct fill *f, struct new_process **list, size_t n, struct workers *w)
{
	int r = copying_begin(&f->copying, f->plan, list, n);

	for (size_t i = 0; i < n && r == 0; i++)
		r = add_process(f, list[i], f->copying.uffds[i]);
	if (f->n)
		qsort(f->parts, f->n, sizeof(*f->parts), by_place);
	if (r == 0)
		r = find_blocks(f);
	if (r == 0)
		r = workers_some(w, f->n_blocks, fill_blocks, f);
	copying_end(&f->copying);
	return r;
}

int fill_memories(struct plan *plan, struct workers *w)
{
	_cleanup_free_ struct new_process **list = calloc(plan->r->n_processes, sizeof(*list));
	struct fill f = { .plan = plan };
	size_t n = 0;
	int r = list ? 0 : -ENOMEM;

	for (size_t i = 0; list && i < plan->r->n_processes; i++)
		if (is_to_be_filled(plan, plan->r->processes[i]))
			list[n++] = plan->r->processes[i];
	if (n)
		r = fill_all(&f, list, n, w);
	free(f.parts);
	free(f.blocks);
	if (r < 0 && !plan->r->ps->n_failed)
		failed(plan->r->ps, BLAME(.object = "memory"), r, "cannot be filled: %s", strerror(-r));
	return r < 0 || !n ? r : protect(plan, list, n);
}

/* --- which blocks are checked by that --- */

static void mark(const struct image *img, bool **marks, const struct page_run *run)
{
	if (run->pages && !page_file_is_compressed(img, (unsigned int)run->file))
		for (uint64_t i = run->at / PAGE_BLOCK; i <= (run->at + run->pages - 1) / PAGE_BLOCK; i++)
			marks[run->file][i] = true;
}

int filled_blocks_find(const struct restore *r, struct filled_blocks *out)
{
	size_t n;
	const struct record *records = image_records(r->image, &component_memory.kind, &n);

	*out = (struct filled_blocks){ .marks = calloc(r->image->n_page_files + 1, sizeof(*out->marks)) };
	for (; out->marks && out->n < r->image->n_page_files; out->n++) {
		out->marks[out->n] = calloc(page_file_pages(r->image, out->n) / PAGE_BLOCK + 1, sizeof(bool));
		if (!out->marks[out->n])
			return -ENOMEM;
	}
	for (size_t i = 0; out->marks && i < n; i++) {
		const struct memory_state *m = records[i].state;

		if (!memory_is_large(r, m))
			continue;
		for (size_t k = 0; k < m->n_runs; k++)
			mark(r->image, out->marks, &m->runs[k]);
		out->any = true;
	}
	return out->marks ? 0 : -ENOMEM;
}

bool filled_blocks_have(const struct filled_blocks *f, unsigned int number, uint64_t block)
{
	return number < f->n && f->marks[number][block];
}

void filled_blocks_free(struct filled_blocks *f)
{
	for (unsigned int i = 0; i < f->n; i++)
		free(f->marks[i]);
	free(f->marks);
	*f = (struct filled_blocks){ 0 };
}
