/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* proc(5), mount_namespaces(7), open_tree(2), move_mount(2). */
#include "container/proc_mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/process.h"

/* --- finding them --- */

static bool is_below(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	return strncmp(path, dir, n) == 0 && path[n] == '/';
}

static bool is_proc(const struct mount_entry *m)
{
	return strcmp(m->fstype, "proc") == 0 && strcmp(m->root, "/") == 0;
}

static unsigned long flags_of(const char *options)
{
	static const struct {
		const char *word;
		unsigned long flag;
	} known[] = {
		{ "ro", MS_RDONLY },
		{ "nosuid", MS_NOSUID },
		{ "nodev", MS_NODEV },
		{ "noexec", MS_NOEXEC },
		{ "noatime", MS_NOATIME },
		{ "nodiratime", MS_NODIRATIME },
	};
	unsigned long flags = 0;

	for (const char *word = options; *word; word += strspn(word, ",")) {
		size_t n = strcspn(word, ",");

		for (size_t i = 0; i < ARRAY_SIZE(known); i++)
			if (strlen(known[i].word) == n && strncmp(word, known[i].word, n) == 0)
				flags |= known[i].flag;
		word += n;
	}
	return flags;
}

/* "rw,gid=5,hidepid=invisible": what follows the first word is proc's own. */
static char *data_of(const char *super)
{
	const char *comma = strchr(super, ',');

	return comma ? strdup(comma + 1) : NULL;
}

/* The mounts directly on it; what is on those goes with them. */
static int find_above(struct proc_mount *p, const struct mount_table *t)
{
	p->above = calloc(t->n + 1, sizeof(*p->above));
	p->fds = calloc(t->n + 1, sizeof(*p->fds));
	if (!p->above || !p->fds)
		return -ENOMEM;
	for (size_t i = 0; i < t->n; i++) {
		bool known = !is_below(t->list[i].point, p->point);

		for (size_t k = 0; k < p->n_above; k++)
			known |= is_below(t->list[i].point, p->above[k]) || strcmp(t->list[i].point, p->above[k]) == 0;
		if (known)
			continue;
		p->above[p->n_above] = strdup(t->list[i].point);
		if (!p->above[p->n_above++])
			return -ENOMEM;
	}
	return 0;
}

static int add_proc(struct proc_mount ***tail, const struct mount_entry *m, const struct mount_table *t)
{
	struct proc_mount *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	**tail = p;
	*tail = &p->next;
	p->flags = flags_of(m->options);
	p->data = data_of(m->super);
	p->point = strdup(m->point);
	return p->point ? find_above(p, t) : -ENOMEM;
}

/* The table is in the order of mounting: of several at one place the last is seen. */
static bool is_covered(const struct mount_table *t, size_t index)
{
	for (size_t i = index + 1; i < t->n; i++)
		if (strcmp(t->list[i].point, t->list[index].point) == 0)
			return true;
	return false;
}

int proc_mounts_find(struct proc_mount **out, struct problems *ps)
{
	_cleanup_(mount_table_free)
	struct mount_table t = { 0 };
	struct proc_mount *list = NULL, **tail = &list;
	int r = mountinfo_read("/proc/self/mountinfo", &t);

	for (size_t i = 0; r == 0 && i < t.n; i++)
		if (is_proc(&t.list[i]) && !is_covered(&t, i))
			r = add_proc(&tail, &t.list[i], &t);
	if (r < 0) {
		proc_mounts_free(list);
		return failed(ps, BLAME(.object = "/proc"), r, "the host's mounts cannot be read: %s", strerror(-r));
	}
	*out = list;
	return 0;
}

void proc_mounts_free(struct proc_mount *list)
{
	while (list) {
		struct proc_mount *next = list->next;

		for (size_t i = 0; i < list->n_above; i++)
			free(list->above[i]);
		free(list->above);
		free(list->fds);
		free(list->point);
		free(list->data);
		free(list);
		list = next;
	}
}

/* --- making them anew --- */

/* Only the old /proc stops to propagate, so that what is put over it is the tree's alone; all others go on as they were. */
static int renew(const struct proc_mount *p, const char **what)
{
	*what = "keeping what is mounted on /proc";
	for (size_t i = 0; i < p->n_above; i++) {
		p->fds[i] = (int)syscall(SYS_open_tree, AT_FDCWD, p->above[i],
			OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE | AT_NO_AUTOMOUNT);
		if (p->fds[i] < 0)
			return -errno;
	}
	*what = "mounting /proc";
	if (mount(NULL, p->point, NULL, MS_PRIVATE, NULL) < 0 || mount("proc", p->point, "proc", p->flags, p->data) < 0)
		return -errno;
	*what = "putting back what was mounted on /proc";
	for (size_t i = 0; i < p->n_above; i++)
		if (syscall(SYS_move_mount, p->fds[i], "", AT_FDCWD, p->above[i], MOVE_MOUNT_F_EMPTY_PATH) < 0)
			return -errno;
	return 0;
}

int proc_mounts_renew(const struct proc_mount *list, const char **what)
{
	int r = 0;

	for (; r == 0 && list; list = list->next)
		r = renew(list, what);
	return r;
}

/* --- a checkpoint of a tree that moved --- */

/* Is it one of the host's, or a /proc where the host has one? Each of the host's may explain one. */
static bool is_explained(const struct mount_entry *m, const struct mount_table *host, bool *used)
{
	for (size_t i = 0; i < host->n; i++) {
		const struct mount_entry *h = &host->list[i];

		if (!used[i] && strcmp(m->point, h->point) == 0 && strcmp(m->root, h->root) == 0 &&
			strcmp(m->fstype, h->fstype) == 0 && m->major == h->major && m->minor == h->minor)
			return used[i] = true;
	}
	for (size_t i = 0; i < host->n; i++)
		if (is_proc(m) && is_proc(&host->list[i]) && strcmp(m->point, host->list[i].point) == 0)
			return true;
	return false;
}

int proc_mounts_check(pid_t pid, struct problems *ps)
{
	_cleanup_(mount_table_free)
	struct mount_table host = { 0 }, have = { 0 };
	_cleanup_free_ bool *used = NULL;
	char path[64], name[32], object[192];
	int r, refusals = 0;

	snprintf(path, sizeof(path), "/proc/%d/mountinfo", (int)pid);
	r = mountinfo_read(path, &have);
	if (r == 0)
		r = mountinfo_read("/proc/self/mountinfo", &host);
	if (r < 0)
		return failed(ps, BLAME(.pid = pid), r, "cannot read its mounts: %s", strerror(-r));
	used = calloc(host.n + 1, sizeof(*used));
	if (!used)
		return -ENOMEM;
	process_name(pid, name);
	for (size_t i = 0; i < have.n; i++)
		if (!is_explained(&have.list[i], &host, used)) {
			snprintf(object, sizeof(object), "mount %s (%s)", have.list[i].point, have.list[i].fstype);
			refused(ps, BLAME(.pid = pid, .process = name, .object = object, .remedy = "unmount it"),
				"the host has no such mount, or has it no more");
			refusals++;
		}
	return refusals ? -ENOTSUP : 0;
}
