/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Records: what goes in comes out, and what should not be there is an error. */
#include <errno.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "image/format.h"
#include "image_sample.h"
#include "unit.h"

static void free_sample(struct sample *s)
{
	fields_free(sample_fields, s);
}

/* Encodes, decodes and encodes again: the bytes must be the same, and a decode that fails must leave nothing.
 */
static void round_trip(const struct sample *s)
{
	_cleanup_(bytes_free)
	struct bytes a = { 0 }, b = { 0 };
	_cleanup_(free_sample)
	struct sample back;
	const char *why = NULL;

	CHECK(record_encode(&sample_kind, 77, s, &a) == 0);
	CHECK(record_decode(&sample_kind, a.data, a.size, &back, &why) == 0);
	CHECK(record_encode(&sample_kind, 77, &back, &b) == 0);
	CHECK(a.size == b.size && !memcmp(a.data, b.data, a.size));
}

static void test_full(void)
{
	_cleanup_(free_sample)
	struct sample s = sample_full(), back;
	_cleanup_(bytes_free)
	struct bytes b = { 0 };
	const char *why = NULL;

	CHECK(record_encode(&sample_kind, 77, &s, &b) == 0);
	CHECK(record_decode(&sample_kind, b.data, b.size, &back, &why) == 0);
	CHECK(back.u8 == s.u8 && back.u16 == s.u16 && back.u32 == s.u32 && back.u64 == s.u64);
	CHECK(back.i8 == s.i8 && back.i16 == s.i16 && back.i32 == s.i32 && back.i64 == s.i64);
	CHECK(back.yes && !strcmp(back.string, s.string) && !strcmp(back.text, s.text));
	CHECK(!memcmp(back.bytes, s.bytes, sizeof(s.bytes)) && back.ref == 1 && back.later == 9);
	CHECK(back.blob.size == 300 && !memcmp(back.blob.data, s.blob.data, 300));
	CHECK(back.inner.x == -7 && !strcmp(back.inner.label, s.inner.label) && back.inner.peer == 2);
	CHECK(back.n_list == 3 && !back.list[0].label && back.list[1].x == INT32_MAX && !*back.list[1].label);
	CHECK(back.n_numbers == 4 && !memcmp(back.numbers, s.numbers, 4 * sizeof(uint64_t)));
}

static void test_extremes(void)
{
	struct sample s = { 0 };

	round_trip(&s);
	s = (struct sample){ .i8 = INT8_MAX, .i16 = INT16_MAX, .i32 = INT32_MAX, .i64 = INT64_MAX };
	round_trip(&s);
	s = (struct sample){ .i8 = -1, .i16 = -1, .i32 = -1, .i64 = -1 };
	round_trip(&s);
	for (int bit = 0; bit < 64; bit++) {
		s = (struct sample){ .u64 = 1ull << bit, .i64 = -(int64_t)(1ull << (bit % 63)) };
		round_trip(&s);
	}
	s = (struct sample){ 0 };
	memset(s.text, 'x', sizeof(s.text)); /* no NUL: cut, not overrun */
	round_trip(&s);
}

static void test_peek(void)
{
	struct record_kind k = sample_kind;
	_cleanup_(bytes_free)
	struct bytes b = { 0 };
	struct sample s = { 0 };
	uint32_t version;
	object_id id;
	bool critical;
	size_t length;
	char name[32];
	const char *why;

	k.critical = true;
	CHECK(record_encode(&k, 5, &s, &b) == 0);
	CHECK(record_encode(&sample_kind, UINT64_MAX, &s, &b) == 0);
	CHECK(record_peek(b.data, b.size, name, &id, &version, &critical, &length, &why) == 0);
	CHECK(!strcmp(name, "sample") && id == 5 && version == 2 && critical && length < b.size);
	CHECK(record_decode(&k, b.data, length, &s, &why) == 0);
	CHECK(record_decode(&k, b.data, b.size, &s, &why) == -EBADMSG);
	CHECK(record_peek(b.data + length, b.size - length, name, &id, &version, &critical, &length, &why) == 0);
	CHECK(id == UINT64_MAX && !critical);
}

/* --- hostile --- */

#define HEADER "\x62is\x66sample\x61v\x02\x62id\x01"

static int decode(const char *bytes, size_t size, const char **why)
{
	_cleanup_(free_sample)
	struct sample s;
	/* a copy of its exact size, so that ASan sees a byte read beyond it */
	_cleanup_free_ uint8_t *copy = malloc(size ? size : 1);

	memcpy(copy, bytes, size);
	*why = NULL;
	return record_decode(&sample_kind, copy, size, &s, why);
}

