/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who runs: one file of "key value" lines for each container, /run/spore/PID-STARTTIME.tree. */
#include "container/container.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/process.h"

#define ENTRY_SUFFIX ".tree"

static void container_entry_free(struct container_entry *e)
{
	container_spec_free(&e->spec);
	*e = (struct container_entry){ 0 };
}

void container_list_free(struct container_entry *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		container_entry_free(&list[i]);
	free(list);
}

/* --- the text --- */

/* What stands in the file, one line each: how it is written and read. */
enum type { TEXT, NUMBER64, SIGNED64, PID, YES_NO, NAME };
static const struct key {
	const char *name;
	enum type type;
	size_t offset;
} keys[] = {
	{ "name", NAME, offsetof(struct container_entry, name) },
	{ "pid", PID, offsetof(struct container_entry, pid) },
	{ "starttime", NUMBER64, offsetof(struct container_entry, starttime) },
	{ "last_checkpoint", NUMBER64, offsetof(struct container_entry, last_checkpoint) },
	{ "isolated", YES_NO, offsetof(struct container_entry, isolated) },
	{ "restored", YES_NO, offsetof(struct container_entry, restored) },
	{ "hostname", TEXT, offsetof(struct container_entry, spec.hostname) },
	{ "domainname", TEXT, offsetof(struct container_entry, spec.domainname) },
	{ "root", TEXT, offsetof(struct container_entry, spec.root) },
	{ "net", TEXT, offsetof(struct container_entry, spec.net) },
	{ "cgroup", TEXT, offsetof(struct container_entry, spec.cgroup) },
	{ "init", YES_NO, offsetof(struct container_entry, spec.init) },
	{ "pids_only", YES_NO, offsetof(struct container_entry, spec.pids_only) },
	{ "time_ns", YES_NO, offsetof(struct container_entry, spec.time_ns) },
	{ "monotonic_offset_ns", SIGNED64, offsetof(struct container_entry, spec.monotonic_offset_ns) },
	{ "boottime_offset_ns", SIGNED64, offsetof(struct container_entry, spec.boottime_offset_ns) },
};

static void print_key(FILE *f, const struct key *k, const struct container_entry *e)
{
	const void *member = (const char *)e + k->offset;

	switch (k->type) {
	case TEXT:
		if (*(char *const *)member)
			fprintf(f, "%s %s\n", k->name, *(char *const *)member);
		break;
	case NAME:
		fprintf(f, "%s %s\n", k->name, (const char *)member);
		break;
	case NUMBER64:
		fprintf(f, "%s %" PRIu64 "\n", k->name, *(const uint64_t *)member);
		break;
	case SIGNED64:
		fprintf(f, "%s %" PRId64 "\n", k->name, *(const int64_t *)member);
		break;
	case PID:
		fprintf(f, "%s %d\n", k->name, (int)*(const pid_t *)member);
		break;
	case YES_NO:
		fprintf(f, "%s %d\n", k->name, *(const bool *)member);
		break;
	}
}

static void read_key(const struct key *k, const char *value, struct container_entry *e)
{
	void *member = (char *)e + k->offset;

	switch (k->type) {
	case TEXT:
		free(*(char **)member);
		*(char **)member = strdup(value);
		break;
	case NAME:
		snprintf(member, sizeof(e->name), "%s", value);
		break;
	case NUMBER64:
		*(uint64_t *)member = strtoull(value, NULL, 10);
		break;
	case SIGNED64:
		*(int64_t *)member = strtoll(value, NULL, 10);
		break;
	case PID:
		*(pid_t *)member = (pid_t)strtol(value, NULL, 10);
		break;
	case YES_NO:
		*(bool *)member = value[0] == '1';
		break;
	}
}

/* pid_ns: the namespace in which "pid" counts. */
static void parse_entry(char *text, struct container_entry *e, uint64_t *pid_ns)
{
	char *save = NULL;

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *value = strchr(line, ' ');

		if (!value)
			continue;
		*value++ = '\0';
		if (strcmp(line, "pid_namespace") == 0)
			*pid_ns = strtoull(value, NULL, 10);
		for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
			if (strcmp(line, keys[i].name) == 0)
				read_key(&keys[i], value, e);
	}
	if (!e->spec.name)
		e->spec.name = strdup(e->name);
}

/* --- the files --- */

/* A directory descriptor with the register's lock held: closing it lets go. */
static int open_locked(void)
{
	int fd = run_dir_open();

	if (fd < 0)
		return fd;
	while (flock(fd, LOCK_EX) < 0)
		if (errno != EINTR) {
			int r = -errno;

			close(fd);
			return r;
		}
	return fd;
}

static void entry_path(char out[static 64], pid_t pid, uint64_t starttime)
{
	snprintf(out, 64, "%d-%" PRIu64 ENTRY_SUFFIX, (int)pid, starttime);
}

static int write_entry(int dir, const struct container_entry *e)
{
	_cleanup_free_ char *text = NULL;
	size_t size;
	uint64_t ns = 0;
	char path[64];
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return -ENOMEM;
	process_pid_namespace(getpid(), &ns);
	fprintf(f, "pid_namespace %" PRIu64 "\n", ns);
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		print_key(f, &keys[i], e);
	if (fclose(f) != 0)
		return -ENOMEM;
	entry_path(path, e->pid, e->starttime);
	return file_replace(dir, path, text);
}

