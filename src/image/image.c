/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An image that has been read: its records, by kind and by id. */
#include "image/image.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "image/reader.h"
#include "image/stream.h"

#define REFS_NAMED 16 /* wrong references that are told one by one */

void image_free(struct image *img)
{
	struct image_private *p;

	if (!img || atomic_fetch_sub(&img->kept, 1) > 0)
		return;
	p = img->private;
	for (size_t i = 0; i < img->n_records; i++)
		fields_free(img->records[i].kind->fields, img->records[i].state);
	free(img->records);
	for (size_t i = 0; p && i < p->n_ranges; i++)
		free(p->ranges[i].states);
	for (unsigned int i = 0; p && i < img->n_page_files; i++) {
		close_fd(&p->page_files[i].fd);
		free(p->page_files[i].sums);
		free(p->page_files[i].at);
		free(p->page_files[i].stored_sums);
		free(p->page_files[i].needed);
	}
	for (size_t i = 0; p && i < p->n_ancestors; i++)
		close_fd(&p->ancestors[i].dir_fd);
	if (p) {
		manifest_free(&p->manifest);
		stream_in_free(p->stream);
		free(p->ancestors);
		free(p->ranges);
		free(p->page_files);
		decompressors_free(p->decompressors);
		free(p->ids);
		free(p);
	}
	fields_free(image_head_kind.fields, &img->head);
	close_fd(&img->dir_fd);
	free(img);
}

struct image *image_keep(struct image *img)
{
	atomic_fetch_add(&img->kept, 1);
	return img;
}

struct record *image_records(const struct image *img, const struct record_kind *k, size_t *n)
{
	const struct image_private *p = img->private;

	for (size_t i = 0; i < p->n_ranges; i++) {
		if (p->ranges[i].kind != k)
			continue;
		*n = p->ranges[i].n;
		return img->records + p->ranges[i].first;
	}
	*n = 0;
	return NULL;
}

static int compare_ids(const void *a, const void *b)
{
	const struct id_entry *x = a, *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

struct record *image_find(const struct image *img, object_id id)
{
	const struct id_entry key = { .id = id }, *found = NULL;

	if (img->private->n_ids)
		found = bsearch(&key, img->private->ids, img->private->n_ids, sizeof(key), compare_ids);
	return found ? img->records + found->record : NULL;
}

static int sort_ids(struct image *img, struct problems *ps)
{
	struct image_private *p = img->private;

	p->ids = calloc(img->n_records + 1, sizeof(*p->ids));
	if (!p->ids)
		return failed(ps, NULL, -ENOMEM, "no memory for the image");
	for (size_t i = 0; i < img->n_records; i++)
		if (img->records[i].id) /* 0: a record that nothing refers to */
			p->ids[p->n_ids++] = (struct id_entry){ .id = img->records[i].id, .record = i };
	qsort(p->ids, p->n_ids, sizeof(*p->ids), compare_ids);
	return 0;
}

static int check_ids_unique(const struct image *img, struct problems *ps)
{
	const struct image_private *p = img->private;

	for (size_t i = 1; i < p->n_ids; i++)
		if (p->ids[i].id == p->ids[i - 1].id)
			return failed(ps, BLAME(.object = img->records[p->ids[i].record].kind->name), -EBADMSG,
				"two records of the image have the id %llu", (unsigned long long)p->ids[i].id);
	return 0;
}

/* One record's references being looked up. */
struct check {
	const struct image *img;
	struct problems *ps;
	const struct record *from;
	unsigned int wrong;
};

static int check_ref(void *ctx, const struct field *f, object_id id)
{
	struct check *c = ctx;
	const struct record *to = image_find(c->img, id);

	if (to && (!f->ref_kind || !strcmp(f->ref_kind, to->kind->name)))
		return 0;
	failed(c->ps, BLAME(.object = c->from->kind->name), -EBADMSG,
		"record %llu: its %s is the object %llu, which is %s%s", (unsigned long long)c->from->id, f->name,
		(unsigned long long)id, to ? "of the kind " : "not there", to ? to->kind->name : "");
	return ++c->wrong == REFS_NAMED;
}

static int check_refs(const struct image *img, struct problems *ps)
{
	struct check c = { .img = img, .ps = ps };

	for (size_t i = 0; i < img->n_records && c.wrong < REFS_NAMED; i++) {
		c.from = &img->records[i];
		fields_each_ref(c.from->kind->fields, c.from->state, check_ref, &c);
	}
	return c.wrong ? -EBADMSG : 0;
}

int image_index(struct image *img, struct problems *ps)
{
	int r = sort_ids(img, ps);

	if (r >= 0)
		r = check_ids_unique(img, ps);
	return r < 0 ? r : check_refs(img, ps);
}
