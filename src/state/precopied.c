/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/precopied.h"

#include <errno.h>
#include <stdlib.h>

#include "base/macro.h"
#include "state/page_ranges.h"

size_t precopied_find(const struct precopied *p, uint64_t address)
{
	size_t first = 0, end = p->n;

	while (first < end) {
		size_t middle = first + (end - first) / 2;

		if (p->list[middle].address < address)
			first = middle + 1;
		else
			end = middle;
	}
	return first;
}

static int by_address(const void *a, const void *b)
{
	const struct precopied_page *x = a, *y = b;

	return (x->address > y->address) - (x->address < y->address);
}

static int grow(struct precopied *p, size_t pages)
{
	struct precopied_page *grown;
	size_t room = MAX(2 * p->room, p->n + pages);

	if (p->n + pages <= p->room)
		return 0;
	grown = reallocarray(p->list, room, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	p->list = grown;
	p->room = room;
	return 0;
}

int precopied_add(struct precopied *p, const struct page_ranges *ranges)
{
	const size_t known = p->n; /* sorted; what is added comes behind */
	int r = 0;

	for (size_t i = 0; r == 0 && i < ranges->n; i++) {
		const struct page_range *range = &ranges->list[i];
		const struct precopied sorted = { .list = p->list, .n = known };
		size_t at = precopied_find(&sorted, range->start);

		r = grow(p, range->pages);
		for (uint64_t page = range->start; r == 0 && page < page_range_end(range); page += PAGE_SIZE)
			if (at < known && p->list[at].address == page)
				p->list[at++].state = PRECOPIED_NOT;
			else
				p->list[p->n++] = (struct precopied_page){ .address = page };
	}
	if (p->n > known)
		qsort(p->list, p->n, sizeof(*p->list), by_address);
	return r;
}

void precopied_forget(struct precopied *p)
{
	p->n = 0;
}

void precopied_free(struct precopied *p)
{
	free(p->list);
	*p = (struct precopied){ 0 };
}
