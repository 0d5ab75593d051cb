/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/older.h"

#include <errno.h>
#include <stdlib.h>

#include "state/process.h"

struct older_process {
	uint64_t pid;
	object_id id;
	const struct memory_state *memory;
};

static int by_pid(const void *a, const void *b)
{
	const struct older_process *x = a, *y = b;

	return (x->pid > y->pid) - (x->pid < y->pid);
}

static int by_id(const void *a, const void *b)
{
	const struct older_process *x = a, *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

static bool runs_fit(const struct image *img, const struct memory_state *m)
{
	uint64_t last = 0;

	for (size_t i = 0; i < m->n_runs; i++) {
		const struct page_run *run = &m->runs[i];
		uint64_t most = run->file < img->n_page_files ? page_file_pages(img, (unsigned int)run->file) : 0;

		if (run->start < last || run->pages > most || run->at > most - run->pages)
			return false;
		last = run->start + run->pages * PAGE_SIZE;
	}
	return true;
}

static int index_processes(struct older *o, struct problems *ps)
{
	size_t n_memories;
	struct record *processes = image_records(o->image, &component_process.kind, &o->n);
	struct record *memories = image_records(o->image, &component_memory.kind, &n_memories);

	o->list = calloc(o->n + 1, sizeof(*o->list));
	if (!o->list)
		return failed(ps, NULL, -ENOMEM, "no memory for the parent's memory");
	for (size_t i = 0; i < o->n; i++) {
		const struct process_state *s = processes[i].state;

		o->list[i] = (struct older_process){ .pid = s->pid, .id = processes[i].id };
	}
	qsort(o->list, o->n, sizeof(*o->list), by_id);
	for (size_t i = 0; i < n_memories; i++) {
		const struct memory_state *m = memories[i].state;
		const struct older_process key = { .id = m->of };
		struct older_process *found = bsearch(&key, o->list, o->n, sizeof(key), by_id);

		if (!found || !runs_fit(o->image, m))
			return failed(ps, BLAME(.object = "memory.cbor"), -EBADMSG,
				"the parent is damaged: it has memory of a process, or pages, that are not there");
		found->memory = m;
	}
	qsort(o->list, o->n, sizeof(*o->list), by_pid);
	return 0;
}

int older_open(int dir_fd, struct problems *ps, struct older **out)
{
	static const struct record_kind *const kinds[] = { &component_process.kind, &component_memory.kind, NULL };
	struct older *o = calloc(1, sizeof(*o));
	int r = o ? image_open_parent(dir_fd, kinds, ps, &o->image) : -ENOMEM;

	if (r == 0)
		r = index_processes(o, ps);
	if (r < 0) {
		older_free(o);
		return r;
	}
	*out = o;
	return 0;
}

void older_free(struct older *o)
{
	if (!o)
		return;
	image_free(o->image);
	free(o->list);
	free(o);
}

const struct memory_state *older_memory(const struct older *o, uint64_t pid)
{
	const struct older_process key = { .pid = pid };
	const struct older_process *found = o ? bsearch(&key, o->list, o->n, sizeof(key), by_pid) : NULL;

	return found ? found->memory : NULL;
}

static uint64_t end_of(const struct page_run *run)
{
	return run->start + run->pages * PAGE_SIZE;
}

/* The first run that ends behind the address. */
static size_t search(const struct memory_state *m, uint64_t address)
{
	size_t low = 0, high = m->n_runs;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (end_of(&m->runs[middle]) <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

bool older_find(struct older_cursor *c, uint64_t address, struct page_run *run, uint64_t *next)
{
	const struct memory_state *m = c->memory;
	uint64_t skipped;

	*next = UINT64_MAX;
	if (!m)
		return false;
	if (!c->at || end_of(&m->runs[c->at - 1]) > address)
		c->at = search(m, address);
	for (size_t steps = 0; c->at < m->n_runs && end_of(&m->runs[c->at]) <= address; c->at++)
		if (++steps == 16) {
			c->at = search(m, address);
			break;
		}
	if (c->at == m->n_runs)
		return false;
	*run = m->runs[c->at];
	*next = run->start;
	if (run->start > address)
		return false;
	skipped = (address - run->start) / PAGE_SIZE;
	*run = (struct page_run){ address, run->pages - skipped, run->file, run->at + skipped };
	return true;
}