/* n pairs in all; the header's three among them. */
#define ACCEPTED(bytes)                                                                                                \
	({                                                                                                             \
		const char *why_;                                                                                      \
		CHECK(decode(bytes, sizeof(bytes) - 1, &why_) == 0);                                                   \
	})
#define REJECTED(bytes, expected)                                                                                      \
	({                                                                                                             \
		const char *why_;                                                                                      \
		CHECK(decode(bytes, sizeof(bytes) - 1, &why_) == -EBADMSG);                                            \
		CHECK(why_ &&strstr(why_, expected));                                                                  \
	})

static void test_accepted(void)
{
	ACCEPTED("\xa3" HEADER);
	ACCEPTED("\xa4" HEADER "\x62u8\x18\xff");
	ACCEPTED("\xa4" HEADER "\x62u8\x1b\0\0\0\0\0\0\0\xff"); /* longer than it need be */
	ACCEPTED("\xa5" HEADER "\x62u8\x01\x63new\x82\xa1\x01\xf6\xc1\xfb\0\0\0\0\0\0\0\0");
	ACCEPTED("\xa4" HEADER "\x66string\x41\xff");
	ACCEPTED("\xa4" HEADER "\x64list\x82\xa0\xa0");
	ACCEPTED("\xa5" HEADER "\x63yes\xf5\x62u8\x01"); /* in another order */
}

static void test_rejected(void)
{
	REJECTED("", "ends");
	REJECTED("\x01", "not a map");
	REJECTED("\xa0", "begin");
	REJECTED("\xa3\x61v\x02\x62is\x66sample\x62id\x01", "begin");
	REJECTED("\xa3\x62is\x66simple\x61v\x02\x62id\x01", "another kind");
	REJECTED("\xa3\x62is\x66sample\x61v\x00\x62id\x01", "version");
	REJECTED("\xa4" HEADER "\x68"
		 "critical\xf4",
		"critical");
	REJECTED("\xa3" HEADER "\x00", "follow");
	REJECTED("\xbf" HEADER "\xff", "definite");
	REJECTED("\xbb\xff\xff\xff\xff\xff\xff\xff\xff" HEADER, "longer");
	REJECTED("\xa4" HEADER "\x62u8\x19\x01\x00", "too large");
	REJECTED("\xa4" HEADER "\x62u8\x20", "unsigned");
	REJECTED("\xa4" HEADER "\x62i8\x18\x80", "too large");
	REJECTED("\xa4" HEADER "\x62i8\x38\x80", "too large");
	REJECTED("\xa4" HEADER "\x63i64\x3b\x80\0\0\0\0\0\0\0", "too large");
	REJECTED("\xa4" HEADER "\x62u8\xf9\0\0", "unsigned");
	REJECTED("\xa4" HEADER "\x63yes\x01", "neither");
	REJECTED("\xa4" HEADER "\x64text\x70"
		 "0123456789abcdef",
		"too long");
	REJECTED("\xa4" HEADER "\x64text\x62"
		 "a\0",
		"NUL");
	REJECTED("\xa4" HEADER "\x66string\x61\xff", "UTF-8");
	REJECTED("\xa4" HEADER "\x66string\x63\xed\xa0\x80", "UTF-8");
	REJECTED("\xa4" HEADER "\x66string\x7f\x61"
		 "a\xff",
		"definite");
	REJECTED("\xa4" HEADER "\x65"
		 "bytes\x43\1\2\3",
		"wrong length");
	REJECTED("\xa4" HEADER "\x64"
		 "blob\x5b\xff\xff\xff\xff\xff\xff\xff\xff",
		"ends");
	REJECTED("\xa4" HEADER "\x64list\x9b\x7f\xff\xff\xff\xff\xff\xff\xff", "longer");
	REJECTED("\xa4" HEADER "\x67numbers\x82\x01\x20", "unsigned");
	REJECTED("\xa5" HEADER "\x62u8\x01\x62u8\x01", "twice");
	REJECTED("\xa5" HEADER "\x63new\x01\x63new\x01", "twice");
	REJECTED("\xa4" HEADER "\x62id\x01", "twice");
	REJECTED("\xa4" HEADER "\x64list\x81\xa2\x61x\x01\x61x\x02", "twice");
	REJECTED("\xa4" HEADER "\x01\x01", "name");
	REJECTED("\xa4" HEADER "\x63new\x82\x9b\xff\xff\xff\xff\xff\xff\xff\xff", "longer");
	REJECTED("\xa4\x62is\x66sample\x61v\x01\x62id\x01\x65later\x01", "after its version");
}

