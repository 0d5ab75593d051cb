/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Compressed page files: the pages that were appended and no others, however they were appended and whatever stands in the image. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "image/compress.h"
#include "image/image.h"
#include "image_forged.h"
#include "unit.h"

#define BLOCK_BYTES (PAGE_BLOCK * PAGE_SIZE)

static const struct record_kind *const no_kinds[] = { NULL };

static int make_dir(void)
{
	char path[] = "/tmp/image_compressed.XXXXXX";
	int fd;

	CHECK(mkdtemp(path));
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(fd >= 0);
	return fd;
}

static void drop_dir(int *fd)
{
	_cleanup_dir_ DIR *dir = fdopendir(openat(*fd, ".", O_RDONLY | O_DIRECTORY));
	char path[256], link[64];
	struct dirent *e;
	ssize_t n;

	while ((e = readdir(dir)))
		unlinkat(*fd, e->d_name, 0);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", *fd);
	n = readlink(link, path, sizeof(path) - 1);
	CHECK(n > 0);
	path[n] = 0;
	rmdir(path);
	close_fd(fd);
}

/* Page i of a file: every third block is noise, the others repeat themselves; no two pages are alike. */
static void fill_page(uint64_t *page, uint64_t i)
{
	bool noise = i / PAGE_BLOCK % 3 == 2;

	for (uint64_t k = 0; k < PAGE_SIZE / sizeof(*page); k++)
		page[k] = noise ? (i * 512 + k) * 0x9e3779b97f4a7c15 ^ (i * 512 + k) << 40 : i;
}

static bool is_page(const void *page, uint64_t i)
{
	uint64_t want[PAGE_SIZE / sizeof(uint64_t)];

	fill_page(want, i);
	return !memcmp(page, want, PAGE_SIZE);
}

/* Pages [first, end), by so many at a time. */
static void append(struct page_writer *p, uint64_t first, uint64_t end, uint64_t step)
{
	_cleanup_free_ uint8_t *pages = malloc(step * PAGE_SIZE);

	for (uint64_t at = first, n; at < end; at += n) {
		n = MIN(step, end - at);
		for (uint64_t i = 0; i < n; i++)
			fill_page((uint64_t *)(pages + i * PAGE_SIZE), at + i);
		CHECK(page_writer_append(p, pages, n) == (int64_t)at);
	}
}

static uint64_t bytes_of_files(int fd)
{
	_cleanup_dir_ DIR *dir = fdopendir(openat(fd, ".", O_RDONLY | O_DIRECTORY));
	uint64_t bytes = 0;
	struct dirent *e;
	struct stat st;

	while ((e = readdir(dir)))
		if (e->d_name[0] != '.' && fstatat(fd, e->d_name, &st, 0) == 0)
			bytes += (uint64_t)st.st_size;
	return bytes;
}

/* How the pages of an image's one file came to be there. */
struct history {
	uint64_t held, pages; /* of the pages those that were appended while it held */
	uint64_t step;
	bool called; /* page_writer_compress is called, and not left to what comes next */
};

static void write_image(int dir, const struct history *h)
{
	struct image_writer *w;
	struct page_writer *p;
	struct problems ps;
	uint64_t stored, files;

	problems_init(&ps);
	CHECK(image_create_compressed(dir, NULL, false, SPORE_COMPRESSION_ZSTD, &ps, &w) == 0);
	image_hold(w, h->held > 0);
	CHECK(page_writer_open(w, &p) == 0);
	append(p, 0, h->held, h->step);
	CHECK(image_stored_bytes(w) == image_bytes(w) || !h->held);
	CHECK(image_count_held(w) == (h->held > 0));
	image_hold(w, false);
	if (h->called && h->held) {
		CHECK(image_next_held(w) == p && page_writer_compress(p) == 0);
		CHECK(image_count_held(w) == 0 && !image_next_held(w));
	}
	append(p, h->held, h->pages, h->step);
	CHECK(image_commit(w) == 0);
	CHECK(image_bytes(w) >= h->pages * PAGE_SIZE);
	stored = image_stored_bytes(w);
	files = bytes_of_files(dir);
	CHECK(stored == files);
	image_writer_free(w);
	CHECK(!ps.n);
	problems_free(&ps);
}

