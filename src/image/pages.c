/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Page files being written: raw pages, and one checksum for each block of them; or compressed blocks (blocks.c). */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <xxhash.h>

#include "image/blocks.h"
#include "image/stream_writer.h"

#define RESERVE_LEAST (1ul << 20)
#define RESERVE_MOST  (64ul << 20)

struct page_writer {
	struct image_writer *w;
	struct page_writer *next;
	unsigned int number;
	char name[NAME_ROOM];
	int fd;
	uint64_t pages;	     /* written */
	uint64_t reserved;   /* bytes; the first are not, since many a file has no more */
	XXH3_state_t *block; /* of the block that is not yet full */
	uint64_t *sums;
	size_t n_sums, room;
	struct blocks *compressed; /* NULL: not */
	uint64_t held;		   /* pages that lie in the file as they are, to be compressed; and nothing else does */
	int error;
};

struct page_writer *page_writer_next(const struct page_writer *p)
{
	return p->next;
}

unsigned int page_writer_number(const struct page_writer *p)
{
	return p->number;
}

void page_writer_free(struct page_writer *p)
{
	if (!p)
		return;
	close_fd(&p->fd);
	XXH3_freeState(p->block);
	free(p->sums);
	blocks_free(p->compressed);
	free(p);
}

int page_writer_open(struct image_writer *w, struct page_writer **out)
{
	struct page_writer *p = calloc(1, sizeof(*p));
	XXH3_state_t *block = p ? XXH3_createState() : NULL;

	if (!block) {
		free(p);
		return writer_failed(w, "pages", -ENOMEM, "cannot be created");
	}
	*p = (struct page_writer){ .w = w, .fd = -1, .block = block, .reserved = RESERVE_LEAST };
	/* from here the writer owns it */
	writer_page_file(w, p, &p->number, &p->next);
	snprintf(p->name, sizeof(p->name), "pages-%u", p->number);
	p->error = writer_open_file(w, p->name, &p->fd);
	if (p->error >= 0 && writer_compresses(w)) {
		p->compressed = blocks_new(p->fd);
		if (!p->compressed)
			p->error = writer_failed(w, p->name, -ENOMEM, "cannot be compressed");
	}
	if (p->error >= 0)
		*out = p;
	return p->error;
}

/* A step grows with the file; and, lest what several writers reserve so be what fills the disk, it shrinks with its free room. */
static uint64_t reserve_step(const struct page_writer *p)
{
	uint64_t step = MAX(p->reserved / 8, RESERVE_LEAST);
	struct statfs fs;

	if (fstatfs(p->fd, &fs) < 0 || fs.f_type == TMPFS_MAGIC) /* which would clear each page first */
		return 0;
	step = MIN(step, RESERVE_MOST);
	return MIN(step, fs.f_bavail * (uint64_t)fs.f_bsize / 64);
}

/* Reserving room in large steps is what makes several threads on one file system scale. Where it cannot be
 * had, the write will tell. */
static void reserve(struct page_writer *p, uint64_t end)
{
	while (p->reserved < end) {
		uint64_t step = ALIGN_DOWN(reserve_step(p), PAGE_SIZE);

		if (step < RESERVE_LEAST || fallocate(p->fd, 0, (off_t)p->reserved, (off_t)step) < 0) {
			p->reserved = UINT64_MAX; /* do not try again */
			return;
		}
		p->reserved += step;
	}
}

