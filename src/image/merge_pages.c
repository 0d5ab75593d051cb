/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which pages an image needs of the page files of its chain. */
#include <errno.h>
#include <stdlib.h>

#include "image/merge.h"
#include "image/placed.h"

void needs_free(struct needs *n)
{
	free(n->list);
	free(n->by_order);
	*n = (struct needs){ 0 };
}

/* What the records of one image say. */
struct finding {
	const struct image *img;
	const struct record_kind *kind;
	struct problems *ps;
	struct needs *needs;
};

static int note(void *ctx, struct placed *stretch)
{
	struct finding *f = ctx;
	struct needs *n = f->needs;
	uint64_t there =
		stretch->file < f->img->n_page_files ? page_file_pages(f->img, (unsigned int)stretch->file) : 0;

	if (stretch->pages > there || stretch->at > there - stretch->pages)
		return failed(
			f->ps, BLAME(.object = f->kind->name), -EBADMSG, "the image has pages that no page file holds");
	if (n->n == n->room) {
		size_t room = n->room ? 2 * n->room : 256;
		struct needed *grown = reallocarray(n->list, room, sizeof(*grown));

		if (!grown)
			return failed(f->ps, NULL, -ENOMEM, "no memory for the image");
		n->list = grown;
		n->room = room;
	}
	n->list[n->n] = (struct needed){
		.at = stretch->at, .pages = stretch->pages, .order = n->n, .file = (unsigned int)stretch->file
	};
	n->n++;
	return 0;
}

static int by_place(const void *a, const void *b)
{
	const struct needed *x = a, *y = b;

	if (x->file != y->file)
		return x->file < y->file ? -1 : 1;
	return (x->at > y->at) - (x->at < y->at);
}

static int by_order(const void *a, const void *b)
{
	const struct needed *const *x = a, *const *y = b;

	return ((*x)->order > (*y)->order) - ((*x)->order < (*y)->order);
}

/* What is mentioned twice is needed once. Neighbours stay apart: each is a part of the work. */
static void join_overlapping(struct needs *needs)
{
	size_t n = 0;

	for (size_t i = 0; i < needs->n; i++) {
		struct needed *last = n ? &needs->list[n - 1] : NULL, *one = &needs->list[i];

		if (!last || last->file != one->file || last->at + last->pages <= one->at) {
			needs->list[n++] = *one;
			continue;
		}
		last->order = MIN(last->order, one->order);
		last->pages = MAX(last->at + last->pages, one->at + one->pages) - last->at;
	}
	needs->n = n;
}

static int put_in_order(struct needs *n)
{
	n->by_order = calloc(n->n + 1, sizeof(*n->by_order));
	if (!n->by_order)
		return -ENOMEM;
	for (size_t i = 0; i < n->n; i++) {
		n->by_order[i] = &n->list[i];
		n->pages += n->list[i].pages;
	}
	qsort(n->by_order, n->n, sizeof(struct needed *), by_order);
	return 0;
}

int needs_find(const struct image *img, struct problems *ps, struct needs *out)
{
	struct finding f = { .img = img, .ps = ps, .needs = out };
	int r = 0;

	for (size_t i = 0; r == 0 && i < img->n_records; i++) {
		f.kind = img->records[i].kind;
		r = fields_each_placed(f.kind->fields, img->records[i].state, note, &f);
	}
	if (r < 0)
		return r;
	if (out->n)
		qsort(out->list, out->n, sizeof(*out->list), by_place);
	join_overlapping(out);
	return put_in_order(out) < 0 ? failed(ps, NULL, -ENOMEM, "no memory for the image") : 0;
}

struct needed *needs_at(const struct needs *n, uint64_t file, uint64_t at)
{
	size_t low = 0, high = n->n;

	while (high - low > 1) { /* the last that does not begin behind it */
		size_t middle = low + (high - low) / 2;
		const struct needed *one = &n->list[middle];

		if (one->file < file || (one->file == file && one->at <= at))
			low = middle;
		else
			high = middle;
	}
	return &n->list[low];
}
