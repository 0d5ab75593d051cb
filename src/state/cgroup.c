/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Control groups. cgroups(7), proc_pid_cgroup(5); kernel/cgroup/cgroup.c. Only looked at: a tree belongs to those of the command that restores it, or to the one
 * that a container is made anew. Who was elsewhere is told so: its limits are others.
 */
#include "object/component.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/cleanup.h"
#include "container/container.h"
#include "state/owner.h"

/* The line of version 2, if it is the container's own, is not compared: a restore makes that. */
static void forget_containers_own(const struct tree *t, char *text)
{
	const char *own = t->container ? t->container->spec.cgroup : NULL;
	char *line = !strncmp(text, "0::", 3) ? text : strstr(text, "\n0::");

	if (line && line != text)
		line++;
	if (own && line && !strncmp(line + 3, own, strlen(own)) && line[3 + strlen(own)] == '\n')
		memmove(line, line + 4 + strlen(own), strlen(line + 4 + strlen(own)) + 1);
}

static char *cgroups_of(const struct tree *t, int proc_fd)
{
	char *text = NULL;
	size_t size;

	if (procfs_read(proc_fd, "cgroup", &text, &size) < 0)
		return NULL;
	forget_containers_own(t, text);
	return text;
}

static char *cgroups_of_spore(const struct tree *t)
{
	_cleanup_fd_ int self = procfs_open_pid(getpid());
	char *text = self < 0 ? NULL : cgroups_of(t, self), *line;

	/* A container has the line of version 2 for itself. */
	if (text && t->container && t->container->spec.cgroup) {
		line = !strncmp(text, "0::", 3) ? text : strstr(text, "\n0::");
		if (line)
			line[line != text] = '\0';
	}
	return text;
}

/* "5:pids:/work\n0::/work": the first line that the other has not. */
static void tell_difference(struct capture *c, const char *text, const char *other, const char *where)
{
	for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		size_t n = strcspn(line, "\n");
		_cleanup_free_ char *one = strndup(line, n);
		const char *at = one ? strstr(other, one) : NULL;

		if (!one || (at && (at == other || at[-1] == '\n') && (at[n] == '\n' || !at[n])))
			continue;
		changed(c->ps, BLAME_PROCESS(c->process, .object = "cgroup"), "it is in %s, and will be in %s", one,
			where);
		return;
	}
}

static uint64_t hash_of(const char *text)
{
	return XXH3_64bits(text, strlen(text)) | 1;
}

static void compare_with_root(struct capture *c, const char *its)
{
	struct tree *t = c->tree;
	_cleanup_free_ char *roots = NULL;

	if (hash_of(its) == t->cgroups)
		return;
	roots = cgroups_of(t, owner_alive(t->processes[0])->proc_fd);
	if (!roots)
		return;
	t->cgroups = hash_of(roots);
	tell_difference(c, its, roots, "that of the tree's root");
}

static void compare_with_spore(struct capture *c, const char *its)
{
	_cleanup_free_ char *own = cgroups_of_spore(c->tree);

	if (own)
		tell_difference(c, its, own, "that of the restoring command");
}

static int cgroup_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	_cleanup_free_ char *its = cgroups_of(c->tree, owner_alive(c->process)->proc_fd);

	if (its && c->process == c->tree->processes[0])
		compare_with_spore(c, its);
	else if (its)
		compare_with_root(c, its);
	return CAPTURE_NOTHING;
}

static const struct field no_fields[] = { FIELD_END };

const struct component component_cgroup = {
	.kind = {
		.name = "cgroup",
		.version = 1,
		.size = sizeof(object_id),
		.fields = no_fields,
		.doc = "only looked at: the control groups of a process",
		.sources = "cgroups(7), proc_pid_cgroup(5); kernel/cgroup/cgroup.c",
	},
	.scope = SCOPE_PROCESS,
	.capture = cgroup_capture,
};
