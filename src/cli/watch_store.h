/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The directory of `spore watch`: images with numbers for names, and `latest`, a link to the newest. Whatever has a number is a whole image, and those that it needs are there: a new one
 * is made under another name and renamed when it is complete; one that others need is never removed; and what is removed loses its number first.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STORE_NAME 24 /* room for one */

struct stored {
	uint64_t number;
	uint8_t id[16], parent[16]; /* zero: it stands alone */
	uint64_t bytes;
};

struct store {
	const char *path;
	int dir_fd;	     /* with a lock that keeps another watch out */
	struct stored *list; /* by number */
	size_t n;
	uint64_t next; /* number */
};

/* Made if it is missing; what a killed one left behind is removed. 0, or an exit status when it has been said what is wrong. */
int store_open(struct store *s, const char *path);
void store_close(struct store *s);

const struct stored *store_newest(const struct store *s); /* NULL: none */
void store_name(uint64_t number, char name[static STORE_NAME]);
/* Its directory. Negative errno */
int store_image(const struct store *s, const struct stored *one);

/* An empty directory for an image that is not yet one of them. Negative errno */
int store_begin(const struct store *s);
/* Nothing came of it. */
void store_drop(const struct store *s);
/* The image there is complete: it becomes the newest. */
int store_add(struct store *s);
/* The image there is complete, and takes the newest one's place, which nobody else needs. -EINVAL: this file system cannot exchange names */
int store_replace_newest(struct store *s);

/* How many images lie between the newest and the one that stands alone, and their bytes and that one's. */
size_t store_chain(const struct store *s, uint64_t *bytes, uint64_t *base);
/* Removes all but the last `keep`, and those that these need: how many. */
size_t store_prune(struct store *s, size_t keep);
uint64_t store_bytes(const struct store *s);
