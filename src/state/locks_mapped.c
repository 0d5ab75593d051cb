/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A lock by flock, an open-file-description lock and a lease are of an open file, and that stays as long as it is mapped: such a lock without a descriptor
 * stands in /proc/locks alone, and cannot be given to a mapping. proc_locks(5); fs/locks.c. Only looked at.
 */
#include "object/component.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "object/descriptions.h"
#include "state/fdinfo.h"
#include "state/outsiders.h"
#include "state/owner.h"

/* A line of /proc/locks. */
struct line {
	const char *text; /* behind its number: as fdinfo shows the same lock */
	size_t length;
	unsigned int major, minor;
	uint64_t ino;
	bool outside; /* a descriptor of another process has it */
};

static const char *behind_number(const char *line)
{
	const char *colon = strstr(line, ": ");

	return colon ? colon + 2 : line;
}

/* Who waits for one has not got it, and a POSIX lock goes with any descriptor. */
static bool parse(const char *text, struct line *l)
{
	char class[8] = "";

	l->text = behind_number(text);
	l->length = strcspn(l->text, "\n");
	return sscanf(l->text, "%7s %*s %*s %*d %x:%x:%" SCNu64, class, &l->major, &l->minor, &l->ino) == 4 &&
	       strcmp(class, "POSIX") != 0;
}

static bool shows(const char *info, const struct line *l)
{
	const char *value;

	while (info && (value = fdinfo_next(&info, "lock"))) {
		const char *text = behind_number(value);

		if (!strncmp(text, l->text, l->length) && (text[l->length] == '\n' || !text[l->length]))
			return true;
	}
	return false;
}

static bool has_descriptor(const struct descriptions *all, const struct line *l)
{
	for (const struct description *d = descriptions_of_ino(all, l->ino); d; d = d->same_ino)
		if (shows(d->look->info, l))
			return true;
	return false;
}

static const struct process *maps_it(const struct tree *t, const struct line *l, const struct proc_map **map)
{
	for (size_t i = 0; i < t->n_processes; i++)
		for (size_t k = 0; !t->processes[i]->zombie && k < t->processes[i]->maps.n; k++) {
			const struct proc_map *m = &t->processes[i]->maps.list[k];

			if (m->inode != l->ino || m->dev_major != l->major || m->dev_minor != l->minor)
				continue;
			*map = m;
			return t->processes[i];
		}
	return NULL;
}

static void look_at_outsider(void *arg, pid_t pid, int dir)
{
	struct line *l = arg;
	_cleanup_free_ int *numbers = NULL;
	size_t n = 0;

	if (l->outside || procfs_numbers(dir, "fdinfo", &numbers, &n) < 0)
		return;
	for (size_t i = 0; i < n && !l->outside; i++) {
		_cleanup_free_ char *info = NULL;
		char name[32];

		snprintf(name, sizeof(name), "fdinfo/%d", numbers[i]);
		l->outside = procfs_read(dir, name, &info, NULL) == 0 && shows(info, l);
	}
}

static int look_at_line(struct capture *c, struct line *l)
{
	const struct process *p;
	const struct proc_map *map;
	int r;

	if (has_descriptor(c->descriptions, l))
		return 0;
	p = maps_it(c->tree, l, &map);
	if (!p)
		return 0;
	r = outsiders_each(c->tree, look_at_outsider, l);
	if (r == 0 && !l->outside)
		refused(c->ps,
			BLAME_PROCESS(p, .object = map->name, .remedy = "let the program unlock it, or keep it open"),
			"a lock on a file (%.*s) that only a mapping still holds", (int)l->length, l->text);
	return r;
}

static int locks_mapped_look(struct capture *c)
{
	_cleanup_free_ char *text = NULL;
	int r = procfs_read(AT_FDCWD, "/proc/locks", &text, NULL);

	for (char *at = text; r == 0 && at && *at; at += strcspn(at, "\n"), at += *at == '\n') {
		struct line l = { 0 };

		if (parse(at, &l))
			r = look_at_line(c, &l);
	}
	if (r == -ENOENT) /* a kernel without file locks */
		return 0;
	return r < 0 ? failed(c->ps, BLAME(.object = "/proc/locks"), r, "cannot be read: %s", strerror(-r)) : 0;
}

static const struct field no_fields[] = { FIELD_END };

const struct component component_locks_mapped = {
	.kind = {
		.name = "locks_mapped",
		.version = 1,
		.size = sizeof(object_id),
		.fields = no_fields,
		.doc = "only looked at: a lock that a mapping alone still holds is refused",
		.sources = "proc_locks(5), flock(2); fs/locks.c",
	},
	.scope = SCOPE_TREE,
	.look = locks_mapped_look,
	.capture = capture_nothing,
};