/* --- reading --- */

struct each {
	uint64_t next; /* page */
	size_t within; /* bytes of it that have come */
	uint8_t page[PAGE_SIZE];
};

static int take(void *data, const void *bytes, size_t size)
{
	struct each *e = data;
	const uint8_t *from = bytes;

	for (size_t n; size; size -= n, from += n) {
		n = MIN(size, PAGE_SIZE - e->within);
		memcpy(e->page + e->within, from, n);
		e->within += n;
		if (e->within == PAGE_SIZE) {
			CHECK(is_page(e->page, e->next++));
			e->within = 0;
		}
	}
	return 0;
}

static int stop(void *data, const void *bytes, size_t size)
{
	return -EINTR;
}

static void check_pages(const struct image *img, uint64_t pages)
{
	_cleanup_free_ uint8_t *to = malloc(2 * BLOCK_BYTES), *room = malloc(BLOCK_BYTES);
	struct page_cache cache = { .bytes = room };
	struct each e = { 0 };
	struct problems ps;

	problems_init(&ps);
	CHECK(page_file_pages(img, 0) == pages);
	for (uint64_t block = 0; block * PAGE_BLOCK < pages; block++) {
		CHECK(page_file_load(img, 0, block, to, &ps) == 0);
		for (uint64_t i = 0; i < PAGE_BLOCK && block * PAGE_BLOCK + i < pages; i++)
			CHECK(is_page(to + i * PAGE_SIZE, block * PAGE_BLOCK + i));
	}
	CHECK(page_file_each(img, 0, 0, pages * PAGE_SIZE, take, &e, &ps) == 0 && e.next == pages);
	CHECK(!pages || page_file_each(img, 0, 0, 1, stop, NULL, &ps) == -EINTR);
	for (uint64_t at = 0, n; at < pages; at += n) {
		n = MIN(pages - at, at % 300 + 1);
		CHECK(page_file_look(img, &cache, 0, at, n, to) == 0);
		for (uint64_t i = 0; i < n; i++)
			CHECK(is_page(to + i * PAGE_SIZE, at + i));
	}
	CHECK(image_verify_pages(img, &ps) == 0 && !ps.n);
	problems_free(&ps);
}

static void test_round_trip(const struct history *h)
{
	_cleanup_(drop_dir)
	int dir = make_dir();
	struct image *img;
	struct problems ps;
	struct stat st;

	problems_init(&ps);
	write_image(dir, h);
	CHECK(image_open(dir, no_kinds, &ps, &img) == 0);
	CHECK(img->head.format == IMAGE_FORMAT_COMPRESSED && page_file_is_compressed(img, 0) &&
		image_is_compressed(img));
	CHECK(fstatat(dir, "pages-0", &st, 0) == 0);
	/* the noise does not get smaller, and is not longer either */
	CHECK((uint64_t)st.st_size <= h->pages * PAGE_SIZE);
	CHECK(h->pages < 2 * PAGE_BLOCK || (uint64_t)st.st_size < h->pages * PAGE_SIZE / 2);
	check_pages(img, h->pages);
	image_free(img);
	problems_free(&ps);
}

static void test_round_trips(void)
{
	static const uint64_t pages[] = { 0, 1, 256, 257, 900 }, steps[] = { 7, 600 };

	for (size_t i = 0; i < ARRAY_SIZE(pages); i++)
		for (size_t k = 0; k < ARRAY_SIZE(steps); k++)
			for (uint64_t held = 0; held <= pages[i]; held += pages[i] / 3 + 1)
				for (int called = 0; called < 2; called++)
					test_round_trip(&(struct history){ held, pages[i], steps[k], called });
}

