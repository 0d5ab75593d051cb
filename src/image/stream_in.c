/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading a stream, which is as hostile as any image: room is made for bytes that have come, not for what is announced. */
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <xxhash.h>

#include "image/stream_reading.h"
#include "kernel/memory_room.h"

#define PIPE_BYTES   (1 << 20)
#define MEMBERS_MOST 4096
#define ROOM_STEP    (16ul << 20) /* bytes between two looks at the room that there is */
#define ROOM_LEFT    (64ul << 20)

int stream_damaged(const struct stream_in *s, struct problems *ps, const char *why)
{
	return failed(ps, BLAME(.object = THE_STREAM, .remedy = "make a new checkpoint"), -EBADMSG,
		"damaged: %s (frame %llu)", why, (unsigned long long)s->number);
}

int stream_failed(struct problems *ps, const char *name, int error, const char *what)
{
	return failed(ps, BLAME(.object = THE_STREAM), error, "%s: %s: %s", name, what, strerrordesc_np(-error));
}

static int cut(const struct stream_in *s, struct problems *ps)
{
	if (!s->begun)
		return failed(ps, BLAME(.object = THE_STREAM, .remedy = "look at what the checkpoint said"), -ENODATA,
			"nothing comes: it is empty");
	return failed(ps, BLAME(.object = THE_STREAM, .remedy = "look at what the checkpoint said, and begin again"),
		-ENODATA, "cut off: it ends before its end, in or before frame %llu", (unsigned long long)s->number);
}

/* --- bytes --- */

static int await_bytes(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, -1) < 0 && errno != EINTR ? -errno : 0;
}

static int read_vector(struct stream_in *s, struct iovec *iov, size_t n, struct problems *ps)
{
	while (n) {
		ssize_t got = readv(s->fd, iov, (int)n);
		int r = 0;

		if (got < 0 && errno == EAGAIN) /* someone else who has it wants it so */
			r = await_bytes(s->fd);
		else if (got < 0 && errno != EINTR)
			r = -errno;
		if (r < 0)
			return failed(ps, BLAME(.object = THE_STREAM), r, "cannot be read: %s", strerrordesc_np(-r));
		if (got == 0)
			return cut(s, ps);
		for (; got > 0 && n && (size_t)got >= iov->iov_len; n--)
			got -= (ssize_t)(iov++)->iov_len;
		if (got > 0 && n) {
			iov->iov_base = (char *)iov->iov_base + got;
			iov->iov_len -= (size_t)got;
		}
	}
	return 0;
}

static int read_bytes(struct stream_in *s, void *to, size_t size, struct problems *ps)
{
	struct iovec iov = { to, size };

	return size ? read_vector(s, &iov, 1, ps) : 0;
}

static int read_magic(struct stream_in *s, struct problems *ps)
{
	char magic[STREAM_MAGIC_SIZE];
	int r = read_bytes(s, magic, 1, ps);

	s->begun = r == 0;
	if (r == 0)
		r = read_bytes(s, magic + 1, sizeof(magic) - 1, ps);
	if (r < 0)
		return r;
	return memcmp(magic, STREAM_MAGIC, sizeof(magic))
		       ? failed(ps,
				 BLAME(.object = THE_STREAM, .remedy = "give it what `spore checkpoint PID -` wrote"),
				 -EBADMSG, "it is none of spore's, or of another version")
		       : 0;
}

static int read_frame(struct stream_in *s, struct frame *f, struct problems *ps)
{
	uint8_t prefix[FRAME_PREFIX], record[FRAME_MOST];
	const char *why = "a frame has an impossible length";
	uint64_t checksum;
	size_t length;
	int r = read_bytes(s, prefix, sizeof(prefix), ps);

	if (r < 0)
		return r;
	if (frame_prefix(prefix, &length, &checksum) < 0)
		return stream_damaged(s, ps, why);
	r = read_bytes(s, record, length, ps);
	if (r < 0)
		return r;
	if (frame_decode(record, length, checksum, f, &why) < 0)
		return stream_damaged(s, ps, why);
	if (f->number != s->number)
		return stream_damaged(s, ps, "a frame is missing, or is there twice");
	s->number++;
	return 0;
}

/* --- files --- */

