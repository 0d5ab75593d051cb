/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One open of an image: what its steps hand to each other. Private to the image layer. */
#pragma once

#include "image/reader.h"

#define MANIFEST_MOST (16ul << 20)

struct opening {
	struct image *img;
	struct problems *ps;
	struct manifest manifest;
	bool *read; /* for each file of the manifest */
};

/* Where the records of one file go. */
struct some_records {
	struct record *records;
	char *states;
	size_t n;
};

/* --- reader.c --- */

/* A regular file of the directory. */
int opening_file(struct opening *o, const char *name, int *fd, uint64_t *size);
/* The file of a kind, which is then read; NULL: there is none. */
const struct manifest_file *opening_find(struct opening *o, const struct record_kind *k);
int opening_records(
	struct opening *o, const struct manifest_file *file, const struct record_kind *k, struct some_records *out);
void records_free(struct some_records *batch);
/* A file as the manifest describes it. */
int opening_bytes(struct opening *o, const struct manifest_file *file, struct bytes *b);
/* What is wrong with a file; return the error. */
int opening_damaged(struct opening *o, const char *name, const char *why);
int opening_wrong_length(struct opening *o, const struct manifest_file *file, uint64_t size);
/* Its own page files and their checksums, and nothing else. */
int image_open_pages(int dir_fd, struct problems *ps, struct image **out);

/* --- page_files.c --- */

/* Its page files and their checksums; with its ancestors', unless it is looked at as one itself. */
int opening_page_files(struct opening *o, bool ancestors);

/* --- stream_open.c --- */

/* Reads a stream as far as its blocks; the manifest is then what has come. */
int opening_stream(struct opening *o, int fd);
/* As opening_file: one that came. */
int opening_member(struct opening *o, const char *name, int *fd, uint64_t *size);
/* Is it the page file that comes in blocks? */
bool opening_is_streamed(const struct opening *o, unsigned int number);
