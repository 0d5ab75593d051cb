/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image/field.h"

#include <stdlib.h>

#include "image/member.h"

static void list_free(const struct field *f, void *state)
{
	char **list = member(f, state);
	size_t *n = member_count(f, state);

	for (size_t i = 0; *list && f->type == FIELD_TYPE_LIST && i < *n; i++)
		fields_free(f->sub, *list + i * f->size);
	free(*list);
	*list = NULL;
	*n = 0;
}

static void field_free(const struct field *f, void *state)
{
	switch (f->type) {
	case FIELD_TYPE_STRING:
		free(*(char **)member(f, state));
		break;
	case FIELD_TYPE_BLOB:
		free(((struct blob *)member(f, state))->data);
		break;
	case FIELD_TYPE_STRUCT:
		fields_free(f->sub, member(f, state));
		return;
	case FIELD_TYPE_LIST:
	case FIELD_TYPE_UINTS:
		list_free(f, state);
		return;
	default:
		break;
	}
	memset(member(f, state), 0, f->size);
}

void fields_free(const struct field *table, void *state)
{
	for (const struct field *f = table; f->type != FIELD_TYPE_END; f++)
		field_free(f, state);
}

static int list_each_ref(
	const struct field *f, const void *state, int (*fn)(void *ctx, const struct field *f, object_id id), void *ctx)
{
	const char *list = member_pointer(f, state);
	size_t n = member_count_const(f, state);
	int r = 0;

	for (size_t i = 0; i < n && !r; i++)
		r = fields_each_ref(f->sub, list + i * f->size, fn, ctx);
	return r;
}

int fields_each_ref(const struct field *table, const void *state,
	int (*fn)(void *ctx, const struct field *f, object_id id), void *ctx)
{
	int r = 0;

	for (const struct field *f = table; f->type != FIELD_TYPE_END && !r; f++) {
		if (f->type == FIELD_TYPE_REF && member_uint(f, state))
			r = fn(ctx, f, member_uint(f, state));
		else if (f->type == FIELD_TYPE_STRUCT)
			r = fields_each_ref(f->sub, member_const(f, state), fn, ctx);
		else if (f->type == FIELD_TYPE_LIST)
			r = list_each_ref(f, state, fn, ctx);
	}
	return r;
}
