/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which pages an address space still lacks, and where in the page files they lie. A piece is up to 64 pages that follow one another in the memory and in the
 * file, within one of the blocks that have a checksum; a bit tells of each whether it is missing.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PIECE_PAGES 64u

struct piece {
	uint64_t start; /* address */
	uint64_t at;	/* page in the page file */
	uint32_t file;
	uint32_t pages;
	uint64_t missing; /* bit i: page i */
};

struct pieces {
	struct piece *list; /* sorted by address */
	size_t n, room;
	uint64_t missing; /* pages, in all */
};

/* A block of a page file, which has one checksum. */
struct block {
	uint32_t file;
	uint64_t number;
};

/* In the order of addresses. 0 or -ENOMEM. */
int pieces_add(struct pieces *p, uint64_t start, uint64_t pages, uint32_t file, uint64_t at);
int pieces_copy(struct pieces *to, const struct pieces *from);
void pieces_free(struct pieces *p);

/* Not missing any more, or not wanted. */
void pieces_drop(struct pieces *p, uint64_t start, uint64_t end);
/* mremap(2): what was at the one place is at the other. 0 or -ENOMEM, and nothing was done. */
int pieces_move(struct pieces *p, uint64_t from, uint64_t to, uint64_t size);

bool pieces_lack(const struct pieces *p, uint64_t address, struct block *where);
/* The first missing pages at or after an address; false: none. */
bool pieces_next(const struct pieces *p, uint64_t from, uint64_t *start, struct block *where);
/* The addresses around one at which pages of the same block lie. */
void pieces_around(const struct pieces *p, uint64_t address, uint64_t *start, uint64_t *end);

/* Missing pages that follow one another, of one block, the first in [from, end). */
struct stretch {
	uint64_t start, pages;
	uint64_t at; /* page in the page file */
};
bool pieces_stretch(
	const struct pieces *p, const struct block *where, uint64_t from, uint64_t end, struct stretch *out);