static int open_member(const struct stream_in *s, const char *name)
{
	int fd;

	if (s->dir_fd < 0)
		fd = memfd_create(name, MFD_CLOEXEC);
	else
		fd = openat(s->dir_fd, strcmp(name, MANIFEST) ? name : MANIFEST_TMP,
			O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	return fd < 0 ? -errno : fd;
}

static void close_sum(struct stream_in *s)
{
	XXH128_canonical_t sum;

	if (!s->n_members)
		return;
	XXH128_canonicalFromHash(&sum, XXH3_128bits_digest(s->sum));
	memcpy(s->members[s->n_members - 1].checksum, sum.digest, sizeof(sum.digest));
}

static int add_member(struct stream_in *s, const char *name, struct problems *ps)
{
	struct stream_member *m;
	int fd;

	if (s->n_members == MEMBERS_MOST || (s->has_blocks && !strcmp(name, s->pages_name)))
		return stream_damaged(s, ps, "it has files that an image has not");
	if (stream_in_member(s, name))
		return stream_damaged(s, ps, "a file is there twice");
	m = reallocarray(s->members, s->n_members + 1, sizeof(*m));
	if (!m)
		return stream_failed(ps, name, -ENOMEM, "cannot be kept");
	s->members = m;
	fd = open_member(s, name);
	if (fd < 0)
		return stream_failed(ps, name, fd, "cannot be created");
	s->members[s->n_members] = (struct stream_member){ .fd = fd };
	snprintf(s->members[s->n_members].name, sizeof(s->members->name), "%s", name);
	s->n_members++;
	XXH3_128bits_reset(s->sum);
	close_sum(s);
	return 0;
}

/* What is kept in memory must fit there: the kernel would end somebody for it. */
static int check_room(struct stream_in *s, const char *name, size_t size, struct problems *ps)
{
	_cleanup_fd_ int self = -1;
	uint64_t room;

	if (s->dir_fd >= 0 || size <= s->room) {
		s->room -= s->dir_fd < 0 ? size : 0;
		return 0;
	}
	self = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
	room = self < 0 ? 0 : memory_room(self);
	if (room && room < ROOM_STEP + ROOM_LEFT) /* 0: it cannot be told, and the kernel says no by itself */
		return failed(ps,
			BLAME(.object = name,
				.remedy = "free some, or receive the stream in a directory (`spore receive`)"),
			-ENOMEM,
			"there is no memory for what is shared in the tree, which is kept until the tree is built");
	s->room = ROOM_STEP - size;
	return 0;
}

static struct stream_member *last_member(const struct stream_in *s)
{
	return s->members && s->n_members ? &s->members[s->n_members - 1] : NULL;
}

static int read_member(struct stream_in *s, const struct frame *f, struct problems *ps)
{
	struct stream_member *m = last_member(s);
	_cleanup_free_ uint8_t *bytes = malloc(f->size ? f->size : 1);
	int r = bytes ? 0 : stream_failed(ps, f->name, -ENOMEM, "cannot be kept");

	if (r == 0 && (!m || strcmp(m->name, f->name)))
		r = add_member(s, f->name, ps);
	m = last_member(s);
	if (r < 0 || !m)
		return r;
	if (f->at != m->size)
		return stream_damaged(s, ps, "a piece of a file is missing");
	r = check_room(s, f->name, f->size, ps);
	if (r == 0)
		r = read_bytes(s, bytes, f->size, ps);
	if (r < 0)
		return r;
	if (checksum_64(bytes, f->size) != f->checksum)
		return stream_damaged(s, ps, "a piece of a file does not have its checksum");
	r = write_at(m->fd, bytes, f->size, m->size);
	if (r < 0)
		return stream_failed(ps, f->name, r, "cannot be kept");
	XXH3_128bits_update(s->sum, bytes, f->size);
	m->size += f->size;
	close_sum(s);
	return 0;
}

static int begin_blocks(struct stream_in *s, const struct frame *f, struct problems *ps)
{
	if (s->has_blocks || stream_in_member(s, f->name))
		return stream_damaged(s, ps, "pages are announced twice");
	s->has_blocks = true;
	s->pages = f->pages;
	s->first_blocks = f->at;
	memcpy(s->pages_name, f->name, sizeof(s->pages_name));
	return block_sums_init(&s->sums, f->pages) < 0 ? stream_failed(ps, f->name, -ENOMEM, "cannot be read") : 0;
}

static int read_files(struct stream_in *s, struct problems *ps)
{
	struct frame f = { 0 };
	int r = 0;

	while (r == 0 && !s->has_blocks) {
		r = read_frame(s, &f, ps);
		if (r < 0)
			return r;
		if (f.what == FRAME_MEMBER)
			r = read_member(s, &f, ps);
		else if (f.what == FRAME_PAGES)
			r = begin_blocks(s, &f, ps);
		else
			r = stream_damaged(s, ps, "its frames are out of order");
	}
	return r;
}

/* --- blocks --- */

static int read_block(struct stream_in *s, const struct frame *f, uint8_t *buffer, struct problems *ps)
{
	struct iovec iov[PAGE_BLOCK];
	size_t n = 0, pages;
	bool there;

	for (size_t at = 0; at < f->pages;) {
		pages = frame_stretch(f, &at, f->pages, &there);
		if (there)
			iov[n++] = (struct iovec){ buffer + (at - pages) * PAGE_SIZE, pages * PAGE_SIZE };
	}
	return n ? read_vector(s, iov, n, ps) : 0;
}

static uint64_t pages_of_block(const struct stream_in *s, uint64_t block)
{
	return block >= s->sums.blocks ? 0 : MIN(s->pages - block * PAGE_BLOCK, (uint64_t)PAGE_BLOCK);
}

/* Under the lock. 1: a block; 0: the end */
static int next_frame(struct stream_in *s, struct frame *f, uint8_t *buffer, struct problems *ps)
{
	while (!s->ended) {
		int r = read_frame(s, f, ps);

		if (r < 0)
			return r;
		if (f->what == FRAME_END) {
			s->ended = true;
			return 0;
		}
		if (f->what == FRAME_BLOCK && !s->after_blocks) {
			if (f->pages != pages_of_block(s, f->at))
				return stream_damaged(s, ps, "it has a block that it did not announce");
			r = read_block(s, f, buffer, ps);
			return r < 0 ? r : 1;
		}
		s->after_blocks = true;
		r = f->what == FRAME_MEMBER ? read_member(s, f, ps)
					    : stream_damaged(s, ps, "its frames are out of order");
		if (r < 0)
			return r;
	}
	return 0;
}

static int note_block(struct stream_in *s, const struct frame *f, struct problems *ps)
{
	int r;

	pthread_mutex_lock(&s->lock);
	r = block_sums_set(&s->sums, f->at, f->checksum);
	pthread_mutex_unlock(&s->lock);
	if (r == -EEXIST)
		return stream_damaged(s, ps, "a block is there twice");
	return r < 0 ? stream_failed(ps, s->pages_name, r, "cannot be read") : 0;
}

static int check_block(struct stream_in *s, const struct frame *f, uint8_t *buffer, struct problems *ps)
{
	size_t pages;
	bool there;

	for (size_t at = 0; at < f->pages;) {
		pages = frame_stretch(f, &at, f->pages, &there);
		if (!there)
			memset(buffer + (at - pages) * PAGE_SIZE, 0, pages * PAGE_SIZE);
	}
	if (checksum_64(buffer, f->pages * PAGE_SIZE) != f->checksum)
		return stream_damaged(s, ps, "a block of pages does not have its checksum");
	return note_block(s, f, ps);
}

int stream_in_block(struct stream_in *s, struct frame *f, uint8_t *buffer, struct problems *ps)
{
	int r;

	pthread_mutex_lock(&s->lock);
	r = s->error;
	if (r == 0)
		r = next_frame(s, f, buffer, ps);
	if (r < 0)
		s->error = r;
	pthread_mutex_unlock(&s->lock);
	if (r <= 0)
		return r;
	r = check_block(s, f, buffer, ps);
	return r < 0 ? r : 1;
}

/* --- the stream --- */

const struct stream_member *stream_in_members(const struct stream_in *s, size_t *n)
{
	*n = s->n_members;
	return s->members;
}

const struct stream_member *stream_in_member(const struct stream_in *s, const char *name)
{
	for (size_t i = 0; s->members && i < s->n_members; i++)
		if (!strcmp(s->members[i].name, name))
			return &s->members[i];
	return NULL;
}

bool stream_in_pages(const struct stream_in *s, unsigned int *number, uint64_t *pages)
{
	*pages = s->pages;
	return page_file_name(s->pages_name, number);
}

uint64_t stream_in_first_blocks(const struct stream_in *s)
{
	return s->first_blocks;
}

int stream_in_new(int fd, int dir_fd, struct problems *ps, struct stream_in **out)
{
	struct stream_in *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return stream_failed(ps, "stream", -ENOMEM, "cannot be read");
	pthread_mutex_init(&s->lock, NULL);
	s->dir_fd = dir_fd;
	s->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	s->sum = XXH3_createState();
	r = s->fd < 0 ? stream_failed(ps, "stream", -errno, "cannot be read")
	    : s->sum  ? 0
		      : stream_failed(ps, "stream", -ENOMEM, "cannot be read");
	fcntl(s->fd, F_SETPIPE_SZ, PIPE_BYTES); /* if it is a pipe, and that may be */
	if (r == 0)
		r = read_magic(s, ps);
	if (r == 0)
		r = read_files(s, ps);
	if (r < 0) {
		stream_in_free(s);
		return r;
	}
	*out = s;
	return 0;
}

void stream_in_free(struct stream_in *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n_members; i++)
		close_fd(&s->members[i].fd);
	free(s->members);
	block_sums_free(&s->sums);
	XXH3_freeState(s->sum);
	close_fd(&s->fd);
	pthread_mutex_destroy(&s->lock);
	free(s);
}
