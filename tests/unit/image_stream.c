/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Images as streams: what comes out is what went in; no byte of one can change unseen, and it can end nowhere but at its end. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "image/image.h"
#include "image_sample.h"
#include "unit.h"

static const struct record_kind *const kinds[] = { &sample_kind, NULL };

#define PAGES 600 /* two blocks and a half */

static void fill_page(uint8_t *page, uint64_t seed)
{
	uint64_t *words = (uint64_t *)page;

	for (size_t i = 0; i < PAGE_SIZE / sizeof(*words); i++)
		words[i] = (seed + i) * 0x9e3779b97f4a7c15;
}

static bool is_zero_page(size_t page)
{
	return page % 7 == 3;
}

static void fill_block(uint8_t *pages, size_t block)
{
	memset(pages, 0, PAGE_BLOCK * PAGE_SIZE);
	for (size_t i = 0; i < PAGE_BLOCK && block * PAGE_BLOCK + i < PAGES; i++)
		if (!is_zero_page(block * PAGE_BLOCK + i))
			fill_page(pages + i * PAGE_SIZE, block * PAGE_BLOCK + i);
}

/* --- writing --- */

static void add_record(struct image_writer *w)
{
	struct sample s = sample_full();

	CHECK(image_add(w, &sample_kind, 1, &s) == 0);
	CHECK(image_add(w, &sample_kind, 2, &s) == 0);
	fields_free(sample_fields, &s);
}

/* Contents in a page file, and the pages of processes. */
static void add_pages(struct image_writer *w, size_t pages)
{
	static const unsigned int order[] = { 1, 2, 0 };
	uint8_t *buffer = aligned_alloc(PAGE_SIZE, PAGE_BLOCK * PAGE_SIZE);
	struct page_writer *p;
	unsigned int number;
	bool keep[PAGE_BLOCK] = { [3] = true };

	CHECK(page_writer_open(w, &p) == 0);
	fill_page(buffer, 4242);
	CHECK(page_writer_append(p, buffer, 1) == 0);
	CHECK(image_stream_file(w, pages, &number) == 0 && number == 1);
	CHECK(image_stream_begin(w, 1) == 0);
	for (size_t i = 0; i < 3 && pages == PAGES; i++) {
		fill_block(buffer, order[i]);
		CHECK(image_stream_block(w, order[i], buffer, order[i] ? NULL : keep) > 0);
	}
	if (pages == 1) {
		fill_page(buffer, 1);
		CHECK(image_stream_block(w, 0, buffer, NULL) == 1);
	}
	free(buffer);
}

static void write_stream(int fd, size_t pages)
{
	struct image_writer *w = NULL;
	struct problems ps;

	problems_init(&ps);
	CHECK(image_create_stream(fd, NULL, NULL, &ps, &w) == 0);
	add_record(w);
	add_pages(w, pages);
	CHECK(image_commit(w) == 0 && !ps.n);
	CHECK(image_bytes(w) > pages * PAGE_SIZE / 2);
	image_writer_free(w);
	problems_free(&ps);
}

static int new_file(void)
{
	int fd = memfd_create("stream", MFD_CLOEXEC);

	CHECK(fd >= 0);
	return fd;
}

static uint8_t *read_back(int fd, size_t *size)
{
	struct stat st;
	uint8_t *bytes;

	CHECK(fstat(fd, &st) == 0);
	*size = (size_t)st.st_size;
	bytes = malloc(*size);
	CHECK(bytes && pread(fd, bytes, *size, 0) == st.st_size);
	return bytes;
}

/* --- reading --- */

static void check_block(const struct image_block *b, const uint8_t *pages)
{
	uint8_t *wanted = aligned_alloc(PAGE_SIZE, PAGE_BLOCK * PAGE_SIZE);

	fill_block(wanted, b->number);
	CHECK(!memcmp(pages, wanted, b->pages * PAGE_SIZE));
	for (size_t i = 0; i < b->pages; i++)
		CHECK(b->there[i] == (!is_zero_page(b->number * PAGE_BLOCK + i) || (b->number == 0 && i == 3)));
	free(wanted);
}

/* Reads all of it, as whoever restores it does: 0, or the first error, which is told. */
static int read_stream(int fd, bool compare)
{
	static uint8_t buffer[PAGE_BLOCK * PAGE_SIZE]; /* one reader at a time */
	struct image_block block;
	struct image *img = NULL;
	struct problems ps;
	int r;

	problems_init(&ps);
	r = image_open_stream(fd, kinds, &ps, &img);
	while (r == 0 && (r = image_read_block(img, &block, buffer, &ps)) > 0) {
		if (compare)
			check_block(&block, buffer);
		r = 0;
	}
	if (r == 0)
		r = image_end_stream(img, &ps);
	CHECK((r < 0) == (ps.n > 0));
	for (size_t i = 0; i < ps.n; i++)
		CHECK(ps.list[i].text && *ps.list[i].text);
	image_free(img);
	problems_free(&ps);
	return r;
}

