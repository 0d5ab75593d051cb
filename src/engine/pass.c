/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/pass.h"

#include "engine/members.h"

static int pass_of_worker(unsigned int worker, void *arg)
{
	struct pass *pass = arg;
	const struct tree *t = pass->c->tree;
	int error = 0;

	for (size_t i = 0; i < t->n_processes; i++)
		if (t->processes[i]->worker == worker) {
			int r = pass->fn(pass, i);

			if (r < 0 && !error)
				error = r;
		}
	return error;
}

int pass_run(struct pass *pass, int (*fn)(struct pass *pass, size_t process))
{
	pass->fn = fn;
	return workers_some(pass->c->workers, tree_workers(pass->c->tree), pass_of_worker, pass);
}

int pass_of_any(unsigned int worker, void *arg)
{
	struct pass *pass = arg;
	size_t n = pass->c->tree->n_processes;
	int error = 0;

	for (size_t i; (i = pass->next++) < n;) {
		int r = pass->fn(pass, i);

		if (r < 0 && !error)
			error = r;
	}
	return error;
}

int pass_run_any(struct pass *pass, int (*fn)(struct pass *pass, size_t process))
{
	pass->fn = fn;
	pass->next = 0;
	return workers_some(pass->c->workers, pass->c->tree->n_processes, pass_of_any, pass);
}

#define THREADS_FEW 16 /* to wake another worker takes as long as these take one */

static size_t thread_workers(const struct pass *pass)
{
	const struct tree *t = pass->c->tree;

	return MIN((t->n_threads - MIN(t->n_threads, t->n_processes)) / THREADS_FEW + 1,
		(size_t)workers_count(pass->c->workers));
}

/* Each worker's share: so a process of many is not one worker's alone. */
static int threads_of_worker(unsigned int worker, void *arg)
{
	struct pass *pass = arg;
	const struct tree *t = pass->c->tree;
	size_t turn = 0, workers = thread_workers(pass);
	int error = 0;

	for (size_t i = 0; i < t->n_processes; i++)
		for (size_t k = 1; !t->processes[i]->zombie && k < t->processes[i]->n_threads; k++) {
			int r = turn++ % workers == worker ? pass->thread_fn(pass, &t->processes[i]->threads[k]) : 0;

			if (r < 0 && !error)
				error = r;
		}
	return error;
}

int pass_run_threads(struct pass *pass, int (*fn)(struct pass *pass, struct thread *th))
{
	pass->thread_fn = fn;
	return workers_some(pass->c->workers, thread_workers(pass), threads_of_worker, pass);
}

struct capture capture_of(struct pass *pass, struct process *p)
{
	return (struct capture){ .tree = pass->c->tree,
		.process = p,
		.ps = pass->c->ps,
		.writer = pass->c->writer,
		.identities = pass->ids,
		.descriptions = pass->descriptions,
		.witnesses = pass->witnesses,
		.ends = pass->c->ends,
		.kernel = pass->kernel };
}
