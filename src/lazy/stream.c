/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "lazy/filling.h"

/* The next block that it lacks pages of; the cursor goes behind what lies around there. */
static bool claim(struct space *s, struct block *where, uint64_t *start)
{
	uint64_t first;
	bool found;

	pthread_rwlock_rdlock(&s->lock);
	pthread_mutex_lock(&s->map);
	found = pieces_next(&s->layout.pieces, s->cursor, start, where);
	if (!found && !s->streaming) /* what could not be copied the first time */
		found = pieces_next(&s->layout.pieces, 0, start, where);
	if (found)
		pieces_around(&s->layout.pieces, *start, &first, &s->cursor);
	pthread_mutex_unlock(&s->map);
	pthread_rwlock_unlock(&s->lock);
	return found;
}

/*
 * Under the lock. Children of processes that are not yet whole come last: most of them end, or call exec, before.
 */
static struct space *choose(struct filler *f, struct block *where, uint64_t *start)
{
	struct space *wanted = wanted_next(&f->wanted, where, start);
	bool busy = false;

	if (wanted)
		return wanted;
	for (int children = 0; children < 2 && !busy; children++)
		for (struct space *s = f->spaces; s; s = s->next) {
			if (s->child != (children == 1) || s->uffd < 0)
				continue;
			if (claim(s, where, start))
				return s;
			busy |= s->streaming > 0;
		}
	return NULL;
}

static void stream_block(
	struct filler *f, struct space *s, const struct block *where, uint64_t start, struct loaded *loaded)
{
	uint64_t first, end;

	if (filling_load(f, loaded, where) < 0)
		return;
	pthread_rwlock_rdlock(&s->lock);
	pthread_mutex_lock(&s->map);
	pieces_around(&s->layout.pieces, start, &first, &end);
	pthread_mutex_unlock(&s->map);
	pthread_rwlock_unlock(&s->lock);
	if (filling_judge(f, s, space_copy(s, loaded, start, end)) == -EAGAIN)
		usleep(100);
}

void *filling_stream(void *arg)
{
	struct filler *f = arg;
	struct loaded loaded = { .bytes = aligned_alloc(PAGE_SIZE, PAGE_BLOCK * PAGE_SIZE) };

	if (!loaded.bytes)
		filling_fail(f, -ENOMEM, "no memory to read the image");
	pthread_mutex_lock(&f->lock);
	while (!f->stopping && !f->over && !f->failed) {
		struct block where;
		uint64_t start;
		struct space *s = choose(f, &where, &start);

		if (!s) {
			filling_look_for_end(f);
			if (!f->over)
				pthread_cond_wait(&f->turn, &f->lock);
			continue;
		}
		s->streaming++;
		pthread_mutex_unlock(&f->lock);
		stream_block(f, s, &where, start, &loaded);
		pthread_mutex_lock(&f->lock);
		s->streaming--;
		pthread_cond_broadcast(&f->turn);
	}
	pthread_mutex_unlock(&f->lock);
	free(loaded.bytes);
	return NULL;
}