static int read_bytes(const uint8_t *bytes, size_t size)
{
	_cleanup_fd_ int fd = new_file();

	CHECK(write(fd, bytes, size) == (ssize_t)size && lseek(fd, 0, SEEK_SET) == 0);
	return read_stream(fd, false);
}

static void test_round_trip(void)
{
	_cleanup_fd_ int fd = new_file();
	uint8_t page[PAGE_SIZE], wanted[PAGE_SIZE];
	unsigned int number;
	struct image *img;
	struct problems ps;
	uint64_t first;

	problems_init(&ps);
	write_stream(fd, PAGES);
	CHECK(lseek(fd, 0, SEEK_SET) == 0 && read_stream(fd, true) == 0);
	CHECK(lseek(fd, 0, SEEK_SET) == 0 && image_open_stream(fd, kinds, &ps, &img) == 0);
	CHECK(img->n_records == 2 && img->n_page_files == 2 && img->head.kernel[0]);
	CHECK(image_streamed_file(img, &number, &first) && number == 1 && first == 1);
	CHECK(page_file_pages(img, 1) == PAGES && page_file_fd(img, 1) < 0);
	fill_page(wanted, 4242);
	CHECK(pread(page_file_fd(img, 0), page, PAGE_SIZE, 0) == PAGE_SIZE && !memcmp(page, wanted, PAGE_SIZE));
	CHECK(page_file_verify(img, 0, 0, 1, &ps) == 0 && image_pages(img) == 1);
	CHECK(image_end_stream(img, &ps) == -EBADMSG); /* its blocks have not been read */
	image_free(img);
	problems_free(&ps);
}

/* --- a pipe, and a socket --- */

struct reading {
	int fd, result;
};

static void *read_in_thread(void *arg)
{
	struct reading *r = arg;

	r->result = read_stream(r->fd, true);
	return NULL;
}

static void go_through(int from, int to)
{
	struct reading r = { .fd = to, .result = 1 };
	pthread_t thread;

	CHECK(pthread_create(&thread, NULL, read_in_thread, &r) == 0);
	write_stream(from, PAGES);
	close(from);
	pthread_join(thread, NULL);
	CHECK(r.result == 0);
	close(to);
}

static void test_pipe_and_socket(void)
{
	int fds[2];

	CHECK(pipe2(fds, O_CLOEXEC) == 0);
	go_through(fds[1], fds[0]);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	go_through(fds[1], fds[0]);
}

/* Its flags are those of whoever else has it. */
static void test_pipe_stays_blocking(void)
{
	struct image_writer *w;
	struct problems ps;
	int fds[2];

	problems_init(&ps);
	CHECK(pipe2(fds, O_CLOEXEC) == 0 && image_create_stream(fds[1], NULL, NULL, &ps, &w) == 0);
	CHECK(!(fcntl(fds[1], F_GETFL) & O_NONBLOCK));
	image_writer_free(w);
	problems_free(&ps);
	close(fds[0]);
	close(fds[1]);
}

static bool say_yes(const void *data)
{
	return true;
}

/* Nobody reads, or nobody will. */
static int fill_pipe(int fd, bool (*cancelled)(const void *data), size_t *problems)
{
	struct image_writer *w;
	struct problems ps;
	unsigned int number;
	uint8_t *buffer = aligned_alloc(PAGE_SIZE, PAGE_BLOCK * PAGE_SIZE);
	int r;

	problems_init(&ps);
	fill_block(buffer, 0);
	CHECK(image_create_stream(fd, cancelled, NULL, &ps, &w) == 0);
	CHECK(image_stream_file(w, 16 * PAGE_BLOCK, &number) == 0);
	r = image_stream_begin(w, 0);
	for (uint64_t i = 0; i < 16 && r >= 0; i++)
		r = image_stream_block(w, i, buffer, NULL);
	if (r >= 0)
		r = image_commit(w);
	else
		CHECK(image_commit(w) < 0);
	*problems = ps.n;
	image_writer_free(w);
	problems_free(&ps);
	free(buffer);
	return r;
}

static void test_no_reader(void)
{
	size_t told;
	int fds[2];

	CHECK(pipe2(fds, O_CLOEXEC) == 0);
	CHECK(fill_pipe(fds[1], say_yes, &told) == -ECANCELED && !told);
	close(fds[0]);
	CHECK(fill_pipe(fds[1], NULL, &told) == -EPIPE && told == 1); /* and no signal */
	close(fds[1]);
}

/* --- damage --- */

