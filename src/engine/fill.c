/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/fill.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "base/cleanup.h"
#include "engine/tasks.h"
#include "state/memory_lazy.h"

/* Part of a run that lies within one block. */
struct part {
	const struct new_process *process;
	struct page_run run;
};

struct fill {
	struct plan *plan;
	struct part *parts; /* in the order of the page files */
	size_t n, room;
	size_t *blocks; /* the first part of each, and then n */
	size_t n_blocks;
	atomic_size_t next;
	_Atomic int error; /* the first */
};

/* --- what is to be done --- */

static int add_part(struct fill *f, const struct new_process *p, const struct page_run *run)
{
	if (f->n == f->room) {
		size_t room = f->room ? 2 * f->room : 64;
		struct part *grown = reallocarray(f->parts, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		f->parts = grown;
		f->room = room;
	}
	f->parts[f->n++] = (struct part){ .process = p, .run = *run };
	return 0;
}

static int add_run(struct fill *f, const struct new_process *p, const struct page_run *run)
{
	struct page_run rest = *run;
	int r = 0;

	while (rest.pages && r == 0) {
		struct page_run part = rest;

		part.pages = MIN(rest.pages, PAGE_BLOCK - rest.at % PAGE_BLOCK);
		r = add_part(f, p, &part);
		rest.start += part.pages * PAGE_SIZE;
		rest.at += part.pages;
		rest.pages -= part.pages;
	}
	return r;
}

static int add_process(struct fill *f, const struct new_process *p)
{
	const struct restore *r = f->plan->r;
	const struct memory_state *m = plan_memory(f->plan, p);
	struct page_runs runs;
	int error = memory_runs_now(r, m, &runs);

	for (size_t i = 0; error == 0 && i < runs.n; i++)
		if (page_file_is_compressed(r->image, (unsigned int)runs.list[i].file))
			error = add_run(f, p, &runs.list[i]);
	memory_runs_done(&runs);
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

/* Pages of one process that follow one another in the file are one call. */
static int fill_block(struct fill *f, const struct part *parts, size_t n, uint8_t *block)
{
	struct restore *r = f->plan->r;
	int error =
		page_file_load(r->image, (unsigned int)parts[0].run.file, parts[0].run.at / PAGE_BLOCK, block, r->ps);

	for (size_t i = 0, k; i < n && error == 0; i += k) {
		for (k = 1; i + k < n && k < PAGE_BLOCK && parts[i + k].process == parts[i].process;)
			k++;
		error = write_parts(&parts[i], k, block);
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

static bool is_to_be_filled(const struct new_process *p)
{
	return !p->zombie && birth_of(p)->has_memory && !birth_of(p)->filled;
}

static int protect(struct plan *plan)
{
	struct step s = { .plan = plan, .name = "protection of memory" };

	for (size_t i = 0; i < plan->r->n_processes; i++) {
		struct new_process *p = plan->r->processes[i];
		struct build b;

		if (!is_to_be_filled(p))
			continue;
		if (!step_add(&s, &p->threads[0])) {
			step_abandon(&s);
			return -ENOMEM;
		}
		b = step_build(&s, &p->threads[0]);
		memory_protect(&b, plan_memory(plan, p));
		birth_of(p)->filled = true;
	}
	return step_run(&s);
}

int fill_memories(struct plan *plan, struct workers *w)
{
	struct fill f = { .plan = plan };
	int r = 0;

	if (!image_is_compressed(plan->r->image))
		return 0;
	for (size_t i = 0; i < plan->r->n_processes && r == 0; i++)
		if (is_to_be_filled(plan->r->processes[i]))
			r = add_process(&f, plan->r->processes[i]);
	if (f.n)
		qsort(f.parts, f.n, sizeof(*f.parts), by_place);
	if (r == 0)
		r = find_blocks(&f);
	if (r == 0)
		r = workers_some(w, f.n_blocks, fill_blocks, &f);
	free(f.parts);
	free(f.blocks);
	if (r < 0 && !plan->r->ps->n_failed)
		failed(plan->r->ps, BLAME(.object = "memory"), r, "cannot be filled: %s", strerror(-r));
	return r < 0 ? r : protect(plan);
}
