/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/page_ranges.h"

#include <errno.h>
#include <stdlib.h>

#include "base/macro.h"

uint64_t page_range_end(const struct page_range *r)
{
	return r->start + r->pages * PAGE_SIZE;
}

static bool follows(const struct page_range *a, const struct page_range *b)
{
	return page_range_end(a) == b->start && a->shared == b->shared && a->over == b->over &&
	       a->changed == b->changed;
}

int page_ranges_add(struct page_ranges *r, struct page_range new)
{
	struct page_range *last = r->n ? &r->list[r->n - 1] : NULL;

	if (last && follows(last, &new)) {
		last->pages += new.pages;
		return 0;
	}
	if (!r->list || r->n == r->room) {
		struct page_range *grown = reallocarray(r->list, r->room ? 2 * r->room : 32, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		r->list = grown;
		r->room = r->room ? 2 * r->room : 32;
	}
	r->list[r->n++] = new;
	return 0;
}

int page_ranges_add_found(void *ranges, const struct page_region *run)
{
	return page_ranges_add(
		ranges, (struct page_range){ .start = run->start, .pages = (run->end - run->start) / PAGE_SIZE });
}

uint64_t page_ranges_count(const struct page_ranges *r)
{
	uint64_t pages = 0;

	for (size_t i = 0; i < r->n; i++)
		pages += r->list[i].pages;
	return pages;
}

static int by_start(const void *a, const void *b)
{
	const struct page_range *x = a, *y = b;

	return (x->start > y->start) - (x->start < y->start);
}

void page_ranges_sort(struct page_range *list, size_t n)
{
	if (n)
		qsort(list, n, sizeof(*list), by_start);
}

void page_ranges_join(struct page_ranges *r)
{
	size_t n = 0;

	page_ranges_sort(r->list, r->n);
	for (size_t i = 0; i < r->n; i++) {
		struct page_range *last = n ? &r->list[n - 1] : NULL;
		uint64_t end = page_range_end(&r->list[i]);

		if (!last || r->list[i].start > page_range_end(last))
			r->list[n++] = r->list[i];
		else if (end > page_range_end(last))
			last->pages = (end - last->start) / PAGE_SIZE;
	}
	r->n = n;
}