static void test_cuts(void)
{
	_cleanup_fd_ int fd = new_file();
	uint8_t *bytes;
	size_t size;

	write_stream(fd, 1);
	bytes = read_back(fd, &size);
	CHECK(read_bytes(bytes, size) == 0);
	for (size_t cut = 0; cut < size; cut++)
		CHECK(read_bytes(bytes, cut) == -ENODATA);
	free(bytes);
}

static void test_flips(void)
{
	_cleanup_fd_ int fd = new_file();
	uint8_t *bytes;
	size_t size;

	write_stream(fd, 1);
	bytes = read_back(fd, &size);
	for (size_t at = 0; at < size; at++) {
		bytes[at] ^= (uint8_t)(1u << at % 8);
		CHECK(read_bytes(bytes, size) < 0);
		bytes[at] ^= (uint8_t)(1u << at % 8);
	}
	CHECK(read_bytes(bytes, size) == 0);
	free(bytes);
}

static void test_no_stream(void)
{
	uint8_t zeros[4096] = { 0 };

	CHECK(read_bytes(zeros, 0) == -ENODATA);
	CHECK(read_bytes(zeros, sizeof(zeros)) == -EBADMSG);
}

/* A block that was never written is not one that the reader makes up. */
static void test_missing_block(void)
{
	_cleanup_fd_ int fd = new_file();
	struct image_writer *w;
	struct problems ps;
	unsigned int number;

	problems_init(&ps);
	CHECK(image_create_stream(fd, NULL, NULL, &ps, &w) == 0);
	CHECK(image_stream_file(w, 1, &number) == 0 && image_stream_begin(w, 0) == 0);
	CHECK(image_commit(w) < 0 && ps.n);
	image_writer_free(w);
	problems_free(&ps);
}

static void test_late_record(void)
{
	_cleanup_fd_ int fd = new_file();
	struct sample s = sample_full();
	struct image_writer *w;
	struct problems ps;

	problems_init(&ps);
	CHECK(image_create_stream(fd, NULL, NULL, &ps, &w) == 0);
	CHECK(image_stream_begin(w, 0) == 0);
	CHECK(image_add(w, &sample_kind, 1, &s) < 0 && image_commit(w) < 0);
	image_writer_free(w);
	problems_free(&ps);
	fields_free(sample_fields, &s);
}

/* --- a directory of it --- */

static void drop(const char *path)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", path);
	CHECK(system(command) == 0); /* NOLINT(cert-env33-c): a directory of this test's own */
}

static void check_received(int dir)
{
	struct image *img;
	struct problems ps;
	uint8_t page[PAGE_SIZE], wanted[PAGE_SIZE];

	problems_init(&ps);
	CHECK(image_open(dir, kinds, &ps, &img) == 0 && image_verify_pages(img, &ps) == 0);
	for (uint64_t i = 0; i < PAGES; i++) {
		memset(wanted, 0, PAGE_SIZE);
		if (!is_zero_page(i))
			fill_page(wanted, i);
		CHECK(pread(page_file_fd(img, 1), page, PAGE_SIZE, (off_t)(i * PAGE_SIZE)) == PAGE_SIZE);
		CHECK(!memcmp(page, wanted, PAGE_SIZE));
	}
	image_free(img);
	problems_free(&ps);
}

static int receive(const uint8_t *bytes, size_t size, int dir)
{
	_cleanup_fd_ int fd = new_file();
	struct problems ps;
	int r;

	problems_init(&ps);
	CHECK(write(fd, bytes, size) == (ssize_t)size && lseek(fd, 0, SEEK_SET) == 0);
	r = image_receive(fd, dir, false, &ps);
	CHECK((r < 0) == (ps.n > 0));
	problems_free(&ps);
	return r;
}

static void test_receive(void)
{
	char path[] = "/tmp/image_stream.XXXXXX";
	_cleanup_fd_ int fd = new_file(), dir = -1;
	uint8_t *bytes;
	size_t size;

	CHECK(mkdtemp(path));
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	write_stream(fd, PAGES);
	bytes = read_back(fd, &size);
	for (size_t cut = 0; cut < size; cut += 9973) {
		CHECK(receive(bytes, cut, dir) < 0);
		CHECK(rmdir(path) == 0 && mkdir(path, 0700) == 0); /* nothing was left */
		close(dir);
		dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	CHECK(receive(bytes, size, dir) == 0);
	check_received(dir);
	CHECK(receive(bytes, size, dir) == -EEXIST);
	check_received(dir);
	drop(path);
	free(bytes);
}

int main(void)
{
	test_round_trip();
	test_pipe_and_socket();
	test_pipe_stays_blocking();
	test_no_reader();
	test_cuts();
	test_flips();
	test_no_stream();
	test_missing_block();
	test_late_record();
	test_receive();
	return 0;
}
