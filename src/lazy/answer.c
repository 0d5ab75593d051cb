/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "base/clock.h"
#include "lazy/filling.h"

#define AROUND	     (64ul << 10) /* bytes that come with a page that is waited for, before the rest of its block */
#define LATER_MOST   4096	  /* faults that wait for an event */
#define WAIT_MOST_US 60000000ull

struct fault {
	struct space *space;
	uint64_t address;
};

static int answer(struct filler *f, const struct fault *fault, struct loaded *loaded)
{
	uint64_t near = ALIGN_DOWN(fault->address, AROUND), start, end;
	struct space *s = fault->space;
	struct block where;
	bool lacks;
	int r;

	if (f->ended) {
		space_poison(s, fault->address);
		return 0;
	}
	if (f->failed)
		return -EAGAIN;
	pthread_rwlock_rdlock(&s->lock);
	pthread_mutex_lock(&s->map);
	lacks = pieces_lack(&s->layout.pieces, fault->address, &where);
	pieces_around(&s->layout.pieces, fault->address, &start, &end);
	pthread_mutex_unlock(&s->map);
	pthread_rwlock_unlock(&s->lock);
	if (!lacks)
		return filling_judge(f, s, space_zero(s, fault->address));
	pthread_mutex_lock(&f->lock);
	wanted_note(&f->wanted, &where);
	pthread_mutex_unlock(&f->lock);
	if (filling_load(f, loaded, &where) < 0)
		return -EAGAIN;
	r = space_copy(s, loaded, MAX(near, start), MIN(near + AROUND, end));
	if (r == 0)
		r = space_copy(s, loaded, start, end);
	return filling_judge(f, s, r);
}

/* --- faults and events --- */

struct answering {
	struct filler *f;
	struct loaded loaded;
	struct fault later[LATER_MOST]; /* those that have to wait for an event */
	size_t n;
	uint64_t waited_us; /* since when there have been such; 0: there are none */
};

static void answer_or_wait(struct answering *a, struct space *s, uint64_t address)
{
	struct fault fault = { s, address };

	while (answer(a->f, &fault, &a->loaded) == -EAGAIN) {
		if (a->n < LATER_MOST) {
			a->later[a->n++] = fault;
			return;
		}
		sched_yield();
	}
}

static void answer_waiting(struct answering *a)
{
	size_t n = a->n;

	a->n = 0;
	for (size_t i = 0; i < n; i++)
		answer_or_wait(a, a->later[i].space, a->later[i].address);
	if (!a->n)
		a->waited_us = 0;
	else if (!a->waited_us)
		a->waited_us = clock_us();
	else if (clock_us() - a->waited_us > WAIT_MOST_US && !a->f->failed)
		filling_fail(
			a->f, -ETIMEDOUT, "a page cannot be given to the restored tree, whose memory keeps moving");
}

/* Added last: from then on it may be found to be whole. */
static void adopt(struct filler *f, struct space *child)
{
	int r = deadman_hold(child->uffd, child->held);

	if (r == 0)
		r = filling_watch(f, child);
	filler_add(f, child);
	if (r < 0)
		filling_fail(f, r, "a process that the restored tree has forked cannot be given its pages");
}

/* A process that has been heard of, and is not among the others yet, is missing pages too: until then it is not the end. */
static void set_hearing(struct filler *f, bool hearing)
{
	pthread_mutex_lock(&f->lock);
	f->hearing = hearing;
	if (!hearing)
		pthread_cond_broadcast(&f->turn);
	pthread_mutex_unlock(&f->lock);
}

static void hear(struct answering *a, struct space *s)
{
	struct space_news news;
	int r;

	do {
		set_hearing(a->f, true);
		r = space_read(s, &news);
		for (size_t i = 0; i < news.n_children; i++)
			adopt(a->f, news.children[i]);
		set_hearing(a->f, false);
		if (r < 0)
			filling_fail(a->f, r, "what the restored tree did with its memory cannot be noted");
		for (size_t i = 0; i < news.n_faults; i++)
			answer_or_wait(a, s, news.faults[i]);
	} while (r > 0);
}

static void look(struct filler *f)
{
	pthread_mutex_lock(&f->lock);
	filling_look_for_end(f);
	pthread_mutex_unlock(&f->lock);
}

struct answering *answering_new(struct filler *f)
{
	struct answering *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->f = f;
	a->loaded.bytes = aligned_alloc(PAGE_SIZE, PAGE_BLOCK * PAGE_SIZE);
	if (a->loaded.bytes)
		return a;
	free(a);
	return NULL;
}

void answering_free(struct answering *a)
{
	if (!a)
		return;
	free(a->loaded.bytes);
	free(a);
}

void *filling_answer(void *arg)
{
	struct answering *a = arg;
	struct epoll_event events[32];
	bool stop = false;

	while (!stop) {
		int n = epoll_wait(a->f->epoll, events, ARRAY_SIZE(events), a->n ? 1 : a->f->failed ? 20 : -1);

		for (int i = 0; i < n; i++) {
			eventfd_t ignored;

			if (events[i].data.ptr)
				hear(a, events[i].data.ptr);
			else
				eventfd_read(a->f->wake_fd, &ignored);
		}
		stop = a->f->stopping;
		answer_waiting(a);
		if (a->f->failed)
			look(a->f);
	}
	answering_free(a);
	return NULL;
}
