/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the writer of an image that becomes a stream has besides. Private to the image layer. */
#pragma once

#include "image/directory.h"

struct stream_writer;

int stream_writer_new(struct image_writer *w, int fd, bool (*cancelled)(const void *data), const void *data,
	struct problems *ps, struct stream_writer **out);
void stream_writer_free(struct stream_writer *s); /* takes NULL */
/* Is there memory for so much more of a file that is kept until it is sent? */
int stream_writer_room(struct image_writer *w, size_t size);
int stream_writer_file(struct stream_writer *s, unsigned int number, uint64_t pages);
/* Sends a file and closes it. */
int stream_writer_member(struct stream_writer *s, const char *name, int *fd, uint64_t size);
bool stream_writer_has_begun(const struct stream_writer *s);
int stream_writer_begin(struct stream_writer *s, uint64_t first_blocks);
int stream_writer_block(struct stream_writer *s, uint64_t block, const uint8_t *pages, const bool *keep);
/* Fills what the manifest and page_blocks are to say of the page file; the sums stay its own. 1; 0: there is none */
int stream_writer_pages(struct stream_writer *s, struct manifest_file *file, struct page_blocks *blocks);
int stream_writer_end(struct stream_writer *s, const uint8_t *manifest, size_t size);
uint64_t stream_writer_bytes(const struct stream_writer *s);
