/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* process_vm_readv(2) */
#include "engine/streamed_memory.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "base/cleanup.h"

#define THREADS_MOST 8
#define ASIDE_MOST   65536u /* pages */

/* Pages in a row of the page file, and where they go. */
struct target {
	uint64_t at, pages;
	uint64_t start;
	size_t process;
};

/* A part of a block for a process that is not born yet: it is born by another than the one that it was forked from. */
struct aside {
	struct aside *next;
	struct target part;
	bool there[PAGE_BLOCK];
	uint8_t bytes[];
};

struct streaming {
	struct plan *plan;
	struct target *list; /* by `at` */
	size_t n, room;
	uint64_t first_blocks;
	uint64_t *missing; /* for each process: parts of the first blocks that have not come */
	bool *ready;	   /* for each process */
	struct aside *aside;
	uint64_t n_aside;
	bool begun;
	bool all_ready; /* and several threads read */
	_Atomic(uint64_t) placed;
	_Atomic(int) error;
};

/* --- where they go --- */

static int by_at(const void *a, const void *b)
{
	const struct target *x = a, *y = b;

	return x->at < y->at ? -1 : x->at > y->at;
}

static int add_runs(struct streaming *s, size_t process, const struct memory_state *m, unsigned int file)
{
	for (size_t i = 0; i < m->n_runs; i++) {
		if (s->n == s->room) {
			size_t room = s->room ? 2 * s->room : 256;
			struct target *grown = reallocarray(s->list, room, sizeof(*grown));

			if (!grown)
				return -ENOMEM;
			s->list = grown;
			s->room = room;
		}
		if (m->runs[i].file != file)
			return -EBADMSG;
		s->list[s->n++] = (struct target){ m->runs[i].at, m->runs[i].pages, m->runs[i].start, process };
	}
	return 0;
}

static uint64_t count_missing(const struct streaming *s, const struct target *t)
{
	uint64_t first = t->at / PAGE_BLOCK, end = (t->at + t->pages - 1) / PAGE_BLOCK + 1;

	end = MIN(end, s->first_blocks);
	return first < end ? end - first : 0;
}

/* No page goes to two places: a process would be waited for that is not born before the stream goes on. */
static int check_targets(struct streaming *s)
{
	if (s->n)
		qsort(s->list, s->n, sizeof(*s->list), by_at);
	for (size_t i = 0; i < s->n; i++) {
		if (!s->list[i].pages || (i && s->list[i - 1].at + s->list[i - 1].pages > s->list[i].at))
			return -EBADMSG;
		s->missing[s->list[i].process] += count_missing(s, &s->list[i]);
	}
	return 0;
}

static int find_targets(struct streaming *s, unsigned int file)
{
	struct restore *r = s->plan->r;
	int error = 0;

	s->missing = calloc(r->n_processes, sizeof(*s->missing));
	s->ready = calloc(r->n_processes, sizeof(*s->ready));
	if (!s->missing || !s->ready)
		return -ENOMEM;
	for (size_t i = 0; error == 0 && i < r->n_processes; i++) {
		const struct memory_state *m = s->plan->memories[i];

		if (m && r->processes[i]->zombie && m->n_runs)
			error = -EBADMSG;
		if (error == 0 && m)
			error = add_runs(s, i, m, file);
	}
	return error < 0 ? error : check_targets(s);
}

int streaming_new(struct plan *plan, struct streaming **out)
{
	struct restore *r = plan->r;
	unsigned int file = UINT32_MAX;
	uint64_t first_blocks = 0;
	struct streaming *s;
	int error;

	if (!r->streamed)
		return 0;
	s = calloc(1, sizeof(*s));
	if (!s)
		return failed(r->ps, NULL, -ENOMEM, "out of memory");
	image_streamed_file(r->image, &file, &first_blocks);
	s->plan = plan;
	s->first_blocks = first_blocks;
	*out = s;
	error = find_targets(s, file);
	if (error == -ENOMEM)
		return failed(r->ps, NULL, error, "out of memory");
	return error < 0 ? failed(r->ps, BLAME(.object = "memory"), error,
				   "the stream is damaged: its pages cannot go where its records say")
			 : 0;
}

void streaming_free(struct streaming *s)
{
	struct aside *next;

	if (!s)
		return;
	for (; s->aside; s->aside = next) {
		next = s->aside->next;
		free(s->aside);
	}
	free(s->list);
	free(s->missing);
	free(s->ready);
	free(s);
}

bool streaming_has_begun(const struct streaming *s)
{
	return s && s->begun;
}

uint64_t streaming_pages(const struct streaming *s)
{
	return s ? s->placed : 0;
}

/* --- placing --- */

/* bytes, there: of the first page of the part on. What is not there is zero, as fresh memory is. */
static int place(struct streaming *s, const struct target *part, const uint8_t *bytes, const bool *there)
{
	const struct new_process *p = s->plan->r->processes[part->process];
	struct iovec from[PAGE_BLOCK / 2], to[PAGE_BLOCK / 2];
	uint64_t pages = 0;
	size_t n = 0;
	ssize_t wrote;

	for (uint64_t i = 0, stretch; i < part->pages; i += stretch) {
		stretch = 1;
		while (i + stretch < part->pages && there[i + stretch] == there[i])
			stretch++;
		if (!there[i])
			continue;
		from[n] = (struct iovec){ (void *)(bytes + i * PAGE_SIZE), stretch * PAGE_SIZE };
		to[n++] = (struct iovec){ (void *)(part->start + i * PAGE_SIZE), stretch * PAGE_SIZE };
		pages += stretch;
	}
	wrote = n ? process_vm_writev(p->pid, from, n, to, n, 0) : 0;
	if (wrote == (ssize_t)(pages * PAGE_SIZE)) {
		s->placed += pages;
		return 0;
	}
	return failed(s->plan->r->ps, BLAME(.pid = p->vpid, .object = "memory"), wrote < 0 ? -errno : -EFAULT,
		"its pages at %llx cannot be written: %s", (unsigned long long)part->start,
		strerror(wrote < 0 ? errno : EFAULT));
}

