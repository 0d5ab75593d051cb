/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Streams from hostile bytes, as they are, and with the checksums of their frames and of what follows them put right: whatever is accepted must be whole. */
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "image/stream.h"
#include "image_sample.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct record_kind *const kinds[] = { &sample_kind, NULL };

static void read_all(const struct image *img, struct problems *ps)
{
	static uint8_t buffer[BLOCK_BYTES];
	struct image_block block;
	int r;

	while ((r = image_read_block(img, &block, buffer, ps)) > 0)
		if (!block.pages || block.pages > PAGE_BLOCK)
			abort();
	if (r == 0)
		image_end_stream(img, ps);
}

static void try_stream(const uint8_t *data, size_t size)
{
	_cleanup_fd_ int fd = memfd_create("stream", MFD_CLOEXEC);
	struct image *img = NULL;
	struct problems ps;

	problems_init(&ps);
	if (fd < 0 || write(fd, data, size) != (ssize_t)size || lseek(fd, 0, SEEK_SET))
		abort();
	if (image_open_stream(fd, kinds, &ps, &img) == 0)
		read_all(img, &ps);
	else if (!ps.n)
		abort();
	image_free(img);
	problems_free(&ps);
}

static void append(struct bytes *b, const void *data, size_t size)
{
	if (bytes_append(b, data, size) < 0)
		abort();
}

/* One frame, with the checksums that its bytes have. How many of the bytes it was made of. */
static size_t mend_frame(const uint8_t *at, size_t left, struct bytes *out)
{
	const char *why;
	struct frame f;
	size_t length;
	uint64_t sum;

	if (left < FRAME_PREFIX || frame_prefix(at, &length, &sum) < 0 || length > left - FRAME_PREFIX)
		return 0;
	if (frame_decode(at + FRAME_PREFIX, length, checksum_64(at + FRAME_PREFIX, length), &f, &why) < 0)
		return 0;
	left -= FRAME_PREFIX + length;
	f.size = MIN(f.size, left);
	if (f.what == FRAME_MEMBER)
		f.checksum = checksum_64(at + FRAME_PREFIX + length, f.size);
	if (frame_encode(&f, out) < 0)
		abort();
	append(out, at + FRAME_PREFIX + length, f.size);
	return FRAME_PREFIX + length + f.size;
}

static void try_mended(const uint8_t *data, size_t size)
{
	_cleanup_(bytes_free)
	struct bytes b = { 0 };
	size_t at = MIN(size, STREAM_MAGIC_SIZE), n;

	append(&b, STREAM_MAGIC, STREAM_MAGIC_SIZE);
	while ((n = mend_frame(data + at, size - at, &b)))
		at += n;
	append(&b, data + at, size - at);
	try_stream(b.data, b.size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	try_stream(data, size);
	try_mended(data, size);
	return 0;
}
