/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An image with its ancestors, made into one that stands alone. Records that name pages are written anew; all else is copied as it is. */
#include "image/merge.h"

#include <errno.h>
#include <string.h>

#include "image/placed.h"

struct merging {
	struct image *img;
	const struct record_kind *const *kinds;
	const struct image_merging *how;
	struct problems *ps;
	struct needs needs;
	struct image_writer *w;
};

static const struct record_kind *find_kind(const struct record_kind *const kinds[], const char *name)
{
	for (; *kinds; kinds++)
		if (!strcmp((*kinds)->name, name))
			return *kinds;
	return NULL;
}

/* --- can it be merged? --- */

/* What a later version of spore has noted may name pages, which would not be there. Kinds that begin with x- are the user's. */
static int check_record(const struct merging *m, const char *kind, uint32_t version)
{
	const struct record_kind *own = find_kind(image_kinds, kind);
	const struct record_kind *known = own ? own : find_kind(m->kinds, kind);

	if (known ? version <= known->version : !strncmp(kind, "x-", 2))
		return 0;
	return refused(m->ps, BLAME(.object = kind, .remedy = "use the version of spore that wrote the image"),
		"the image holds records of a later version, of which this spore does not know what they refer to");
}

static int check_file(const struct merging *m, struct opening *o, const struct manifest_file *file)
{
	_cleanup_(bytes_free)
	struct bytes b = { 0 };
	const char *why = NULL;
	uint32_t version;
	bool critical;
	char kind[32];
	size_t length;
	object_id id;
	int r = opening_bytes(o, file, &b);

	for (size_t at = 0; r == 0 && at < b.size; at += length) {
		r = record_peek(b.data + at, b.size - at, kind, &id, &version, &critical, &length, &why);
		r = r < 0 ? opening_damaged(o, file->name, why) : check_record(m, kind, version);
	}
	return r;
}

static int check_records(const struct merging *m)
{
	struct opening o = { .img = m->img, .ps = m->ps };
	const struct manifest *manifest = &m->img->private->manifest;
	int r = 0;

	for (size_t i = 0; i < manifest->n_files; i++)
		if (!manifest->files[i].pages)
			r = MIN(r, check_file(m, &o, &manifest->files[i]));
	return r;
}

/* What stands in the place of the new image is given up for one that was seen to be whole. */
static int check_pages(const struct merging *m)
{
	for (size_t i = 0; i < m->needs.n; i++)
		image_need_pages(m->img, m->needs.list[i].file, m->needs.list[i].at, m->needs.list[i].pages);
	return image_verify_needed(m->img, m->ps);
}

static int check(struct merging *m, int out_fd)
{
	int r = check_records(m);

	if (r == 0)
		r = image_may_create(out_fd, m->how->force, m->ps);
	if (r == 0 && ancestors_include(m->img, out_fd))
		r = directory_failed(m->ps, out_fd, "choose another directory", -EINVAL,
			"a merged image cannot take the place of one that it is made of");
	if (r == 0)
		r = needs_find(m->img, m->ps, &m->needs);
	return r == 0 && m->how->force ? check_pages(m) : r;
}

/* --- writing --- */

/* Where its pages are in the new image. Stretches may overlap, and are then parts of one that is needed. */
static int replace(void *ctx, struct placed *stretch)
{
	const struct merging *m = ctx;
	const struct needed *n = needs_at(&m->needs, stretch->file, stretch->at);

	stretch->at = n->new_at + (stretch->at - n->at);
	stretch->file = n->new_file;
	return 0;
}

static int write_placed(struct merging *m)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < m->img->n_records; i++) {
		struct record *rec = &m->img->records[i];

		if (!fields_place_pages(rec->kind->fields))
			continue;
		fields_each_placed(rec->kind->fields, rec->state, replace, m);
		fields_join_placed(rec->kind->fields, rec->state);
		r = image_add(m->w, rec->kind, rec->id, rec->state);
	}
	return r;
}

/* Of the image layer's own there are new ones. */
static bool is_copied(const struct merging *m, const char *kind)
{
	const struct record_kind *known = find_kind(m->kinds, kind);

	return !find_kind(image_kinds, kind) && (!known || !fields_place_pages(known->fields));
}

static int copy_file(struct merging *m, const struct manifest_file *file)
{
	struct opening o = { .img = m->img, .ps = m->ps };
	_cleanup_(bytes_free)
	struct bytes b = { 0 };
	char kind[32];
	int r;

	if (!kind_file_name(file->name, kind) || !is_copied(m, kind))
		return 0;
	r = opening_bytes(&o, file, &b);
	return r < 0 ? r : writer_add_bytes(m->w, kind, &b);
}

static int write_records(struct merging *m)
{
	const struct manifest *manifest = &m->img->private->manifest;
	int r = write_placed(m);

	for (size_t i = 0; r == 0 && i < manifest->n_files; i++)
		r = copy_file(m, &manifest->files[i]);
	return r;
}

static void count(const struct merging *m, struct image_merged *result)
{
	*result = (struct image_merged){ .pages = m->needs.pages, .bytes = image_bytes(m->w) };
	for (size_t i = 0; i < m->needs.n; i++)
		if (m->needs.list[i].file < m->img->private->first_own)
			result->older += m->needs.list[i].pages;
}

static int merge(struct merging *m, int out_fd, struct image_merged *result)
{
	int r = check(m, out_fd);

	if (r == 0)
		r = writer_create_like(out_fd, &m->img->head, m->how->force, m->ps, &m->w);
	if (r == 0)
		r = needs_copy(&m->needs, m->img, m->w, m->how, m->ps);
	if (r == 0)
		r = write_records(m);
	if (r == 0)
		r = image_commit(m->w);
	if (r == 0)
		count(m, result);
	return r;
}

int image_merge(int dir_fd, int out_fd, const struct record_kind *const kinds[], const struct image_merging *how,
	struct problems *ps, struct image_merged *result)
{
	struct merging m = { .kinds = kinds, .how = how, .ps = ps };
	int r = image_open(dir_fd, kinds, ps, &m.img);

	if (r == 0)
		r = merge(&m, out_fd, result);
	image_writer_free(m.w);
	needs_free(&m.needs);
	image_free(m.img);
	return r;
}