static void test_plain(void)
{
	_cleanup_(drop_dir)
	int dir = make_dir();
	struct image_writer *w;
	struct page_writer *p;
	struct image *img;
	struct problems ps;

	problems_init(&ps);
	CHECK(image_create(dir, NULL, false, &ps, &w) == 0);
	image_hold(w, true); /* there is nothing that it could hold */
	CHECK(page_writer_open(w, &p) == 0);
	append(p, 0, 700, 100);
	CHECK(image_count_held(w) == 0);
	CHECK(image_commit(w) == 0 && image_stored_bytes(w) == image_bytes(w));
	image_writer_free(w);
	CHECK(image_open(dir, no_kinds, &ps, &img) == 0);
	CHECK(img->head.format == IMAGE_FORMAT && !image_is_compressed(img));
	check_pages(img, 700);
	image_free(img);
	problems_free(&ps);
}

/* --- damage --- */

static int open_whole(int dir)
{
	struct image *img = NULL;
	struct problems ps;
	int r;

	problems_init(&ps);
	r = image_open(dir, no_kinds, &ps, &img);
	if (r >= 0)
		r = image_verify_pages(img, &ps);
	CHECK((r < 0) == (ps.n > 0));
	image_free(img);
	problems_free(&ps);
	return r;
}

static void flip(int fd, off_t at, uint8_t mask)
{
	uint8_t byte;

	CHECK(pread(fd, &byte, 1, at) == 1);
	byte ^= mask;
	CHECK(pwrite(fd, &byte, 1, at) == 1);
}

static void test_flips(void)
{
	_cleanup_(drop_dir)
	int dir = make_dir();
	static const char *const files[] = { "pages-0", "page_blocks.cbor" };

	write_image(dir, &(struct history){ .pages = 300, .step = 300 });
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		_cleanup_fd_ int fd = openat(dir, files[i], O_RDWR);
		uint8_t last;
		struct stat st;

		CHECK(fd >= 0 && fstat(fd, &st) == 0 && st.st_size);
		CHECK(pread(fd, &last, 1, st.st_size - 1) == 1);
		for (off_t at = 0; at < st.st_size; at += 1 + st.st_size / 500) {
			uint8_t mask = (uint8_t)(1u << at % 8);

			flip(fd, at, mask);
			CHECK(open_whole(dir) == -EBADMSG);
			flip(fd, at, mask);
		}
		CHECK(open_whole(dir) == 0);
		CHECK(ftruncate(fd, st.st_size - 1) == 0 && open_whole(dir) == -EBADMSG);
		CHECK(pwrite(fd, &last, 1, st.st_size - 1) == 1 && open_whole(dir) == 0);
	}
}

/* --- what a hostile writer could make --- */

/* Two blocks of which the first is compressed; as it should be, and then with one thing wrong. */
struct forgery {
	uint8_t bytes[2 * BLOCK_BYTES];
	size_t size;
	uint64_t sums[3], stored[3], stored_sums[3];
	struct page_blocks blocks;
};

static void forge(struct forgery *f)
{
	struct compressor *c = compressor_new();
	_cleanup_free_ uint8_t *pages = malloc(2 * BLOCK_BYTES);

	for (uint64_t i = 0; i < 2 * PAGE_BLOCK; i++)
		fill_page((uint64_t *)(pages + i * PAGE_SIZE), i);
	*f = (struct forgery){ 0 };
	f->stored[0] = compress(c, pages, BLOCK_BYTES, f->bytes);
	CHECK(f->stored[0] > 0 && f->stored[0] < BLOCK_BYTES);
	compressor_free(c);
	memcpy(f->bytes + f->stored[0], pages + BLOCK_BYTES, PAGE_SIZE);
	f->stored[1] = PAGE_SIZE;
	f->size = f->stored[0] + f->stored[1];
	f->sums[0] = checksum_64(pages, BLOCK_BYTES);
	f->sums[1] = checksum_64(pages + BLOCK_BYTES, PAGE_SIZE);
	f->stored_sums[0] = checksum_64(f->bytes, f->stored[0]);
	f->stored_sums[1] = f->sums[1];
	f->blocks = (struct page_blocks){ .pages = PAGE_BLOCK + 1, .compression = "zstd" };
	f->blocks.checksums = f->sums;
	f->blocks.stored = f->stored;
	f->blocks.stored_checksums = f->stored_sums;
	f->blocks.n_checksums = f->blocks.n_stored = f->blocks.n_stored_checksums = 2;
}

