/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kernel/mountinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"

static void mount_entry_free(struct mount_entry *m)
{
	free(m->root);
	free(m->point);
	free(m->options);
	free(m->fstype);
	free(m->super);
	*m = (struct mount_entry){ 0 };
}

void mount_table_free(struct mount_table *t)
{
	for (size_t i = 0; i < t->n; i++)
		mount_entry_free(&t->list[i]);
	free(t->list);
	*t = (struct mount_table){ 0 };
}

static bool octal(char c)
{
	return c >= '0' && c <= '7';
}

/* Space, tab, newline and backslash stand as \ooo. */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; to++) {
		if (s[0] == '\\' && octal(s[1]) && octal(s[2]) && octal(s[3])) {
			*to = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 4;
		} else {
			*to = *s++;
		}
	}
	*to = '\0';
}

static int copy(const char *word, char **out)
{
	*out = strdup(word);
	if (!*out)
		return -ENOMEM;
	unescape(*out);
	return 0;
}

static int parse_device(const char *word, struct mount_entry *m)
{
	char *end;

	m->major = (unsigned int)strtoul(word, &end, 10);
	if (*end != ':')
		return -EBADMSG;
	m->minor = (unsigned int)strtoul(end + 1, &end, 10);
	return *end ? -EBADMSG : 0;
}

/* id parent major:minor root point options [optional…] - fstype source super */
static int parse_line(char *line, struct mount_entry *m)
{
	char *words[6], *save = NULL, *word, *fstype, *source, *super;
	int r;

	for (size_t i = 0; i < 6; i++) {
		words[i] = strtok_r(i ? NULL : line, " ", &save);
		if (!words[i])
			return -EBADMSG;
	}
	for (word = strtok_r(NULL, " ", &save); word && strcmp(word, "-"); word = strtok_r(NULL, " ", &save))
		m->propagates = true;
	fstype = word ? strtok_r(NULL, " ", &save) : NULL;
	source = fstype ? strtok_r(NULL, " ", &save) : NULL;
	super = source ? strtok_r(NULL, " ", &save) : NULL;
	if (!source)
		return -EBADMSG;
	if (!super) /* a source may be an empty string */
		super = source;
	m->id = atoi(words[0]);
	r = parse_device(words[2], m);
	if (!r)
		r = copy(words[3], &m->root);
	if (!r)
		r = copy(words[4], &m->point);
	if (!r)
		r = copy(words[5], &m->options);
	if (!r)
		r = copy(fstype, &m->fstype);
	if (!r)
		r = copy(super, &m->super);
	return r;
}

static int parse_lines(char *text, struct mount_table *t)
{
	char *save = NULL;

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		struct mount_entry *grown = reallocarray(t->list, t->n + 1, sizeof(*grown));
		int r;

		if (!grown)
			return -ENOMEM;
		t->list = grown;
		t->list[t->n] = (struct mount_entry){ 0 };
		r = parse_line(line, &t->list[t->n++]);
		if (r < 0)
			return r;
	}
	return 0;
}

int mountinfo_parse(const char *text, size_t size, struct mount_table *out)
{
	_cleanup_free_ char *own = strndup(text, size);
	_cleanup_(mount_table_free)
	struct mount_table t = { 0 };
	int r;

	if (!own)
		return -ENOMEM;
	r = parse_lines(own, &t);
	if (r < 0)
		return r;
	*out = t;
	t = (struct mount_table){ 0 };
	return 0;
}

int mountinfo_read(const char *path, struct mount_table *out)
{
	_cleanup_free_ char *text = NULL;
	size_t size;
	int r;

	r = file_read_all(AT_FDCWD, path, &text, &size);
	return r < 0 ? r : mountinfo_parse(text, size, out);
}
