/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading /proc, writing facts, and the tables that turn kernel numbers into small ones. */

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "oracle.h"

void free_pointer(void *p)
{
	free(*(void **)p);
}

void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

void close_file(FILE **f)
{
	if (*f)
		fclose(*f);
}

void fact(struct oracle *o, const char *prefix, const char *key, const char *format, ...)
{
	va_list ap;

	fputs(prefix, o->out);
	putc('/', o->out);
	fputs(key, o->out);
	fputs(": ", o->out);
	va_start(ap, format);
	vfprintf(o->out, format, ap);
	va_end(ap);
	putc('\n', o->out);
}

/* The whole of a file, NUL-terminated; NULL if it cannot be read. /proc files have no size to go by. */
char *slurp(const char *path, size_t *len)
{
	_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t size = 4096, have = 0;
	char *buf;

	if (fd < 0)
		return NULL;
	buf = malloc(size);
	while (buf) {
		ssize_t n = read(fd, buf + have, size - have - 1);

		if (n < 0) {
			free(buf);
			return NULL;
		}
		if (n == 0)
			break;
		have += n;
		if (size - have < 1024)
			buf = realloc(buf, size *= 2);
	}
	if (!buf)
		abort();
	buf[have] = '\0';
	if (len)
		*len = have;
	return buf;
}

char *slurpf(size_t *len, const char *format, ...)
{
	char path[128];
	va_list ap;

	va_start(ap, format);
	vsnprintf(path, sizeof(path), format, ap);
	va_end(ap);
	return slurp(path, len);
}

char *link_target(const char *path)
{
	char buf[4097];
	ssize_t n = readlink(path, buf, sizeof(buf) - 1);

	if (n < 0)
		return NULL;
	buf[n] = '\0';
	return strdup(buf);
}

/* The value of the line "name:<blank>value" in text, copied to buf; NULL if there is none. */
const char *line_value(const char *text, const char *name, char *buf, size_t size)
{
	size_t n = strlen(name);
	const char *line = text;

	while (line && *line) {
		const char *end = strchrnul(line, '\n');

		if (!strncmp(line, name, n) && line[n] == ':') {
			const char *value = line + n + 1;
			size_t len;

			value += strspn(value, " \t");
			len = end > value ? (size_t)(end - value) : 0;
			while (len && (value[len - 1] == ' ' || value[len - 1] == '\t'))
				len--;
			if (len >= size)
				len = size - 1;
			memcpy(buf, value, len);
			buf[len] = '\0';
			return buf;
		}
		line = *end ? end + 1 : NULL;
	}
	return NULL;
}

/* One line of printable text, whatever the bytes are. NULs separate arguments and are shown as such. */
char *escape(const char *bytes, size_t len)
{
	char *text = malloc(len * 4 + 1), *p = text;

	if (!text)
		abort();
	for (size_t i = 0; i < len; i++) {
		unsigned char c = bytes[i];

		if (c >= ' ' && c < 127 && c != '\\')
			*p++ = c;
		else
			p += sprintf(p, "\\%03o", c);
	}
	*p = '\0';
	return text;
}

uint64_t hash_bytes(const void *bytes, size_t len, uint64_t seed)
{
	return XXH3_64bits_withSeed(bytes, len, seed);
}

static struct entry *find(const struct table *t, uint64_t a, uint64_t b)
{
	uint64_t at = (a * 0x9e3779b97f4a7c15 ^ b * 0xc2b2ae3d27d4eb4f);

	at ^= at >> 29;
	for (;; at++) {
		struct entry *e = &t->slots[at & (t->size - 1)];

		if (!e->used || (e->a == a && e->b == b))
			return e;
	}
}

static void grow(struct table *t)
{
	struct table bigger = { .size = t->size ? t->size * 2 : 64 };

	bigger.slots = calloc(bigger.size, sizeof(*bigger.slots));
	if (!bigger.slots)
		abort();
	for (size_t i = 0; i < t->size; i++)
		if (t->slots[i].used)
			*find(&bigger, t->slots[i].a, t->slots[i].b) = t->slots[i];
	bigger.count = t->count;
	free(t->slots);
	*t = bigger;
}

bool table_get(const struct table *t, uint64_t a, uint64_t b, uint64_t *value)
{
	struct entry *e;

	if (!t->size)
		return false;
	e = find(t, a, b);
	if (e->used && value)
		*value = e->value;
	return e->used;
}

/* Sets the value if there was none; returns what stands there. */
uint64_t table_add(struct table *t, uint64_t a, uint64_t b, uint64_t value)
{
	struct entry *e;

	if (t->count * 2 >= t->size)
		grow(t);
	e = find(t, a, b);
	if (!e->used) {
		*e = (struct entry){ .a = a, .b = b, .value = value, .used = true };
		t->count++;
	}
	return e->value;
}

void table_set(struct table *t, uint64_t a, uint64_t b, uint64_t value)
{
	table_add(t, a, b, value);
	find(t, a, b)->value = value;
}

uint64_t ordinal(struct table *t, uint64_t a, uint64_t b)
{
	return table_add(t, a, b, t->count + 1);
}

void table_free(struct table *t)
{
	free(t->slots);
	*t = (struct table){ 0 };
}
