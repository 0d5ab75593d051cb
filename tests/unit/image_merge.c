/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Chains made into one image, of records that no process has: pages named twice, in any order, or not there; kinds of a later version. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "image/image.h"
#include "unit.h"

struct stretch {
	uint64_t where, pages, file, at;
};

struct placing {
	struct stretch *list;
	size_t n;
	uint64_t bytes, file, at; /* one more, whose last page is a part */
};

static const struct field stretch_fields[] = {
	FIELD_PAGES(WHERE, HEX, struct stretch, where, "where", ""),
	FIELD_PAGES(COUNT, UINT, struct stretch, pages, "pages", ""),
	FIELD_PAGES(FILE, UINT, struct stretch, file, "file", ""),
	FIELD_PAGES(AT, UINT, struct stretch, at, "at", ""),
	FIELD_END,
};

static const struct field placing_fields[] = {
	FIELD_LIST(struct placing, list, n, "list", stretch_fields, ""),
	FIELD_PAGES(BYTES, UINT, struct placing, bytes, "bytes", ""),
	FIELD_PAGES(FILE, UINT, struct placing, file, "file", ""),
	FIELD_PAGES(AT, UINT, struct placing, at, "at", ""),
	FIELD_END,
};

#define KIND(n, v)                                                                                                     \
	{                                                                                                              \
		.name = (n), .version = (v), .size = sizeof(struct placing), .fields = placing_fields                  \
	}
static const struct record_kind placing_kind = KIND("placing", 1), later_kind = KIND("placing", 2),
				unknown_kind = KIND("unknown", 1), users_kind = KIND("x-notes", 1);
static const struct record_kind *const kinds[] = { &placing_kind, NULL };

static char work[] = "/tmp/image_merge.XXXXXX";

static int directory(const char *name)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", work, name);
	CHECK(mkdir(path, 0700) == 0);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(fd >= 0);
	return fd;
}

/* Each page says where it was written. */
static void append(struct page_writer *p, uint64_t n)
{
	static uint64_t page[PAGE_SIZE / sizeof(uint64_t)];
	uint64_t number = page_writer_number(p);

	for (uint64_t i = 0; i < n; i++) {
		page[0] = number << 32 | i;
		CHECK(page_writer_append(p, page, 1) == (int64_t)i);
	}
}

/* With two page files of `pages` each. */
static void write_image(
	int dir, const struct image *parent, const struct record_kind *k, const struct placing *state, uint64_t pages)
{
	struct image_writer *w;
	struct page_writer *p;
	struct problems ps;

	problems_init(&ps);
	CHECK(image_create(dir, parent, false, &ps, &w) == 0);
	for (int i = 0; i < 2; i++) {
		CHECK(page_writer_open(w, &p) == 0);
		append(p, pages);
	}
	for (size_t i = 0; parent && i < parent->n_page_files; i++)
		image_refer(w, i);
	CHECK(image_add(w, k, 7, state) == 0);
	CHECK(image_commit(w) == 0);
	image_writer_free(w);
	CHECK(!ps.n);
	problems_free(&ps);
}

static int merge(int dir, int out, struct image_merged *result)
{
	struct image_merging how = { .force = false };
	struct problems ps;
	int r;

	problems_init(&ps);
	r = image_merge(dir, out, kinds, &how, &ps, result);
	CHECK((r == 0) == !ps.n);
	problems_free(&ps);
	return r;
}

static bool is_empty(int dir)
{
	_cleanup_dir_ DIR *d = fdopendir(openat(dir, ".", O_RDONLY | O_DIRECTORY));
	struct dirent *e;

	while ((e = readdir(d)))
		if (e->d_name[0] != '.')
			return false;
	return true;
}

static struct image *reopen(int dir)
{
	struct image *img = NULL;
	struct problems ps;

	problems_init(&ps);
	CHECK(image_open(dir, kinds, &ps, &img) == 0);
	CHECK(image_verify_pages(img, &ps) == 0);
	problems_free(&ps);
	return img;
}

static void has(const struct image *img, uint64_t file, uint64_t at, uint64_t old_file, uint64_t old_at, uint64_t n)
{
	uint64_t said;

	for (uint64_t i = 0; i < n; i++) {
		CHECK(pread(page_file_fd(img, (unsigned int)file), &said, 8, (off_t)((at + i) * PAGE_SIZE)) == 8);
		CHECK(said == (old_file << 32 | (old_at + i)));
	}
}

