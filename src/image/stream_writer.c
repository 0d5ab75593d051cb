/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image/stream_writer.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "image/stream.h"
#include "kernel/memory_room.h"

#define ROOM_STEP (16ul << 20) /* bytes between two looks at the room that there is */
#define ROOM_LEFT (64ul << 20)

struct stream_writer {
	struct problems *ps;
	struct stream_out *out;
	bool has_pages, begun;
	char name[NAME_ROOM];
	unsigned int number;
	uint64_t pages, blocks;
	uint64_t *sums; /* one for each block */
	_Atomic uint64_t sent;
	_Atomic bool told;
};

/* The first error is told; who cancelled it knows. */
static int tell(struct stream_writer *s, int r)
{
	if (r >= 0 || r == -ECANCELED || atomic_exchange(&s->told, true))
		return r;
	if (r == -EPIPE || r == -ECONNRESET)
		return failed(s->ps, BLAME(.object = THE_STREAM, .remedy = "look at what read it"), r,
			"nobody reads it any more");
	return failed(s->ps, BLAME(.object = THE_STREAM), r, "cannot be written: %s", strerrordesc_np(-r));
}

int stream_writer_new(struct image_writer *w, int fd, bool (*cancelled)(const void *data), const void *data,
	struct problems *ps, struct stream_writer **out)
{
	struct stream_writer *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return failed(ps, NULL, -ENOMEM, "no memory for the writer of the image");
	s->ps = ps;
	r = stream_out_new(fd, cancelled, data, &s->out);
	if (r == -ENOTTY)
		failed(ps, BLAME(.object = THE_STREAM, .remedy = "send it through a pipe or to a file"), r,
			"is not written to a terminal");
	else
		tell(s, r);
	if (r < 0) {
		free(s);
		return r;
	}
	*out = s;
	return 0;
}

void stream_writer_free(struct stream_writer *s)
{
	if (!s)
		return;
	stream_out_free(s->out);
	free(s->sums);
	free(s);
}

uint64_t stream_writer_bytes(const struct stream_writer *s)
{
	return stream_out_bytes(s->out);
}

int stream_writer_room(struct image_writer *w, size_t size)
{
	_cleanup_fd_ int self = -1;
	uint64_t before = writer_kept(w), room;

	if (before / ROOM_STEP == (before + size) / ROOM_STEP)
		return 0;
	self = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
	room = self < 0 ? 0 : memory_room(self);
	return room && room < ROOM_STEP + ROOM_LEFT ? -ENOMEM
						    : 0; /* 0: it cannot be told, and the kernel says no by itself */
}

/* --- frames --- */

int stream_writer_file(struct stream_writer *s, unsigned int number, uint64_t pages)
{
	s->has_pages = true;
	s->number = number;
	s->pages = pages;
	s->blocks = (pages + PAGE_BLOCK - 1) / PAGE_BLOCK;
	snprintf(s->name, sizeof(s->name), "pages-%u", number);
	s->sums = calloc(s->blocks + 1, sizeof(*s->sums));
	return s->sums ? 0 : tell(s, -ENOMEM);
}

int stream_writer_member(struct stream_writer *s, const char *name, int *fd, uint64_t size)
{
	int r = stream_out_file(s->out, name, *fd, size);

	close_fd(fd);
	return tell(s, r);
}

bool stream_writer_has_begun(const struct stream_writer *s)
{
	return s->begun;
}

int stream_writer_begin(struct stream_writer *s, uint64_t first_blocks)
{
	struct frame f = { .what = FRAME_PAGES, .pages = s->pages, .at = first_blocks };

	s->begun = true;
	memcpy(f.name, s->name, sizeof(f.name));
	return tell(s, stream_out_frame(s->out, &f, NULL, 0));
}

static bool is_zero(const uint8_t *page)
{
	return !page[0] && !memcmp(page, page + 1, PAGE_SIZE - 1);
}

static uint64_t choose_pages(struct frame *f, const uint8_t *pages, const bool *keep)
{
	uint64_t n = 0;

	for (size_t i = 0; i < f->pages; i++) {
		if ((!keep || !keep[i]) && is_zero(pages + i * PAGE_SIZE))
			continue;
		f->present[i / 8] |= (uint8_t)(1u << i % 8);
		n++;
	}
	f->size = n * PAGE_SIZE;
	return n;
}

int stream_writer_block(struct stream_writer *s, uint64_t block, const uint8_t *pages, const bool *keep)
{
	struct frame f = { .what = FRAME_BLOCK, .at = block };
	struct iovec iov[PAGE_BLOCK];
	size_t n = 0, some;
	uint64_t chosen;
	bool there;
	int r;

	f.pages = MIN(s->pages - block * PAGE_BLOCK, (uint64_t)PAGE_BLOCK);
	chosen = choose_pages(&f, pages, keep);
	f.checksum = s->sums[block] = checksum_64(pages, f.pages * PAGE_SIZE);
	for (size_t at = 0; at < f.pages;) {
		some = frame_stretch(&f, &at, f.pages, &there);
		if (there)
			iov[n++] = (struct iovec){ (void *)(pages + (at - some) * PAGE_SIZE), some * PAGE_SIZE };
	}
	r = tell(s, stream_out_frame(s->out, &f, iov, n));
	if (r < 0)
		return r;
	s->sent++;
	return (int)chosen;
}

int stream_writer_pages(struct stream_writer *s, struct manifest_file *file, struct page_blocks *blocks)
{
	if (!s->has_pages)
		return 0;
	if (!s->begun || s->sent != s->blocks) { /* without an error: a defect */
		int r = stream_out_error(s->out);

		return tell(s, r < 0 ? r : -EBADF);
	}
	*file = (struct manifest_file){ .size = s->pages * PAGE_SIZE, .pages = true };
	memcpy(file->name, s->name, sizeof(file->name));
	*blocks = (struct page_blocks){
		.file = s->number, .pages = s->pages, .checksums = s->sums, .n_checksums = s->blocks
	};
	return 1;
}

int stream_writer_end(struct stream_writer *s, const uint8_t *manifest, size_t size)
{
	int r = stream_out_bytes_of(s->out, MANIFEST, manifest, size);

	return tell(s, r < 0 ? r : stream_out_end(s->out));
}
