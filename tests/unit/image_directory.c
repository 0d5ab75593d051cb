/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Image directories: complete or nothing, and no byte of one can change unseen. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <signal.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "image/image.h"
#include "image_sample.h"
#include "unit.h"

static const struct record_kind other_kind = {
	.name = "other",
	.version = 1,
	.size = sizeof(struct sample_point),
	.fields = sample_point_fields,
};

static const struct record_kind critical_kind = {
	.name = "critical_other",
	.version = 1,
	.size = sizeof(struct sample_point),
	.fields = sample_point_fields,
	.critical = true,
};

static const struct record_kind *const kinds[] = { &other_kind, &sample_kind, NULL };

/* --- directories --- */

static int make_dir(void)
{
	char path[] = "/tmp/image_directory.XXXXXX";
	int fd;

	CHECK(mkdtemp(path));
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(fd >= 0);
	return fd;
}

static size_t list_dir(int fd, char names[][64], size_t room)
{
	_cleanup_dir_ DIR *dir = fdopendir(openat(fd, ".", O_RDONLY | O_DIRECTORY));
	struct dirent *e;
	size_t n = 0;

	CHECK(dir);
	while ((e = readdir(dir)))
		if (e->d_name[0] != '.' && n < room)
			snprintf(names[n++], 64, "%.63s", e->d_name);
	return n;
}

static void drop_dir(int *fd)
{
	char path[256], link[64], names[32][64];
	size_t n = list_dir(*fd, names, 32);

	while (n--)
		unlinkat(*fd, names[n], 0);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", *fd);
	n = (size_t)readlink(link, path, sizeof(path) - 1);
	path[n] = 0;
	rmdir(path);
	close_fd(fd);
}

static size_t count_dir(int fd)
{
	char names[32][64];

	return list_dir(fd, names, 32);
}

/* --- images --- */

static void fill_pages(uint64_t *pages, size_t n, uint64_t seed)
{
	for (size_t i = 0; i < n * PAGE_SIZE / sizeof(*pages); i++)
		pages[i] = (seed + i) * 0x9e3779b97f4a7c15;
}

static void append(struct page_writer *p, size_t n, uint64_t seed, int64_t first)
{
	_cleanup_free_ uint64_t *pages = malloc(n * PAGE_SIZE + 1);

	fill_pages(pages, n, seed);
	CHECK(page_writer_append(p, pages, n) == first);
}

static void add_records(struct image_writer *w)
{
	struct sample s = sample_full();
	struct sample_point p = { .x = 1, .label = (char *)"one" };

	CHECK(image_add(w, &sample_kind, 1, &s) == 0);
	CHECK(image_add(w, &other_kind, 3, &p) == 0);
	CHECK(image_add(w, &sample_kind, 2, &s) == 0);
	fields_free(sample_fields, &s);
}

static void write_image(int dir, bool force, size_t n_pages)
{
	struct image_writer *w;
	struct page_writer *p;
	struct problems ps;

	problems_init(&ps);
	CHECK(image_create(dir, NULL, force, &ps, &w) == 0);
	add_records(w);
	for (unsigned int i = 0; i < 2; i++) {
		CHECK(page_writer_open(w, &p) == 0);
		CHECK(page_writer_number(p) == i);
		append(p, n_pages, i, 0);
		append(p, 1, i + 10, (int64_t)n_pages);
	}
	CHECK(image_bytes(w) >= 2 * (n_pages + 1) * PAGE_SIZE);
	CHECK(image_commit(w) == 0);
	image_writer_free(w);
	CHECK(!ps.n);
	problems_free(&ps);
}

/* Opens and checks all; counts the problems. */
static int open_whole(int dir, const struct record_kind *const table[])
{
	struct image *img = NULL;
	struct problems ps;
	int r;

	problems_init(&ps);
	r = image_open(dir, table, &ps, &img);
	if (r >= 0)
		r = image_verify_pages(img, &ps);
	CHECK((r < 0) == (ps.n > 0));
	for (size_t i = 0; i < ps.n; i++)
		CHECK(ps.list[i].text && *ps.list[i].text);
	image_free(img);
	problems_free(&ps);
	return r;
}

