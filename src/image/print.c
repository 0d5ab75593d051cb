/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Records for people and for programs. What they hold is hostile to terminals too: nothing of it is printed
 * as it came. */
#include <inttypes.h>
#include <stdlib.h>

#include "image/member.h"
#include "image/record.h"
#include "image/text.h"

#define NUMBERS_SHOWN 16
#define BYTES_SHOWN   32

static void print_hex(const uint8_t *data, size_t size, FILE *out)
{
	for (size_t i = 0; i < size; i++)
		fprintf(out, "%02x", data[i]);
}

/* --- for people --- */

static void print_number(enum field_show show, uint64_t v, FILE *out)
{
	if (show == SHOW_HEX)
		fprintf(out, "0x%" PRIx64, v);
	else if (show == SHOW_OCTAL)
		fprintf(out, "0%" PRIo64, v);
	else
		fprintf(out, "%" PRIu64, v);
}

static void print_numbers(const struct field *f, const void *state, FILE *out)
{
	const uint64_t *numbers = member_pointer(f, state);
	size_t n = numbers ? member_count_const(f, state) : 0;

	if (!n)
		fputs("none", out);
	for (size_t i = 0; i < MIN(n, (size_t)NUMBERS_SHOWN); i++) {
		fputs(i ? " " : "", out);
		print_number(f->show, numbers[i], out);
	}
	if (n > NUMBERS_SHOWN)
		fprintf(out, " ... (%zu in all)", n);
}

static void print_blob(const uint8_t *data, size_t size, FILE *out)
{
	fprintf(out, "%zu bytes%s", size, size ? ": " : "");
	print_hex(data, MIN(size, (size_t)BYTES_SHOWN), out);
	fputs(size > BYTES_SHOWN ? "..." : "", out);
}

static void print_ref(const struct field *f, object_id id, FILE *out)
{
	if (!id)
		fputs("none", out);
	else
		fprintf(out, "%s%s#%" PRIu64, f->ref_kind ? f->ref_kind : "", f->ref_kind ? " " : "", id);
}

/* TEXT need not end in a NUL where it did not come from a decoder. */
static void print_text(const struct field *f, const void *state, void (*print)(const char *s, FILE *out), FILE *out)
{
	char *copy = strndup(member_const(f, state), f->size - 1);

	print(copy ? copy : "", out);
	free(copy);
}

static void print_fields(const struct field *table, const void *state, FILE *out, int indent);

static void print_list(const struct field *f, const void *state, FILE *out, int indent)
{
	const char *list = member_pointer(f, state);
	size_t n = list ? member_count_const(f, state) : 0;

	fputs(n ? "" : " none", out);
	putc('\n', out);
	for (size_t i = 0; i < n; i++) {
		fprintf(out, "%*s- %zu\n", indent, "", i);
		print_fields(f->sub, list + i * f->size, out, indent + 4);
	}
}

static void print_value(const struct field *f, const void *state, FILE *out)
{
	const struct blob *blob = member_const(f, state);

	switch (f->type) {
	case FIELD_TYPE_UINT:
		return print_number(f->show, member_uint(f, state), out);
	case FIELD_TYPE_INT:
		fprintf(out, "%" PRId64, member_int(f, state));
		return;
	case FIELD_TYPE_BOOL:
		fputs(member_uint(f, state) ? "yes" : "no", out);
		return;
	case FIELD_TYPE_STRING:
		return print_quoted(member_pointer(f, state), out);
	case FIELD_TYPE_TEXT:
		return print_text(f, state, print_quoted, out);
	case FIELD_TYPE_BYTES:
		return print_hex(member_const(f, state), f->size, out);
	case FIELD_TYPE_BLOB:
		return print_blob(blob->data, blob->data ? blob->size : 0, out);
	case FIELD_TYPE_REF:
		return print_ref(f, member_uint(f, state), out);
	case FIELD_TYPE_UINTS:
		return print_numbers(f, state, out);
	default:
		return;
	}
}

