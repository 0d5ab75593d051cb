/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/contents.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "state/files.h"

#define CHUNK (PAGE_BLOCK * PAGE_SIZE) /* read and written at once */

const struct field extent_fields[] = {
	FIELD_PAGES(WHERE, UINT, struct extent, offset, "offset", "where it begins in the file"),
	FIELD_PAGES(BYTES, UINT, struct extent, length, "length", "bytes"),
	FIELD_PAGES(FILE, UINT, struct extent, file, "file", "number of the page file"),
	FIELD_PAGES(AT, UINT, struct extent, at, "at", "first page in it"),
	FIELD_END,
};

/* --- checkpoint --- */

struct saving {
	struct capture *c;
	int fd;
	uint8_t *buffer; /* CHUNK bytes */
	bool touched;	 /* what is zero is left out */
	struct extent *list;
	size_t n, room;
};

static int open_writer(struct capture *c)
{
	return c->descriptions->contents ? 0 : page_writer_open(c->writer, &c->descriptions->contents);
}

static int add_extent(struct saving *s, uint64_t offset, uint64_t length, uint64_t at)
{
	uint64_t file = page_writer_number(s->c->descriptions->contents);
	struct extent *last = s->n ? &s->list[s->n - 1] : NULL;

	if (last && last->offset + last->length == offset && last->length % PAGE_SIZE == 0 &&
		last->at + last->length / PAGE_SIZE == at) {
		last->length += length;
		return 0;
	}
	if (s->n == s->room) {
		size_t room = s->room ? s->room * 2 : 4;
		struct extent *grown = reallocarray(s->list, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		s->list = grown;
		s->room = room;
	}
	s->list[s->n++] = (struct extent){ .offset = offset, .length = length, .file = file, .at = at };
	return 0;
}

static int save_chunk(struct saving *s, uint64_t offset, size_t length)
{
	size_t pages = ALIGN_UP(length, PAGE_SIZE) / PAGE_SIZE;
	int64_t at;

	memset(s->buffer + length, 0, pages * PAGE_SIZE - length);
	at = page_writer_append(s->c->descriptions->contents, s->buffer, pages);
	return at < 0 ? (int)at : add_extent(s, offset, length, (uint64_t)at);
}

static bool is_zero(const uint8_t *bytes, size_t size)
{
	return !size || (!bytes[0] && !memcmp(bytes, bytes + 1, size - 1));
}

static int save_data(struct saving *s, uint64_t start, uint64_t end)
{
	while (start < end) {
		ssize_t n = pread(s->fd, s->buffer, MIN(end - start, CHUNK), (off_t)start);
		int err;

		if (n <= 0)
			return n < 0 ? -errno : 0;
		err = s->touched && is_zero(s->buffer, (size_t)n) ? 0 : save_chunk(s, start, (size_t)n);
		if (err)
			return err;
		start += (uint64_t)n;
	}
	return 0;
}

static int save_all(struct saving *s)
{
	off_t at = 0;
	int err = open_writer(s->c);

	while (!err) {
		off_t data = lseek(s->fd, at, SEEK_DATA), hole;

		if (data < 0)
			return errno == ENXIO ? 0 : -errno;
		hole = lseek(s->fd, data, SEEK_HOLE);
		if (hole < 0)
			return -errno;
		data = ALIGN_DOWN(data, (off_t)PAGE_SIZE);
		err = save_data(s, (uint64_t)data, (uint64_t)hole);
		at = hole;
	}
	return err;
}

/* The tree's one page file for contents takes one writer at a time. */
static int save(struct capture *c, int fd, bool touched, struct extent **extents, size_t *n)
{
	struct saving s = { .c = c, .touched = touched };
	_cleanup_free_ uint8_t *buffer = malloc(CHUNK);
	_cleanup_fd_ int own = reopen_unseen(c, fd);
	int err;

	if (!buffer || own < 0)
		return !buffer ? -ENOMEM : own;
	s.buffer = buffer;
	s.fd = own;
	pthread_mutex_lock(&c->descriptions->contents_lock);
	err = save_all(&s);
	pthread_mutex_unlock(&c->descriptions->contents_lock);
	*extents = s.list;
	*n = s.n;
	return err;
}

static int save_bytes(struct saving *s, const uint8_t *bytes, size_t size)
{
	int err = open_writer(s->c);

	for (size_t at = 0, n; at < size && !err; at += n) {
		n = MIN(size - at, PAGE_SIZE);
		if (is_zero(bytes + at, n))
			continue;
		while (n < CHUNK && at + n < size && !is_zero(bytes + at + n, MIN(size - at - n, PAGE_SIZE)))
			n += MIN(size - at - n, PAGE_SIZE);
		memcpy(s->buffer, bytes + at, n);
		err = save_chunk(s, at, n);
	}
	return err;
}

int contents_save_bytes(struct capture *c, const uint8_t *bytes, size_t size, struct extent **extents, size_t *n)
{
	struct saving s = { .c = c, .fd = -1 };
	_cleanup_free_ uint8_t *buffer = malloc(CHUNK);
	int err;

	if (!buffer)
		return -ENOMEM;
	s.buffer = buffer;
	pthread_mutex_lock(&c->descriptions->contents_lock);
	err = save_bytes(&s, bytes, size);
	pthread_mutex_unlock(&c->descriptions->contents_lock);
	*extents = s.list;
	*n = s.n;
	return err;
}

int contents_save(struct capture *c, int fd, struct extent **extents, size_t *n)
{
	return save(c, fd, false, extents, n);
}

int contents_save_touched(struct capture *c, int fd, struct extent **extents, size_t *n)
{
	return save(c, fd, true, extents, n);
}

struct contents_room contents_room(const struct stat *st, const struct extent *extents, size_t n)
{
	uint64_t data = 0, whole = ALIGN_UP((uint64_t)st->st_size, PAGE_SIZE), used = (uint64_t)st->st_blocks * 512;
	struct contents_room room;

	for (size_t i = 0; i < n; i++)
		data += ALIGN_UP(extents[i].length, PAGE_SIZE);
	room.all = used >= whole && data < whole;
	if (room.all)
		data = whole;
	room.elsewhere = used > data ? used - data : 0;
	return room;
}

/* --- restore --- */

static int check_extent(const struct restore *r, const struct extent *e, uint64_t size)
{
	uint64_t pages = e->length / PAGE_SIZE + (e->length % PAGE_SIZE != 0), available;

	if (e->file >= r->image->n_page_files || e->length > size || e->offset > size - e->length)
		return -EBADMSG;
	available = page_file_pages(r->image, (unsigned int)e->file);
	return e->at > available || pages > available - e->at ? -EBADMSG : 0;
}

/* Where the bytes of an extent go. */
struct putting {
	int fd;
	uint64_t offset;
	uint8_t *memory; /* of this process */
};

static int put_into_file(void *data, const void *bytes, size_t size)
{
	struct putting *to = data;
	const uint8_t *next = bytes;
	ssize_t n;

	for (; size; next += n, size -= (size_t)n, to->offset += (uint64_t)n) {
		n = pwrite(to->fd, next, size, (off_t)to->offset);
		if (n <= 0)
			return n < 0 ? -errno : -ENOSPC;
	}
	return 0;
}

static int put_into_buffer(void *data, const void *bytes, size_t size)
{
	struct putting *to = data;

	memcpy(to->memory, bytes, size);
	to->memory += size;
	return 0;
}

/* By a system call, which answers EFAULT where no page can be had: a store of our own would be a SIGBUS. */
static int put_into_mapping(void *data, const void *bytes, size_t size)
{
	struct putting *to = data;
	struct iovec from = { (void *)(uintptr_t)bytes, size }, at = { to->memory, size };
	ssize_t n = process_vm_writev(getpid(), &from, 1, &at, 1, 0);

	if (n != (ssize_t)size)
		return n < 0 && errno != EFAULT ? -errno : -ENOMEM;
	to->memory += size;
	return 0;
}

static int read_extent_to(struct restore *r, const struct extent *e,
	int (*put)(void *data, const void *bytes, size_t size), struct putting *to)
{
	return page_file_each(r->image, (unsigned int)e->file, e->at * PAGE_SIZE, e->length, put, to, r->ps);
}

static int copy_mapped(struct restore *r, const struct extent *e, int fd, uint64_t page_size)
{
	uint64_t start = ALIGN_DOWN(e->offset, page_size), end = ALIGN_UP(e->offset + e->length, page_size);
	uint8_t *memory = mmap(NULL, end - start, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, (off_t)start);
	struct putting to = { .memory = memory + (e->offset - start) };
	int err;

	if (memory == MAP_FAILED)
		return -errno;
	err = read_extent_to(r, e, put_into_mapping, &to);
	munmap(memory, end - start);
	return err;
}

static int verify(struct restore *r, const struct extent *e)
{
	uint64_t first = e->at / PAGE_BLOCK, end = e->at + ALIGN_UP(e->length, PAGE_SIZE) / PAGE_SIZE;

	return page_file_verify(
		r->image, (unsigned int)e->file, first, (end + PAGE_BLOCK - 1) / PAGE_BLOCK - first, r->ps);
}

/* page_size: 0 where the file can be written to. */
static int restore_extent(struct restore *r, int fd, uint64_t page_size, const struct extent *e, uint64_t size)
{
	struct putting to = { .fd = fd, .offset = e->offset };
	int err = check_extent(r, e, size);

	if (err)
		return err;
	return page_size ? copy_mapped(r, e, fd, page_size) : read_extent_to(r, e, put_into_file, &to);
}

int contents_restore(struct restore *r, int fd, const struct extent *extents, size_t n, uint64_t size, const char *what)
{
	return contents_restore_mapped(r, fd, 0, extents, n, size, what);
}

int contents_restore_mapped(struct restore *r, int fd, uint64_t page_size, const struct extent *extents, size_t n,
	uint64_t size, const char *what)
{
	int err = ftruncate(fd, (off_t)size) < 0 ? -errno : 0;

	for (size_t i = 0; i < n && !err; i++)
		err = restore_extent(r, fd, page_size, &extents[i], size);
	if (err)
		return failed(r->ps, BLAME(.object = what), err, "its contents cannot be put back: %s", strerror(-err));
	return 0;
}

static int read_extent(struct restore *r, uint8_t *bytes, const struct extent *e, uint64_t size)
{
	struct putting to = { .memory = bytes + e->offset };
	int err = check_extent(r, e, size);

	return err ? err : read_extent_to(r, e, put_into_buffer, &to);
}

int contents_read(struct restore *r, uint8_t *bytes, const struct extent *extents, size_t n, uint64_t size)
{
	int err = 0;

	for (size_t i = 0; i < n && !err; i++)
		err = read_extent(r, bytes, &extents[i], size);
	return err;
}

int contents_check(struct restore *r, const struct extent *extents, size_t n, uint64_t size)
{
	int err = 0;

	for (size_t i = 0; i < n && !err; i++) {
		bool ordered = !i || extents[i - 1].offset + extents[i - 1].length <= extents[i].offset;

		err = ordered ? check_extent(r, &extents[i], size) : -EBADMSG;
		if (!err)
			err = verify(r, &extents[i]);
	}
	return err;
}

void contents_reserve(struct restore *r, int fd, uint64_t size, const char *what)
{
	if (size && fallocate(fd, 0, 0, (off_t)size) < 0)
		changed(r->ps, BLAME(.object = what), "the room that it had reserved (fallocate) cannot be had: %s",
			strerror(errno));
}
