/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pages of a process that were put into the image before the stop, when they had been protected against unseen writes (state/written.h): those not written since are
 * what they were in it.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct page_ranges;

struct precopied_page {
	uint64_t address;
	enum {
		PRECOPIED_NOT,
		PRECOPIED_ZERO, /* there is nothing to be saved of it */
		PRECOPIED,
	} state;
	unsigned int file; /* page file, and page in it */
	uint64_t at;
};

/* By address. */
struct precopied {
	struct precopied_page *list;
	size_t n, room;
};

/* Adds pages, each once; none of them is a copy from now on, whatever it was. -ENOMEM */
int precopied_add(struct precopied *p, const struct page_ranges *ranges);
/* The first at this address or beyond; p->n: none. */
size_t precopied_find(const struct precopied *p, uint64_t address);
void precopied_forget(struct precopied *p);
void precopied_free(struct precopied *p);
