/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fields: a constant table that says how a struct looks in the image. The table alone drives encoding, decoding,
 * `spore inspect`, the format reference and the validation of references; the member's C type is checked against the
 * field's at compile time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macro.h"

/* An object's id: unique in an image. 0: no object. */
typedef uint64_t object_id;

struct blob {
	uint8_t *data;
	size_t size;
};

enum field_type {
	FIELD_TYPE_END,
	FIELD_TYPE_UINT, /* uint8_t to uint64_t, by size */
	FIELD_TYPE_INT,	 /* int8_t to int64_t */
	FIELD_TYPE_BOOL,
	FIELD_TYPE_STRING, /* char *, allocated; NULL is left out. Stands in the image as text, or as bytes where it is not UTF-8 */
	FIELD_TYPE_TEXT,   /* char [N], NUL-terminated; in the image like a STRING */
	FIELD_TYPE_BLOB,   /* struct blob, allocated */
	FIELD_TYPE_REF,	   /* object_id; 0 is left out */
	FIELD_TYPE_STRUCT, /* an embedded struct with a table of its own */
	FIELD_TYPE_LIST,   /* allocated array of structs: pointer and size_t count */
	FIELD_TYPE_UINTS,  /* allocated array of uint64_t: pointer and size_t count */
	FIELD_TYPE_BYTES,  /* uint8_t [N]: always N bytes */
};

enum field_show { SHOW_DECIMAL, SHOW_HEX, SHOW_OCTAL }; /* how inspect prints a number */

enum ref_strength {
	REF_STRONG, /* the target is made first: these form no cycle */
	REF_LATE,
};

/* What a field says of pages that lie in page files: of a table that has FILE, each struct is one stretch of them. */
enum field_pages {
	PAGES_NONE,
	PAGES_WHERE, /* the first one's address, or place in a file: bytes */
	PAGES_COUNT, /* how many */
	PAGES_BYTES, /* or how many bytes; the last page may be a part */
	PAGES_FILE,  /* number of the page file */
	PAGES_AT,    /* first page in it */
};

struct field {
	const char *name;
	enum field_type type;
	enum field_show show;
	size_t offset, size;	 /* of the member; LIST: size of one element */
	size_t count_offset;	 /* LIST and UINTS */
	const struct field *sub; /* STRUCT and LIST */
	const char *ref_kind;	 /* REF: the name of the kind it must be; NULL: any */
	enum ref_strength strength;
	enum field_pages pages;
	uint32_t
		since; /* the version of the kind that brought it; 0 and 1: from the start. A field that is absent reads as zero */
	const char *doc; /* one line for the format reference */
};

#define FIELD_MEMBER_(t, m) .offset = offsetof(t, m), .size = sizeof(((t *)0)->m)
#define FIELD_TYPED_(t, m, type)                                                                                       \
	.offset = offsetof(t, m) +                                                                                     \
		  0 * sizeof(char[__builtin_types_compatible_p(__typeof__(((t *)0)->m), type) ? 1 : -1]),              \
	.size = sizeof(((t *)0)->m)
#define FIELD_COUNT_(t, m)                                                                                             \
	.count_offset = offsetof(t, m) +                                                                               \
			0 * sizeof(char[__builtin_types_compatible_p(__typeof__(((t *)0)->m), size_t) ? 1 : -1])
#define FIELD_UNSIGNED_(t, m, sh, n, d)                                                                                \
	.name = n, .type = FIELD_TYPE_UINT, .show = sh, .size = sizeof(((t *)0)->m), .doc = d,                         \
	.offset = offsetof(t, m) + 0 * sizeof(char[((__typeof__(((t *)0)->m))-1 > 0) ? 1 : -1])
#define FIELD_SIGNED_(t, m, n, d)                                                                                      \
	.name = n, .type = FIELD_TYPE_INT, .size = sizeof(((t *)0)->m), .doc = d,                                      \
	.offset = offsetof(t, m) + 0 * sizeof(char[((__typeof__(((t *)0)->m))-1 < 0) ? 1 : -1])

#define FIELD_UINT_(t, m, n, d)	  FIELD_UNSIGNED_(t, m, SHOW_DECIMAL, n, d)
#define FIELD_HEX_(t, m, n, d)	  FIELD_UNSIGNED_(t, m, SHOW_HEX, n, d)
#define FIELD_OCTAL_(t, m, n, d)  FIELD_UNSIGNED_(t, m, SHOW_OCTAL, n, d)
#define FIELD_INT_(t, m, n, d)	  FIELD_SIGNED_(t, m, n, d)
#define FIELD_BOOL_(t, m, n, d)	  .name = n, .type = FIELD_TYPE_BOOL, FIELD_TYPED_(t, m, bool), .doc = d
#define FIELD_STRING_(t, m, n, d) .name = n, .type = FIELD_TYPE_STRING, FIELD_TYPED_(t, m, char *), .doc = d
#define FIELD_TEXT_(t, m, n, d)                                                                                        \
	.name = n, .type = FIELD_TYPE_TEXT, FIELD_TYPED_(t, m, char[sizeof(((t *)0)->m)]), .doc = d
