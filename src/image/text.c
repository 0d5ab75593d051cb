/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image/text.h"

#include <string.h>

static bool continues(const uint8_t *s, size_t n)
{
	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return false;
	return true;
}

/* RFC 3629: no overlong forms, no surrogates, nothing past U+10FFFF. */
size_t utf8_sequence(const uint8_t *s, size_t size)
{
	uint8_t a = size > 0 ? s[0] : 0xff, b = size > 1 ? s[1] : 0;

	if (a < 0x80)
		return 1;
	if (a >= 0xc2 && a <= 0xdf)
		return size >= 2 && continues(s, 2) ? 2 : 0;
	if (a >= 0xe0 && a <= 0xef)
		return size >= 3 && continues(s, 3) && !(a == 0xe0 && b < 0xa0) && !(a == 0xed && b > 0x9f) ? 3 : 0;
	if (a >= 0xf0 && a <= 0xf4)
		return size >= 4 && continues(s, 4) && !(a == 0xf0 && b < 0x90) && !(a == 0xf4 && b > 0x8f) ? 4 : 0;
	return 0;
}

bool utf8_valid(const void *s, size_t size)
{
	const uint8_t *at = s;
	size_t n;

	for (; size; at += n, size -= n) {
		n = utf8_sequence(at, size);
		if (!n)
			return false;
	}
	return true;
}

/* C0, DEL and, in their two-byte form, C1. */
static bool is_control(const uint8_t *s, size_t n)
{
	return n == 1 ? *s < 0x20 || *s == 0x7f : n == 2 && s[0] == 0xc2 && s[1] < 0xa0;
}

void json_string(const char *s, FILE *out)
{
	const uint8_t *at = (const uint8_t *)s, *end = at + strlen(s);

	putc('"', out);
	while (at < end) {
		size_t n = utf8_sequence(at, (size_t)(end - at));

		if (!n)
			fprintf(out, "\\udc%02x", *at);
		else if (is_control(at, n))
			fprintf(out, "\\u%04x", n == 1 ? at[0] : at[1]);
		else if (*at == '"' || *at == '\\')
			fprintf(out, "\\%c", *at);
		else
			fwrite(at, 1, n, out);
		at += n ? n : 1;
	}
	putc('"', out);
}

static void print_escaped(uint8_t c, FILE *out)
{
	if (c == '\n')
		fputs("\\n", out);
	else if (c == '\t')
		fputs("\\t", out);
	else
		fprintf(out, "\\x%02x", c);
}

void print_quoted(const char *s, FILE *out)
{
	const uint8_t *at = (const uint8_t *)s, *end = at + strlen(s);

	putc('"', out);
	while (at < end) {
		size_t n = utf8_sequence(at, (size_t)(end - at));

		if (!n || is_control(at, n)) {
			n = n ? n : 1;
			for (size_t i = 0; i < n; i++)
				print_escaped(at[i], out);
		} else if (*at == '"' || *at == '\\') {
			fprintf(out, "\\%c", *at);
		} else {
			fwrite(at, 1, n, out);
		}
		at += n;
	}
	putc('"', out);
}
