/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/contents_stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

#define CHUNK (PAGE_BLOCK * PAGE_SIZE)

int contents_stream_open(struct capture *c, struct contents_stream *s)
{
	*s = (struct contents_stream){ .c = c, .buffer = malloc(CHUNK) };
	return s->buffer ? 0 : -ENOMEM;
}

static int add_extent(struct contents_stream *s, const struct extent *e)
{
	struct extent *last = s->n ? &s->list[s->n - 1] : NULL;

	if (last && last->offset + last->length == e->offset && last->length % PAGE_SIZE == 0 &&
		last->file == e->file && last->at + last->length / PAGE_SIZE == e->at) {
		last->length += e->length;
		return 0;
	}
	if (!s->list || s->n == s->room) {
		size_t room = s->room ? 2 * s->room : 4;
		struct extent *grown = reallocarray(s->list, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		s->list = grown;
		s->room = room;
	}
	s->list[s->n++] = *e;
	return 0;
}

static int flush(struct contents_stream *s)
{
	_cleanup_free_ struct extent *extents = NULL;
	size_t n = 0;
	int err = contents_save_bytes(s->c, s->buffer, s->filled, &extents, &n);

	for (size_t i = 0; i < n && !err; i++) {
		extents[i].offset += s->size;
		err = add_extent(s, &extents[i]);
	}
	s->size += s->filled;
	s->filled = 0;
	return err;
}

int contents_stream_add(struct contents_stream *s, const void *bytes, size_t n)
{
	int err = 0;

	while (!err && n) {
		size_t some = MIN(n, CHUNK - s->filled);

		memcpy(s->buffer + s->filled, bytes, some);
		s->filled += some;
		bytes = (const uint8_t *)bytes + some;
		n -= some;
		if (s->filled == CHUNK)
			err = flush(s);
	}
	return err;
}

int contents_stream_close(struct contents_stream *s, struct extent **extents, size_t *n, uint64_t *size)
{
	int err = s->filled ? flush(s) : 0;

	*extents = s->list;
	*n = s->n;
	*size = s->size;
	free(s->buffer);
	*s = (struct contents_stream){ 0 };
	return err;
}

/* --- restore --- */

/* The first that does not end before it. */
static size_t extent_at(const struct extent *extents, size_t n, uint64_t offset)
{
	size_t low = 0;

	while (low < n) {
		size_t middle = low + (n - low) / 2;

		if (extents[middle].offset + extents[middle].length <= offset)
			low = middle + 1;
		else
			n = middle;
	}
	return low;
}

struct reading {
	uint8_t *next;
};

static int read_on(void *data, const void *bytes, size_t size)
{
	struct reading *to = data;

	memcpy(to->next, bytes, size);
	to->next += size;
	return 0;
}

int contents_read_at(
	struct restore *r, const struct extent *extents, size_t n, uint64_t offset, void *bytes, size_t size)
{
	int err = 0;

	memset(bytes, 0, size);
	for (size_t i = extent_at(extents, n, offset); i < n && extents[i].offset < offset + size && !err; i++) {
		const struct extent *e = &extents[i];
		uint64_t start = MAX(e->offset, offset), end = MIN(e->offset + e->length, offset + size);
		struct reading to = { (uint8_t *)bytes + (start - offset) };

		if (start < end)
			err = page_file_each(r->image, (unsigned int)e->file, e->at * PAGE_SIZE + (start - e->offset),
				end - start, read_on, &to, r->ps);
	}
	return err;
}
