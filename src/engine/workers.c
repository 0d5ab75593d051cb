/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/workers.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/macro.h"

#define WORKERS_MAX 16 /* beyond this, memory bandwidth is the limit */
/* A worker waits for its tasks (their stops, their batches) about as long as it works for them: while one waits, the other works. */
#define WORKERS_PER_CPU 2

struct worker {
	struct workers *all;
	unsigned int index;
	pthread_t thread;
};

struct workers {
	pthread_mutex_t lock;
	pthread_cond_t work, done;
	unsigned int count, busy;
	unsigned long round;
	bool quit;
	int (*fn)(unsigned int worker, void *arg);
	void *arg;
	int error;
	struct worker list[];
};

static void *worker_main(void *arg)
{
	struct worker *me = arg;
	struct workers *w = me->all;
	unsigned long seen = 0;

	pthread_mutex_lock(&w->lock);
	for (;;) {
		while (w->round == seen && !w->quit)
			pthread_cond_wait(&w->work, &w->lock);
		if (w->quit)
			break;
		seen = w->round;
		pthread_mutex_unlock(&w->lock);
		int r = w->fn(me->index, w->arg);
		pthread_mutex_lock(&w->lock);
		if (r < 0 && !w->error)
			w->error = r;
		if (--w->busy == 0)
			pthread_cond_signal(&w->done);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

static unsigned int cpus(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) == 0 ? (unsigned int)CPU_COUNT(&set) : 1;
}

int workers_new(struct workers **out)
{
	unsigned int n = MIN(MAX(cpus(), 1u) * WORKERS_PER_CPU, (unsigned int)WORKERS_MAX);
	struct workers *w = calloc(1, sizeof(*w) + n * sizeof(w->list[0]));
	sigset_t all, old;

	if (!w)
		return -ENOMEM;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->work, NULL);
	pthread_cond_init(&w->done, NULL);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (w->count < n) {
		struct worker *one = &w->list[w->count];

		*one = (struct worker){ .all = w, .index = w->count };
		if (pthread_create(&one->thread, NULL, worker_main, one) != 0)
			break;
		w->count++;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!w->count) {
		workers_free(w);
		return -EAGAIN;
	}
	*out = w;
	return 0;
}

void workers_free(struct workers *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	w->quit = true;
	pthread_cond_broadcast(&w->work);
	pthread_mutex_unlock(&w->lock);
	for (unsigned int i = 0; i < w->count; i++)
		pthread_join(w->list[i].thread, NULL);
	pthread_cond_destroy(&w->work);
	pthread_cond_destroy(&w->done);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

unsigned int workers_count(const struct workers *w)
{
	return w->count;
}

int workers_each(struct workers *w, int (*fn)(unsigned int worker, void *arg), void *arg)
{
	int r;

	pthread_mutex_lock(&w->lock);
	w->fn = fn;
	w->arg = arg;
	w->error = 0;
	w->busy = w->count;
	w->round++;
	pthread_cond_broadcast(&w->work);
	while (w->busy)
		pthread_cond_wait(&w->done, &w->lock);
	r = w->error;
	pthread_mutex_unlock(&w->lock);
	return r;
}