static void test_round_trip(void)
{
	_cleanup_(drop_dir)
	int dir = make_dir();
	struct image *img;
	struct problems ps;
	struct record *records;
	struct stat st;
	size_t n;

	problems_init(&ps);
	write_image(dir, false, 300);
	CHECK(image_open(dir, kinds, &ps, &img) == 0);
	CHECK(img->head.format == IMAGE_FORMAT && img->head.created && img->head.kernel[0] &&
		img->head.cpu_features[0]);
	CHECK(img->n_records == 3 && img->records[0].kind == &other_kind && img->records[1].id == 1 &&
		img->records[2].id == 2);
	records = image_records(img, &sample_kind, &n);
	CHECK(n == 2 && records == img->records + 1);
	CHECK(((struct sample *)records[1].state)->n_list == 3);
	CHECK(!image_records(img, &critical_kind, &n) && n == 0);
	CHECK(image_find(img, 3) == img->records && !image_find(img, 4) && !image_find(img, 0));
	CHECK(img->n_page_files == 2 && page_file_pages(img, 1) == 301 && page_file_fd(img, 1) >= 0);
	CHECK(page_file_verify(img, 1, 0, 2, &ps) == 0 && page_file_verify(img, 0, 1, 1, &ps) == 0 && !ps.n);
	CHECK(page_file_verify(img, 1, 1, 2, &ps) == -EINVAL);
	CHECK(image_verify_pages(img, &ps) == 0);
	CHECK(fstatat(dir, "sample.cbor", &st, 0) == 0 && (st.st_mode & 0777) == 0600);
	image_free(img);
	problems_free(&ps);
}

static void test_empty_image(void)
{
	_cleanup_(drop_dir)
	int dir = make_dir();
	struct image_writer *w;
	struct page_writer *p;
	struct problems ps;

	problems_init(&ps);
	CHECK(image_create(dir, NULL, false, &ps, &w) == 0);
	CHECK(page_writer_open(w, &p) == 0); /* and nothing in it */
	CHECK(image_commit(w) == 0);
	image_writer_free(w);
	CHECK(open_whole(dir, kinds) == 0);
	problems_free(&ps);
}

/* --- atomicity --- */

static void test_no_commit(void)
{
	_cleanup_(drop_dir)
	int dir = make_dir();
	struct image_writer *w;
	struct page_writer *p;
	struct problems ps;

	problems_init(&ps);
	CHECK(image_create(dir, NULL, false, &ps, &w) == 0);
	add_records(w);
	CHECK(page_writer_open(w, &p) == 0);
	append(p, 3, 1, 0);
	CHECK(open_whole(dir, kinds) == -ENOENT);
	image_writer_free(w);
	CHECK(count_dir(dir) == 0);
	image_writer_free(NULL);
	problems_free(&ps);
}

static int create(int dir, bool force)
{
	struct image_writer *w = NULL;
	struct problems ps;
	int r;

	problems_init(&ps);
	r = image_create(dir, NULL, force, &ps, &w);
	CHECK((r < 0) == (ps.n == 1));
	image_writer_free(w);
	problems_free(&ps);
	return r;
}

static void test_force(void)
{
	_cleanup_(drop_dir)
	int dir = make_dir();

	write_image(dir, false, 3);
	CHECK(create(dir, false) == -EEXIST);
	CHECK(open_whole(dir, kinds) == 0);
	write_image(dir, true, 5);
	CHECK(open_whole(dir, kinds) == 0);
	CHECK(create(dir, true) == 0);
	CHECK(count_dir(dir) == 0);
}

static void test_strange_directory(void)
{
	_cleanup_(drop_dir)
	int dir = make_dir();

	close(openat(dir, "letter.cbor", O_CREAT | O_WRONLY, 0600));
	CHECK(create(dir, false) == -ENOTEMPTY);
	CHECK(create(dir, true) == -ENOTEMPTY);
	CHECK(count_dir(dir) == 1);
}

