/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lazy/pieces.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "image/image.h"

static_assert(PAGE_BLOCK % PIECE_PAGES == 0, "a piece is within a block");

static uint64_t end_of(const struct piece *p)
{
	return p->start + p->pages * PAGE_SIZE;
}

static uint64_t bits(uint32_t n)
{
	return n >= 64 ? ~0ull : (1ull << n) - 1;
}

static struct block block_of(const struct piece *p)
{
	return (struct block){ p->file, p->at / PAGE_BLOCK };
}

static bool is_of(const struct piece *p, const struct block *b)
{
	return p->file == b->file && p->at / PAGE_BLOCK == b->number;
}

/* The first piece that ends after an address. */
static size_t first_after(const struct pieces *p, uint64_t address)
{
	size_t low = 0, high = p->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (end_of(&p->list[mid]) <= address)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static int make_room(struct pieces *p, size_t n)
{
	size_t room = p->room;
	struct piece *grown;

	while (room < p->n + n)
		room = room ? 2 * room : 64;
	if (room == p->room)
		return 0;
	grown = reallocarray(p->list, room, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	p->list = grown;
	p->room = room;
	return 0;
}

int pieces_add(struct pieces *p, uint64_t start, uint64_t pages, uint32_t file, uint64_t at)
{
	while (pages) {
		uint32_t n = (uint32_t)MIN(pages, PIECE_PAGES - at % PIECE_PAGES);

		if (make_room(p, 1) < 0)
			return -ENOMEM;
		p->list[p->n++] = (struct piece){ start, at, file, n, bits(n) };
		p->missing += n;
		pages -= n;
		at += n;
		start += n * PAGE_SIZE;
	}
	return 0;
}

int pieces_copy(struct pieces *to, const struct pieces *from)
{
	*to = (struct pieces){ .missing = from->missing };
	if (make_room(to, from->n) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < from->n; i++)
		if (from->list[i].missing)
			to->list[to->n++] = from->list[i];
	return 0;
}

void pieces_free(struct pieces *p)
{
	free(p->list);
	*p = (struct pieces){ 0 };
}

static void drop_bits(struct pieces *p, struct piece *piece, uint64_t start, uint64_t end)
{
	uint32_t first = start <= piece->start ? 0 : (uint32_t)((start - piece->start) / PAGE_SIZE);
	uint32_t last = end >= end_of(piece) ? piece->pages : (uint32_t)((end - piece->start) / PAGE_SIZE);
	uint64_t gone = piece->missing & bits(last) & ~bits(first);

	piece->missing &= ~gone;
	p->missing -= (uint64_t)__builtin_popcountll(gone);
}

void pieces_drop(struct pieces *p, uint64_t start, uint64_t end)
{
	for (size_t i = first_after(p, start); i < p->n && p->list[i].start < end; i++)
		drop_bits(p, &p->list[i], start, end);
}

/* --- moving --- */

/* Makes an address the beginning of a piece, if one lies over it. There is room. */
static void cut(struct pieces *p, uint64_t address)
{
	size_t i = first_after(p, address);
	struct piece *piece = &p->list[i];
	uint32_t n;

	if (i == p->n || piece->start >= address)
		return;
	n = (uint32_t)((address - piece->start) / PAGE_SIZE);
	memmove(piece + 1, piece, (p->n - i) * sizeof(*piece));
	p->n++;
	piece[0].pages = n;
	piece[0].missing &= bits(n);
	piece[1].start = address;
	piece[1].at += n;
	piece[1].pages -= n;
	piece[1].missing >>= n;
}

static int compare(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

/* Those that nothing is missing of would lie among others where something else is now. */
static void forget_whole(struct pieces *p)
{
	size_t n = 0;

	for (size_t i = 0; i < p->n; i++)
		if (p->list[i].missing)
			p->list[n++] = p->list[i];
	p->n = n;
}

int pieces_move(struct pieces *p, uint64_t from, uint64_t to, uint64_t size)
{
	if (make_room(p, 4) < 0)
		return -ENOMEM;
	pieces_drop(p, to, to + size);
	cut(p, to);
	cut(p, to + size);
	cut(p, from);
	cut(p, from + size);
	forget_whole(p);
	for (size_t i = first_after(p, from); i < p->n && p->list[i].start < from + size; i++)
		p->list[i].start += to - from;
	qsort(p->list, p->n, sizeof(*p->list), compare);
	return 0;
}

/* --- looking --- */

bool pieces_lack(const struct pieces *p, uint64_t address, struct block *where)
{
	size_t i = first_after(p, address);
	const struct piece *piece = &p->list[i];

	if (i == p->n || piece->start > address || !(piece->missing >> (address - piece->start) / PAGE_SIZE & 1))
		return false;
	*where = block_of(piece);
	return true;
}

bool pieces_next(const struct pieces *p, uint64_t from, uint64_t *start, struct block *where)
{
	for (size_t i = first_after(p, from); p->missing && i < p->n; i++)
		if (p->list[i].missing) {
			*start = p->list[i].start;
			*where = block_of(&p->list[i]);
			return true;
		}
	return false;
}

void pieces_around(const struct pieces *p, uint64_t address, uint64_t *start, uint64_t *end)
{
	size_t i = first_after(p, address), first = i, last = i;
	struct block b;

	*start = *end = address;
	if (i == p->n)
		return;
	b = block_of(&p->list[i]);
	while (first > 0 && is_of(&p->list[first - 1], &b))
		first--;
	while (last + 1 < p->n && is_of(&p->list[last + 1], &b))
		last++;
	*start = p->list[first].start;
	*end = end_of(&p->list[last]);
}

bool pieces_stretch(const struct pieces *p, const struct block *where, uint64_t from, uint64_t end, struct stretch *out)
{
	for (size_t i = first_after(p, from); i < p->n && p->list[i].start < end; i++) {
		const struct piece *piece = &p->list[i];
		uint32_t skip = from > piece->start ? (uint32_t)((from - piece->start) / PAGE_SIZE) : 0;
		uint32_t limit = end < end_of(piece) ? (uint32_t)((end - piece->start) / PAGE_SIZE) : piece->pages;
		uint64_t missing = piece->missing & bits(limit) & ~bits(skip), rest;
		int first;

		if (!missing || !is_of(piece, where))
			continue;
		first = __builtin_ctzll(missing);
		rest = ~(missing >> first);
		*out = (struct stretch){ piece->start + (uint64_t)first * PAGE_SIZE,
			rest ? (uint64_t)__builtin_ctzll(rest) : 64, piece->at + (uint64_t)first };
		return true;
	}
	return false;
}
