/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pages that are missing, beside a plain array of them: through random drops and moves, and events in an order in which several threads may make them. */
#include <string.h>

#include "image/image.h"
#include "lazy/layout.h"
#include "unit.h"

#define PAGES	2000
#define ADDRESS 0x10000000ul

static uint64_t address(uint64_t page)
{
	return ADDRESS + page * PAGE_SIZE;
}

/* What lies at each page: where it is in the file, and 1; or 0. */
static void compare(const struct layout *l, const uint64_t *want)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < PAGES; i++) {
		struct block where;
		struct stretch stretch;
		bool lacks = pieces_lack(&l->pieces, address(i), &where);

		CHECK(lacks == (want[i] != 0));
		if (!lacks)
			continue;
		n++;
		CHECK(where.number == (want[i] - 1) / PAGE_BLOCK && where.file == 3);
		CHECK(pieces_stretch(&l->pieces, &where, address(i), address(i + 1), &stretch));
		CHECK(stretch.start == address(i) && stretch.pages == 1 && stretch.at == want[i] - 1);
	}
	CHECK(l->pieces.missing == n);
}

/* Every missing page is met once by those who go from block to block. */
static void walk(const struct layout *l)
{
	uint64_t at = 0, n = 0;
	struct block where;

	while (pieces_next(&l->pieces, at, &at, &where)) {
		uint64_t start, end, from;
		struct stretch s;

		pieces_around(&l->pieces, at, &start, &end);
		CHECK(start <= at && at < end);
		for (from = at; pieces_stretch(&l->pieces, &where, from, end, &s); from = s.start + s.pages * PAGE_SIZE)
			n += s.pages;
		at = end;
	}
	CHECK(n == l->pieces.missing);
}

static uint64_t draw(uint64_t below)
{
	return (uint64_t)random() % below;
}

static void at_random(unsigned int seed)
{
	struct layout l = { 0 }, copy;
	uint64_t want[PAGES] = { 0 };
	uint64_t file = 17;

	srandom(seed);
	for (uint64_t i = 0; i < PAGES / 2;) {
		uint64_t n = 1 + draw(300);

		n = MIN(n, PAGES / 2 - i);
		CHECK(pieces_add(&l.pieces, address(i), n, 3, file) == 0);
		for (uint64_t k = 0; k < n; k++)
			want[i + k] = file + k + 1;
		i += n + draw(5);
		file += n + draw(100);
	}
	for (int i = 0; i < 300; i++) {
		uint64_t n = 1 + draw(200), from = draw(PAGES - n), to = draw(PAGES - n);

		if (draw(3)) {
			pieces_drop(&l.pieces, address(from), address(from + n));
			memset(&want[from], 0, n * sizeof(want[0]));
		} else if (from + n <= to || to + n <= from) {
			CHECK(pieces_move(&l.pieces, address(from), address(to), n * PAGE_SIZE) == 0);
			memcpy(&want[to], &want[from], n * sizeof(want[0]));
			memset(&want[from], 0, n * sizeof(want[0]));
		}
		compare(&l, want);
		walk(&l);
	}
	CHECK(layout_copy(&copy, &l) == 0);
	compare(&copy, want);
	layout_free(&copy);
	layout_free(&l);
}

static struct layout two_areas(void)
{
	struct layout l = { 0 };

	CHECK(pieces_add(&l.pieces, address(0), 100, 3, 0) == 0 &&
		pieces_add(&l.pieces, address(200), 100, 3, 1000) == 0);
	CHECK(layout_add(&l, address(0), address(100)) == 0 && layout_add(&l, address(200), address(300)) == 0);
	return l;
}

static uint64_t found(const struct layout *l, uint64_t page)
{
	struct block where = { 0 };
	struct stretch s = { 0 };

	return pieces_lack(&l->pieces, address(page), &where) &&
			       pieces_stretch(&l->pieces, &where, address(page), address(page + 1), &s)
		       ? s.at + 1
		       : 0;
}

/* One thread moves 0 to 500; another gets that place for what was at 200. */
static void check_both_moved(struct layout *l)
{
	CHECK(found(l, 500) == 1 && found(l, 0) == 1001 && found(l, 200) == 0 && l->pieces.missing == 200);
	CHECK(l->n_waiting == 0);
	layout_free(l);
}

static void in_order(void)
{
	struct layout l = two_areas();

	CHECK(layout_moved(&l, address(0), address(500), 100 * PAGE_SIZE) == 0);
	CHECK(layout_unmapped(&l, address(0), address(100)) == 0);
	CHECK(layout_moved(&l, address(200), address(0), 100 * PAGE_SIZE) == 0);
	CHECK(layout_unmapped(&l, address(200), address(300)) == 0);
	check_both_moved(&l);
}

static void unmapped_too_late(void)
{
	struct layout l = two_areas();

	CHECK(layout_moved(&l, address(0), address(500), 100 * PAGE_SIZE) == 0);
	CHECK(layout_moved(&l, address(200), address(0), 100 * PAGE_SIZE) == 0);
	CHECK(layout_unmapped(&l, address(0), address(100)) == 0);
	CHECK(layout_unmapped(&l, address(200), address(300)) == 0);
	check_both_moved(&l);
}

static void second_first(void)
{
	struct layout l = two_areas();

	CHECK(layout_moved(&l, address(200), address(0), 100 * PAGE_SIZE) == 0);
	CHECK(layout_moved(&l, address(0), address(500), 100 * PAGE_SIZE) == 0);
	CHECK(layout_unmapped(&l, address(200), address(300)) == 0);
	CHECK(layout_unmapped(&l, address(0), address(100)) == 0);
	check_both_moved(&l);
}

/* One thread unmaps 0, another gets the place. */
static void unmapped_then_taken(void)
{
	struct layout l = two_areas();

	CHECK(layout_moved(&l, address(200), address(0), 100 * PAGE_SIZE) == 0);
	CHECK(layout_unmapped(&l, address(0), address(100)) == 0);
	CHECK(layout_unmapped(&l, address(200), address(300)) == 0);
	CHECK(found(&l, 0) == 1001 && found(&l, 200) == 0 && l.pieces.missing == 100 && l.n_waiting == 0);
	/* And what is unmapped later is gone. */
	CHECK(layout_unmapped(&l, address(0), address(50)) == 0);
	CHECK(found(&l, 0) == 0 && found(&l, 50) == 1051 && l.pieces.missing == 50);
	layout_free(&l);
}

int main(void)
{
	for (unsigned int seed = 1; seed <= 40; seed++)
		at_random(seed);
	in_order();
	unmapped_too_late();
	second_first();
	unmapped_then_taken();
	return 0;
}
