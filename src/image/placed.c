/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image/placed.h"

#include "image/member.h"

static const struct field *saying(const struct field *table, enum field_pages what)
{
	for (; table->type != FIELD_TYPE_END; table++)
		if (table->pages == what)
			return table;
	return NULL;
}

static uint64_t get(const struct field *table, enum field_pages what, const void *state)
{
	const struct field *f = saying(table, what);

	return f ? member_uint(f, state) : 0;
}

static void set(const struct field *table, enum field_pages what, void *state, uint64_t value)
{
	const struct field *f = saying(table, what);

	if (f)
		memcpy(member(f, state), &value, f->size);
}

static struct placed stretch_of(const struct field *table, const void *state)
{
	uint64_t bytes = get(table, PAGES_BYTES, state);

	return (struct placed){
		.where = get(table, PAGES_WHERE, state),
		.pages = saying(table, PAGES_BYTES) ? bytes / PAGE_SIZE + (bytes % PAGE_SIZE != 0)
						    : get(table, PAGES_COUNT, state),
		.whole = bytes % PAGE_SIZE == 0,
		.file = get(table, PAGES_FILE, state),
		.at = get(table, PAGES_AT, state),
	};
}

bool fields_place_pages(const struct field *table)
{
	for (const struct field *f = table; f->type != FIELD_TYPE_END; f++)
		if (f->pages == PAGES_FILE || (f->sub && fields_place_pages(f->sub)))
			return true;
	return false;
}

static int visit(const struct field *table, void *state, int (*fn)(void *ctx, struct placed *stretch), void *ctx)
{
	struct placed stretch = stretch_of(table, state);
	int r = stretch.pages ? fn(ctx, &stretch) : 0;

	set(table, PAGES_FILE, state, stretch.file);
	set(table, PAGES_AT, state, stretch.at);
	return r;
}

int fields_each_placed(const struct field *table, void *state, int (*fn)(void *ctx, struct placed *stretch), void *ctx)
{
	int r = saying(table, PAGES_FILE) ? visit(table, state, fn, ctx) : 0;

	for (const struct field *f = table; f->type != FIELD_TYPE_END && !r; f++) {
		char *list = f->type == FIELD_TYPE_LIST ? *(char **)member(f, state) : NULL;

		if (f->type == FIELD_TYPE_STRUCT)
			r = fields_each_placed(f->sub, member(f, state), fn, ctx);
		for (size_t i = 0; list && !r && i < *member_count(f, state); i++)
			r = fields_each_placed(f->sub, list + i * f->size, fn, ctx);
	}
	return r;
}

/* --- joining --- */

/* Nothing of it is lost when two become one. */
static bool is_only_placed(const struct field *table)
{
	bool only = saying(table, PAGES_FILE) && saying(table, PAGES_WHERE);

	for (; only && table->type != FIELD_TYPE_END; table++)
		only = table->pages != PAGES_NONE;
	return only;
}

static bool follows(const struct placed *a, const struct placed *b)
{
	return a->whole && a->where + a->pages * PAGE_SIZE == b->where && a->file == b->file &&
	       a->at + a->pages == b->at;
}

static void lengthen(const struct field *table, void *state, const void *by)
{
	set(table, PAGES_COUNT, state, get(table, PAGES_COUNT, state) + get(table, PAGES_COUNT, by));
	set(table, PAGES_BYTES, state, get(table, PAGES_BYTES, state) + get(table, PAGES_BYTES, by));
}

static void join_list(const struct field *f, char *list, size_t *n)
{
	size_t kept = 1;

	for (size_t i = 1; i < *n; i++) {
		char *last = list + (kept - 1) * f->size, *one = list + i * f->size;
		struct placed a = stretch_of(f->sub, last), b = stretch_of(f->sub, one);

		if (follows(&a, &b))
			lengthen(f->sub, last, one);
		else
			memmove(list + kept++ * f->size, one, f->size);
	}
	*n = MIN(*n, kept);
}

void fields_join_placed(const struct field *table, void *state)
{
	for (const struct field *f = table; f->type != FIELD_TYPE_END; f++) {
		char *list = f->type == FIELD_TYPE_LIST ? *(char **)member(f, state) : NULL;

		if (f->type == FIELD_TYPE_STRUCT)
			fields_join_placed(f->sub, member(f, state));
		if (list && is_only_placed(f->sub))
			join_list(f, list, member_count(f, state));
		for (size_t i = 0; list && !is_only_placed(f->sub) && i < *member_count(f, state); i++)
			fields_join_placed(f->sub, list + i * f->size);
	}
}