/* What a killed checkpoint left. */
static void test_unfinished(void)
{
	_cleanup_(drop_dir)
	int dir = make_dir();

	write_image(dir, false, 3);
	CHECK(unlinkat(dir, "manifest", 0) == 0);
	CHECK(open_whole(dir, kinds) == -ENOENT);
	CHECK(create(dir, false) == -ENOTEMPTY);
	write_image(dir, true, 3);
	CHECK(open_whole(dir, kinds) == 0);
}

static void test_busy(void)
{
	_cleanup_(drop_dir)
	int dir = make_dir();
	struct image_writer *w;
	struct problems ps;

	problems_init(&ps);
	CHECK(image_create(dir, NULL, false, &ps, &w) == 0);
	CHECK(create(dir, true) == -EBUSY);
	CHECK(image_commit(w) == 0);
	image_writer_free(w);
	CHECK(open_whole(dir, kinds) == 0);
	problems_free(&ps);
}

/* A write that fails at any length: an error once, no commit, nothing left. A file size limit stands for the
 * full disk. */
static int write_limited(int dir, rlim_t limit)
{
	const struct rlimit none = { RLIM_INFINITY, RLIM_INFINITY };
	const struct rlimit small = { limit, RLIM_INFINITY };
	struct image_writer *w = NULL;
	struct page_writer *p;
	struct problems ps;
	int r;

	problems_init(&ps);
	CHECK(setrlimit(RLIMIT_FSIZE, &small) == 0);
	r = image_create(dir, NULL, false, &ps, &w);
	if (r >= 0) {
		add_records(w);
		CHECK(page_writer_open(w, &p) == 0);
		page_writer_append(p, sample_fields, 0);
		r = image_commit(w);
	}
	image_writer_free(w);
	CHECK(setrlimit(RLIMIT_FSIZE, &none) == 0);
	CHECK((r < 0) == (ps.n == 1));
	CHECK(r >= 0 || (ps.list[0].object && ps.list[0].remedy));
	problems_free(&ps);
	return r;
}

static void test_short_writes(void)
{
	rlim_t limit = 0;
	int r;

	signal(SIGXFSZ, SIG_IGN);
	do {
		_cleanup_(drop_dir)
		int dir = make_dir();

		r = write_limited(dir, limit);
		CHECK(r < 0 ? r == -EFBIG && count_dir(dir) == 0 : open_whole(dir, kinds) == 0);
		limit += 37;
	} while (r < 0);
	CHECK(limit > 500);
}

/* --- damage --- */

static void flip(int dir, const char *name, off_t at, uint8_t mask)
{
	_cleanup_fd_ int fd = openat(dir, name, O_RDWR);
	uint8_t byte;

	CHECK(fd >= 0 && pread(fd, &byte, 1, at) == 1);
	byte ^= mask;
	CHECK(pwrite(fd, &byte, 1, at) == 1);
}

static void test_flips(void)
{
	_cleanup_(drop_dir)
	int dir = make_dir();
	char names[32][64];
	struct stat st;
	size_t n;

	write_image(dir, false, 1);
	n = list_dir(dir, names, 32);
	CHECK(n == 7);
	while (n--) {
		bool pages = !strncmp(names[n], "pages-", 6);

		CHECK(fstatat(dir, names[n], &st, 0) == 0);
		for (off_t at = 0; at < st.st_size; at += pages ? 61 : 1) {
			uint8_t mask = (uint8_t)(1u << at % 8);

			flip(dir, names[n], at, mask);
			CHECK(open_whole(dir, kinds) < 0);
			flip(dir, names[n], at, mask);
		}
	}
	CHECK(open_whole(dir, kinds) == 0);
}

static void test_cuts(void)
{
	char names[32][64];
	struct stat st;
	size_t n;

	for (size_t i = 0; i < 7; i++) {
		_cleanup_(drop_dir)
		int dir = make_dir();
		_cleanup_fd_ int fd = -1;

		write_image(dir, false, 1);
		n = list_dir(dir, names, 32);
		fd = openat(dir, names[i], O_RDWR);
		CHECK(n == 7 && fstat(fd, &st) == 0);
		CHECK(ftruncate(fd, st.st_size + 1) == 0 && open_whole(dir, kinds) < 0);
		for (off_t size = st.st_size; size > 0; size -= 1 + size / 64)
			CHECK(ftruncate(fd, size - 1) == 0 && open_whole(dir, kinds) < 0);
		CHECK(unlinkat(dir, names[i], 0) == 0 && open_whole(dir, kinds) < 0);
	}
}

