/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* /proc/PID/maps: proc_pid_maps(5). */
#include "kernel/procfs.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* Names in maps have \012 for a newline, and nothing else, escaped. */
static char *unescape(const char *from, size_t len)
{
	char *to = malloc(len + 1), *w = to;

	if (!to)
		return NULL;
	for (const char *end = from + len; from < end;) {
		if (end - from >= 4 && !strncmp(from, "\\012", 4)) {
			*w++ = '\n';
			from += 4;
		} else {
			*w++ = *from++;
		}
	}
	*w = '\0';
	return to;
}

/* A number in lower-case hexadecimal, and the character that ends it, skipped. false: not so. */
static bool take_hex(const char **at, char end, uint64_t *out)
{
	const char *c = *at;
	uint64_t v = 0;

	for (;; c++) {
		if (*c >= '0' && *c <= '9')
			v = v << 4 | (uint64_t)(*c - '0');
		else if (*c >= 'a' && *c <= 'f')
			v = v << 4 | (uint64_t)(*c - 'a' + 10);
		else
			break;
	}
	if (c == *at || *c != end)
		return false;
	*at = c + 1;
	*out = v;
	return true;
}

/* "START-END rwxp OFFSET MAJOR:MINOR INODE": everything before the name. NULL: it is none. */
static const char *parse_map_numbers(const char *at, struct proc_map *m)
{
	uint64_t major, minor, inode = 0;

	if (!take_hex(&at, '-', &m->start) || !take_hex(&at, ' ', &m->end) || strnlen(at, 5) < 5 || at[4] != ' ')
		return NULL;
	m->prot = (at[0] == 'r' ? 1 : 0) | (at[1] == 'w' ? 2 : 0) | (at[2] == 'x' ? 4 : 0);
	m->shared = at[3] == 's';
	at += 5;
	if (!take_hex(&at, ' ', &m->offset) || !take_hex(&at, ':', &major) || !take_hex(&at, ' ', &minor) ||
		!isdigit((unsigned char)*at))
		return NULL;
	for (; isdigit((unsigned char)*at); at++)
		inode = inode * 10 + (uint64_t)(*at - '0');
	m->dev_major = (unsigned int)major;
	m->dev_minor = (unsigned int)minor;
	m->inode = inode;
	return at;
}

int proc_map_parse(const char *line, const char *end, struct proc_map *out)
{
	static const char suffix[] = " (deleted)";
	const size_t suffix_len = sizeof(suffix) - 1;
	struct proc_map m = { 0 };
	const char *name = parse_map_numbers(line, &m);
	size_t name_len;

	if (!name || name > end)
		return -EINVAL;
	name += strspn(name, " ");
	name_len = name < end ? (size_t)(end - name) : 0;
	if (name_len > suffix_len && !memcmp(name + name_len - suffix_len, suffix, suffix_len)) {
		m.deleted = true;
		name_len -= suffix_len;
	}
	m.name = unescape(name, name_len);
	if (!m.name)
		return -ENOMEM;
	*out = m;
	return 0;
}

int proc_maps_parse(const char *text, struct proc_maps *out)
{
	struct proc_maps maps = { 0 };
	size_t room = 0;
	int r = 0;

	for (const char *line = text; *line && r == 0;) {
		const char *end = strchrnul(line, '\n');

		if (maps.n == room) {
			struct proc_map *grown = reallocarray(maps.list, room ? 2 * room : 64, sizeof(*grown));

			if (!grown) {
				r = -ENOMEM;
				break;
			}
			maps.list = grown;
			room = room ? 2 * room : 64;
		}
		r = proc_map_parse(line, end, &maps.list[maps.n]);
		if (r == 0)
			maps.n++;
		line = *end ? end + 1 : end;
	}
	if (r < 0)
		proc_maps_free(&maps);
	else
		*out = maps;
	return r;
}

int proc_maps_read(int dir_fd, struct proc_maps *out)
{
	_cleanup_free_ char *text = NULL;
	int r = procfs_read(dir_fd, "maps", &text, NULL);

	return text ? proc_maps_parse(text, out) : r;
}

void proc_maps_free(struct proc_maps *maps)
{
	for (size_t i = 0; i < maps->n; i++)
		free(maps->list[i].name);
	free(maps->list);
	*maps = (struct proc_maps){ 0 };
}
