/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The blocks of a compressed page file being written: one behind the other, each as small as it gets. Private to the image layer. */
#pragma once

#include "image/directory.h"

struct blocks;

struct blocks *blocks_new(int fd);  /* of the file; NULL: out of memory */
void blocks_free(struct blocks *b); /* takes NULL */
/* Whole pages, which are compressed when a block is full. 0 or negative errno */
int blocks_add(struct blocks *b, const void *pages, size_t n);
/* That many pages lie at the beginning of the file as they are, and nothing was added: they are compressed where they lie. */
int blocks_compress(struct blocks *b, uint64_t pages);
uint64_t blocks_size(const struct blocks *b); /* bytes in the file */
/* The last one, which may be shorter; and what page_blocks is to say of all. What the lists hold stays b's. */
int blocks_end(struct blocks *b, struct page_blocks *out);
