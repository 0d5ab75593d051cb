/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The end of a stream: is what came all of it, and what the manifest says? */
#include <stdlib.h>
#include <string.h>

#include "image/opening.h"
#include "image/stream_reading.h"

static int read_member(const struct stream_in *s, const char *name, struct bytes *b, struct problems *ps)
{
	const struct stream_member *m = stream_in_member(s, name);
	int r;

	if (!m || m->size > MANIFEST_MOST)
		return stream_damaged(s, ps, m ? "its manifest is too long to be one" : "it has no manifest");
	b->data = malloc(m->size + 1);
	b->size = b->room = m->size;
	r = b->data ? read_at(m->fd, b->data, m->size, 0) : -ENOMEM;
	return r < 0 ? stream_failed(ps, name, r, "cannot be read") : 0;
}

static bool is_as_said(const struct stream_in *s, const struct manifest_file *file)
{
	const struct stream_member *m = stream_in_member(s, file->name);

	if (!strcmp(file->name, s->pages_name))
		return file->pages && file->size == s->pages * PAGE_SIZE;
	if (!m || m->size != file->size)
		return false;
	return file->pages || !memcmp(m->checksum, file->checksum, sizeof(m->checksum));
}

/* All that it names is there, and nothing else. */
static int compare_files(const struct stream_in *s, const struct manifest *m, struct problems *ps)
{
	size_t there = s->n_members - 1 + (*s->pages_name != 0); /* without itself */

	for (size_t i = 0; i < m->n_files; i++)
		if (!is_as_said(s, &m->files[i]))
			return stream_damaged(s, ps, "a file is not what the manifest says");
	return m->n_files == there ? 0 : stream_damaged(s, ps, "it has other files than the manifest says");
}

static bool has_sums(const struct stream_in *s, const struct page_blocks *blocks)
{
	if (blocks->pages != s->pages || blocks->n_checksums != s->sums.blocks)
		return false;
	for (size_t i = 0; i < blocks->n_checksums; i++)
		if (blocks->checksums[i] != block_sums_get(&s->sums, i))
			return false;
	return true;
}

/* Does the record say of the page file what came? 0: it is about another */
static int compare_record(const struct stream_in *s, const uint8_t *at, size_t length, const char **why)
{
	struct page_blocks blocks = { 0 };
	unsigned int number = 0;
	int r = record_decode(&page_blocks_kind, at, length, &blocks, why);

	if (r >= 0) {
		page_file_name(s->pages_name, &number);
		r = blocks.file != number ? 0 : has_sums(s, &blocks) ? 1 : -EBADMSG;
	}
	fields_free(page_blocks_kind.fields, &blocks);
	return r;
}

static int compare_blocks(const struct stream_in *s, struct problems *ps)
{
	_cleanup_(bytes_free)
	struct bytes b = { 0 };
	const struct stream_member *m = stream_in_member(s, "page_blocks.cbor");
	const char *why = "its checksums are not those of its blocks";
	bool found = false;
	size_t length;
	int r;

	if (!*s->pages_name)
		return 0;
	b.data = malloc(m ? m->size + 1 : 1);
	r = b.data && m ? read_at(m->fd, b.data, m->size, 0) : -ENOMEM;
	if (!m)
		return stream_damaged(s, ps, why);
	for (size_t at = 0; r >= 0 && at < m->size; at += length) {
		object_id id;
		uint32_t version;
		bool critical;
		char name[32];

		r = record_peek(b.data + at, m->size - at, name, &id, &version, &critical, &length, &why);
		if (r >= 0)
			r = compare_record(s, b.data + at, length, &why);
		found |= r > 0;
	}
	if (r == -ENOMEM)
		return stream_failed(ps, m->name, r, "cannot be read");
	return r >= 0 && found ? 0 : stream_damaged(s, ps, "its checksums are not those of its blocks");
}

int stream_in_end(struct stream_in *s, const uint8_t image_id[static 16], struct problems *ps)
{
	_cleanup_(bytes_free)
	struct bytes b = { 0 };
	struct manifest m = { 0 };
	const char *why = NULL;
	int r = s->error;

	if (r == 0 && (!s->ended || s->sums.come != s->sums.blocks))
		r = stream_damaged(s, ps, "blocks of pages are missing");
	if (r == 0)
		r = read_member(s, MANIFEST, &b, ps);
	if (r < 0)
		return r;
	r = manifest_decode(b.data, b.size, &m, &why);
	if (r < 0)
		r = stream_damaged(s, ps, why ? why : "its manifest is none");
	if (r >= 0 && memcmp(m.image_id, image_id, sizeof(m.image_id)))
		r = stream_damaged(s, ps, "its manifest is that of another image");
	if (r >= 0)
		r = compare_files(s, &m, ps);
	if (r >= 0)
		r = compare_blocks(s, ps);
	manifest_free(&m);
	return r < 0 ? r : 0;
}
