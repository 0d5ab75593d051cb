/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Compressing a block of pages, and back. One algorithm at one level, zstd at 1: lz4 is a third faster, but needs twice the room, and where so much room costs less than that time, not to
 * compress at all costs less still. zstd_manual.html of libzstd-dev. Private to the image layer.
 */
#pragma once

#include <spore.h>
#include <stdbool.h>
#include <stddef.h>

/* What page_blocks calls it; NULL: there is none of that number. */
const char *compression_name(uint32_t compression);
/* -EBADMSG: no name of one. */
int compression_of(const char *name);
/* Is it in this build? */
bool compression_is_there(uint32_t compression);

/* One thread's. NULL: out of memory. */
struct compressor;
struct compressor *compressor_new(void);
void compressor_free(struct compressor *c); /* takes NULL */
/* Into as much room as there is at `from`. 0: it does not get smaller, by enough to be worth while */
size_t compress(struct compressor *c, const void *from, size_t size, void *to);

/* Of any threads: each that decompresses takes what it needs for that from here, and gives it back. */
struct decompressors;
struct decompressors *decompressors_new(void);
void decompressors_free(struct decompressors *all); /* takes NULL */
struct decompressor;
/* With room for that many bytes at decompressor_room, to be read into. NULL: out of memory. */
struct decompressor *decompressor_take(struct decompressors *all, size_t room);
void *decompressor_room(struct decompressor *d);
/* What lies there becomes exactly `size` bytes, and never writes more: it may be anything. 0 or -EBADMSG */
int decompress(struct decompressor *d, size_t compressed, void *to, size_t size);
void decompressor_give(struct decompressors *all, struct decompressor *d);
