/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Copying the pages of a process out. process_vm_readv(2). */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kernel/procfs.h"
#include "state/memory.h"
#include "state/older.h"

bool page_is_zero(const uint8_t *page)
{
	const uint64_t *w = (const uint64_t *)page;

	for (size_t i = 0; i < PAGE_SIZE / sizeof(*w); i += 8)
		if (w[i] | w[i + 1] | w[i + 2] | w[i + 3] | w[i + 4] | w[i + 5] | w[i + 6] | w[i + 7])
			return false;
	return true;
}

static int runs_add(struct page_runs *runs, struct page_run run)
{
	struct page_run *last = runs->n ? &runs->list[runs->n - 1] : NULL;

	if (last && last->file == run.file && last->start + last->pages * PAGE_SIZE == run.start &&
		last->at + last->pages == run.at) {
		last->pages += run.pages;
		return 0;
	}
	if (!runs->list || runs->n == runs->room) {
		struct page_run *grown = reallocarray(runs->list, runs->room ? 2 * runs->room : 32, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		runs->list = grown;
		runs->room = runs->room ? 2 * runs->room : 32;
	}
	runs->list[runs->n++] = run;
	return 0;
}

/* A buffer of pages gathered from several ranges, with the address that each came from. */
struct gather {
	uint8_t *buffer;
	uint64_t address[PAGE_BLOCK];
	uint64_t pages;
	struct iovec from[PAGE_BLOCK];
	size_t n_from;
	bool shared, over, changed;
};

static bool is_alike(const struct page_range *range, const struct gather *g)
{
	return range->shared == g->shared && range->over == g->over && range->changed == g->changed;
}

/* Fills the buffer from *at in the ranges on; *at and *done move. */
static void gather_next(struct gather *g, const struct page_range *ranges, size_t n, size_t *at, uint64_t *done)
{
	g->pages = 0;
	g->n_from = 0;
	g->shared = ranges[*at].shared;
	g->over = ranges[*at].over;
	g->changed = ranges[*at].changed;
	while (*at < n && g->pages < PAGE_BLOCK && is_alike(&ranges[*at], g)) {
		uint64_t start = ranges[*at].start + *done * PAGE_SIZE;
		uint64_t pages = MIN(ranges[*at].pages - *done, (uint64_t)PAGE_BLOCK - g->pages);

		g->from[g->n_from++] = (struct iovec){ (void *)start, pages * PAGE_SIZE };
		for (uint64_t i = 0; i < pages; i++)
			g->address[g->pages++] = start + i * PAGE_SIZE;
		*done += pages;
		if (*done == ranges[*at].pages) {
			(*at)++;
			*done = 0;
		}
	}
}

/* --- what the parent has --- */

/* Where the pages of a buffer lie in the parent, if they are the same there; file UINT64_MAX: they are not. */
struct same {
	struct page_run of[PAGE_BLOCK];
};

/* One stretch of the parent's, read and compared: pages [at, at + n) of what was gathered. What cannot be read is not the same. */
static void compare(struct page_saving *s, const struct gather *g, uint64_t at, uint64_t n, const struct page_run *run,
	struct same *same)
{
	uint8_t *old = s->buffer + PAGE_BLOCK * PAGE_SIZE, *new = g->buffer + at *PAGE_SIZE;

	if (page_file_look(s->older, &s->cache, (unsigned int)run->file, run->at, n, old) < 0)
		return;
	for (uint64_t i = 0; i < n; i++)
		if (!memcmp(old + i * PAGE_SIZE, new + i *PAGE_SIZE, PAGE_SIZE))
			same->of[at + i] = (struct page_run){ run->start + i * PAGE_SIZE, 1, run->file, run->at + i };
}

static void find_same(struct page_saving *s, const struct gather *g, struct older_cursor *c, struct same *same)
{
	for (uint64_t i = 0; i < g->pages; i++)
		same->of[i].file = UINT64_MAX;
	for (uint64_t i = 0, n; i < g->pages; i += n) {
		struct page_run run;
		uint64_t next;

		n = 1;
		if (!older_find(c, g->address[i], &run, &next))
			continue;
		while (i + n < g->pages && n < run.pages && g->address[i + n] == run.start + n * PAGE_SIZE)
			n++;
		compare(s, g, i, n, &run, same);
	}
}

/* --- saving --- */

static bool is_zero(const struct gather *g, uint64_t page)
{
	return !g->over && page_is_zero(g->buffer + page * PAGE_SIZE);
}

static bool is_new(const struct gather *g, const struct same *same, uint64_t page)
{
	return (!same || same->of[page].file == UINT64_MAX) && !is_zero(g, page);
}

static int refer_to(struct page_saving *s, const struct page_run *run)
{
	image_refer(s->image, run->file);
	s->unchanged += run->pages;
	return runs_add(s->runs, *run);
}

static int append(struct page_saving *s, const struct gather *g, uint64_t first, uint64_t n)
{
	int64_t at = page_writer_append(s->writer, g->buffer + first * PAGE_SIZE, n);
	int r = at < 0 ? (int)at : 0;

	for (uint64_t k = 0; r == 0 && k < n; k++)
		r = runs_add(s->runs,
			(struct page_run){ g->address[first + k], 1, page_writer_number(s->writer), (uint64_t)at + k });
	s->saved += r == 0 ? n : 0;
	return r;
}

/* Writes the buffer without what is zero or the parent's: each stretch of others is one append. */
static int gather_save(struct page_saving *s, const struct gather *g, const struct same *same)
{
	int r = 0;

	for (uint64_t i = 0, n; r == 0 && i < g->pages; i += n) {
		n = 1;
		if (same && same->of[i].file != UINT64_MAX) {
			r = is_zero(g, i) ? 0 : refer_to(s, &same->of[i]);
			continue;
		}
		if (is_zero(g, i))
			continue;
		while (i + n < g->pages && is_new(g, same, i + n))
			n++;
		r = append(s, g, i, n);
	}
	return r;
}

/*
 * By /proc/PID/mem, opened when first needed. It may read what the program itself, and so process_vm_readv, may not (PROT_NONE, write only on processors that
 * have it). And it leaves shared what is shared since a fork: process_vm_readv pins pages, for which the kernel gives the process copies of its own.
 */
static int gather_by_mem(struct gather *g, pid_t pid, int *mem)
{
	uint8_t *to = g->buffer;

	if (*mem < 0) {
		_cleanup_fd_ int dir = procfs_open_pid(pid);

		*mem = dir < 0 ? dir : openat(dir, "mem", O_RDONLY | O_CLOEXEC);
		if (*mem < 0)
			return dir < 0 ? dir : -errno;
	}
	for (size_t i = 0; i < g->n_from; i++) {
		size_t got = 0;

		while (got < g->from[i].iov_len) {
			ssize_t n = pread(*mem, to + got, g->from[i].iov_len - got,
				(off_t)((uintptr_t)g->from[i].iov_base + got));

			if (n <= 0)
				return n < 0 ? -errno : -EFAULT;
			got += (size_t)n;
		}
		to += got;
	}
	return 0;
}

static int gather_read(struct gather *g, pid_t pid, int *mem)
{
	struct iovec to = { g->buffer, g->pages * PAGE_SIZE };
	ssize_t got;

	if (g->shared)
		return gather_by_mem(g, pid, mem);
	got = process_vm_readv(pid, &to, 1, g->from, g->n_from, 0);
	if (got == (ssize_t)to.iov_len)
		return 0;
	return got < 0 && errno != EFAULT ? -errno : gather_by_mem(g, pid, mem);
}

/* What has a parent worth a look is compared with it. */
static int save_gathered(struct page_saving *s, const struct gather *g, struct older_cursor *cursor, struct same *same)
{
	bool compares = cursor->memory && !g->changed;

	if (compares)
		find_same(s, g, cursor, same);
	return gather_save(s, g, compares ? same : NULL);
}

int pages_save(
	struct page_saving *s, pid_t pid, const struct memory_state *older, const struct page_range *ranges, size_t n)
{
	struct gather g = { .buffer = s->buffer };
	struct older_cursor cursor = { .memory = older };
	struct same same;
	_cleanup_fd_ int mem = -1;
	size_t at = 0;
	uint64_t done = 0;
	int r = 0;

	while (r == 0 && at < n) {
		gather_next(&g, ranges, n, &at, &done);
		r = gather_read(&g, pid, &mem);
		if (r == 0)
			r = save_gathered(s, &g, &cursor, &same);
	}
	return r;
}

int pages_read(pid_t pid, const struct page_range *ranges, size_t n, uint8_t *to)
{
	struct gather g = { .buffer = to };
	_cleanup_fd_ int mem = -1;
	size_t at = 0;
	uint64_t done = 0;
	int r = 0;

	for (; r == 0 && at < n; g.buffer += g.pages * PAGE_SIZE) {
		gather_next(&g, ranges, n, &at, &done);
		r = gather_read(&g, pid, &mem);
	}
	return r;
}

int pages_save_read(struct page_saving *s, uint8_t *from, const struct memory_state *older,
	const struct page_range *ranges, size_t n)
{
	struct gather g = { .buffer = from };
	struct older_cursor cursor = { .memory = older };
	struct same same;
	size_t at = 0;
	uint64_t done = 0;
	int r = 0;

	for (; r == 0 && at < n; g.buffer += g.pages * PAGE_SIZE) {
		gather_next(&g, ranges, n, &at, &done);
		r = save_gathered(s, &g, &cursor, &same);
	}
	return r;
}