static void print_fields(const struct field *table, const void *state, FILE *out, int indent)
{
	for (const struct field *f = table; f->type != FIELD_TYPE_END; f++) {
		if (f->type == FIELD_TYPE_STRING && !member_pointer(f, state))
			continue;
		fprintf(out, "%*s%s:", indent, "", f->name);
		if (f->type == FIELD_TYPE_STRUCT) {
			putc('\n', out);
			print_fields(f->sub, member_const(f, state), out, indent + 2);
		} else if (f->type == FIELD_TYPE_LIST) {
			print_list(f, state, out, indent + 2);
		} else {
			putc(' ', out);
			print_value(f, state, out);
			putc('\n', out);
		}
	}
}

void record_print(const struct record_kind *k, object_id id, const void *state, FILE *out, int indent)
{
	fprintf(out, "%*s%s", indent, "", k->name);
	if (id)
		fprintf(out, " #%" PRIu64, id);
	putc('\n', out);
	print_fields(k->fields, state, out, indent + 2);
}

/* --- for programs --- */

static void json_fields(const struct field *table, const void *state, const char *before, FILE *out);

static void json_struct(const struct field *table, const void *state, FILE *out)
{
	putc('{', out);
	json_fields(table, state, "", out);
	putc('}', out);
}

static void json_list(const struct field *f, const void *state, FILE *out)
{
	const char *list = member_pointer(f, state);
	size_t n = list ? member_count_const(f, state) : 0;

	putc('[', out);
	for (size_t i = 0; i < n; i++) {
		fputs(i ? "," : "", out);
		if (f->type == FIELD_TYPE_LIST)
			json_struct(f->sub, list + i * f->size, out);
		else
			fprintf(out, "%" PRIu64, ((const uint64_t *)(const void *)list)[i]);
	}
	putc(']', out);
}

static void json_hex(const uint8_t *data, size_t size, FILE *out)
{
	putc('"', out);
	print_hex(data, size, out);
	putc('"', out);
}

static void json_value(const struct field *f, const void *state, FILE *out)
{
	const struct blob *blob = member_const(f, state);

	switch (f->type) {
	case FIELD_TYPE_UINT:
	case FIELD_TYPE_REF:
		fprintf(out, "%" PRIu64, member_uint(f, state));
		return;
	case FIELD_TYPE_INT:
		fprintf(out, "%" PRId64, member_int(f, state));
		return;
	case FIELD_TYPE_BOOL:
		fputs(member_uint(f, state) ? "true" : "false", out);
		return;
	case FIELD_TYPE_STRING:
		return json_string(member_pointer(f, state), out);
	case FIELD_TYPE_TEXT:
		return print_text(f, state, json_string, out);
	case FIELD_TYPE_BYTES:
		return json_hex(member_const(f, state), f->size, out);
	case FIELD_TYPE_BLOB:
		return json_hex(blob->data, blob->data ? blob->size : 0, out);
	case FIELD_TYPE_STRUCT:
		return json_struct(f->sub, member_const(f, state), out);
	case FIELD_TYPE_LIST:
	case FIELD_TYPE_UINTS:
		return json_list(f, state, out);
	case FIELD_TYPE_END:
		return;
	}
}

/* What a record leaves out is null here, so that programs find every field. */
static bool is_none(const struct field *f, const void *state)
{
	return (f->type == FIELD_TYPE_STRING && !member_pointer(f, state)) ||
	       (f->type == FIELD_TYPE_REF && !member_uint(f, state));
}

static void json_fields(const struct field *table, const void *state, const char *before, FILE *out)
{
	for (const struct field *f = table; f->type != FIELD_TYPE_END; f++) {
		fputs(before, out);
		json_string(f->name, out);
		putc(':', out);
		if (is_none(f, state))
			fputs("null", out);
		else
			json_value(f, state, out);
		before = ",";
	}
}

void record_json(const struct record_kind *k, object_id id, const void *state, FILE *out)
{
	fputs("{\"is\":", out);
	json_string(k->name, out);
	fprintf(out, ",\"v\":%" PRIu32 ",\"id\":%" PRIu64, k->version, id);
	json_fields(k->fields, state, ",", out);
	putc('}', out);
}
