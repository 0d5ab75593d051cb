/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pressure files that are open for writing: who writes a threshold is told by poll when the pressure rises above it. That trigger belongs to the open file, and
 * nothing shows it: it is read from the kernel's memory. Documentation/accounting/psi.rst; kernel/sched/psi.c, kernel/cgroup/cgroup.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kernel/capability.h"
#include "state/files.h"
#include "state/kernel_view.h"
#include "state/tree.h"

#define PSI_IRQ_FULL 6 /* of the others the odd ones are "full": enum psi_states */
#define PSI_POLL     1 /* enum psi_aggregators */

struct pressure_state {
	char *path;
	char *trigger;
	bool privileged;
};

static const struct field pressure_fields[] = {
	FIELD_STRING(struct pressure_state, path, "path", "in the tree's root directory"),
	FIELD_STRING(
		struct pressure_state, trigger, "trigger", "as it is written, \"some 150000 1000000\"; absent: none"),
	FIELD_BOOL(struct pressure_state, privileged, "privileged",
		"who opened it had CAP_SYS_RESOURCE, and may choose the window"),
	FIELD_END,
};

static bool has_name(const char *link)
{
	const char *name = strrchr(link, '/'), *end = name ? strchr(name, '.') : NULL;

	return !strncmp(link, "/proc/pressure/", 15) ||
	       (end && !strcmp(end, ".pressure") && strcmp(name, "/cgroup.pressure") != 0);
}

static bool pressure_matches(const struct file_look *f)
{
	struct statfs fs;

	if (!S_ISREG(f->mode) || f->flags & O_PATH || (f->flags & O_ACCMODE) == O_RDONLY || !has_name(f->link) ||
		file_statfs(f, &fs) < 0)
		return false;
	return (unsigned long)fs.f_type == PROC_SUPER_MAGIC || (unsigned long)fs.f_type == CGROUP2_SUPER_MAGIC;
}

/* --- in the kernel --- */

struct trigger {
	uint64_t at; /* 0: there is none */
	uint64_t state, threshold, window, event, pending, aggregator;
};

/* In /proc it is what the seq_file is about; in a cgroup, behind what kernfs keeps of the open file. */
static int find_trigger(struct kernel_peek *k, uint64_t seq, bool cgroup, uint64_t *at)
{
	int err = kernel_peek_member(k, seq, "seq_file", "private", at);

	if (err || !cgroup)
		return err;
	err = kernel_peek_member(k, *at, "kernfs_open_file", "priv", at);
	return err ? err : kernel_peek_member(k, *at, "cgroup_file_ctx", "psi.trigger", at);
}

static int read_trigger(struct kernel_peek *k, struct trigger *t)
{
	static const char type[] = "psi_trigger";
	int err = kernel_peek_member(k, t->at, type, "state", &t->state);

	if (!err)
		err = kernel_peek_member(k, t->at, type, "threshold", &t->threshold);
	if (!err)
		err = kernel_peek_member(k, t->at, type, "win.size", &t->window);
	if (!err)
		err = kernel_peek_member(k, t->at, type, "event", &t->event);
	if (!err)
		err = kernel_peek_member(k, t->at, type, "pending_event", &t->pending);
	return err ? err : kernel_peek_member(k, t->at, type, "aggregator", &t->aggregator);
}

static int read_opener(struct kernel_peek *k, uint64_t file, bool *privileged)
{
	uint64_t cred = 0, effective = 0;
	int err = kernel_peek_member(k, file, "file", "f_cred", &cred);

	if (!err)
		err = kernel_peek_member(k, cred, "cred", "cap_effective", &effective);
	*privileged = effective >> CAP_SYS_RESOURCE & 1;
	return err;
}

static int look(struct kernel_peek *k, int fd, bool cgroup, struct trigger *t, bool *privileged)
{
	uint64_t file = 0, seq = 0;
	int err = kernel_peek_file(k, fd, &file, &seq);

	if (!err)
		err = read_opener(k, file, privileged);
	if (!err)
		err = find_trigger(k, seq, cgroup, &t->at);
	return err || !t->at ? err : read_trigger(k, t);
}

/* --- checkpoint --- */