/* A million arrays within each other in a field that nobody knows: passed over in linear time, without a deep
 * stack. */
static void test_deep(void)
{
	static const char start[] = "\xa4" HEADER "\x63new";
	size_t depth = 1000000, size = sizeof(start) - 1 + depth + 1;
	_cleanup_free_ char *bytes = malloc(size);
	const char *why;

	memcpy(bytes, start, sizeof(start) - 1);
	memset(bytes + sizeof(start) - 1, 0x81, depth);
	bytes[size - 1] = 0;
	CHECK(decode(bytes, size, &why) == 0);
	CHECK(decode(bytes, size - 1, &why) == -EBADMSG);
}

static void test_cut_anywhere(void)
{
	_cleanup_(free_sample)
	struct sample s = sample_full();
	_cleanup_(bytes_free)
	struct bytes b = { 0 };
	const char *why;

	CHECK(record_encode(&sample_kind, 1, &s, &b) == 0);
	for (size_t size = 0; size < b.size; size++) {
		CHECK(decode((char *)b.data, size, &why) == -EBADMSG);
		CHECK(why);
	}
}

/* A changed byte need not be an error to the decoder alone; it must not be a crash, and what is accepted must
 * encode. */
static void test_flips(void)
{
	_cleanup_(free_sample)
	struct sample s = sample_full();
	_cleanup_(bytes_free)
	struct bytes b = { 0 };
	const char *why;

	CHECK(record_encode(&sample_kind, 1, &s, &b) == 0);
	for (size_t i = 0; i < b.size; i++) {
		for (int flip = 1; flip < 256; flip++) {
			b.data[i] ^= (uint8_t)flip;
			if (decode((char *)b.data, b.size, &why) < 0)
				CHECK(why);
			b.data[i] ^= (uint8_t)flip;
		}
	}
}

static void test_garbage(void)
{
	unsigned int seed = 1;
	char bytes[64];
	const char *why;

	for (int i = 0; i < 100000; i++) {
		size_t n = (size_t)(i % (int)sizeof(bytes));

		for (size_t j = 0; j < n; j++)
			bytes[j] = (char)rand_r(&seed);
		CHECK(decode(bytes, n, &why) < 0 && why);
	}
}

/* A failed decode is freed like any other. */
static void test_half_filled(void)
{
	static const char bytes[] = "\xa5" HEADER "\x66string\x61"
				    "a\x64list\x81\xa2\x65label\x61"
				    "b\x61x\xf6";
	struct sample s;
	const char *why;

	CHECK(record_decode(&sample_kind, (const uint8_t *)bytes, sizeof(bytes) - 1, &s, &why) == -EBADMSG);
	CHECK(s.string && s.list && s.list[0].label);
	fields_free(sample_fields, &s);
	CHECK(!s.string && !s.list && !s.n_list);
	fields_free(sample_fields, &s);
}

/* --- shown --- */

static const struct record_kind point_kind = {
	.name = "point",
	.version = 1,
	.size = sizeof(struct sample_point),
	.fields = sample_point_fields,
	.doc = "A point",
};

static void expect_written(char **text, FILE *out, const char *expected)
{
	fclose(out);
	if (strcmp(*text, expected))
		fprintf(stderr, "written: %s\nexpected: %s\n", *text, expected);
	CHECK(!strcmp(*text, expected));
	free(*text);
}

#define WRITTEN(expected, call)                                                                                        \
	do {                                                                                                           \
		char *text_;                                                                                           \
		size_t size_;                                                                                          \
		FILE *out = open_memstream(&text_, &size_);                                                            \
		call;                                                                                                  \
		expect_written(&text_, out, expected);                                                                 \
	} while (0)

static void test_json(void)
{
	struct sample_point p = { .x = -1, .label = (char *)"\"\\\n\x7f\xc2\x9b\xff\xc3\xa9", .peer = 3 };

	WRITTEN("{\"is\":\"point\",\"v\":1,\"id\":8,\"x\":-1,"
		"\"label\":\"\\\"\\\\\\u000a\\u007f\\u009b\\udcff\xc3\xa9\",\"peer\":3}",
		record_json(&point_kind, 8, &p, out));
	p = (struct sample_point){ 0 };
	WRITTEN("{\"is\":\"point\",\"v\":1,\"id\":0,\"x\":0,\"label\":null,\"peer\":null}",
		record_json(&point_kind, 0, &p, out));
}

