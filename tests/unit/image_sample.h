/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A kind of record that has every type of field; shared by the tests and the fuzzer of the image layer. */
#pragma once

#include <stdlib.h>
#include <string.h>

#include "image/record.h"

struct sample_point {
	int32_t x;
	char *label;
	object_id peer;
};

struct sample {
	uint8_t u8;
	uint16_t u16;
	uint32_t u32;
	uint64_t u64;
	int8_t i8;
	int16_t i16;
	int32_t i32;
	int64_t i64;
	bool yes;
	char *string;
	char text[16];
	uint8_t bytes[4];
	struct blob blob;
	object_id ref;
	struct sample_point inner;
	struct sample_point *list;
	size_t n_list;
	uint64_t *numbers;
	size_t n_numbers;
	uint32_t later;
};

static const struct field sample_point_fields[] = {
	FIELD_INT(struct sample_point, x, "x", "a place"),
	FIELD_STRING(struct sample_point, label, "label", "its name"),
	FIELD_REF(struct sample_point, peer, "peer", "sample", REF_LATE, "its partner"),
	FIELD_END,
};

static const struct field sample_fields[] = {
	FIELD_UINT(struct sample, u8, "u8", ""),
	FIELD_HEX(struct sample, u16, "u16", ""),
	FIELD_OCTAL(struct sample, u32, "u32", ""),
	FIELD_UINT(struct sample, u64, "u64", ""),
	FIELD_INT(struct sample, i8, "i8", ""),
	FIELD_INT(struct sample, i16, "i16", ""),
	FIELD_INT(struct sample, i32, "i32", ""),
	FIELD_INT(struct sample, i64, "i64", ""),
	FIELD_BOOL(struct sample, yes, "yes", ""),
	FIELD_STRING(struct sample, string, "string", ""),
	FIELD_TEXT(struct sample, text, "text", ""),
	FIELD_BYTES(struct sample, bytes, "bytes", ""),
	FIELD_BLOB(struct sample, blob, "blob", ""),
	FIELD_REF(struct sample, ref, "ref", NULL, REF_STRONG, ""),
	FIELD_STRUCT(struct sample, inner, "inner", sample_point_fields, ""),
	FIELD_LIST(struct sample, list, n_list, "list", sample_point_fields, ""),
	FIELD_UINTS(struct sample, numbers, n_numbers, "numbers", SHOW_HEX, ""),
	FIELD_SINCE(2, UINT, struct sample, later, "later", ""),
	FIELD_END,
};

static const struct record_kind sample_kind = {
	.name = "sample",
	.version = 2,
	.size = sizeof(struct sample),
	.fields = sample_fields,
	.doc = "every type of field",
	.sources = "tests/unit",
};

/* One with all its fields set. Freed by fields_free. */
static inline struct sample sample_full(void)
{
	struct sample s = {
		.u8 = UINT8_MAX,
		.u16 = UINT16_MAX,
		.u32 = UINT32_MAX,
		.u64 = UINT64_MAX,
		.i8 = INT8_MIN,
		.i16 = INT16_MIN,
		.i32 = INT32_MIN,
		.i64 = INT64_MIN,
		.yes = true,
		.string = strdup("a b\n\"\xc3\xa9\""),
		.text = "fifteen letters",
		.bytes = { 1, 2, 3, 255 },
		.ref = 1,
		.inner = { -7, strdup("\xff raw"), 2 },
		.n_list = 3,
		.n_numbers = 4,
		.later = 9,
	};

	s.blob = (struct blob){ calloc(1, 300), 300 };
	s.blob.data[299] = 0x80;
	s.list = calloc(s.n_list, sizeof(*s.list));
	s.list[1] = (struct sample_point){ INT32_MAX, strdup(""), 1 };
	s.numbers = calloc(s.n_numbers, sizeof(*s.numbers));
	s.numbers[0] = UINT64_MAX;
	s.numbers[2] = 23;
	s.numbers[3] = 24;
	return s;
}
