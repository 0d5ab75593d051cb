/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Page files of an open image: how many pages they hold, and whether these are what was written. */
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "image/directory.h"
#include "image/reader.h"

#define BLOCK_BYTES   (PAGE_BLOCK * PAGE_SIZE)
#define BLOCKS_A_TURN 16
#define THREADS_MOST  64u

void image_need_pages(struct image *img, unsigned int number, uint64_t at, uint64_t n)
{
	struct image_private *p = img->private;
	struct page_file *pf = &p->page_files[number];

	if (number >= p->first_own || !n)
		return;
	p->needed_pages += n;
	for (uint64_t i = at / PAGE_BLOCK; i <= (at + n - 1) / PAGE_BLOCK; i++)
		pf->needed[i] = true;
}

void image_need_none(struct image *img)
{
	struct image_private *p = img->private;

	for (unsigned int i = 0; i < p->first_own; i++)
		if (p->page_files[i].needed)
			memset(p->page_files[i].needed, 0,
				(p->page_files[i].pages / PAGE_BLOCK + 1) * sizeof(*p->page_files[i].needed));
	p->needed_pages = 0;
}

uint64_t image_pages(const struct image *img)
{
	uint64_t pages = img->private->needed_pages;

	for (unsigned int i = img->private->first_own; i < img->n_page_files; i++)
		pages += img->private->page_files[i].streamed ? 0 : page_file_pages(img, i);
	return pages;
}

static int verify_blocks(
	const struct image *img, unsigned int number, uint64_t first, uint64_t n, void *buffer, struct problems *ps)
{
	int r, error = 0;

	for (uint64_t i = first; i < first + n; i++) {
		r = page_file_load(img, number, i, buffer, ps);
		if (r < 0 && !error)
			error = r;
	}
	return error;
}

int page_file_verify(const struct image *img, unsigned int number, uint64_t first, uint64_t n, struct problems *ps)
{
	_cleanup_free_ void *buffer = NULL;
	uint64_t blocks = number < img->n_page_files ? page_file_blocks(&img->private->page_files[number]) : 0;

	if (first > blocks || n > blocks - first)
		return failed(ps, NULL, -EINVAL, "page file %u has %llu blocks", number, (unsigned long long)blocks);
	buffer = aligned_alloc(PAGE_SIZE, BLOCK_BYTES);
	if (!buffer)
		return failed(ps, NULL, -ENOMEM, "no memory to check page file %u", number);
	return verify_blocks(img, number, first, n, buffer, ps);
}

/* Shared by the threads of one check: each takes the next few blocks. */
struct verification {
	const struct image *img;
	struct problems *ps;
	bool needed; /* of its ancestors, those alone that it needs */
	bool (*wants)(const void *data, unsigned int number, uint64_t block, bool own); /* NULL: all of these */
	const void *data;
	_Atomic uint64_t next; /* turn */
	_Atomic int error;
};

static uint64_t turns_of(const struct page_file *pf)
{
	return pf->came || pf->streamed ? 0 : (page_file_blocks(pf) + BLOCKS_A_TURN - 1) / BLOCKS_A_TURN;
}

/* Whose turn number `turn` is: the page file, and the first block in it. */
static bool find_turn(const struct image *img, uint64_t turn, unsigned int *number, uint64_t *first)
{
	for (*number = 0; *number < img->n_page_files; ++*number) {
		uint64_t turns = turns_of(&img->private->page_files[*number]);

		if (turn < turns) {
			*first = turn * BLOCKS_A_TURN;
			return true;
		}
		turn -= turns;
	}
	return false;
}

static bool is_wanted(const struct verification *v, unsigned int number, uint64_t block)
{
	bool own = number >= v->img->private->first_own;

	if (v->needed && !own && !v->img->private->page_files[number].needed[block])
		return false;
	return !v->wants || v->wants(v->data, number, block, own);
}

static int verify_turn(struct verification *v, unsigned int number, uint64_t first)
{
	const struct page_file *pf = &v->img->private->page_files[number];
	uint64_t end = MIN(first + BLOCKS_A_TURN, page_file_blocks(pf));
	bool all = !v->wants && (!v->needed || number >= v->img->private->first_own);
	int r = 0;

	for (uint64_t n; r == 0 && first < end; first += n) {
		n = all ? end - first : 1;
		if (all || is_wanted(v, number, first))
			r = page_file_verify(v->img, number, first, n, v->ps);
	}
	return r;
}

static void *verify_turns(void *arg)
{
	struct verification *v = arg;
	unsigned int number;
	uint64_t first;

	while (find_turn(v->img, atomic_fetch_add(&v->next, 1), &number, &first)) {
		int r = verify_turn(v, number, first);

		if (r < 0)
			atomic_store(&v->error, r);
	}
	return NULL;
}

static unsigned int count_threads(const struct image *img)
{
	uint64_t turns = 0;
	unsigned int cpus = 1;
	cpu_set_t set;

	for (unsigned int i = 0; i < img->n_page_files; i++)
		turns += turns_of(&img->private->page_files[i]);
	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		cpus = (unsigned int)CPU_COUNT(&set);
	cpus = MIN(cpus, THREADS_MOST);
	return turns < cpus ? (unsigned int)turns : cpus;
}

static int verify_pages(const struct image *img, bool needed,
	bool (*wants)(const void *data, unsigned int number, uint64_t block, bool own), const void *data,
	struct problems *ps)
{
	struct verification v = { .img = img, .ps = ps, .needed = needed, .wants = wants, .data = data };
	pthread_t threads[THREADS_MOST];
	unsigned int wanted = count_threads(img), n = 0;

	while (n + 1 < wanted && pthread_create(&threads[n], NULL, verify_turns, &v) == 0)
		n++;
	verify_turns(&v); /* this thread too: the work is done even if no other could be made */
	while (n)
		pthread_join(threads[--n], NULL);
	return atomic_load(&v.error);
}

int image_verify_pages(const struct image *img, struct problems *ps)
{
	return verify_pages(img, false, NULL, NULL, ps);
}

int image_verify_needed(const struct image *img, struct problems *ps)
{
	return verify_pages(img, true, NULL, NULL, ps);
}

int image_verify_some(const struct image *img,
	bool (*fn)(const void *data, unsigned int number, uint64_t block, bool own), const void *data,
	struct problems *ps)
{
	return verify_pages(img, true, fn, data, ps);
}
