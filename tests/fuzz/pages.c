/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Compressed page files from hostile bytes: whatever an image says of its blocks and whatever lies in them, what is loaded has its checksum, or is refused. */
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "image_forged.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BLOCKS_MOST 8

/* What an input begins with; the page file follows. */
struct beginning {
	uint32_t pages;
	uint8_t n_checksums, n_stored, n_stored_checksums;
	uint8_t right; /* bits: checksums of what is stored are made right, or all would end there; so is the length of the last block */
	uint8_t format;
	uint8_t name;
	uint8_t unused[6];
	uint32_t stored[BLOCKS_MOST];
};

static const struct record_kind *const no_kinds[] = { NULL };

static int make_dir(char path[static 64])
{
	snprintf(path, 64, "/dev/shm/spore-fuzz.XXXXXX");
	if (!mkdtemp(path))
		abort();
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void drop_dir(int dir, const char *path)
{
	static const char *const names[] = { "pages-0", "head.cbor", "page_blocks.cbor", MANIFEST };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		unlinkat(dir, names[i], 0);
	close(dir);
	rmdir(path);
}

static void make_right(
	const struct beginning *b, const uint8_t *file, size_t size, uint64_t *stored, uint64_t *stored_sums)
{
	uint64_t at = 0;

	for (size_t i = 0; i < b->n_stored && i < BLOCKS_MOST; i++) {
		if (b->right & 2 && i + 1 == b->n_stored && at < size)
			stored[i] = size - at;
		if (b->right & 1 && at <= size && stored[i] <= size - at)
			stored_sums[i] = checksum_64(file + at, stored[i]);
		at += stored[i];
	}
}

static void forge(int dir, const struct beginning *b, const uint8_t *file, size_t size)
{
	uint64_t sums[BLOCKS_MOST] = { 0 }, stored[BLOCKS_MOST] = { 0 }, stored_sums[BLOCKS_MOST] = { 0 };
	struct page_blocks blocks = { .pages = b->pages };

	for (size_t i = 0; i < BLOCKS_MOST; i++)
		stored[i] = b->stored[i];
	make_right(b, file, size, stored, stored_sums);
	snprintf(blocks.compression, sizeof(blocks.compression), "%s",
		b->name < 224 ? "zstd"
		: b->name & 1 ? "lz4"
			      : "");
	blocks.checksums = sums;
	blocks.stored = stored;
	blocks.stored_checksums = stored_sums;
	blocks.n_checksums = b->n_checksums % (BLOCKS_MOST + 1);
	blocks.n_stored = b->n_stored % (BLOCKS_MOST + 1);
	blocks.n_stored_checksums = b->n_stored_checksums % (BLOCKS_MOST + 1);
	forge_image(dir, b->format < 224 ? IMAGE_FORMAT_COMPRESSED : b->format & 3, &blocks, file, size);
}

/* No checksum of pages is right but by an accident of one in 2^64. */
static void look(int dir)
{
	_cleanup_free_ uint8_t *room = malloc(PAGE_BLOCK * PAGE_SIZE), *to = malloc(PAGE_SIZE);
	struct page_cache cache = { .bytes = room };
	struct image *img = NULL;
	struct problems ps;

	problems_init(&ps);
	if (image_open(dir, no_kinds, &ps, &img) == 0) {
		uint64_t pages = page_file_pages(img, 0);

		if (page_file_is_compressed(img, 0) && pages && image_verify_pages(img, &ps) == 0)
			abort();
		for (uint64_t at = 0; page_file_is_compressed(img, 0) && at < pages; at += PAGE_BLOCK - 1)
			if (page_file_look(img, &cache, 0, at, 1, to) == 0)
				abort();
	}
	image_free(img);
	problems_free(&ps);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct beginning b;
	char path[64];
	int dir;

	if (size < sizeof(b))
		return 0;
	memcpy(&b, data, sizeof(b));
	dir = make_dir(path);
	forge(dir, &b, data + sizeof(b), size - sizeof(b));
	look(dir);
	drop_dir(dir, path);
	return 0;
}
