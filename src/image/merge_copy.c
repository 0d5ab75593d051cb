/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pages of a chain copied into one image, in the order of addresses: what many images had scattered is one run again, which makes a restore, and the records of all
 * later images, small. A window of them is gathered in memory, block by block of the page files, and written at once; since each page file has its pages in the
 * order of addresses too, a block is seldom read for more than two windows.
 */
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "image/merge.h"

#define WINDOWS_PAGES (32ul << 20 >> PAGE_SHIFT) /* of all threads */
#define WINDOW_LEAST  (4ul << 20 >> PAGE_SHIFT)
#define THREADS_MOST  8u

struct copying {
	struct needs *needs;
	const struct image *img;
	struct image_writer *w;
	const struct image_merging *how;
	struct problems *ps;
	uint64_t window; /* pages */
	pthread_mutex_t lock;
	size_t next; /* of those in order */
	_Atomic uint64_t done;
	_Atomic int error;
};

/* A stretch within a page file, and where it goes in the window. */
struct part {
	unsigned int file;
	uint64_t at, pages, to;
};

struct copier {
	struct copying *c;
	struct page_writer *writer;
	uint64_t written; /* pages */
	uint8_t *window;
	uint64_t filled; /* pages */
	struct part *parts;
	size_t n_parts;
	uint8_t *block; /* the one of that file which was read last */
	unsigned int block_file;
	uint64_t block_number;
};

static int by_place(const void *a, const void *b)
{
	const struct part *x = a, *y = b;

	if (x->file != y->file)
		return x->file < y->file ? -1 : 1;
	return (x->at > y->at) - (x->at < y->at);
}

static int load_block(struct copier *k, unsigned int file, uint64_t number)
{
	int r;

	if (k->block_number == number && k->block_file == file)
		return 0;
	k->block_number = UINT64_MAX;
	r = page_file_load(k->c->img, file, number, k->block, k->c->ps);
	if (r < 0)
		return r;
	k->block_file = file;
	k->block_number = number;
	return 0;
}

/* Pages that lie in one block: a whole one is read to where it goes. */
static int fetch(struct copier *k, unsigned int file, uint64_t at, uint64_t pages, uint8_t *to)
{
	int r;

	if (pages == PAGE_BLOCK)
		return page_file_load(k->c->img, file, at / PAGE_BLOCK, to, k->c->ps);
	r = load_block(k, file, at / PAGE_BLOCK);
	if (r == 0)
		memcpy(to, k->block + at % PAGE_BLOCK * PAGE_SIZE, pages * PAGE_SIZE);
	return r;
}

static int fetch_part(struct copier *k, const struct part *p)
{
	int r = 0;

	for (uint64_t done = 0, n; r == 0 && done < p->pages; done += n) {
		uint64_t at = p->at + done, rest = PAGE_BLOCK - at % PAGE_BLOCK;

		n = MIN(p->pages - done, rest);
		r = fetch(k, p->file, at, n, k->window + (p->to + done) * PAGE_SIZE);
	}
	return r;
}

static void tell(const struct copying *c, uint64_t done)
{
	if (c->how->progress)
		c->how->progress(c->how->data, done * PAGE_SIZE, c->needs->pages * PAGE_SIZE);
}

static int write_window(struct copier *k)
{
	int64_t at;
	int r = 0;

	qsort(k->parts, k->n_parts, sizeof(*k->parts), by_place);
	for (size_t i = 0; r == 0 && i < k->n_parts; i++)
		r = fetch_part(k, &k->parts[i]);
	if (r < 0)
		return r;
	at = page_writer_append(k->writer, k->window, k->filled);
	if (at < 0)
		return (int)at;
	tell(k->c, atomic_fetch_add(&k->c->done, k->filled) + k->filled);
	k->written += k->filled;
	k->filled = k->n_parts = 0;
	return 0;
}

/* What is larger than the window goes through it in pieces. */
static int copy_one(struct copier *k, struct needed *one)
{
	int r = 0;

	one->new_file = page_writer_number(k->writer);
	one->new_at = k->written + k->filled;
	for (uint64_t done = 0, n; r == 0 && done < one->pages; done += n) {
		n = MIN(one->pages - done, k->c->window - k->filled);
		k->parts[k->n_parts++] =
			(struct part){ .file = one->file, .at = one->at + done, .pages = n, .to = k->filled };
		k->filled += n;
		if (k->filled == k->c->window)
			r = write_window(k);
	}
	return r;
}

/* The next ones, a window of them: how many. */
static size_t take(struct copying *c, size_t *first)
{
	const struct needs *needs = c->needs;
	uint64_t pages = 0;
	size_t n = 0;

	pthread_mutex_lock(&c->lock);
	*first = c->next;
	while (c->next < needs->n && (!n || pages + needs->by_order[c->next]->pages <= c->window)) {
		pages += needs->by_order[c->next++]->pages;
		n++;
	}
	pthread_mutex_unlock(&c->lock);
	return n;
}

static int copy_all(struct copier *k)
{
	size_t first, n;
	int r = 0;

	while (r == 0 && !atomic_load(&k->c->error) && (n = take(k->c, &first))) {
		if (!k->writer)
			r = page_writer_open(k->c->w, &k->writer);
		for (size_t i = first; r == 0 && i < first + n; i++)
			r = copy_one(k, k->c->needs->by_order[i]);
		if (r == 0 && k->filled)
			r = write_window(k);
	}
	return r;
}

static void *run(void *arg)
{
	struct copying *c = arg;
	struct copier k = { .c = c, .block_number = UINT64_MAX };
	int r = 0;

	k.window = aligned_alloc(PAGE_SIZE, c->window * PAGE_SIZE);
	k.block = aligned_alloc(PAGE_SIZE, PAGE_BLOCK * PAGE_SIZE);
	k.parts = calloc(c->window, sizeof(*k.parts));
	if (!k.window || !k.block || !k.parts)
		r = failed(c->ps, NULL, -ENOMEM, "no memory to copy pages through");
	if (r == 0)
		r = copy_all(&k);
	if (r < 0)
		atomic_store(&c->error, r);
	free(k.window);
	free(k.block);
	free(k.parts);
	return NULL;
}

static unsigned int count_threads(const struct needs *needs)
{
	uint64_t useful = needs->pages / WINDOW_LEAST;
	unsigned int cpus = 1;
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		cpus = (unsigned int)CPU_COUNT(&set);
	cpus = MIN(cpus, THREADS_MOST);
	cpus = useful < cpus ? (unsigned int)useful : cpus;
	return MAX(cpus, 1u);
}

int needs_copy(struct needs *n, const struct image *img, struct image_writer *w, const struct image_merging *how,
	struct problems *ps)
{
	struct copying c = { .needs = n, .img = img, .w = w, .how = how, .ps = ps, .lock = PTHREAD_MUTEX_INITIALIZER };
	unsigned int wanted = count_threads(n), started = 0;
	pthread_t threads[THREADS_MOST];

	c.window = MAX(WINDOWS_PAGES / wanted, WINDOW_LEAST);
	while (started + 1 < wanted && pthread_create(&threads[started], NULL, run, &c) == 0)
		started++;
	run(&c); /* this thread too: the work is done even if no other could be made */
	while (started)
		pthread_join(threads[--started], NULL);
	return atomic_load(&c.error);
}
