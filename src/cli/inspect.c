/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* spore inspect: the records of an image, each under the one that it belongs to. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/image.h"
#include "cli/json.h"

/* The object that a record hangs under: its owner ("of"), or a process's parent. 0: none. */
static object_id above(const struct record *r)
{
	for (const struct field *f = r->kind->fields; f->type != FIELD_TYPE_END; f++)
		if (f->type == FIELD_TYPE_REF && (strcmp(f->name, "of") == 0 || strcmp(f->name, "parent") == 0))
			return *(const object_id *)((const char *)r->state + f->offset);
	return 0;
}

struct leaf {
	object_id above;
	size_t at; /* in the image's records */
};

static int by_owner(const void *a, const void *b)
{
	const struct leaf *x = a, *y = b;

	if (x->above != y->above)
		return x->above < y->above ? -1 : 1;
	return (x->at > y->at) - (x->at < y->at);
}

struct inspection {
	const struct image *image;
	struct leaf *leaves; /* sorted by owner */
	bool *printed;
};

static size_t first_under(const struct inspection *in, object_id id)
{
	size_t low = 0, high = in->image->n_records;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (in->leaves[mid].above < id)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* A hostile image may have cycles: each record is printed once, and never too deep for the stack. */
static void print_under(const struct inspection *in, object_id id, int depth)
{
	if (depth > 200)
		return;
	for (size_t i = first_under(in, id); i < in->image->n_records && in->leaves[i].above == id; i++) {
		const struct record *r = &in->image->records[in->leaves[i].at];

		if (in->printed[in->leaves[i].at])
			continue;
		in->printed[in->leaves[i].at] = true;
		record_print(r->kind, r->id, r->state, stdout, depth * 2);
		if (r->id)
			print_under(in, r->id, depth + 1);
	}
}

static void print_head(const struct image_head *h)
{
	time_t created = (time_t)h->created;
	char text[32] = "?";
	struct tm tm;

	if (localtime_r(&created, &tm))
		strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm);
	printf("image ");
	for (size_t i = 0; i < sizeof(h->id); i++)
		printf("%02x", h->id[i]);
	printf(", format %" PRIu64 ", made %s by spore %s on Linux %s %s\n", h->format, text,
		h->spore_version ? h->spore_version : "?", h->kernel ? h->kernel : "?", h->machine ? h->machine : "?");
}

static void print_pages(const struct image *image)
{
	struct page_file_facts all = { 0 }, one;
	double mib;

	for (unsigned int i = 0; i < image->n_page_files; i++) {
		if (!page_file_is_own(image, i, &one))
			continue;
		all.pages += one.pages;
		all.size += one.size;
		all.compression = one.compression ? one.compression : all.compression;
	}
	mib = (double)(all.pages * PAGE_SIZE) / 1048576;
	printf("%" PRIu64 " pages of its own: %.1f MiB", all.pages, mib);
	if (all.compression && all.size)
		printf(", compressed by %s to %.1f MiB (%.2f to 1)", all.compression, (double)all.size / 1048576,
			(double)(all.pages * PAGE_SIZE) / (double)all.size);
	printf("\n");
}

static int print_tree(const struct image *image)
{
	_cleanup_free_ struct leaf *leaves = calloc(image->n_records + 1, sizeof(*leaves));
	_cleanup_free_ bool *printed = calloc(image->n_records + 1, sizeof(*printed));
	struct inspection in = { .image = image, .leaves = leaves, .printed = printed };

	if (!leaves || !printed) {
		say_error("inspect", "out of memory");
		return STATUS_FAILED;
	}
	for (size_t i = 0; i < image->n_records; i++)
		leaves[i] = (struct leaf){ .above = above(&image->records[i]), .at = i };
	qsort(leaves, image->n_records, sizeof(*leaves), by_owner);
	print_head(&image->head);
	print_pages(image);
	print_under(&in, 0, 0);
	for (size_t i = 0; i < image->n_records; i++) /* what is reached from nowhere */
		if (!printed[i])
			record_print(image->records[i].kind, image->records[i].id, image->records[i].state, stdout, 0);
	return STATUS_DONE;
}

static void json_page_files(const struct image *image)
{
	const char *before = "";
	struct page_file_facts one;

	for (unsigned int i = 0; i < image->n_page_files; i++) {
		if (!page_file_is_own(image, i, &one))
			continue;
		printf("%s\n{\"file\": %u, \"pages\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"stored_bytes\": %" PRIu64
		       ", \"compression\": ",
			before, i, one.pages, one.pages * PAGE_SIZE, one.size);
		if (one.compression)
			json_string(stdout, one.compression);
		else
			printf("null");
		printf("}");
		before = ",";
	}
}

static int print_json(const struct image *image)
{
	printf("{\"head\": ");
	record_json(&image_head_kind, 0, &image->head, stdout);
	printf(",\n\"page_files\": [");
	json_page_files(image);
	printf("],\n\"records\": [");
	for (size_t i = 0; i < image->n_records; i++) {
		const struct record *r = &image->records[i];

		printf("%s\n", i ? "," : "");
		record_json(r->kind, r->id, r->state, stdout);
	}
	printf("\n]}\n");
	return STATUS_DONE;
}

static int run(int argc, char **argv)
{
	static const struct option options[] = { { "json", no_argument, NULL, 'j' }, { 0 } };
	struct image *image;
	bool json = false;
	int c, status;

	while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		if (c != 'j')
			return say_bad_option("inspect", c, argv);
		json = true;
	}
	if (argc - optind != 1)
		return say_usage("inspect", "it takes DIR");
	image = image_load("inspect", argv[optind], &status);
	if (!image)
		return status;
	status = json ? print_json(image) : print_tree(image);
	image_free(image);
	return status;
}

const struct command command_inspect = {
	.name = "inspect",
	.usage = "[--json] DIR",
	.summary = "shows what an image holds",
	.help = "  --json  one object: head, page_files, records\n",
	.run = run,
};