/* 1: an entry of a living process; 0: gone (and dropped); or of another pid namespace, which this one cannot judge. What cannot be read is an
 * error: who is not known to be gone is not dropped. */
static int load_entry(int dir, const char *path, struct container_entry *out)
{
	_cleanup_(container_entry_free)
	struct container_entry e = { 0 };
	_cleanup_free_ char *text = NULL;
	uint64_t ns = 0, own = 0, start;
	int r = file_read_all(dir, path, &text, NULL);

	if (r < 0)
		return r;
	parse_entry(text, &e, &ns);
	r = process_pid_namespace(getpid(), &own);
	if (r < 0 || ns != own)
		return r;
	r = process_starttime(e.pid, &start);
	if (r < 0 && r != -ESRCH)
		return r;
	if (r < 0 || start != e.starttime) {
		unlinkat(dir, path, 0);
		container_remove_cgroup(&e.spec);
		return 0;
	}
	*out = e;
	e = (struct container_entry){ 0 };
	return 1;
}

int container_register(const struct container_entry *entry, struct problems *ps)
{
	_cleanup_fd_ int dir = open_locked();
	int r = dir < 0 ? dir : write_entry(dir, entry);

	if (r < 0)
		return failed(ps, BLAME(.pid = entry->pid, .object = RUN_DIR), r, "cannot note the container: %s",
			strerror(-r));
	return 0;
}

/* 0, or negative errno. */
static int list_add(int dir, const char *path, struct container_entry **list, size_t *n)
{
	struct container_entry e, *grown;
	int r = load_entry(dir, path, &e);

	if (r <= 0)
		return r == -ENOENT ? 0 : r;
	grown = reallocarray(*list, *n + 1, sizeof(**list));
	if (!grown) {
		container_entry_free(&e);
		return -ENOMEM;
	}
	*list = grown;
	(*list)[(*n)++] = e;
	return 0;
}

static int list_locked(int dir, struct container_entry **list, size_t *n)
{
	_cleanup_dir_ DIR *d = fdopendir(openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	int r = 0;

	*list = NULL;
	*n = 0;
	if (!d)
		return -errno;
	for (struct dirent *de; r == 0 && (de = readdir(d));) {
		const char *suffix = strrchr(de->d_name, '.');

		if (de->d_name[0] != '.' && suffix && strcmp(suffix, ENTRY_SUFFIX) == 0)
			r = list_add(dir, de->d_name, list, n);
	}
	if (r < 0) {
		container_list_free(*list, *n);
		*list = NULL;
		*n = 0;
	}
	return r;
}

int container_list(struct container_entry **list, size_t *n)
{
	_cleanup_fd_ int dir = open_locked();

	return dir < 0 ? dir : list_locked(dir, list, n);
}

/* Whom to look for: one of these is set. */
struct wanted {
	const char *name;
	uint64_t moved_to; /* a pid namespace */
};

static bool is_wanted(const struct container_entry *e, const struct wanted *w)
{
	uint64_t ns;

	if (w->name)
		return strcmp(e->name, w->name) == 0;
	return e->spec.pids_only && process_pid_namespace(e->pid, &ns) == 0 && ns == w->moved_to;
}

/* The first of them. Takes the rest of the list away. */
static int find(int dir, const struct wanted *w, struct container_entry *out)
{
	struct container_entry *list = NULL;
	size_t n = 0;
	int r = list_locked(dir, &list, &n);

	if (r < 0)
		return r;
	r = -ENOENT;
	for (size_t i = 0; i < n && r < 0; i++)
		if (is_wanted(&list[i], w)) {
			*out = list[i];
			list[i] = (struct container_entry){ 0 };
			r = 0;
		}
	container_list_free(list, n);
	return r;
}

/* A process's own is known by its path: among many containers the others are not looked at. */
static int find_pid(int dir, pid_t pid, struct container_entry *out)
{
	char path[64];
	uint64_t start;
	int r = process_starttime(pid, &start);

	if (r < 0)
		return r == -ESRCH ? -ENOENT : r;
	entry_path(path, pid, start);
	r = load_entry(dir, path, out);
	return r < 0 ? r : r == 1 ? 0 : -ENOENT;
}

int container_find(pid_t pid, struct container_entry *out)
{
	_cleanup_fd_ int dir = open_locked();

	return dir < 0 ? dir : find_pid(dir, pid, out);
}

int container_find_moved(pid_t pid, struct container_entry *out)
{
	_cleanup_fd_ int dir = open_locked();
	struct wanted w = { 0 };
	uint64_t own = 0;
	int r = dir < 0 ? dir : process_pid_namespace(pid, &w.moved_to);

	if (r == 0)
		r = process_pid_namespace(getpid(), &own);
	if (r == 0 && own == w.moved_to) /* a moved tree is in one below */
		r = -ENOENT;
	return r < 0 ? r : find(dir, &w, out);
}

int container_find_name(const char *name, struct container_entry *out)
{
	_cleanup_fd_ int dir = open_locked();

	return dir < 0 ? dir : find(dir, &(struct wanted){ .name = name }, out);
}

int container_note(pid_t pid, void (*change)(struct container_entry *entry, void *data), void *data)
{
	_cleanup_(container_entry_free)
	struct container_entry e = { 0 };
	_cleanup_fd_ int dir = open_locked();
	int r;

	if (dir < 0)
		return dir;
	r = find_pid(dir, pid, &e);
	if (r < 0)
		return r;
	change(&e, data);
	return write_entry(dir, &e);
}
