/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image/item.h"

#include <cbor.h>
#include <errno.h>
#include <string.h>

#include "base/macro.h"

static void got(void *ctx, enum item_type type, uint64_t value)
{
	*(struct item *)ctx = (struct item){ .type = type, .value = value };
}

static void got_uint8(void *ctx, uint8_t v)
{
	got(ctx, ITEM_UINT, v);
}

static void got_uint16(void *ctx, uint16_t v)
{
	got(ctx, ITEM_UINT, v);
}

static void got_uint32(void *ctx, uint32_t v)
{
	got(ctx, ITEM_UINT, v);
}

static void got_uint64(void *ctx, uint64_t v)
{
	got(ctx, ITEM_UINT, v);
}

static void got_negative8(void *ctx, uint8_t v)
{
	got(ctx, ITEM_NEGATIVE, v);
}

static void got_negative16(void *ctx, uint16_t v)
{
	got(ctx, ITEM_NEGATIVE, v);
}

static void got_negative32(void *ctx, uint32_t v)
{
	got(ctx, ITEM_NEGATIVE, v);
}

static void got_negative64(void *ctx, uint64_t v)
{
	got(ctx, ITEM_NEGATIVE, v);
}

static void got_bytes(void *ctx, cbor_data data, size_t size)
{
	*(struct item *)ctx = (struct item){ .type = ITEM_BYTES, .value = size, .data = data };
}

static void got_text(void *ctx, cbor_data data, size_t size)
{
	*(struct item *)ctx = (struct item){ .type = ITEM_TEXT, .value = size, .data = data };
}

static void got_array(void *ctx, size_t n)
{
	got(ctx, ITEM_ARRAY, n);
}

static void got_map(void *ctx, size_t n)
{
	got(ctx, ITEM_MAP, n);
}

static void got_tag(void *ctx, uint64_t tag)
{
	got(ctx, ITEM_TAG, tag);
}

static void got_bool(void *ctx, bool v)
{
	got(ctx, ITEM_BOOL, v);
}

static void got_float(void *ctx, float v)
{
	got(ctx, ITEM_OTHER, 0);
}

static void got_double(void *ctx, double v)
{
	got(ctx, ITEM_OTHER, 0);
}

static void got_other(void *ctx)
{
	got(ctx, ITEM_OTHER, 0);
}

static void got_indefinite(void *ctx)
{
	got(ctx, ITEM_INDEFINITE, 0);
}

static const struct cbor_callbacks callbacks = {
	.uint8 = got_uint8,
	.uint16 = got_uint16,
	.uint32 = got_uint32,
	.uint64 = got_uint64,
	.negint8 = got_negative8,
	.negint16 = got_negative16,
	.negint32 = got_negative32,
	.negint64 = got_negative64,
	.byte_string_start = got_indefinite,
	.byte_string = got_bytes,
	.string = got_text,
	.string_start = got_indefinite,
	.indef_array_start = got_indefinite,
	.array_start = got_array,
	.indef_map_start = got_indefinite,
	.map_start = got_map,
	.tag = got_tag,
	.float2 = got_float,
	.float4 = got_float,
	.float8 = got_double,
	.undefined = got_other,
	.null = got_other,
	.boolean = got_bool,
	.indef_break = got_indefinite,
};

int cursor_bad(struct cursor *c, const char *why)
{
	c->why = why;
	return -EBADMSG;
}

static void pass_over(struct cursor *c, size_t bytes)
{
	c->at += bytes;
	c->left -= bytes;
}

/* An item as nearly all are, whole and of definite length, without the decoder's detour through callbacks. false: it is for the decoder. */
static bool take_plain(struct cursor *c, struct item *item)
{
	static const enum item_type types[] = { ITEM_UINT, ITEM_NEGATIVE, ITEM_BYTES, ITEM_TEXT, ITEM_ARRAY, ITEM_MAP };
	uint8_t major = c->left ? c->at[0] >> 5 : UINT8_MAX, info = c->left ? c->at[0] & 31 : UINT8_MAX;
	size_t head = info < 24 ? 1 : info < 28 ? 1 + (1ul << (info - 24)) : SIZE_MAX;
	uint64_t value = info < 24 ? info : 0;
	bool text;

	if (major >= ARRAY_SIZE(types) || head > c->left)
		return false;
	for (size_t i = 1; i < head; i++)
		value = value << 8 | c->at[i];
	text = types[major] == ITEM_BYTES || types[major] == ITEM_TEXT;
	if (text && value > c->left - head)
		return false;
	*item = (struct item){ .type = types[major], .value = value, .data = text ? c->at + head : NULL };
	pass_over(c, head + (text ? value : 0));
	return true;
}

static int take_any(struct cursor *c, struct item *item)
{
	struct cbor_decoder_result r;

	*item = (struct item){ 0 };
	r = cbor_stream_decode(c->at, c->left, &callbacks, item);
	if (r.status == CBOR_DECODER_NEDATA)
		return cursor_bad(c, "it ends in the middle of a record");
	if (r.status != CBOR_DECODER_FINISHED || item->type == ITEM_NONE)
		return cursor_bad(c, "it is not CBOR");
	if (item->type == ITEM_INDEFINITE)
		return cursor_bad(c, "something in it has no definite length");
	pass_over(c, r.read);
	return 0;
}

int cursor_item(struct cursor *c, struct item *item)
{
	int r = take_plain(c, item) ? 0 : take_any(c, item);

	if (r < 0)
		return r;
	if (item->type == ITEM_ARRAY && item->value > c->left)
		return cursor_bad(c, "a list is longer than what follows");
	if (item->type == ITEM_MAP && item->value > c->left / 2)
		return cursor_bad(c, "a map is longer than what follows");
	return 0;
}

int cursor_expect(struct cursor *c, enum item_type type, struct item *item, const char *why)
{
	int r = cursor_item(c, item);

	if (r < 0)
		return r;
	return item->type == type ? 0 : cursor_bad(c, why);
}

/* Counts the items to come instead of descending, so that depth costs nothing. */
int cursor_skip(struct cursor *c)
{
	struct item item;
	uint64_t left = 1;
	int r;

	while (left--) {
		r = cursor_item(c, &item);
		if (r < 0)
			return r;
		if (item.type == ITEM_ARRAY)
			left += item.value;
		else if (item.type == ITEM_MAP)
			left += 2 * item.value;
		else if (item.type == ITEM_TAG)
			left++;
		if (left > c->left)
			return cursor_bad(c, "a list is longer than what follows");
	}
	return 0;
}

bool item_is(const struct item *item, const char *text)
{
	return item->type == ITEM_TEXT && item->value == strlen(text) && !memcmp(item->data, text, item->value);
}