static void test_print(void)
{
	struct sample_point p = { .x = -1, .label = (char *)"\x1b[2J\n\xff", .peer = 3 };

	WRITTEN("point #8\n  x: -1\n  label: \"\\x1b[2J\\n\\xff\"\n  peer: sample #3\n",
		record_print(&point_kind, 8, &p, out, 0));
	p = (struct sample_point){ 0 };
	WRITTEN(" point\n   x: 0\n   peer: none\n", record_print(&point_kind, 0, &p, out, 1));
}

static void test_print_full(void)
{
	_cleanup_(free_sample)
	struct sample s = sample_full();
	_cleanup_free_ char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	record_print(&sample_kind, 1, &s, out, 0);
	fclose(out);
	CHECK(strstr(text, "  u16: 0xffff\n") && strstr(text, "  u32: 037777777777\n") && strstr(text, "  yes: yes\n"));
	CHECK(strstr(text, "  bytes: 010203ff\n") && strstr(text, "  blob: 300 bytes: 00000") &&
		strstr(text, "  ref: #1\n"));
	CHECK(strstr(text, "  inner:\n    x: -7\n") && strstr(text, "    - 1\n        x: 2147483647\n"));
	CHECK(strstr(text, "  numbers: 0xffffffffffffffff 0x0 0x17 0x18\n"));
}

static void test_reference(void)
{
	static const struct record_kind *const kinds[] = { &sample_kind, NULL };
	_cleanup_free_ char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	format_reference(kinds, out);
	fclose(out);
	CHECK(strstr(text, "### manifest\n") && strstr(text, "### sample\n\nevery type of field.\nVersion 2."));
	CHECK(strstr(text, "| `later` | u32 | since version 2: "));
	CHECK(strstr(text, "| `list.peer` | late reference to sample | its partner |\n"));
	CHECK(strstr(text, "| `text` | string(15) | "));
}

static void test_field_names(void)
{
	static const struct record_kind *const kinds[] = { &point_kind, &sample_kind, NULL };
	_cleanup_free_ char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	format_field_names(kinds, out);
	fclose(out);
	CHECK(!strncmp(text, "point.x\npoint.label\npoint.peer\nsample.u8\n", 41));
	CHECK(strstr(text, "\nsample.inner.x\n") && strstr(text, "\nsample.list\nsample.list.x\n"));
	CHECK(!strstr(text, "\nsample.inner\n"));
}

#ifdef SPORE_TEST_DROP
static struct sample decode_dropping(const char *drop)
{
	_cleanup_(free_sample)
	struct sample s = sample_full();
	_cleanup_(bytes_free)
	struct bytes b = { 0 };
	struct sample back;
	const char *why;

	setenv("SPORE_TEST_DROP", drop, 1);
	CHECK(record_encode(&sample_kind, 1, &s, &b) == 0);
	CHECK(record_decode(&sample_kind, b.data, b.size, &back, &why) == 0);
	unsetenv("SPORE_TEST_DROP");
	return back;
}

static void test_drop(void)
{
	struct sample s = decode_dropping("sample.u6");

	CHECK(s.u64 == UINT64_MAX);
	fields_free(sample_fields, &s);
	s = decode_dropping("sample.u64");
	CHECK(!s.u64 && s.u32);
	fields_free(sample_fields, &s);
	s = decode_dropping("other.u64");
	CHECK(s.u64);
	fields_free(sample_fields, &s);
	s = decode_dropping("sample.list");
	CHECK(!s.list && !s.n_list);
	fields_free(sample_fields, &s);
	s = decode_dropping("sample.list.x");
	CHECK(s.n_list == 3 && !s.list[1].x && s.list[1].label && s.inner.x == -7);
	fields_free(sample_fields, &s);
}
#else
static void test_drop(void)
{
}
#endif

int main(void)
{
	test_full();
	test_extremes();
	test_peek();
	test_accepted();
	test_rejected();
	test_deep();
	test_cut_anywhere();
	test_flips();
	test_garbage();
	test_half_filled();
	test_json();
	test_print();
	test_print_full();
	test_reference();
	test_field_names();
	test_drop();
	return 0;
}
