/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A walk over hostile CBOR, one item at a time. Private to the image layer. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum item_type {
	ITEM_NONE,
	ITEM_UINT,
	ITEM_NEGATIVE, /* value n stands for -1 - n */
	ITEM_BYTES,
	ITEM_TEXT,
	ITEM_ARRAY, /* value: how many items follow */
	ITEM_MAP,   /* value: how many pairs follow */
	ITEM_TAG,   /* one item follows */
	ITEM_BOOL,
	ITEM_OTHER, /* null, undefined, a floating-point number: no field is one */
	ITEM_INDEFINITE,
};

struct item {
	enum item_type type;
	uint64_t value;	     /* BYTES and TEXT: the length */
	const uint8_t *data; /* BYTES and TEXT: within the buffer */
};

struct cursor {
	const uint8_t *at;
	size_t left;
	const char *why; /* a literal, once something was wrong */
};

/* Sets why, returns -EBADMSG. */
int cursor_bad(struct cursor *c, const char *why);
/* Reads an item's head (and a string's bytes). An array or map cannot announce more items than there are
 * bytes left. */
int cursor_item(struct cursor *c, struct item *item);
int cursor_expect(struct cursor *c, enum item_type type, struct item *item, const char *why);
/* Passes over one whole item, whatever is in it. */
int cursor_skip(struct cursor *c);
bool item_is(const struct item *item, const char *text);
