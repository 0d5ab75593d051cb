/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is streamed first: what was waited for the last time, in that order; and whatever stands in the note of it, nothing that the image has not. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "image/image.h"
#include "lazy/wanted.h"
#include "unit.h"

#define BLOCKS	    6
#define BLOCK_BYTES (PAGE_BLOCK * PAGE_SIZE)
#define ADDRESS	    0x10000000ul

static const struct record_kind *const no_kinds[] = { NULL };

static int make_dir(char path[static 32])
{
	int fd;

	snprintf(path, 32, "/tmp/wanted.XXXXXX");
	CHECK(mkdtemp(path));
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(fd >= 0);
	return fd;
}

static struct image *make_image(int dir, bool force)
{
	_cleanup_free_ uint8_t *pages = calloc(BLOCKS, BLOCK_BYTES);
	struct image_writer *w;
	struct page_writer *p;
	struct image *img = NULL;
	struct problems ps;

	problems_init(&ps);
	CHECK(image_create(dir, NULL, force, &ps, &w) == 0 && page_writer_open(w, &p) == 0);
	CHECK(page_writer_append(p, pages, (BLOCKS - 1) * PAGE_BLOCK + 1) == 0); /* the last is one page */
	CHECK(image_commit(w) == 0);
	image_writer_free(w);
	CHECK(image_open(dir, no_kinds, &ps, &img) == 0 && !ps.n);
	problems_free(&ps);
	return img;
}

/* Of memory that lies in the file from its end to its beginning: block i is at the i-th place from above. */
static uint64_t place_of(uint64_t block)
{
	return ADDRESS + (BLOCKS - block) * BLOCK_BYTES;
}

static void space_init(struct space *s)
{
	*s = (struct space){ .uffd = 0 };
	pthread_rwlock_init(&s->lock, NULL);
	pthread_mutex_init(&s->map, NULL);
	for (uint64_t i = BLOCKS; i-- > 0;)
		CHECK(pieces_add(&s->layout.pieces, place_of(i), i == BLOCKS - 1 ? 1 : PAGE_BLOCK, 0, i * PAGE_BLOCK) ==
			0);
}

static void note(struct wanted *w, uint64_t block)
{
	wanted_note(w, &(struct block){ 0, block });
}

/* What is streamed first of a restore, then the blocks that it waits for; all by their numbers. -1 ends each. */
static void one_restore(const struct image *img, const int *first, const int *waits, uint64_t dropped)
{
	struct wanted w;
	struct space s;
	struct block where;
	uint64_t start;

	space_init(&s);
	CHECK(wanted_init(&w, img) == 0);
	wanted_find(&w, &s);
	pieces_drop(&s.layout.pieces, place_of(dropped), place_of(dropped) + BLOCK_BYTES);
	for (; *first >= 0; first++) {
		CHECK(wanted_next(&w, &where, &start) == &s);
		CHECK(where.file == 0 && where.number == (uint64_t)*first && start == place_of((uint64_t)*first));
	}
	CHECK(!wanted_next(&w, &where, &start));
	for (; *waits >= 0; waits++)
		note(&w, (uint64_t)*waits);
	wanted_keep(&w, img);
	wanted_free(&w);
	pieces_free(&s.layout.pieces);
}

#define LIST(...) ((const int[]){ __VA_ARGS__, -1 })
#define NOTHING	  ((const int[]){ -1 })

static void test_order(const struct image *img)
{
	one_restore(img, NOTHING, NOTHING, BLOCKS);
	one_restore(img, NOTHING, LIST(4, 1, 4, 0), BLOCKS);
	one_restore(img, LIST(4, 1, 0), NOTHING, BLOCKS);
	one_restore(img, LIST(4, 1, 0), LIST(1, 5), BLOCKS); /* what is new comes last */
	one_restore(img, LIST(4, 0, 5), NOTHING, 1);	     /* nothing of block 1 is missing any more */
}

static void write_file(int dir, const char *name, const void *bytes, size_t size)
{
	_cleanup_fd_ int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	CHECK(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
}

static size_t read_file(int dir, const char *name, uint8_t *bytes, size_t room)
{
	_cleanup_fd_ int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, bytes, room);

	return n < 0 ? 0 : (size_t)n;
}

static void check_known(const struct image *img)
{
	struct touched t;

	image_touched(img, &t);
	for (size_t i = 0; i < t.n_blocks; i++)
		CHECK(t.blocks[i].file == 0 && t.blocks[i].block < BLOCKS);
	touched_free(&t);
}

static void test_garbage(int dir, const struct image *img)
{
	struct touched_block beyond[] = { { 1, 0 }, { 0, BLOCKS }, { UINT64_MAX, UINT64_MAX }, { 0, 3 }, { 0, 3 } };
	struct touched t = { .blocks = beyond, .n_blocks = ARRAY_SIZE(beyond) };
	uint8_t bytes[1024];
	size_t n;

	image_set_touched(img, &t);
	one_restore(img, LIST(3), NOTHING, BLOCKS);
	n = read_file(dir, "touched.cbor", bytes, sizeof(bytes));
	CHECK(n > 0);
	for (size_t i = 0; i < 8 * n; i++) {
		bytes[i / 8] ^= (uint8_t)(1u << i % 8);
		write_file(dir, "touched.cbor", bytes, n);
		check_known(img);
		bytes[i / 8] ^= (uint8_t)(1u << i % 8);
	}
	for (size_t cut = 0; cut < n; cut++) {
		write_file(dir, "touched.cbor", bytes, cut);
		one_restore(img, NOTHING, NOTHING, BLOCKS);
	}
	CHECK(unlinkat(dir, "touched.cbor", 0) == 0 && mkfifoat(dir, "touched.cbor", 0600) == 0);
	one_restore(img, NOTHING, LIST(2), BLOCKS);
	one_restore(img, LIST(2), NOTHING, BLOCKS);
	CHECK(unlinkat(dir, "touched.cbor", 0) == 0 && symlinkat("/etc/passwd", dir, "touched.cbor") == 0);
	one_restore(img, NOTHING, LIST(2), BLOCKS);
	one_restore(img, LIST(2), NOTHING, BLOCKS);
}

/* Another has taken its place; and then no image at all is there. */
static void test_other_image(int dir, struct image *img)
{
	uint8_t bytes[1024];
	size_t n = read_file(dir, "touched.cbor", bytes, sizeof(bytes));
	struct image *other = make_image(dir, true);

	CHECK(faccessat(dir, "touched.cbor", F_OK, 0) < 0); /* gone with the first */
	one_restore(img, NOTHING, LIST(3), BLOCKS);
	CHECK(faccessat(dir, "touched.cbor", F_OK, 0) < 0);
	write_file(dir, "touched.cbor", bytes, n);
	one_restore(other, NOTHING, LIST(0), BLOCKS);
	one_restore(other, LIST(0), NOTHING, BLOCKS);
	CHECK(image_remove(dir) == 0);
	one_restore(other, NOTHING, LIST(3), BLOCKS);
	image_free(other);
}

int main(void)
{
	char path[32];
	_cleanup_fd_ int dir = make_dir(path);
	struct image *img = make_image(dir, false);

	test_order(img);
	test_garbage(dir, img);
	test_other_image(dir, img);
	image_free(img);
	CHECK(access(path, F_OK) < 0 && errno == ENOENT); /* image_remove took all that was there */
	return 0;
}
