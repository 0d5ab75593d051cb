/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The older images in whose page files some of an image's pages lie. Page files are numbered along a chain: an image's own begin where those of its parent ended,
 * so that a number means the same file in every image of the chain. Private to the image layer.
 */
#pragma once

#include "image/directory.h"

#define PAGE_FILES_MOST (1u << 20) /* of a chain */

/* As it is written down. */
struct ancestor {
	uint8_t image_id[16];
	uint8_t manifest[16]; /* XXH3, 128 bits, canonical, of its manifest: with that of every file and page of it */
	char *path;
	uint64_t first, n_files; /* its page files */
};

/* One that is open. */
struct older_image {
	uint8_t image_id[16], manifest[16];
	int dir_fd;
	unsigned int first, n_files;
};

extern const struct record_kind ancestor_kind;

/* Adds a record for each of the images of the parent's chain of which a page file is used. */
int ancestors_write(
	struct image_writer *w, int dir_fd, const struct image *parent, const bool *used, struct problems *ps);
/* Opens the directory of an ancestor of the image in dir_fd: by its path, or, where that leads to another, beside the image. */
int ancestor_open(int dir_fd, const struct ancestor *a, struct problems *ps, int *out);
/* 1: the directory has the manifest of that checksum; 0: it has not. */
int directory_has_manifest(int dir_fd, const uint8_t sum[static 16]);
/* Is it the directory of one of the chain? */
bool ancestors_include(const struct image *newest, int dir_fd);
