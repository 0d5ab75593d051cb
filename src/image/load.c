/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading pages of an open image, which may be compressed. Of a compressed block what lies in the file has a checksum, so that nothing but what was written is decompressed, and what comes of it
 * has the one that every block has.
 */
#include <stdlib.h>
#include <string.h>

#include "image/directory.h"
#include "image/reader.h"

int page_file_fd(const struct image *img, unsigned int number)
{
	return number < img->n_page_files ? img->private->page_files[number].fd : -EBADF;
}

uint64_t page_file_pages(const struct image *img, unsigned int number)
{
	return number < img->n_page_files ? img->private->page_files[number].pages : 0;
}

bool page_file_is_compressed(const struct image *img, unsigned int number)
{
	return number < img->n_page_files && img->private->page_files[number].compression;
}

bool image_is_compressed(const struct image *img)
{
	for (unsigned int i = 0; i < img->n_page_files; i++)
		if (page_file_is_compressed(img, i))
			return true;
	return false;
}

bool page_file_is_own(const struct image *img, unsigned int number, struct page_file_facts *out)
{
	const struct page_file *pf;

	if (number < img->private->first_own || number >= img->n_page_files)
		return false;
	pf = &img->private->page_files[number];
	*out = (struct page_file_facts){
		.pages = pf->pages, .size = pf->size, .compression = compression_name(pf->compression)
	};
	return true;
}

/* --- a block --- */

static int load_as_it_is(const struct page_file *pf, uint64_t block, uint64_t at, void *buffer)
{
	size_t size = page_file_block_size(pf, block);
	int r = read_at(pf->fd, buffer, size, at);

	if (r < 0)
		return r;
	return pf->came || checksum_64(buffer, size) == pf->sums[block] ? 0 : -EBADMSG;
}

static int read_and_decompress(const struct page_file *pf, uint64_t block, struct decompressor *d, void *buffer)
{
	size_t stored = pf->at[block + 1] - pf->at[block], size = page_file_block_size(pf, block);
	int r = read_at(pf->fd, decompressor_room(d), stored, pf->at[block]);

	if (r == 0 && checksum_64(decompressor_room(d), stored) != pf->stored_sums[block])
		r = -EBADMSG;
	if (r == 0)
		r = decompress(d, stored, buffer, size);
	if (r < 0)
		return r;
	return checksum_64(buffer, size) == pf->sums[block] ? 0 : -EBADMSG;
}

static int load_compressed(const struct image *img, const struct page_file *pf, uint64_t block, void *buffer)
{
	size_t stored = pf->at[block + 1] - pf->at[block];
	struct decompressor *d;
	int r;

	if (stored == page_file_block_size(pf, block))
		return load_as_it_is(pf, block, pf->at[block], buffer);
	d = decompressor_take(img->private->decompressors, stored);
	if (!d)
		return -ENOMEM;
	r = read_and_decompress(pf, block, d, buffer);
	decompressor_give(img->private->decompressors, d);
	return r;
}

/* The caller's blocks are those of the file. */
static int load(const struct image *img, unsigned int number, uint64_t block, void *buffer)
{
	const struct page_file *pf = &img->private->page_files[number];

	return pf->compression ? load_compressed(img, pf, block, buffer)
			       : load_as_it_is(pf, block, block * PAGE_BLOCK * PAGE_SIZE, buffer);
}

int page_file_load(const struct image *img, unsigned int number, uint64_t block, void *buffer, struct problems *ps)
{
	uint64_t first = block * PAGE_BLOCK;
	char name[NAME_ROOM];
	int r = load(img, number, block, buffer);

	if (r == 0)
		return 0;
	snprintf(name, sizeof(name), "pages-%u", number);
	if (r != -EBADMSG)
		return file_failed(ps, img->dir_fd, name, r, "cannot be read");
	return file_damaged(ps, img->dir_fd, name,
		"pages %llu to %llu do not have the checksum that page_blocks.cbor says", (unsigned long long)first,
		(unsigned long long)(first +
				     page_file_block_size(&img->private->page_files[number], block) / PAGE_SIZE - 1));
}

/* --- any bytes --- */

int page_file_each(const struct image *img, unsigned int number, uint64_t at, uint64_t size,
	int (*put)(void *data, const void *bytes, size_t size), void *data, struct problems *ps)
{
	const uint64_t whole = PAGE_BLOCK * PAGE_SIZE;
	_cleanup_free_ uint8_t *buffer = malloc(whole);
	int r = buffer ? 0 : -ENOMEM;

	for (uint64_t n; size && r == 0; at += n, size -= n) {
		n = MIN(size, whole - at % whole);
		r = page_file_load(img, number, at / whole, buffer, ps);
		if (r == 0)
			r = put(data, buffer + at % whole, n);
	}
	return r;
}

static int fill_cache(const struct image *img, struct page_cache *cache, unsigned int number, uint64_t block)
{
	int r;

	if (cache->valid && cache->number == number && cache->block == block)
		return 0;
	r = load(img, number, block, cache->bytes);
	cache->valid = r == 0;
	cache->number = number;
	cache->block = block;
	return r;
}

int page_file_look(
	const struct image *img, struct page_cache *cache, unsigned int number, uint64_t at, uint64_t n, void *to)
{
	uint8_t *next = to;
	int r = 0;

	if (!page_file_is_compressed(img, number))
		return read_at(page_file_fd(img, number), to, n * PAGE_SIZE, at * PAGE_SIZE);
	for (uint64_t part; n && r == 0; n -= part, at += part, next += part * PAGE_SIZE) {
		part = MIN(n, PAGE_BLOCK - at % PAGE_BLOCK);
		r = fill_cache(img, cache, number, at / PAGE_BLOCK);
		if (r == 0)
			memcpy(next, cache->bytes + at % PAGE_BLOCK * PAGE_SIZE, part * PAGE_SIZE);
	}
	return r;
}
