/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <cbor.h>
#include <errno.h>

#include "image/member.h"
#include "image/record.h"
#include "image/text.h"

/* Errors are sticky: write on, and look at the end. */
struct encoder {
	struct bytes *out;
	int error;
};

typedef size_t (*encode_number)(uint64_t value, unsigned char *out, size_t room);

static void put_raw(struct encoder *e, const void *data, size_t size)
{
	if (!e->error)
		e->error = bytes_append(e->out, data, size);
}

static void put_head(struct encoder *e, encode_number encode, uint64_t value)
{
	unsigned char head[9];

	put_raw(e, head, encode(value, head, sizeof(head)));
}

static void put_bytes(struct encoder *e, const void *data, size_t size)
{
	put_head(e, cbor_encode_bytestring_start, size);
	put_raw(e, data, size);
}

/* What the kernel calls a string is bytes without a NUL; CBOR's text is UTF-8 by definition, so the rest are
 * byte strings. */
static void put_text(struct encoder *e, const char *s, size_t size)
{
	put_head(e, utf8_valid(s, size) ? cbor_encode_string_start : cbor_encode_bytestring_start, size);
	put_raw(e, s, size);
}

static void put_key(struct encoder *e, const char *key)
{
	put_head(e, cbor_encode_string_start, strlen(key));
	put_raw(e, key, strlen(key));
}

static void put_bool(struct encoder *e, bool value)
{
	unsigned char byte[1];

	put_raw(e, byte, cbor_encode_bool(value, byte, sizeof(byte)));
}

static void put_int(struct encoder *e, int64_t value)
{
	if (value < 0)
		put_head(e, cbor_encode_negint, ~(uint64_t)value);
	else
		put_head(e, cbor_encode_uint, (uint64_t)value);
}

static bool left_out(const struct field *f, const void *state)
{
	return (f->type == FIELD_TYPE_STRING && !member_pointer(f, state)) ||
	       (f->type == FIELD_TYPE_REF && !member_uint(f, state));
}

static size_t count_fields(const struct field *table, const void *state)
{
	size_t n = 0;

	for (const struct field *f = table; f->type != FIELD_TYPE_END; f++)
		n += !left_out(f, state);
	return n;
}

static void put_fields(struct encoder *e, const struct field *table, const void *state);

static void put_struct(struct encoder *e, const struct field *table, const void *state)
{
	put_head(e, cbor_encode_map_start, count_fields(table, state));
	put_fields(e, table, state);
}

static void put_list(struct encoder *e, const struct field *f, const void *state)
{
	const char *list = member_pointer(f, state);
	size_t n = list ? member_count_const(f, state) : 0;

	put_head(e, cbor_encode_array_start, n);
	for (size_t i = 0; i < n && !e->error; i++) {
		if (f->type == FIELD_TYPE_LIST)
			put_struct(e, f->sub, list + i * f->size);
		else
			put_head(e, cbor_encode_uint, ((const uint64_t *)(const void *)list)[i]);
	}
}

static void put_value(struct encoder *e, const struct field *f, const void *state)
{
	const struct blob *blob = member_const(f, state);
	const char *text = member_const(f, state);

	switch (f->type) {
	case FIELD_TYPE_UINT:
	case FIELD_TYPE_REF:
		return put_head(e, cbor_encode_uint, member_uint(f, state));
	case FIELD_TYPE_INT:
		return put_int(e, member_int(f, state));
	case FIELD_TYPE_BOOL:
		return put_bool(e, member_uint(f, state));
	case FIELD_TYPE_STRING:
		return put_text(e, member_pointer(f, state), strlen(member_pointer(f, state)));
	case FIELD_TYPE_TEXT:
		return put_text(e, text, strnlen(text, f->size - 1));
	case FIELD_TYPE_BYTES:
		return put_bytes(e, text, f->size);
	case FIELD_TYPE_BLOB:
		return put_bytes(e, blob->data, blob->data ? blob->size : 0);
	case FIELD_TYPE_STRUCT:
		return put_struct(e, f->sub, member_const(f, state));
	case FIELD_TYPE_LIST:
	case FIELD_TYPE_UINTS:
		return put_list(e, f, state);
	case FIELD_TYPE_END:
		break;
	}
}

static void put_fields(struct encoder *e, const struct field *table, const void *state)
{
	for (const struct field *f = table; f->type != FIELD_TYPE_END; f++) {
		if (left_out(f, state))
			continue;
		put_key(e, f->name);
		put_value(e, f, state);
	}
}

int record_encode(const struct record_kind *k, object_id id, const void *state, struct bytes *out)
{
	struct encoder e = { .out = out };
	size_t before = out->size;

	put_head(&e, cbor_encode_map_start, 3 + k->critical + count_fields(k->fields, state));
	put_key(&e, "is");
	put_key(&e, k->name);
	put_key(&e, "v");
	put_head(&e, cbor_encode_uint, k->version);
	put_key(&e, "id");
	put_head(&e, cbor_encode_uint, id);
	if (k->critical) {
		put_key(&e, "critical");
		put_bool(&e, true);
	}
	put_fields(&e, k->fields, state);
	if (e.error)
		out->size = before;
	return e.error;
}