static int add_sum(struct page_writer *p, uint64_t sum)
{
	size_t room = p->room ? 2 * p->room : 64;
	uint64_t *grown;

	if (p->n_sums == p->room) {
		grown = reallocarray(p->sums, room, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		p->sums = grown;
		p->room = room;
	}
	p->sums[p->n_sums++] = sum;
	return 0;
}

/* n pages that do not cross the end of a block. */
static int sum_pages(struct page_writer *p, const void *pages, size_t n)
{
	size_t in_block = p->pages % PAGE_BLOCK;

	if (n == PAGE_BLOCK)
		return add_sum(p, checksum_64(pages, n * PAGE_SIZE));
	if (!in_block)
		XXH3_64bits_reset(p->block);
	XXH3_64bits_update(p->block, pages, n * PAGE_SIZE);
	return in_block + n == PAGE_BLOCK ? add_sum(p, XXH3_64bits_digest(p->block)) : 0;
}

/* Summed just before it is written, while it is in the cache. */
static int append_within_block(struct page_writer *p, const void *pages, size_t n)
{
	int r = sum_pages(p, pages, n);

	if (r >= 0 && image_is_stream(p->w))
		r = stream_writer_room(p->w, n * PAGE_SIZE);
	if (r >= 0)
		r = write_at(p->fd, pages, n * PAGE_SIZE, p->pages * PAGE_SIZE);
	if (r < 0)
		return writer_failed(p->w, p->name, r, "cannot be written");
	writer_count(p->w, n * PAGE_SIZE, (int64_t)(n * PAGE_SIZE));
	p->pages += n;
	return 0;
}

static int append_plain(struct page_writer *p, const void *pages, size_t n)
{
	const char *at = pages;
	size_t part;
	int r = 0;

	reserve(p, (p->pages + n) * PAGE_SIZE);
	for (; n && r >= 0; n -= part, at += part * PAGE_SIZE) {
		part = MIN(n, PAGE_BLOCK - p->pages % PAGE_BLOCK);
		r = append_within_block(p, at, part);
	}
	return r;
}

/* --- compressed --- */

uint64_t page_writer_held(const struct page_writer *p)
{
	return p->held;
}

static int append_held(struct page_writer *p, const void *pages, size_t n)
{
	int r;

	reserve(p, (p->pages + n) * PAGE_SIZE);
	r = write_at(p->fd, pages, n * PAGE_SIZE, p->pages * PAGE_SIZE);
	if (r < 0)
		return writer_failed(p->w, p->name, r, "cannot be written");
	writer_count(p->w, n * PAGE_SIZE, (int64_t)(n * PAGE_SIZE));
	p->pages += n;
	p->held = p->pages;
	return 0;
}

int page_writer_compress(struct page_writer *p)
{
	int r = p->error;

	if (r < 0 || !p->held)
		return r;
	r = blocks_compress(p->compressed, p->held);
	if (r < 0)
		return p->error = writer_failed(p->w, p->name, r, "cannot be compressed");
	writer_count(p->w, 0, (int64_t)(blocks_size(p->compressed) - p->held * PAGE_SIZE));
	p->held = 0;
	return 0;
}

static int append_compressed(struct page_writer *p, const void *pages, size_t n)
{
	int r = page_writer_compress(p);
	uint64_t before = blocks_size(p->compressed);

	if (r < 0)
		return r;
	reserve(p, before + (PAGE_BLOCK + n) * PAGE_SIZE);
	r = blocks_add(p->compressed, pages, n);
	if (r < 0)
		return writer_failed(p->w, p->name, r, "cannot be written");
	writer_count(p->w, n * PAGE_SIZE, (int64_t)(blocks_size(p->compressed) - before));
	p->pages += n;
	return 0;
}

/* --- all --- */

int64_t page_writer_append(struct page_writer *p, const void *pages, size_t n)
{
	int64_t first = (int64_t)p->pages;

	if (image_is_trial(p->w)) {
		p->pages += n;
		return first;
	}
	if (p->error < 0 || !n)
		return p->error < 0 ? p->error : first;
	if (!p->compressed)
		p->error = append_plain(p, pages, n);
	else
		p->error = writer_holds(p->w) && p->held == p->pages ? append_held(p, pages, n)
								     : append_compressed(p, pages, n);
	return p->error < 0 ? p->error : first;
}

static int finish_plain(struct page_writer *p, struct page_blocks *blocks)
{
	int r = p->pages % PAGE_BLOCK ? add_sum(p, XXH3_64bits_digest(p->block)) : 0;

	*blocks = (struct page_blocks){ .pages = p->pages, .checksums = p->sums, .n_checksums = p->n_sums };
	return r;
}

static int finish_compressed(struct page_writer *p, struct page_blocks *blocks)
{
	int r = page_writer_compress(p);
	uint64_t before = blocks_size(p->compressed);

	if (r >= 0)
		r = blocks_end(p->compressed, blocks);
	if (r >= 0)
		writer_count(p->w, 0, (int64_t)(blocks_size(p->compressed) - before));
	return r;
}

int page_writer_finish(struct page_writer *p, struct manifest_file *file, struct page_blocks *blocks)
{
	uint64_t size;
	int r = p->error;

	if (r >= 0)
		r = p->compressed ? finish_compressed(p, blocks) : finish_plain(p, blocks);
	size = p->compressed ? blocks_size(p->compressed) : p->pages * PAGE_SIZE;
	if (r >= 0 && p->fd >= 0 && ftruncate(p->fd, (off_t)size) < 0)
		r = -errno;
	if (r < 0)
		return writer_failed(p->w, p->name, r, "cannot be completed");
	*file = (struct manifest_file){ .size = size, .pages = true };
	memcpy(file->name, p->name, sizeof(file->name));
	blocks->file = p->number;
	return 0;
}

int page_writer_send(struct page_writer *p, struct stream_writer *s)
{
	return p->error < 0 ? p->error : stream_writer_member(s, p->name, &p->fd, p->pages * PAGE_SIZE);
}

int page_writer_sync(struct page_writer *p)
{
	return fdatasync(p->fd) < 0 ? writer_failed(p->w, p->name, -errno, "cannot be written to the disk") : 0;
}