#define FIELD_BYTES_(t, m, n, d)                                                                                       \
	.name = n, .type = FIELD_TYPE_BYTES, FIELD_TYPED_(t, m, uint8_t[sizeof(((t *)0)->m)]), .doc = d
#define FIELD_BLOB_(t, m, n, d) .name = n, .type = FIELD_TYPE_BLOB, FIELD_TYPED_(t, m, struct blob), .doc = d
#define FIELD_REF_(t, m, n, kind, str, d)                                                                              \
	.name = n, .type = FIELD_TYPE_REF, FIELD_TYPED_(t, m, object_id), .ref_kind = kind, .strength = str, .doc = d
#define FIELD_STRUCT_(t, m, n, table, d)                                                                               \
	.name = n, .type = FIELD_TYPE_STRUCT, FIELD_MEMBER_(t, m), .sub = table, .doc = d
#define FIELD_LIST_(t, m, count, n, table, d)                                                                          \
	.name = n, .type = FIELD_TYPE_LIST, .offset = offsetof(t, m), .size = sizeof(*((t *)0)->m),                    \
	FIELD_COUNT_(t, count), .sub = table, .doc = d
#define FIELD_UINTS_(t, m, count, n, sh, d)                                                                            \
	.name = n, .type = FIELD_TYPE_UINTS, .show = sh, FIELD_TYPED_(t, m, uint64_t *), FIELD_COUNT_(t, count),       \
	.doc = d

/* What a table is written with: (struct type, member, ["count member",] "name", [...,] "doc"). */
#define FIELD_UINT(...)                                                                                                \
	{                                                                                                              \
		FIELD_UINT_(__VA_ARGS__)                                                                               \
	}
#define FIELD_HEX(...)                                                                                                 \
	{                                                                                                              \
		FIELD_HEX_(__VA_ARGS__)                                                                                \
	}
#define FIELD_OCTAL(...)                                                                                               \
	{                                                                                                              \
		FIELD_OCTAL_(__VA_ARGS__)                                                                              \
	}
#define FIELD_INT(...)                                                                                                 \
	{                                                                                                              \
		FIELD_INT_(__VA_ARGS__)                                                                                \
	}
#define FIELD_BOOL(...)                                                                                                \
	{                                                                                                              \
		FIELD_BOOL_(__VA_ARGS__)                                                                               \
	}
#define FIELD_STRING(...)                                                                                              \
	{                                                                                                              \
		FIELD_STRING_(__VA_ARGS__)                                                                             \
	}
#define FIELD_TEXT(...)                                                                                                \
	{                                                                                                              \
		FIELD_TEXT_(__VA_ARGS__)                                                                               \
	}
#define FIELD_BYTES(...)                                                                                               \
	{                                                                                                              \
		FIELD_BYTES_(__VA_ARGS__)                                                                              \
	}
#define FIELD_BLOB(...)                                                                                                \
	{                                                                                                              \
		FIELD_BLOB_(__VA_ARGS__)                                                                               \
	}
#define FIELD_REF(...)                                                                                                 \
	{                                                                                                              \
		FIELD_REF_(__VA_ARGS__)                                                                                \
	}
#define FIELD_STRUCT(...)                                                                                              \
	{                                                                                                              \
		FIELD_STRUCT_(__VA_ARGS__)                                                                             \
	}
#define FIELD_LIST(...)                                                                                                \
	{                                                                                                              \
		FIELD_LIST_(__VA_ARGS__)                                                                               \
	}
#define FIELD_UINTS(...)                                                                                               \
	{                                                                                                              \
		FIELD_UINTS_(__VA_ARGS__)                                                                              \
	}
/* A field that a later version of the kind brought: FIELD_SINCE(2, UINT, struct eventfd_state, count, "count", "..."). */
#define FIELD_SINCE(v, type, ...)                                                                                      \
	{                                                                                                              \
		FIELD_##type##_(__VA_ARGS__), .since = v                                                               \
	}
/* A field that says something of pages: FIELD_PAGES(FILE, UINT, struct page_run, file, "file", "..."). */
#define FIELD_PAGES(what, type, ...)                                                                                   \
	{                                                                                                              \
		FIELD_##type##_(__VA_ARGS__), .pages = PAGES_##what                                                    \
	}
#define FIELD_END                                                                                                      \
	{                                                                                                              \
		.type = FIELD_TYPE_END                                                                                 \
	}

/* Frees what the members own and zeroes the struct. Takes half-filled ones. */
void fields_free(const struct field *table, void *state);
/* Calls fn for each reference that is not 0, lists included, until it returns other than 0; returns that. */
int fields_each_ref(const struct field *table, const void *state,
	int (*fn)(void *ctx, const struct field *f, object_id id), void *ctx);
