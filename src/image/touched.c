/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a tree needed first when its memory came on demand: a file beside those of the image that the manifest does not name. It is advice: whatever stands in it, blocks are only loaded in another
 * order. Where it cannot be written, or is not to be had, nothing is said.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "image/ancestors.h"
#include "image/reader.h"

#define FILE_NAME "touched.cbor"
#define NEW_NAME  "touched-new.cbor" /* goes with an image that is removed, should it be left */
#define SIZE_MOST (16ul << 20)

static const struct field block_fields[] = {
	FIELD_UINT(struct touched_block, file, "file", "N of pages-N"),
	FIELD_UINT(struct touched_block, block, "block", "number of the block in it"),
	FIELD_END,
};

static const struct field touched_fields[] = {
	FIELD_BYTES(struct touched, image_id, "image", "the id of the image; of another, it is not looked at"),
	FIELD_LIST(struct touched, blocks, n_blocks, "blocks", block_fields,
		"in the order in which the tree touched them"),
	FIELD_END,
};

const struct record_kind touched_kind = {
	.name = "touched",
	.version = 1,
	.size = sizeof(struct touched),
	.fields = touched_fields,
	.doc = "what a restore on demand was asked for first; the keeper's advice for the next one, written beside the "
	       "image and not named by its manifest",
	.sources = "userfaultfd(2)",
};

void touched_free(struct touched *t)
{
	fields_free(touched_fields, t);
	*t = (struct touched){ 0 };
}

static bool is_there(const struct image *img, const struct touched_block *b)
{
	return b->file < img->n_page_files && b->block < page_file_blocks(&img->private->page_files[b->file]);
}

static void forget_others(const struct image *img, struct touched *t)
{
	size_t n = 0;

	for (size_t i = 0; i < t->n_blocks; i++)
		if (is_there(img, &t->blocks[i]))
			t->blocks[n++] = t->blocks[i];
	t->n_blocks = n;
}

void image_touched(const struct image *img, struct touched *out)
{
	_cleanup_fd_ int fd = openat(img->dir_fd, FILE_NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	_cleanup_free_ uint8_t *data = NULL;
	const char *why;
	struct stat st;

	*out = (struct touched){ 0 };
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size <= 0 || st.st_size > (off_t)SIZE_MOST)
		return;
	data = malloc((size_t)st.st_size);
	if (!data || read_at(fd, data, (size_t)st.st_size, 0) < 0)
		return;
	if (record_decode(&touched_kind, data, (size_t)st.st_size, out, &why) < 0 ||
		memcmp(out->image_id, img->head.id, sizeof(out->image_id)))
		touched_free(out);
	forget_others(img, out);
}

static int write_new(const struct image *img, const struct bytes *b)
{
	_cleanup_fd_ int fd = -1;

	unlinkat(img->dir_fd, NEW_NAME, 0);
	fd = openat(img->dir_fd, NEW_NAME, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	return fd < 0 ? -errno : write_at(fd, b->data, b->size, 0);
}

/* The directory may have become another's since it was opened. */
void image_set_touched(const struct image *img, struct touched *t)
{
	_cleanup_(bytes_free)
	struct bytes b = { 0 };

	memcpy(t->image_id, img->head.id, sizeof(t->image_id));
	if (directory_has_manifest(img->dir_fd, img->private->manifest_sum) <= 0 ||
		record_encode(&touched_kind, 0, t, &b) < 0 || b.size > SIZE_MOST)
		return;
	if (write_new(img, &b) < 0 || renameat(img->dir_fd, NEW_NAME, img->dir_fd, FILE_NAME) < 0)
		unlinkat(img->dir_fd, NEW_NAME, 0);
}
