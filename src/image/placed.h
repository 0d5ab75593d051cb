/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pages that a record has in page files, found by what its table of fields says (enum field_pages). Private to the image layer. */
#pragma once

#include "image/field.h"

/* One stretch: `pages` of them from `at` on in a page file. */
struct placed {
	uint64_t where;
	uint64_t pages;
	bool whole; /* the last page is not a part of one */
	uint64_t file, at;
};

/* Can a record of this table have pages? */
bool fields_place_pages(const struct field *table);
/* Calls fn for each stretch, until it returns other than 0; returns that. What fn changes of file and at is the record's from then on. */
int fields_each_placed(const struct field *table, void *state, int (*fn)(void *ctx, struct placed *stretch), void *ctx);
/* Makes one of those neighbours in a list that are neighbours in a page file too. */
void fields_join_placed(const struct field *table, void *state);