static int open_forged(const struct forgery *f)
{
	_cleanup_(drop_dir)
	int dir = make_dir();

	forge_image(dir, IMAGE_FORMAT_COMPRESSED, &f->blocks, f->bytes, f->size);
	return open_whole(dir);
}

#define FORGED(change)                                                                                                 \
	({                                                                                                             \
		forge(f);                                                                                              \
		change;                                                                                                \
		open_forged(f);                                                                                        \
	})

static void test_forged(void)
{
	_cleanup_free_ struct forgery *f = malloc(sizeof(*f));

	CHECK(FORGED((void)0) == 0);
	CHECK(FORGED(f->stored[0]--) == -EBADMSG); /* they do not fill the file */
	CHECK(FORGED((f->stored[0]++, f->stored[1]--)) == -EBADMSG);
	CHECK(FORGED((f->stored[0] += f->stored[1], f->stored[1] = 0)) == -EBADMSG);
	CHECK(FORGED(f->stored[1] = UINT64_MAX) == -EBADMSG);
	CHECK(FORGED((f->size += PAGE_SIZE, f->stored[1] += PAGE_SIZE)) == -EBADMSG); /* more than its pages */
	CHECK(FORGED(f->blocks.n_stored--) == -EBADMSG);
	CHECK(FORGED(f->blocks.n_stored++) == -EBADMSG);
	CHECK(FORGED(f->blocks.n_stored_checksums--) == -EBADMSG);
	CHECK(FORGED(f->blocks.n_checksums--) == -EBADMSG);
	CHECK(FORGED(f->blocks.pages++) == -EBADMSG); /* the last block is shorter than it says */
	CHECK(FORGED(f->blocks.pages = UINT64_MAX) == -EBADMSG);
	CHECK(FORGED(f->blocks.compression[0] = 0) == -EBADMSG); /* then the file is too short */
	CHECK(FORGED(f->stored_sums[0]++) == -EBADMSG);
	CHECK(FORGED(f->stored_sums[1]++) == 0); /* of what lies there as it is, the other one counts */
	CHECK(FORGED(f->sums[0]++) == -EBADMSG);
	CHECK(FORGED(f->sums[1]++) == -EBADMSG);
	CHECK(FORGED(f->blocks.compression[0] = 'Z') == -ENOTSUP);
}

/* With the checksum of what lies there, so that the decompressor gets it. */
static int open_changed(struct forgery *f)
{
	f->stored_sums[0] = checksum_64(f->bytes, f->stored[0]);
	return open_forged(f);
}

static void test_hostile_frames(void)
{
	_cleanup_free_ struct forgery *f = malloc(sizeof(*f));
	unsigned int same = 0;

	for (size_t at = 0; at < 64; at++) {
		int r;

		forge(f);
		f->bytes[at % f->stored[0]] ^= (uint8_t)(1u << at % 8);
		r = open_changed(f);
		CHECK(r == 0 || r == -EBADMSG); /* a bit that nobody reads: the pages are still right */
		same += r == 0;
	}
	CHECK(same < 32);
	forge(f);
	memset(f->bytes, 0, 4); /* no frame */
	CHECK(open_changed(f) == -EBADMSG);
	forge(f);
	f->bytes[0] = 0x25; /* of zstd 0.5 */
	CHECK(open_changed(f) == -EBADMSG);
}

int main(void)
{
	if (!compression_is_there(SPORE_COMPRESSION_ZSTD)) {
		struct image_writer *w = NULL;
		struct problems ps;
		_cleanup_(drop_dir)
		int dir = make_dir();

		problems_init(&ps);
		CHECK(image_create_compressed(dir, NULL, false, SPORE_COMPRESSION_ZSTD, &ps, &w) == -EOPNOTSUPP &&
			ps.n == 1);
		problems_free(&ps);
		return 0;
	}
	test_round_trips();
	test_plain();
	test_flips();
	test_forged();
	test_hostile_frames();
	return 0;
}