static int put_aside(struct streaming *s, const struct target *part, const uint8_t *bytes, const bool *there)
{
	struct aside *a = s->n_aside + part->pages > ASIDE_MOST ? NULL : malloc(sizeof(*a) + part->pages * PAGE_SIZE);

	if (!a)
		return failed(s->plan->r->ps,
			BLAME(.object = "memory",
				.remedy = "receive it in a directory (`spore receive`), and restore that"),
			-ENOMEM, "the pages of processes come in another order than the processes are born in");
	a->part = *part;
	memcpy(a->there, there, part->pages * sizeof(*there));
	memcpy(a->bytes, bytes, part->pages * PAGE_SIZE);
	a->next = s->aside;
	s->aside = a;
	s->n_aside += part->pages;
	return 0;
}

static size_t first_target(const struct streaming *s, uint64_t at)
{
	size_t low = 0, high = s->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (s->list[mid].at + s->list[mid].pages <= at)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static int place_block(struct streaming *s, const struct image_block *block, const uint8_t *bytes)
{
	uint64_t start = block->number * PAGE_BLOCK, end = start + block->pages;
	int r = 0;

	for (size_t i = first_target(s, start); r == 0 && i < s->n && s->list[i].at < end; i++) {
		const struct target *t = &s->list[i];
		uint64_t from = MAX(t->at, start), to = MIN(t->at + t->pages, end);
		struct target part = { from, to - from, t->start + (from - t->at) * PAGE_SIZE, t->process };
		const uint8_t *at = bytes + (from - start) * PAGE_SIZE;

		r = s->ready[t->process] ? place(s, &part, at, block->there + (from - start))
					 : put_aside(s, &part, at, block->there + (from - start));
		if (block->number < s->first_blocks && !s->all_ready)
			s->missing[t->process]--;
	}
	return r;
}

static int place_aside(struct streaming *s)
{
	struct aside **at = &s->aside;
	int r = 0;

	while (r == 0 && *at) {
		struct aside *a = *at;

		if (!s->ready[a->part.process]) {
			at = &a->next;
			continue;
		}
		*at = a->next;
		r = place(s, &a->part, a->bytes, a->there);
		s->n_aside -= a->part.pages;
		free(a);
	}
	return r;
}

/* --- reading --- */

static uint8_t *new_buffer(const struct streaming *s)
{
	uint8_t *buffer = aligned_alloc(PAGE_SIZE, PAGE_BLOCK * PAGE_SIZE);

	if (!buffer)
		failed(s->plan->r->ps, NULL, -ENOMEM, "out of memory");
	return buffer;
}

/* 1: there may be more */
static int next_block(struct streaming *s, uint8_t *buffer)
{
	struct image_block block;
	int r = image_read_block(s->plan->r->image, &block, buffer, s->plan->r->ps);

	if (r > 0 && place_block(s, &block, buffer) < 0)
		r = s->plan->r->ps->first_error;
	return r;
}

static size_t index_of(const struct streaming *s, const struct new_process *p)
{
	size_t i = 0;

	while (s->plan->r->processes[i] != p)
		i++;
	return i;
}

/* Until all is there that is forked from that process. */
static int read_first(struct streaming *s, size_t process, uint8_t **buffer)
{
	int r = 1;

	while (r > 0 && s->missing[process]) {
		if (!*buffer)
			*buffer = new_buffer(s);
		s->begun = true;
		r = *buffer ? next_block(s, *buffer) : -ENOMEM;
		if (r == 0)
			r = failed(s->plan->r->ps, BLAME(.object = "memory"), -EBADMSG,
				"the stream is damaged: it ends before pages that it announced");
	}
	return MIN(r, 0);
}

int streaming_first(struct streaming *s, struct new_process **processes, size_t n)
{
	_cleanup_free_ uint8_t *buffer = NULL;
	int r = 0;

	if (!s)
		return 0;
	for (size_t i = 0; i < n; i++)
		s->ready[index_of(s, processes[i])] = !processes[i]->zombie;
	r = place_aside(s);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = read_first(s, index_of(s, processes[i]), &buffer);
	return r;
}

static void *read_rest(void *arg)
{
	struct streaming *s = arg;
	_cleanup_free_ uint8_t *buffer = new_buffer(s);
	int r = buffer ? 1 : -ENOMEM;

	while (r > 0 && !s->error)
		r = next_block(s, buffer);
	if (r < 0)
		s->error = r;
	return NULL;
}

static unsigned int count_threads(void)
{
	unsigned int cpus = 1;
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		cpus = (unsigned int)CPU_COUNT(&set);
	return MIN(cpus + 1, THREADS_MOST); /* one of them waits for the stream */
}

int streaming_rest(struct streaming *s)
{
	pthread_t threads[THREADS_MOST];
	unsigned int wanted, n = 0;
	int r;

	if (!s)
		return 0;
	s->begun = s->all_ready = true;
	memset(s->ready, true, s->plan->r->n_processes * sizeof(*s->ready));
	r = place_aside(s);
	if (r < 0)
		return r;
	wanted = s->n ? count_threads() : 1;
	while (n + 1 < wanted && pthread_create(&threads[n], NULL, read_rest, s) == 0)
		n++;
	read_rest(s);
	while (n)
		pthread_join(threads[--n], NULL);
	return s->error ? s->error : image_end_stream(s->plan->r->image, s->plan->r->ps);
}
