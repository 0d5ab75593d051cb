/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* /proc/PID/maps and smaps: proc_pid_maps(5), proc_pid_smaps(5). */
#include "kernel/procfs.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/macro.h"

/* A stretch of the text. */
struct span {
	const char *start, *end;
};

static size_t length(struct span s)
{
	return (size_t)(s.end - s.start);
}

/* Names in maps have \012 for a newline, and nothing else, escaped. *flags: a copy of that text, behind the name in the same allocation. */
static char *copy_name(struct span name, struct span flags_text, const char **flags)
{
	char *to = malloc(length(name) + length(flags_text) + 2), *w = to;
	const char *from = name.start;

	if (!to)
		return NULL;
	while (from < name.end) {
		if (name.end - from >= 4 && !strncmp(from, "\\012", 4)) {
			*w++ = '\n';
			from += 4;
		} else {
			*w++ = *from++;
		}
	}
	*w++ = '\0';
	memcpy(w, flags_text.start, length(flags_text));
	w[length(flags_text)] = '\0';
	*flags = w;
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

static int parse_map(struct span line, struct span flags, struct proc_map *out)
{
	static const char suffix[] = " (deleted)";
	const size_t suffix_len = sizeof(suffix) - 1;
	struct proc_map m = { 0 };
	struct span name = { parse_map_numbers(line.start, &m), line.end };

	if (!name.start || name.start > line.end)
		return -EINVAL;
	name.start = MIN(name.start + strspn(name.start, " "), line.end);
	if (length(name) > suffix_len && !memcmp(name.end - suffix_len, suffix, suffix_len)) {
		m.deleted = true;
		name.end -= suffix_len;
	}
	m.name = copy_name(name, flags, &m.flags);
	if (!m.name)
		return -ENOMEM;
	*out = m;
	return 0;
}

/* Room for one more. */
static int make_room(struct proc_maps *maps)
{
	size_t room = maps->n ? 2 * maps->n : 64;
	struct proc_map *grown;

	if (maps->list && (maps->n < 64 || maps->n & (maps->n - 1)))
		return 0;
	grown = reallocarray(maps->list, room, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	maps->list = grown;
	return 0;
}

/* Behind a mapping's line smaps has lines "Key: value", of which VmFlags, the last, is wanted, and ProtectionKey, which not every processor has. *at moves to the
 * next mapping's line. */
static int take_flags(const char **at, struct span *flags, unsigned int *pkey)
{
	static const char key[] = "\nVmFlags: ", protection[] = "\nProtectionKey:";
	const char *found = strstr(*at, key), *number;

	if (!found)
		return -EINVAL;
	number = memmem(*at, (size_t)(found - *at), protection, sizeof(protection) - 1);
	*pkey = number ? (unsigned int)strtoul(number + sizeof(protection) - 1, NULL, 10) : 0;
	flags->start = found + sizeof(key) - 1;
	flags->end = *at = strchrnul(flags->start, '\n');
	return 0;
}

int proc_maps_parse(const char *text, bool with_flags, struct proc_maps *out)
{
	struct proc_maps maps = { 0 };
	int r = 0;

	for (const char *at = text; *at && r == 0;) {
		struct span line = { at, strchrnul(at, '\n') }, flags = { line.end, line.end };

		unsigned int pkey = 0;

		at = line.end;
		r = with_flags ? take_flags(&at, &flags, &pkey) : 0;
		if (r == 0)
			r = make_room(&maps);
		if (r == 0)
			r = parse_map(line, flags, &maps.list[maps.n]);
		if (r == 0)
			maps.list[maps.n++].pkey = pkey;
		if (*at)
			at++;
	}
	if (r < 0)
		proc_maps_free(&maps);
	else
		*out = maps;
	return r;
}

/* What smaps says of some 80 mappings. It is long, but not kept: room from the heap would be of new pages each time. */
#define READ_ROOM (64 * 1024)

static int read_maps(int dir_fd, const char *name, bool with_flags, struct proc_maps *out)
{
	char room[READ_ROOM];
	struct proc_text read;
	int r = procfs_read_into(dir_fd, name, room, sizeof(room), &read);

	if (r == 0) {
		r = proc_maps_parse(read.text, with_flags, out);
		free(read.heap);
	}
	return r;
}

int proc_maps_read(int dir_fd, struct proc_maps *out)
{
	return read_maps(dir_fd, "maps", false, out);
}

int proc_smaps_read(int dir_fd, struct proc_maps *out)
{
	return read_maps(dir_fd, "smaps", true, out);
}

void proc_maps_free(struct proc_maps *maps)
{
	for (size_t i = 0; i < maps->n; i++)
		free(maps->list[i].name);
	free(maps->list);
	*maps = (struct proc_maps){ 0 };
}
