/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/precopy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kernel/write_watch.h"

#define BATCH PAGE_BLOCK /* pages that a worker takes at a time */
_Static_assert(BATCH <= PAGE_HOLDERS_MOST, "asked for at once");

struct precopying {
	struct capturing *c;
	struct page_holders *holders;
	struct written *w;
	pid_t pid;
	int pagemap_fd, mem_fd;
	struct precopied_page **pages; /* to be read */
	size_t n;
	atomic_size_t next;
	atomic_ulong saved;
};

/* A worker's. */
struct batch_of_pages {
	struct precopied_page **pages;
	uint64_t addresses[BATCH];
	enum page_holding holding[BATCH];
	size_t n;
	uint8_t *buffer;
	bool read[BATCH];
	struct page_writer *writer;
};

/* Who holds them writes as it likes. */
static int give_up_held(struct precopying *p, struct batch_of_pages *b)
{
	int r = 0;

	for (size_t i = 0, n; r == 0 && i < b->n; i += n) {
		n = 1;
		if (b->holding[i] != PAGE_HELD)
			continue;
		while (i + n < b->n && b->holding[i + n] == PAGE_HELD &&
			b->addresses[i + n] == b->addresses[i] + n * PAGE_SIZE)
			n++;
		r = write_watch_reset(p->w->uffd, b->addresses[i], b->addresses[i] + n * PAGE_SIZE);
	}
	return r;
}

/*
 * Those of it alone at once; others by /proc/PID/mem, for process_vm_readv would give the process copies of its own of what it shares. What went away meanwhile is not
 * read.
 */
static void read_pages(struct precopying *p, struct batch_of_pages *b)
{
	struct iovec to[BATCH], from[BATCH];
	size_t index[BATCH], n = 0;
	ssize_t got;

	for (size_t i = 0; i < b->n; i++) {
		uint8_t *at = b->buffer + i * PAGE_SIZE;

		b->read[i] = b->holding[i] == PAGE_MAPPED &&
			     pread(p->mem_fd, at, PAGE_SIZE, (off_t)b->addresses[i]) == PAGE_SIZE;
		if (b->holding[i] != PAGE_EXCLUSIVE)
			continue;
		to[n] = (struct iovec){ at, PAGE_SIZE };
		from[n] = (struct iovec){ (void *)(uintptr_t)b->addresses[i], PAGE_SIZE };
		index[n++] = i;
	}
	got = n ? process_vm_readv(p->pid, to, n, from, n, 0) : 0;
	for (size_t i = 0; i < n && got >= (ssize_t)((i + 1) * PAGE_SIZE); i++)
		b->read[index[i]] = true;
}

static int append(struct precopying *p, struct batch_of_pages *b, size_t first, size_t n)
{
	int64_t at = page_writer_append(b->writer, b->buffer + first * PAGE_SIZE, n);

	for (size_t i = 0; at >= 0 && i < n; i++) {
		struct precopied_page *page = b->pages[first + i];

		page->file = page_writer_number(b->writer);
		page->at = (uint64_t)at + i;
		page->state = PRECOPIED;
	}
	atomic_fetch_add(&p->saved, at < 0 ? 0 : n);
	return at < 0 ? (int)at : 0;
}

static int save_pages(struct precopying *p, struct batch_of_pages *b)
{
	int r = 0;

	for (size_t i = 0, n; r == 0 && i < b->n; i += n) {
		n = 1;
		if (!b->read[i])
			continue;
		if (page_is_zero(b->buffer + i * PAGE_SIZE)) {
			b->pages[i]->state = PRECOPIED_ZERO;
			continue;
		}
		while (i + n < b->n && b->read[i + n] && !page_is_zero(b->buffer + (i + n) * PAGE_SIZE))
			n++;
		r = append(p, b, i, n);
	}
	return r;
}

/* In this order: who has come to hold one since it was protected had to write to it, which is seen in the stop; and who has let go of it has done so before it is read. */
static int take_batch(struct precopying *p, struct batch_of_pages *b)
{
	int r;

	for (size_t i = 0; i < b->n; i++)
		b->addresses[i] = b->pages[i]->address;
	r = page_holders_find(p->holders, p->pagemap_fd, b->addresses, b->n, b->holding);
	if (r == 0)
		r = give_up_held(p, b);
	if (r < 0)
		return r;
	read_pages(p, b);
	return save_pages(p, b);
}

static int batches_of_worker(unsigned int worker, void *arg)
{
	struct precopying *p = arg;
	struct capturing *c = p->c;
	_cleanup_free_ uint8_t *buffer = aligned_alloc(PAGE_SIZE, BATCH * PAGE_SIZE);
	struct batch_of_pages b = { .buffer = buffer };
	int r = buffer ? 0 : -ENOMEM;

	while (r == 0 && !engine_is_cancelled(c->events)) {
		size_t first = atomic_fetch_add(&p->next, BATCH);

		if (first >= p->n)
			break;
		if (!c->writers[worker])
			r = page_writer_open(c->writer, &c->writers[worker]);
		b.writer = c->writers[worker];
		b.pages = p->pages + first;
		b.n = MIN(p->n - first, (size_t)BATCH);
		if (r == 0)
			r = take_batch(p, &b);
	}
	return r;
}

/* Those of these ranges, all of which are there. */
static int choose(struct precopying *p, struct precopied *known, const struct page_ranges *ranges)
{
	p->pages = calloc(page_ranges_count(ranges) + 1, sizeof(struct precopied_page *));
	if (!p->pages)
		return -ENOMEM;
	for (size_t i = 0; i < ranges->n; i++)
		for (size_t at = precopied_find(known, ranges->list[i].start);
			at < known->n && known->list[at].address < page_range_end(&ranges->list[i]); at++)
			p->pages[p->n++] = &known->list[at];
	return 0;
}

static int save_all(struct precopying *p)
{
	struct capturing *c = p->c;

	if (!c->writers)
		c->writers = calloc(workers_count(c->workers), sizeof(struct page_writer *));
	return c->writers ? workers_some(c->workers, (p->n + BATCH - 1) / BATCH, batches_of_worker, p) : -ENOMEM;
}

int precopy(struct capturing *c, struct page_holders *holders, pid_t pid, struct written *w, int proc_fd,
	int pagemap_fd, const struct page_ranges *ranges)
{
	_cleanup_fd_ int mem = openat(proc_fd, "mem", O_RDONLY | O_CLOEXEC);
	struct precopying p = {
		.c = c, .holders = holders, .w = w, .pid = pid, .pagemap_fd = pagemap_fd, .mem_fd = mem
	};
	int r = mem < 0 ? -errno : precopied_add(&w->copied, ranges);

	if (r == 0)
		r = choose(&p, &w->copied, ranges);
	if (r == 0)
		r = save_all(&p);
	free(p.pages);
	c->pages += p.saved;
	if (r < 0)
		precopied_forget(&w->copied);
	return r;
}
