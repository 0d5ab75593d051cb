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

static bool page_is_zero(const uint8_t *page)
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
	bool shared, over;
};

/* Fills the buffer from *at in the ranges on; *at and *done move. */
static void gather_next(struct gather *g, const struct page_range *ranges, size_t n, size_t *at, uint64_t *done)
{
	g->pages = 0;
	g->n_from = 0;
	g->shared = ranges[*at].shared;
	g->over = ranges[*at].over;
	while (*at < n && g->pages < PAGE_BLOCK && ranges[*at].shared == g->shared && ranges[*at].over == g->over) {
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

static bool is_left_out(const struct gather *g, uint64_t page)
{
	return !g->over && page_is_zero(g->buffer + page * PAGE_SIZE);
}

/* Writes the buffer without what is left out: each stretch of others is one append. */
static int gather_save(struct gather *g, struct page_writer *w, struct page_runs *runs, uint64_t *saved)
{
	for (uint64_t i = 0; i < g->pages;) {
		uint64_t n = 0;
		int64_t at;
		int r = 0;

		while (i < g->pages && is_left_out(g, i))
			i++;
		while (i + n < g->pages && !is_left_out(g, i + n))
			n++;
		if (!n)
			break;
		at = page_writer_append(w, g->buffer + i * PAGE_SIZE, n);
		if (at < 0)
			return (int)at;
		for (uint64_t k = 0; r == 0 && k < n; k++)
			r = runs_add(runs,
				(struct page_run){ g->address[i + k], 1, page_writer_number(w), (uint64_t)at + k });
		if (r < 0)
			return r;
		*saved += n;
		i += n;
	}
	return 0;
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

int pages_save(pid_t pid, const struct page_range *ranges, size_t n, struct page_writer *w, uint8_t *buffer,
	struct page_runs *runs, uint64_t *saved)
{
	struct gather g = { .buffer = buffer };
	_cleanup_fd_ int mem = -1;
	size_t at = 0;
	uint64_t done = 0;

	while (at < n) {
		int r;

		gather_next(&g, ranges, n, &at, &done);
		r = gather_read(&g, pid, &mem);
		if (r == 0)
			r = gather_save(&g, w, runs, saved);
		if (r < 0)
			return r;
	}
	return 0;
}
