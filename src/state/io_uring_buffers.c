/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Registered buffers: memory that the kernel holds on to for a ring. Which process's it is nobody keeps: it is the one that has those very pages there. One that has
 * others there now (it unmapped them, or both it and a child of a fork have written since) cannot be given back. io_uring/rsrc.c
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "state/io_uring_view.h"
#include "state/kernel_pages.h"

#define SIZEOF_BVEC 16
#define MAX_BYTES   (1ull << 30)
#define AT_ONCE	    4096 /* bytes in one look */

/* What the kernel holds, page by page. */
struct held {
	uint64_t address, size;
	uint64_t *pages;
	size_t n;
};

static void held_free(struct held *h)
{
	free(h->pages);
}

struct bvec {
	uint64_t page;
	uint32_t size, offset;
};

static void add_pages(struct held *h, const struct page_array *a, const struct bvec *v, uint64_t *done)
{
	for (uint64_t at = 0; at < v->size && h->n < h->size / PAGE_SIZE + 2;) {
		uint64_t offset = v->offset + at, step = PAGE_SIZE - offset % PAGE_SIZE;

		if (!h->n || (h->address + *done) % PAGE_SIZE == 0)
			h->pages[h->n++] = v->page + offset / PAGE_SIZE * a->size;
		at += step;
		*done += MIN(step, v->size - (at - step));
	}
}

static int look_at_held(struct ring *g, const struct page_array *a, uint64_t buffer, struct held *h)
{
	uint64_t n = OF(g, buffer, "io_mapped_ubuf", "nr_bvecs"),
		 at = ring_address(g, buffer, "io_mapped_ubuf", "bvec");
	struct bvec some[AT_ONCE / SIZEOF_BVEC];
	uint64_t done = 0;

	_Static_assert(sizeof(some[0]) == SIZEOF_BVEC, "as struct bio_vec");
	h->address = OF(g, buffer, "io_mapped_ubuf", "ubuf");
	h->size = OF(g, buffer, "io_mapped_ubuf", "len");
	if (g->error || h->size > MAX_BYTES)
		return g->error ? g->error : -EMSGSIZE;
	h->pages = calloc(h->size / PAGE_SIZE + 2, sizeof(*h->pages));
	if (!h->pages)
		return -ENOMEM;
	for (uint64_t i = 0, k; i < n; i += k) {
		int err;

		k = MIN(n - i, (uint64_t)ARRAY_SIZE(some));
		err = kernel_peek_bytes(g->k, at + i * SIZEOF_BVEC, some, k * SIZEOF_BVEC);
		if (err)
			return err;
		for (uint64_t j = 0; j < k; j++)
			add_pages(h, a, &some[j], &done);
	}
	return done == h->size ? 0 : -EPROTO;
}

/* --- whose it is --- */

static bool has_pages(const struct page_array *a, const struct process *p, const struct held *h)
{
	_cleanup_free_ uint64_t *pages = calloc(h->n + 1, sizeof(*pages));
	uint64_t first;

	if (!pages || process_pages(a, p, h->address, &first, 1) < 0 || first != h->pages[0] ||
		process_pages(a, p, h->address, pages, h->n) < 0)
		return false;
	for (size_t i = 0; i < h->n; i++)
		if (pages[i] != h->pages[i])
			return false;
	return true;
}

/* To be registered, memory must be writable. */
static bool may_register(const struct process *p, const struct held *h)
{
	uint64_t at = h->address, end = h->address + h->size;

	for (size_t i = 0; i < p->maps.n && at < end; i++) {
		const struct proc_map *m = &p->maps.list[i];

		if (m->start <= at && at < m->end && m->prot & PROT_WRITE)
			at = m->end;
	}
	return at >= end;
}

static struct process *find_owner(struct ring *g, const struct page_array *a, const struct held *h)
{
	struct tree *t = g->c->tree;
	struct process *first = g->f->process;

	if (has_pages(a, first, h) && may_register(first, h))
		return first;
	for (size_t i = 0; i < t->n_processes; i++)
		if (!t->processes[i]->zombie && has_pages(a, t->processes[i], h) && may_register(t->processes[i], h))
			return t->processes[i];
	return NULL;
}

/* --- all --- */

static int capture_buffer(
	struct ring *g, const struct page_array *a, struct io_uring_state *s, uint64_t slot, uint64_t node)
{
	uint64_t buffer = OF(g, node, "io_rsrc_node", "buf");
	_cleanup_(held_free)
	struct held h = { 0 };
	struct process *owner;
	int err;

	if (OF(g, buffer, "io_mapped_ubuf", "is_kbuf"))
		return ring_refuse(g, NULL, "with a registered buffer that is another driver's (ublk)");
	err = look_at_held(g, a, buffer, &h);
	if (err)
		return err;
	owner = find_owner(g, a, &h);
	if (!owner)
		return ring_refuse(g, "register them anew, or unregister them before the checkpoint",
			"with registered buffers whose memory has since been unmapped, protected or copied");
	s->buffers[s->n_buffers++] =
		(struct io_uring_buffer){ slot, h.address, h.size, OF(g, node, "io_rsrc_node", "tag"), owner->id };
	return g->error;
}

int io_uring_capture_buffers(struct ring *g, struct io_uring_state *s)
{
	uint64_t table = WITHIN(g, "buf_table"), nodes = OF(g, table, "io_rsrc_data", "nodes"), node;
	struct page_array array = { 0 };
	int err;

	s->buffer_slots = OF(g, table, "io_rsrc_data", "nr");
	if (g->error || !s->buffer_slots)
		return g->error;
	s->buffers = calloc(s->buffer_slots, sizeof(*s->buffers));
	err = s->buffers ? page_array_find(g->c, &array) : -ENOMEM;
	for (uint64_t i = 0; !err && i < s->buffer_slots; i++) {
		node = ring_word_at(g, nodes + i * sizeof(node));
		err = g->error ? g->error : node ? capture_buffer(g, &array, s, i, node) : 0;
	}
	return err;
}
