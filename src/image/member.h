/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A struct's members, reached through a row of its table. Private to the image layer. */
#pragma once

#include <string.h>

#include "image/field.h"

static inline void *member(const struct field *f, void *state)
{
	return (char *)state + f->offset;
}

static inline const void *member_const(const struct field *f, const void *state)
{
	return (const char *)state + f->offset;
}

static inline size_t *member_count(const struct field *f, void *state)
{
	return (size_t *)((char *)state + f->count_offset);
}

static inline size_t member_count_const(const struct field *f, const void *state)
{
	return *(const size_t *)((const char *)state + f->count_offset);
}

/* The pointer that a STRING, LIST or UINTS member is. */
static inline const void *member_pointer(const struct field *f, const void *state)
{
	return *(const void *const *)member_const(f, state);
}

static inline uint64_t member_uint(const struct field *f, const void *state)
{
	uint64_t v = 0; /* little endian: the low bytes come first */

	memcpy(&v, member_const(f, state), f->size);
	return v;
}

static inline int64_t member_int(const struct field *f, const void *state)
{
	unsigned int unused = 64 - 8 * (unsigned int)f->size;

	return (int64_t)(member_uint(f, state) << unused) >> unused;
}
