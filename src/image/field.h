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
	FIELD_TYPE_UINT,   /* uint8_t to uint64_t, by size */
	FIELD_TYPE_INT,    /* int8_t to int64_t */
	FIELD_TYPE_BOOL,
	FIELD_TYPE_STRING, /* char *, allocated; NULL is left out */
	FIELD_TYPE_TEXT,   /* char [N], NUL-terminated */
	FIELD_TYPE_BLOB,   /* struct blob, allocated */
	FIELD_TYPE_REF,    /* object_id; 0 is left out */
	FIELD_TYPE_STRUCT, /* an embedded struct with a table of its own */
	FIELD_TYPE_LIST,   /* allocated array of structs: pointer and size_t count */
	FIELD_TYPE_UINTS,  /* allocated array of uint64_t: pointer and size_t count */
};

enum field_show { SHOW_DECIMAL, SHOW_HEX, SHOW_OCTAL }; /* how inspect prints a number */

enum ref_strength {
	REF_STRONG, /* the target is made first: these form no cycle */
	REF_LATE,
};

struct field {
	const char *name;
	enum field_type type;
	enum field_show show;
	size_t offset, size; /* of the member; LIST: size of one element */
	size_t count_offset; /* LIST and UINTS */
	const struct field *sub; /* STRUCT and LIST */
	const char *ref_kind; /* REF: the name of the kind it must be; NULL: any */
	enum ref_strength strength;
	uint32_t since; /* the version of the kind that brought it; 0 and 1: from the start. A field that is absent reads as zero */
	const char *doc; /* one line for the format reference */
};

#define FIELD_CHECK_(t, m, type) (0 * sizeof(char[__builtin_types_compatible_p(__typeof__(((t *)0)->m), type) ? 1 : -1]))
#define FIELD_UNSIGNED_(t, m) (0 * sizeof(char[((__typeof__(((t *)0)->m))-1 > 0) ? 1 : -1]))
#define FIELD_SIGNED_(t, m) (0 * sizeof(char[((__typeof__(((t *)0)->m))-1 < 0) ? 1 : -1]))
#define FIELD_NUM_(ty, chk, sh, t, m, n, d)                                                                            \
	{ .name = n, .type = ty, .show = sh, .offset = offsetof(t, m) + chk(t, m), .size = sizeof(((t *)0)->m), .doc = d }

#define FIELD_UINT(t, m, n, d)   FIELD_NUM_(FIELD_TYPE_UINT, FIELD_UNSIGNED_, SHOW_DECIMAL, t, m, n, d)
#define FIELD_HEX(t, m, n, d)    FIELD_NUM_(FIELD_TYPE_UINT, FIELD_UNSIGNED_, SHOW_HEX, t, m, n, d)
#define FIELD_OCTAL(t, m, n, d)  FIELD_NUM_(FIELD_TYPE_UINT, FIELD_UNSIGNED_, SHOW_OCTAL, t, m, n, d)
#define FIELD_INT(t, m, n, d)    FIELD_NUM_(FIELD_TYPE_INT, FIELD_SIGNED_, SHOW_DECIMAL, t, m, n, d)
#define FIELD_BOOL(t, m, n, d)                                                                                         \
	{ .name = n, .type = FIELD_TYPE_BOOL, .offset = offsetof(t, m) + FIELD_CHECK_(t, m, bool), .size = sizeof(bool), .doc = d }
#define FIELD_STRING(t, m, n, d)                                                                                       \
	{ .name = n, .type = FIELD_TYPE_STRING, .offset = offsetof(t, m) + FIELD_CHECK_(t, m, char *), .size = sizeof(char *), .doc = d }
#define FIELD_TEXT(t, m, n, d)                                                                                         \
	{ .name = n, .type = FIELD_TYPE_TEXT, .offset = offsetof(t, m) + FIELD_CHECK_(t, m, char[sizeof(((t *)0)->m)]),     \
	  .size = sizeof(((t *)0)->m), .doc = d }
#define FIELD_BLOB(t, m, n, d)                                                                                         \
	{ .name = n, .type = FIELD_TYPE_BLOB, .offset = offsetof(t, m) + FIELD_CHECK_(t, m, struct blob), .size = sizeof(struct blob), .doc = d }
#define FIELD_REF(t, m, n, kind, str, d)                                                                               \
	{ .name = n, .type = FIELD_TYPE_REF, .offset = offsetof(t, m) + FIELD_CHECK_(t, m, object_id), .size = sizeof(object_id), \
	  .ref_kind = kind, .strength = str, .doc = d }
#define FIELD_STRUCT(t, m, n, table, d)                                                                                \
	{ .name = n, .type = FIELD_TYPE_STRUCT, .offset = offsetof(t, m), .size = sizeof(((t *)0)->m), .sub = table, .doc = d }
#define FIELD_LIST(t, m, count, n, table, d)                                                                           \
	{ .name = n, .type = FIELD_TYPE_LIST, .offset = offsetof(t, m), .size = sizeof(*((t *)0)->m),                       \
	  .count_offset = offsetof(t, count) + FIELD_CHECK_(t, count, size_t), .sub = table, .doc = d }
#define FIELD_UINTS(t, m, count, n, sh, d)                                                                             \
	{ .name = n, .type = FIELD_TYPE_UINTS, .show = sh, .offset = offsetof(t, m) + FIELD_CHECK_(t, m, uint64_t *),        \
	  .size = sizeof(uint64_t), .count_offset = offsetof(t, count) + FIELD_CHECK_(t, count, size_t), .doc = d }
#define FIELD_END { .type = FIELD_TYPE_END }
#define FIELD_SINCE(v, ...) /* FIELD_SINCE(2, FIELD_UINT(...)): a field that version 2 brought */ __VA_ARGS__

/* Frees what the members own and zeroes the struct. Takes half-filled ones. */
void fields_free(const struct field *table, void *state);
