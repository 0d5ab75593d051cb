/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The page files of an image being opened: its own, and those of the older images that it was made against. */
#include <stdlib.h>
#include <string.h>

#include "image/opening.h"

/* --- its own --- */

/* What has come of it as a file, or the announcement of one that comes in blocks. */
static int open_streamed(struct opening *o, const struct manifest_file *file, unsigned int number, struct page_file *pf)
{
	pf->streamed = opening_is_streamed(o, number);
	pf->came = !pf->streamed;
	pf->size = file->size;
	pf->pages = file->size / PAGE_SIZE;
	if (file->size % PAGE_SIZE)
		return opening_wrong_length(o, file, pf->pages * PAGE_SIZE);
	return pf->came ? opening_file(o, file->name, &pf->fd, &pf->size) : 0;
}

static int open_page_file(struct opening *o, const struct manifest_file *file, unsigned int expected)
{
	struct page_file *pf = &o->img->private->page_files[expected];
	unsigned int number;
	int r;

	if (!page_file_name(file->name, &number) || number != expected)
		return opening_damaged(o, MANIFEST, "has page files out of order");
	if (o->img->private->stream)
		return open_streamed(o, file, number, pf);
	r = opening_file(o, file->name, &pf->fd, &pf->size);
	if (r < 0)
		return r;
	return pf->size != file->size ? opening_wrong_length(o, file, pf->size) : 0;
}

static int open_own(struct opening *o)
{
	unsigned int number = o->img->private->first_own;
	int r, first = 0;

	for (size_t i = 0; i < o->manifest.n_files; i++) {
		if (!o->manifest.files[i].pages)
			continue;
		o->read[i] = true;
		r = open_page_file(o, &o->manifest.files[i], number++);
		if (r < 0 && !first)
			first = r;
	}
	return first;
}

static int does_not_fit(struct opening *o)
{
	return opening_damaged(o, "page_blocks.cbor", "does not fit the page files");
}

static int find_compression(struct opening *o, const char *name, uint32_t *out)
{
	int compression = compression_of(name);

	if (compression < 0)
		return refused(o->ps, BLAME(.object = name, .remedy = "use the version of spore that wrote the image"),
			"the image's pages are compressed by it, which this spore does not know");
	if (!compression_is_there((uint32_t)compression))
		return refused(o->ps, BLAME(.object = name, .remedy = "build spore where libzstd-dev is installed"),
			"the image's pages are compressed by it, and this build of spore is without it");
	*out = (uint32_t)compression;
	return 0;
}

/* Blocks lie one behind the other, fill the file, and none takes more than its pages. */
static int take_compressed(struct opening *o, struct page_file *pf, struct page_blocks *blocks)
{
	uint64_t n = page_file_blocks(pf), at = 0;
	int r = find_compression(o, blocks->compression, &pf->compression);

	if (r < 0)
		return r;
	if (blocks->n_stored != n || blocks->n_stored_checksums != n)
		return does_not_fit(o);
	pf->at = calloc(n + 1, sizeof(*pf->at));
	if (!pf->at)
		return -ENOMEM;
	for (uint64_t i = 0; i < n; i++) {
		if (!blocks->stored[i] || blocks->stored[i] > page_file_block_size(pf, i))
			return does_not_fit(o);
		at += blocks->stored[i];
		pf->at[i + 1] = at;
	}
	pf->stored_sums = take_ptr(blocks->stored_checksums);
	blocks->n_stored_checksums = 0;
	return at == pf->size ? 0 : does_not_fit(o);
}

static int take_plain(struct opening *o, const struct page_file *pf, const struct page_blocks *blocks)
{
	bool fits = !blocks->n_stored && !blocks->n_stored_checksums && pf->pages * PAGE_SIZE == pf->size;

	return fits ? 0 : does_not_fit(o);
}

static int take_blocks(struct opening *o, struct page_blocks *blocks)
{
	const struct image *img = o->img;
	struct page_file *pf;

	if (blocks->file < img->private->first_own || blocks->file >= img->n_page_files)
		return opening_damaged(o, "page_blocks.cbor", "has checksums of a page file that is not there");
	pf = &img->private->page_files[blocks->file];
	pf->pages = blocks->pages;
	if (pf->summed || blocks->n_checksums != page_file_blocks(pf))
		return does_not_fit(o);
	pf->summed = true;
	pf->sums = take_ptr(blocks->checksums);
	blocks->n_checksums = 0;
	return blocks->compression[0] ? take_compressed(o, pf, blocks) : take_plain(o, pf, blocks);
}

static int read_page_blocks(struct opening *o, unsigned int n_own)
{
	_cleanup_(records_free)
	struct some_records blocks = { 0 };
	const struct manifest_file *file = opening_find(o, &page_blocks_kind);
	int r = file ? opening_records(o, file, &page_blocks_kind, &blocks) : 0;

	if (r < 0)
		return r;
	if (blocks.n != n_own)
		return does_not_fit(o);
	for (size_t i = 0; i < blocks.n && r >= 0; i++)
		r = take_blocks(o, blocks.records[i].state);
	return r;
}

/* --- those of its ancestors --- */

static void cleanup_image(struct image **img)
{
	image_free(*img);
}

