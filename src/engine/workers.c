/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/workers.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
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
	sem_t go;
};

/* The first is the caller itself. Each other has a semaphore of its own: woken all at once, they would meet at a lock. */
struct workers {
	unsigned int count, started;
	sem_t done;
	bool quit, refused; /* refused: no more threads could be started */
	int (*fn)(unsigned int worker, void *arg);
	void *arg;
	_Atomic(int) error; /* the first */
	struct worker list[];
};

static void await(sem_t *s)
{
	while (sem_wait(s) < 0)
		; /* interrupted */
}

static void run_share(struct workers *w, unsigned int index)
{
	int none = 0, r = w->fn(index, w->arg);

	if (r < 0)
		atomic_compare_exchange_strong(&w->error, &none, r);
}

static void *worker_main(void *arg)
{
	struct worker *me = arg;

	for (await(&me->go); !me->all->quit; await(&me->go)) {
		run_share(me->all, me->index);
		sem_post(&me->all->done);
	}
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

	if (!w)
		return -ENOMEM;
	sem_init(&w->done, 0, 0);
	w->count = n;
	w->started = 1;
	*out = w;
	return 0;
}

void workers_free(struct workers *w)
{
	if (!w)
		return;
	w->quit = true;
	for (unsigned int i = 1; i < w->started; i++) {
		sem_post(&w->list[i].go);
		pthread_join(w->list[i].thread, NULL);
		sem_destroy(&w->list[i].go);
	}
	sem_destroy(&w->done);
	free(w);
}

unsigned int workers_count(const struct workers *w)
{
	return w->count;
}

static int start(struct workers *w, struct worker *one)
{
	sigset_t all, old;
	int r;

	*one = (struct worker){ .all = w, .index = w->started };
	sem_init(&one->go, 0, 0);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&one->thread, NULL, worker_main, one);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -r;
}

/* A small tree never needs more than the caller. The share of one that cannot be started is the caller's, from then on: a share stays with its thread. */
static void start_missing(struct workers *w, unsigned int n)
{
	while (!w->refused && w->started < n) {
		w->refused = start(w, &w->list[w->started]) < 0;
		w->started += !w->refused;
	}
}

int workers_some(struct workers *w, size_t most, int (*fn)(unsigned int worker, void *arg), void *arg)
{
	unsigned int n = (unsigned int)MIN(MAX(most, 1ul), (size_t)w->count);
	unsigned int others;

	start_missing(w, n);
	others = MIN(n, w->started);
	w->fn = fn;
	w->arg = arg;
	w->error = 0;
	for (unsigned int i = 1; i < others; i++)
		sem_post(&w->list[i].go);
	run_share(w, 0);
	for (unsigned int i = others; i < n; i++)
		run_share(w, i);
	for (unsigned int i = 1; i < others; i++)
		await(&w->done);
	return w->error;
}

int workers_each(struct workers *w, int (*fn)(unsigned int worker, void *arg), void *arg)
{
	return workers_some(w, w->count, fn, arg);
}