static int check_path(struct capture *c, const struct file_look *f)
{
	struct stat st;

	return tree_stat(c, f->link, &st) == 0 && st.st_ino == f->ino && st.st_dev == f->dev
		       ? 0
		       : refused(c->ps, BLAME_FILE(f), "a pressure file to which no path of the tree leads");
}

static int pressure_capture(struct capture *c, const struct file_look *f, void *state)
{
	struct pressure_state *s = state;
	struct trigger t = { 0 };
	int fd = file_dup(c, f), err = check_path(c, f);

	if (fd < 0 || err || !c->kernel)
		return fd < 0 ? fd : err;
	if (look(c->kernel, fd, strncmp(f->link, "/proc/", 6) != 0, &t, &s->privileged) < 0)
		return refused(c->ps, BLAME_FILE(f, .remedy = KERNEL_VIEW_REMEDY),
			"a pressure file, open for writing: whether a threshold was set cannot be read here");
	if (t.event || t.pending)
		return refused(c->ps, BLAME_FILE(f, .passing = true, .remedy = "let the program poll it"),
			"pressure that the program is to be told of, and has not polled yet");
	s->path = strdup(f->link);
	if (s->path && t.at &&
		asprintf(&s->trigger, "%s %llu %llu", t.state == PSI_IRQ_FULL || t.state & 1 ? "full" : "some",
			(unsigned long long)(t.threshold / 1000), (unsigned long long)(t.window / 1000)) < 0)
		s->trigger = NULL;
	return s->path && (s->trigger || !t.at) ? 0 : -ENOMEM;
}

/* --- restore --- */

#define WHO(s, ...) BLAME(.object = (s)->path, __VA_ARGS__)

static int pressure_validate(struct restore *r, const struct record *rec)
{
	const struct pressure_state *s = rec->state;
	_cleanup_fd_ int fd = -1;

	if (!s->path || s->path[0] != '/')
		return failed(r->ps, BLAME(.object = "pressure"), -EBADMSG, "the image has a file without a path");
	if (s->privileged && !capable_own(CAP_SYS_RESOURCE))
		return refused(r->ps, WHO(s, .remedy = "restore with CAP_SYS_RESOURCE"),
			"who opened it could choose the window of its threshold");
	if (tree_brings(r, s->path))
		return 0;
	fd = tree_open_before(r, s->path, O_PATH | O_NOFOLLOW);
	return fd < 0 ? refused(r->ps, WHO(s), "a pressure file is missing: %s", strerror(-fd)) : 0;
}

/* As whom it is opened decides how the pressure is watched. */
static int open_as(struct restore *r, const struct pressure_state *s, uint64_t flags)
{
	struct capability_sets own;
	int fd;

	capabilities_own(&own);
	if (!s->privileged)
		capabilities_set_effective(own.effective & ~(1ull << CAP_SYS_RESOURCE));
	fd = restore_open(r, s->path, flags & ~(uint64_t)O_ASYNC, 0);
	capabilities_set_effective(own.effective);
	return fd;
}

static int pressure_open(struct restore *r, const struct record *rec, const struct file_state *file)
{
	const struct pressure_state *s = rec->state;
	int fd = open_as(r, s, file->flags);

	if (fd < 0)
		return failed(r->ps, WHO(s), fd, "cannot be opened: %s", strerror(-fd));
	if (s->trigger && write(fd, s->trigger, strlen(s->trigger) + 1) < 0) {
		int err = -errno;

		close(fd);
		return failed(r->ps, WHO(s), err, "its threshold cannot be set (%s): %s", s->trigger, strerror(-err));
	}
	return file_settle(fd, file);
}

const struct component component_pressure = {
	.kind = { .name = "pressure",
		.version = 1,
		.size = sizeof(struct pressure_state),
		.fields = pressure_fields,
		.doc = "a pressure file that is open for writing, and who is to be told of pressure",
		.sources = "Documentation/accounting/psi.rst; kernel/sched/psi.c" },
	.scope = SCOPE_BACKING,
	.matches = pressure_matches,
	.by_description = true,
	.capture_file = pressure_capture,
	.validate = pressure_validate,
	.open = pressure_open,
};