static void test_chain(void)
{
	struct stretch first[] = { { 0x10000, 4, 0, 0 } };
	struct stretch list[] = {
		{ 0x1000, 300, 3, 100 }, /* over two blocks */
		{ 0x12d000, 1, 0, 599 }, /* the last of a file; goes on where the one before ends */
		{ 0x12e000, 5, 1, 10 }, { 0x200000, 8, 1, 12 }, /* overlaps */
		{ 0x300000, 256, 2, 256 },			/* a whole block */
	};
	const struct placing base = { .list = first, .n = 1 };
	const struct placing state = { .list = list, .n = 5, .bytes = 2 * PAGE_SIZE + 1, .file = 0, .at = 20 };
	_cleanup_fd_ int a = directory("a"), b = directory("b"), out = directory("ab");
	struct image *parent = NULL, *img;
	struct image_merged merged;
	const struct placing *now;
	struct problems ps;
	size_t n;

	write_image(a, NULL, &placing_kind, &base, 600);
	problems_init(&ps);
	CHECK(image_open_parent(a, kinds, &ps, &parent) == 0);
	write_image(b, parent, &placing_kind, &state, 600);
	image_free(parent);
	problems_free(&ps);
	CHECK(merge(b, out, &merged) == 0);
	CHECK(merged.pages == 300 + 1 + 10 + 256 + 3 && merged.older == 1 + 10 + 3);

	img = reopen(out);
	CHECK(!memcmp(image_instant(&img->head), img->head.instant, 16));
	CHECK(image_pages(img) == merged.pages);
	now = image_records(img, &placing_kind, &n)->state;
	/* the first two, and the third, have become one */
	CHECK(n == 1 && now->n == 3 && now->list[0].pages == 306 && now->list[0].where == 0x1000);
	has(img, now->list[0].file, now->list[0].at, 3, 100, 300);
	has(img, now->list[0].file, now->list[0].at + 300, 0, 599, 1);
	has(img, now->list[0].file, now->list[0].at + 301, 1, 10, 5);
	has(img, now->list[1].file, now->list[1].at, 1, 12, 8);
	has(img, now->list[2].file, now->list[2].at, 2, 256, 256);
	has(img, now->file, now->at, 0, 20, 3);
	CHECK(now->bytes == state.bytes);
	image_free(img);
}

static int merge_of(const struct record_kind *k, const struct placing *state)
{
	static int number;
	struct image_merged merged;
	char name[32];
	int r;

	snprintf(name, sizeof(name), "%d", number);
	_cleanup_fd_ int dir = directory(name);
	snprintf(name, sizeof(name), "%d-out", number++);
	_cleanup_fd_ int out = directory(name);

	write_image(dir, NULL, k, state, 4);
	r = merge(dir, out, &merged);
	CHECK(is_empty(out) == (r != 0));
	return r;
}

static void test_pages_that_are_not_there(void)
{
	struct stretch one = { 0x1000, 4, 1, 0 };
	const struct placing state = { .list = &one, .n = 1 };

	CHECK(merge_of(&placing_kind, &state) == 0);
	one.at = 1;
	CHECK(merge_of(&placing_kind, &state) == -EBADMSG);
	one.at = UINT64_MAX - 2;
	CHECK(merge_of(&placing_kind, &state) == -EBADMSG);
	one = (struct stretch){ 0x1000, UINT64_MAX, 1, 2 };
	CHECK(merge_of(&placing_kind, &state) == -EBADMSG);
	one = (struct stretch){ 0x1000, 1, 2, 0 };
	CHECK(merge_of(&placing_kind, &state) == -EBADMSG);
	one.file = 1ull << 32;
	CHECK(merge_of(&placing_kind, &state) == -EBADMSG);
}

static void test_what_is_not_known(void)
{
	const struct placing none = { 0 };

	CHECK(merge_of(&placing_kind, &none) == 0);
	CHECK(merge_of(&later_kind, &none) == -ENOTSUP);
	CHECK(merge_of(&unknown_kind, &none) == -ENOTSUP);
	CHECK(merge_of(&users_kind, &none) == 0);
}

int main(void)
{
	char command[64];

	CHECK(mkdtemp(work));
	test_chain();
	test_pages_that_are_not_there();
	test_what_is_not_known();
	snprintf(command, sizeof(command), "rm -rf %s", work);
	return system(command) != 0;
}