static void test_extra_file(void)
{
	_cleanup_(drop_dir)
	int dir = make_dir();

	write_image(dir, false, 1);
	close(openat(dir, "notes.txt", O_CREAT | O_WRONLY, 0600));
	CHECK(open_whole(dir, kinds) == 0);
	CHECK(unlinkat(dir, "other.cbor", 0) == 0 && symlinkat("/etc/passwd", dir, "other.cbor") == 0);
	CHECK(open_whole(dir, kinds) < 0);
	CHECK(unlinkat(dir, "other.cbor", 0) == 0 && mkfifoat(dir, "other.cbor", 0600) == 0);
	CHECK(open_whole(dir, kinds) < 0);
}

/* --- what does not fit together --- */

static int open_with(const struct record_kind *k, object_id id, object_id peer, const struct record_kind *const table[])
{
	_cleanup_(drop_dir)
	int dir = make_dir();
	struct sample_point p = { .peer = peer };
	struct image_writer *w;
	struct problems ps;

	problems_init(&ps);
	CHECK(image_create(dir, NULL, false, &ps, &w) == 0);
	add_records(w);
	CHECK(image_add(w, k, id, &p) == 0);
	CHECK(image_commit(w) == 0);
	image_writer_free(w);
	problems_free(&ps);
	return open_whole(dir, table);
}

static void test_references(void)
{
	CHECK(open_with(&other_kind, 9, 1, kinds) == 0);
	CHECK(open_with(&other_kind, 0, 0, kinds) == 0);
	CHECK(open_with(&other_kind, 9, 8, kinds) == -EBADMSG); /* nowhere */
	CHECK(open_with(&other_kind, 9, 3, kinds) == -EBADMSG); /* of the kind other, not sample */
	CHECK(open_with(&other_kind, 1, 0, kinds) == -EBADMSG); /* a sample has it */
}

static void test_unknown_kinds(void)
{
	static const struct record_kind *const with_critical[] = { &other_kind, &sample_kind, &critical_kind, NULL };
	struct record_kind user = other_kind;

	user.name = "x-note";
	CHECK(open_with(&user, 9, 0, kinds) == 0);
	CHECK(open_with(&critical_kind, 9, 0, kinds) == -ENOTSUP);
	CHECK(open_with(&critical_kind, 9, 0, with_critical) == 0);
}

/* --- several threads --- */

static void *work(void *arg)
{
	struct image_writer *w = arg;
	struct sample_point point = { .label = (char *)"from a worker" };
	struct page_writer *p;

	CHECK(page_writer_open(w, &p) == 0);
	for (int i = 0; i < 20000; i++)
		CHECK(image_add(w, &other_kind, 0, &point) == 0);
	for (int64_t at = 0; at < 3000; at += 250)
		append(p, 250, (uint64_t)at, at);
	return NULL;
}

static void test_threads(void)
{
	_cleanup_(drop_dir)
	int dir = make_dir();
	struct image_writer *w;
	struct image *img;
	struct problems ps;
	pthread_t threads[4];
	size_t n;

	problems_init(&ps);
	CHECK(image_create(dir, NULL, false, &ps, &w) == 0);
	for (size_t i = 0; i < 4; i++)
		CHECK(pthread_create(&threads[i], NULL, work, w) == 0);
	for (size_t i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	CHECK(image_commit(w) == 0);
	image_writer_free(w);
	CHECK(image_open(dir, kinds, &ps, &img) == 0);
	CHECK(image_records(img, &other_kind, &n) && n == 80000);
	CHECK(img->n_page_files == 4 && image_verify_pages(img, &ps) == 0);
	image_free(img);
	problems_free(&ps);
}

int main(void)
{
	test_round_trip();
	test_empty_image();
	test_no_commit();
	test_force();
	test_strange_directory();
	test_unfinished();
	test_busy();
	test_short_writes();
	test_flips();
	test_cuts();
	test_extra_file();
	test_references();
	test_unknown_kinds();
	test_threads();
	return 0;
}
