/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An image that is written as a stream: its files first, from memory, then the blocks of its one page file that is none, and the end. */
#include "image/writer.h"

int image_stream_file(struct image_writer *w, uint64_t pages, unsigned int *number)
{
	LOCKED(&w->lock);
	*number = w->first_page_file + w->n_page_files++;
	return stream_writer_file(w->stream, *number, pages);
}

int image_stream_begin(struct image_writer *w, uint64_t first_blocks)
{
	int r = atomic_load(&w->error);

	for (struct kind_file *f = w->files; f && r >= 0; f = f->next) {
		r = kind_file_flush(w, f);
		if (r >= 0)
			r = stream_writer_member(w->stream, f->name, &f->fd, f->size);
	}
	for (struct page_writer *p = w->pages; p && r >= 0; p = page_writer_next(p))
		r = page_writer_send(p, w->stream);
	return r < 0 ? r : stream_writer_begin(w->stream, first_blocks);
}

int image_stream_block(struct image_writer *w, uint64_t block, const uint8_t *pages, const bool *keep)
{
	return stream_writer_block(w->stream, block, pages, keep);
}

int commit_stream(struct image_writer *w, const struct manifest *m)
{
	_cleanup_(bytes_free)
	struct bytes b = { 0 };
	struct kind_file *f = NULL;
	int r = manifest_encode(m, &b);

	if (r >= 0 && w->n_page_files)
		r = kind_file_get(w, page_blocks_kind.name, &f);
	if (r >= 0 && f)
		r = stream_writer_member(w->stream, f->name, &f->fd, f->size);
	return r < 0 ? r : stream_writer_end(w->stream, b.data, b.size);
}

int finish_streamed_pages(struct image_writer *w, struct manifest *m)
{
	struct page_blocks blocks = { 0 };
	int r = stream_writer_pages(w->stream, &m->files[m->n_files], &blocks);

	if (r <= 0)
		return r;
	m->n_files++;
	return image_add(w, &page_blocks_kind, 0, &blocks);
}
