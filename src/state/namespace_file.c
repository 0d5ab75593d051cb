/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Descriptors of namespaces: those of the tree, and those of the host. namespaces(7), ioctl_ns(2); fs/nsfs.c; tools/testing/selftests/nsfs. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "state/files.h"
#include "state/owner.h"

struct namespace_file_state {
	char *name;
	bool host;
};

static const struct field namespace_file_fields[] = {
	FIELD_STRING(struct namespace_file_state, name, "name", "as in /proc/PID/ns"),
	FIELD_BOOL(struct namespace_file_state, host, "host", "the host's, and not the tree's own"),
	FIELD_END,
};

static const char *const names[] = { "cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts" };

/* "net:[4026531840]" */
static const char *name_of_link(const char *link)
{
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!strncmp(link, names[i], strlen(names[i])) && !strncmp(link + strlen(names[i]), ":[", 2))
			return names[i];
	return NULL;
}

static bool namespace_file_matches(const struct file_look *f)
{
	return name_of_link(f->link) != NULL;
}

static bool is_of(int proc_fd, const char *name, const struct file_look *f)
{
	char path[32];
	struct stat st;

	snprintf(path, sizeof(path), "ns/%s", name);
	return fstatat(proc_fd, path, &st, 0) == 0 && st.st_ino == f->ino && st.st_dev == f->dev;
}

/* Every process of the tree is in those of its root: src/state/namespaces.c. */
static int namespace_file_capture(struct capture *c, const struct file_look *f, void *state)
{
	struct namespace_file_state *s = state;
	const char *name = name_of_link(f->link);
	_cleanup_fd_ int own = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (own < 0)
		return -errno;
	if (!is_of(owner_alive(c->tree->processes[0])->proc_fd, name, f)) {
		if (!is_of(own, name, f))
			return refused(c->ps, BLAME_FILE(f, .remedy = "let the program close it"),
				"a namespace that is neither the tree's own nor the host's");
		s->host = true;
	}
	s->name = strdup(name);
	return s->name ? 0 : -ENOMEM;
}

static int namespace_file_validate(struct restore *r, const struct record *rec)
{
	const struct namespace_file_state *s = rec->state;

	for (size_t i = 0; s->name && i < ARRAY_SIZE(names); i++)
		if (!strcmp(s->name, names[i]))
			return 0;
	return failed(
		r->ps, BLAME(.object = "namespace_file"), -EBADMSG, "the image has a namespace of an unknown kind");
}

static int namespace_file_open(struct restore *r, const struct record *rec, const struct file_state *file)
{
	const struct namespace_file_state *s = rec->state;
	char path[64];
	int fd;

	if (s->host)
		snprintf(path, sizeof(path), "/proc/self/ns/%s", s->name);
	else
		snprintf(path, sizeof(path), "/proc/%d/ns/%s", r->processes[0]->pid, s->name);
	fd = open(path, (file->flags & O_PATH ? O_PATH : O_RDONLY) | O_CLOEXEC);
	if (fd < 0)
		return failed(
			r->ps, BLAME(.object = s->name), -errno, "its namespace cannot be opened: %s", strerror(errno));
	return file_settle(fd, file);
}

const struct component component_namespace_file = {
	.kind = { .name = "namespace_file",
		.version = 1,
		.size = sizeof(struct namespace_file_state),
		.fields = namespace_file_fields,
		.doc = "a namespace behind a descriptor",
		.sources = "namespaces(7); fs/nsfs.c; tools/testing/selftests/nsfs" },
	.scope = SCOPE_BACKING,
	.matches = namespace_file_matches,
	.capture_file = namespace_file_capture,
	.validate = namespace_file_validate,
	.open = namespace_file_open,
};
