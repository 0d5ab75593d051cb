/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An image that comes as a stream. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "image/opening.h"
#include "image/stream.h"

/* The files that have come, and the page file that comes: what a manifest would say of them now. */
static int list_files(struct opening *o, const struct stream_in *s)
{
	struct manifest *m = &o->manifest;
	unsigned int number;
	uint64_t pages;
	size_t n;
	const struct stream_member *members = stream_in_members(s, &n);

	m->files = calloc(n + 2, sizeof(*m->files));
	if (!m->files)
		return failed(o->ps, NULL, -ENOMEM, "no memory for the image");
	for (size_t i = 0; i < n; i++) {
		struct manifest_file *file = &m->files[m->n_files++];

		memcpy(file->name, members[i].name, sizeof(file->name));
		memcpy(file->checksum, members[i].checksum, sizeof(file->checksum));
		file->size = members[i].size;
		file->pages = page_file_name(file->name, &number);
	}
	if (!stream_in_pages(s, &number, &pages))
		return 0;
	m->files[m->n_files] = (struct manifest_file){ .pages = true, .size = pages * PAGE_SIZE };
	snprintf(m->files[m->n_files++].name, NAME_ROOM, "pages-%u", number);
	return 0;
}

int opening_stream(struct opening *o, int fd)
{
	int r = stream_in_new(fd, -1, o->ps, &o->img->private->stream);

	return r < 0 ? r : list_files(o, o->img->private->stream);
}

int opening_member(struct opening *o, const char *name, int *fd, uint64_t *size)
{
	const struct stream_member *m = stream_in_member(o->img->private->stream, name);

	if (!m)
		return opening_damaged(o, name, "is missing");
	*fd = fcntl(m->fd, F_DUPFD_CLOEXEC, 0);
	if (*fd < 0)
		return file_failed(o->ps, -1, name, -errno, "cannot be opened");
	*size = m->size;
	return 0;
}

bool opening_is_streamed(const struct opening *o, unsigned int number)
{
	unsigned int streamed;
	uint64_t pages;

	return o->img->private->stream && stream_in_pages(o->img->private->stream, &streamed, &pages) &&
	       streamed == number;
}

/* --- its blocks --- */

bool image_streamed_file(const struct image *img, unsigned int *number, uint64_t *first_blocks)
{
	const struct stream_in *s = img->private->stream;
	uint64_t pages;

	*first_blocks = s ? stream_in_first_blocks(s) : 0;
	return s && stream_in_pages(s, number, &pages);
}

int image_read_block(const struct image *img, struct image_block *block, uint8_t *pages, struct problems *ps)
{
	struct frame f;
	int r = stream_in_block(img->private->stream, &f, pages, ps);

	if (r <= 0)
		return r;
	block->number = f.at;
	block->pages = f.pages;
	for (size_t i = 0; i < f.pages; i++)
		block->there[i] = frame_has(&f, i);
	return 1;
}

int image_end_stream(const struct image *img, struct problems *ps)
{
	return stream_in_end(img->private->stream, img->head.id, ps);
}