/* What it opened of its own becomes the newer one's. */
static int take_page_files(struct image *to, struct image *from, const struct ancestor *a)
{
	struct older_image *o = &to->private->ancestors[to->private->n_ancestors++];

	*o = (struct older_image){
		.dir_fd = take_fd(&from->dir_fd), .first = (unsigned int)a->first, .n_files = (unsigned int)a->n_files
	};
	memcpy(o->image_id, a->image_id, sizeof(o->image_id));
	memcpy(o->manifest, a->manifest, sizeof(o->manifest));
	memcpy(&to->private->page_files[a->first], &from->private->page_files[a->first],
		a->n_files * sizeof(struct page_file));
	for (uint64_t i = a->first; i < a->first + a->n_files; i++) {
		struct page_file *pf = &to->private->page_files[i];

		from->private->page_files[i] = (struct page_file){ .fd = -1 };
		pf->needed = calloc(pf->pages / PAGE_BLOCK + 1, sizeof(*pf->needed));
		if (!pf->needed)
			return -ENOMEM;
	}
	return 0;
}

static int open_ancestor(struct opening *o, const struct ancestor *a)
{
	_cleanup_(cleanup_image)
	struct image *older = NULL;
	_cleanup_fd_ int dir = -1;
	int r = ancestor_open(o->img->dir_fd, a, o->ps, &dir);

	if (r == 0)
		r = image_open_pages(dir, o->ps, &older);
	if (r)
		return r;
	if (memcmp(older->head.id, a->image_id, sizeof(a->image_id)) || older->private->first_own != a->first ||
		older->n_page_files - older->private->first_own != a->n_files)
		return opening_damaged(o, "ancestor.cbor", "does not fit the older image that it names");
	return take_page_files(o->img, older, a);
}

/* In the order of their numbers, and all before its own. */
static int check_ancestors(struct opening *o, const struct some_records *ancestors, unsigned int n_own)
{
	uint64_t at = 0;

	for (size_t i = 0; i < ancestors->n; i++) {
		const struct ancestor *a = ancestors->records[i].state;

		if (a->first < at || !a->n_files || a->first >= PAGE_FILES_MOST || a->n_files > PAGE_FILES_MOST ||
			!a->path)
			return opening_damaged(o, "ancestor.cbor", "names page files that cannot be");
		at = a->first + a->n_files;
	}
	if (n_own && o->img->private->first_own < at)
		return opening_damaged(o, "ancestor.cbor", "names page files that are this image's own");
	if (!n_own)
		o->img->private->first_own = (unsigned int)at;
	return 0;
}

static int open_ancestors(struct opening *o, const struct some_records *ancestors)
{
	int r = 0;

	o->img->private->ancestors = calloc(ancestors->n + 1, sizeof(struct older_image));
	if (!o->img->private->ancestors)
		return -ENOMEM;
	for (size_t i = 0; r == 0 && i < ancestors->n; i++)
		r = open_ancestor(o, ancestors->records[i].state);
	return r;
}

/* --- all --- */

/* How many are its own; their numbers begin with that of the first. */
static int count_own(struct opening *o, unsigned int *n_own)
{
	unsigned int first = 0;

	*n_own = 0;
	for (size_t i = 0; i < o->manifest.n_files; i++)
		if (o->manifest.files[i].pages && !(*n_own)++ && !page_file_name(o->manifest.files[i].name, &first))
			return opening_damaged(o, MANIFEST, "has a page file without a number");
	if (first > PAGE_FILES_MOST || *n_own > PAGE_FILES_MOST)
		return opening_damaged(o, MANIFEST, "has page files out of order");
	o->img->private->first_own = first;
	return 0;
}

static int make_room(struct opening *o, unsigned int n_own)
{
	struct image *img = o->img;
	unsigned int n = img->private->first_own + n_own;

	img->private->page_files = calloc(n + 1, sizeof(struct page_file));
	if (!img->private->page_files)
		return file_failed(o->ps, img->dir_fd, MANIFEST, -ENOMEM, "cannot be read");
	img->n_page_files = n;
	for (unsigned int i = 0; i < n; i++)
		img->private->page_files[i].fd = -1;
	return 0;
}

static int read_ancestors(struct opening *o, struct some_records *ancestors, unsigned int n_own)
{
	const struct manifest_file *file = opening_find(o, &ancestor_kind);
	int r = file ? opening_records(o, file, &ancestor_kind, ancestors) : 0;

	if (r >= 0 && ancestors->n && o->img->private->stream)
		return opening_damaged(o, file->name, "names older images, which a stream cannot need");
	return r < 0 ? r : check_ancestors(o, ancestors, n_own);
}

int opening_page_files(struct opening *o, bool with_ancestors)
{
	_cleanup_(records_free)
	struct some_records ancestors = { 0 };
	unsigned int n_own;
	int r = count_own(o, &n_own);

	if (r == 0)
		r = read_ancestors(o, &ancestors, n_own);
	if (r == 0)
		r = make_room(o, n_own);
	if (r == 0)
		r = open_own(o);
	if (r == 0 && !o->img->private->stream)
		r = read_page_blocks(o, n_own);
	if (r == 0 && with_ancestors)
		r = open_ancestors(o, &ancestors);
	return r == -ENOMEM && !o->ps->n_failed ? failed(o->ps, NULL, r, "no memory for the image") : r;
}
