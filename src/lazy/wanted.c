/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lazy/wanted.h"

#include <errno.h>
#include <stdlib.h>

#define BLOCKS_MOST (1u << 16) /* that are noted: 64 GiB */

static uint32_t *rank_of(struct wanted *w, uint64_t file, uint64_t block)
{
	return &w->rank[w->first[file] + block];
}

static void add(struct wanted *w, uint64_t file, uint64_t block)
{
	uint32_t *rank = rank_of(w, file, block);

	if (*rank || w->now.n_blocks == BLOCKS_MOST)
		return;
	if (w->now.n_blocks == w->room) {
		size_t room = w->room ? 2 * w->room : 64;
		struct touched_block *grown = reallocarray(w->now.blocks, room, sizeof(*grown));

		if (!grown)
			return;
		w->now.blocks = grown;
		w->room = room;
	}
	w->now.blocks[w->now.n_blocks++] = (struct touched_block){ file, block };
	*rank = (uint32_t)w->now.n_blocks;
}

static int make_ranks(struct wanted *w, const struct image *img)
{
	uint64_t n = 0;

	w->first = calloc(img->n_page_files + 1, sizeof(*w->first));
	if (!w->first)
		return -ENOMEM;
	for (unsigned int i = 0; i < img->n_page_files; i++) {
		w->first[i] = n;
		n += (page_file_pages(img, i) + PAGE_BLOCK - 1) / PAGE_BLOCK;
	}
	w->rank = calloc(n + 1, sizeof(*w->rank));
	return w->rank ? 0 : -ENOMEM;
}

int wanted_init(struct wanted *w, const struct image *img)
{
	*w = (struct wanted){ 0 };
	if (make_ranks(w, img) < 0) {
		wanted_free(w);
		return -ENOMEM;
	}
	image_touched(img, &w->before);
	for (size_t i = 0; i < w->before.n_blocks; i++)
		add(w, w->before.blocks[i].file, w->before.blocks[i].block);
	w->known = w->now.n_blocks;
	return 0;
}

void wanted_free(struct wanted *w)
{
	touched_free(&w->before);
	touched_free(&w->now);
	free(w->first);
	free(w->rank);
	free(w->list);
	*w = (struct wanted){ 0 };
}

/* --- streaming --- */

static bool is_same(const struct block *a, const struct block *b)
{
	return a->file == b->file && a->number == b->number;
}

/* A block's pieces mostly follow one another. */
static int find_in(struct wanted *w, struct space *s, size_t *room)
{
	for (size_t i = 0; i < s->layout.pieces.n; i++) {
		const struct piece *p = &s->layout.pieces.list[i];
		struct block where = { p->file, p->at / PAGE_BLOCK };
		struct wanted_block *last = w->n ? &w->list[w->n - 1] : NULL;
		uint32_t rank = *rank_of(w, where.file, where.number);

		if (!rank || (last && last->space == s && is_same(&last->where, &where)))
			continue;
		if (!w->list || w->n == *room) {
			struct wanted_block *grown = reallocarray(w->list, *room ? 2 * *room : 64, sizeof(*grown));

			if (!grown)
				return -ENOMEM;
			w->list = grown;
			*room = *room ? 2 * *room : 64;
		}
		w->list[w->n++] = (struct wanted_block){ s, p->start, where, rank };
	}
	return 0;
}

static int by_rank(const void *a, const void *b)
{
	const struct wanted_block *x = a, *y = b;

	return (x->rank > y->rank) - (x->rank < y->rank);
}

void wanted_find(struct wanted *w, struct space *spaces)
{
	size_t room = 0;
	int r = 0;

	for (struct space *s = spaces; s && r == 0 && w->known; s = s->next) {
		pthread_rwlock_rdlock(&s->lock);
		pthread_mutex_lock(&s->map);
		r = find_in(w, s, &room);
		pthread_mutex_unlock(&s->map);
		pthread_rwlock_unlock(&s->lock);
	}
	if (w->n)
		qsort(w->list, w->n, sizeof(*w->list), by_rank);
}

static bool is_missing(struct wanted_block *b)
{
	struct space *s = b->space;
	struct block where;
	bool is;

	if (s->uffd < 0)
		return false;
	pthread_rwlock_rdlock(&s->lock);
	pthread_mutex_lock(&s->map);
	is = pieces_next(&s->layout.pieces, b->start, &b->start, &where) && is_same(&where, &b->where);
	pthread_mutex_unlock(&s->map);
	pthread_rwlock_unlock(&s->lock);
	return is;
}

struct space *wanted_next(struct wanted *w, struct block *where, uint64_t *start)
{
	while (w->next < w->n) {
		struct wanted_block *b = &w->list[w->next++];

		if (!is_missing(b))
			continue;
		*where = b->where;
		*start = b->start;
		return b->space;
	}
	return NULL;
}

/* --- noting --- */

void wanted_note(struct wanted *w, const struct block *where)
{
	if (w->rank)
		add(w, where->file, where->number);
}

void wanted_keep(struct wanted *w, const struct image *img)
{
	if (w->now.n_blocks > w->known)
		image_set_touched(img, &w->now);
}
