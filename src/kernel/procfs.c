/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kernel/procfs.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

/* Files of /proc have no size; most fit a page, and a maps file is read on until it ends. */
int procfs_read(int dir_fd, const char *name, char **text, size_t *size)
{
	_cleanup_fd_ int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	_cleanup_free_ char *buf = NULL;
	size_t used = 0, room = 4096;

	if (fd < 0)
		return -errno;
	buf = malloc(room + 1);
	while (buf) {
		ssize_t n = read(fd, buf + used, room - used);

		if (n < 0)
			return -errno;
		used += (size_t)n;
		if (n == 0) {
			buf[used] = '\0';
			*text = take_ptr(buf);
			if (size)
				*size = used;
			return 0;
		}
		if (used == room) {
			char *grown = realloc(buf, 2 * room + 1);

			if (!grown)
				return -ENOMEM;
			buf = grown;
			room *= 2;
		}
	}
	return -ENOMEM;
}

int procfs_link(int dir_fd, const char *name, char **target)
{
	char buf[4097];
	ssize_t n = readlinkat(dir_fd, name, buf, sizeof(buf) - 1);

	if (n < 0)
		return -errno;
	buf[n] = '\0';
	*target = strdup(buf);
	return *target ? 0 : -ENOMEM;
}

static int open_dir(const char *path)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int procfs_open_pid(pid_t pid)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d", pid);
	return open_dir(path);
}

int procfs_open_task(pid_t pid, pid_t tid)
{
	char path[48];

	snprintf(path, sizeof(path), "/proc/%d/task/%d", pid, tid);
	return open_dir(path);
}

int proc_stat_parse(const char *text, struct proc_stat *out)
{
	const char *open = strchr(text, '('), *close = strrchr(text, ')');
	struct proc_stat s = { 0 };
	size_t len;
	int n;

	if (!open || !close || close < open)
		return -EINVAL;
	len = (size_t)(close - open - 1);
	if (len >= sizeof(s.comm))
		len = sizeof(s.comm) - 1;
	memcpy(s.comm, open + 1, len);
	n = sscanf(close + 1,
		" %c %d %d %d %d %d %u %*u %*u %*u %*u %lu %lu %*d %*d %ld %ld %*d %*d %lu %*u %*d %*u %lu %lu %lu %*u "
		"%*u %*u %*u %*u %*u %*u %*u %*u %d %*d %u %u %*u %*u %*d %lu %lu %lu %lu %lu %lu %lu %d",
		&s.state, &s.ppid, &s.pgrp, &s.session, &s.tty_nr, &s.tpgid, &s.flags, &s.utime, &s.stime, &s.priority,
		&s.nice, &s.starttime, &s.startcode, &s.endcode, &s.startstack, &s.exit_signal, &s.rt_priority,
		&s.policy, &s.start_data, &s.end_data, &s.start_brk, &s.arg_start, &s.arg_end, &s.env_start, &s.env_end,
		&s.exit_code);
	if (n != 26)
		return -EINVAL;
	*out = s;
	return 0;
}

int proc_stat_read(int dir_fd, struct proc_stat *out)
{
	_cleanup_free_ char *text = NULL;
	int r = procfs_read(dir_fd, "stat", &text, NULL);

	return r < 0 ? r : proc_stat_parse(text, out);
}

const char *proc_value(const char *text, const char *key)
{
	size_t len = strlen(key);

	for (const char *line = text; line; line = strchr(line, '\n')) {
		if (*line == '\n')
			line++;
		if (!strncmp(line, key, len) && line[len] == ':') {
			line += len + 1;
			while (*line == ' ' || *line == '\t')
				line++;
			return line;
		}
	}
	return NULL;
}

int proc_value_u64(const char *text, const char *key, int base, uint64_t *out)
{
	const char *v = proc_value(text, key);
	uint64_t parsed;
	char *end;

	if (!v)
		return -ENOENT;
	errno = 0;
	parsed = strtoull(v, &end, base);
	if (end == v || errno)
		return -EINVAL;
	*out = parsed;
	return 0;
}

static uint64_t value_or_zero(const char *text, const char *key, int base)
{
	uint64_t v = 0;

	proc_value_u64(text, key, base, &v);
	return v;
}

/* The last number of a line such as "NSpid: 4321 17 1". How many there were is the answer. */
static int last_number(const char *text, const char *key, pid_t *out)
{
	const char *v = proc_value(text, key);
	int count = 0;

	while (v && *v && *v != '\n') {
		char *end;
		long n = strtol(v, &end, 10);

		if (end == v)
			break;
		*out = (pid_t)n;
		count++;
		v = end + strspn(end, " \t");
	}
	return count;
}

static int parse_groups(const char *v, struct proc_status *s)
{
	while (v && *v && *v != '\n') {
		char *end;
		uint64_t g = strtoull(v, &end, 10), *grown;

		if (end == v)
			break;
		grown = reallocarray(s->groups, s->n_groups + 1, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		s->groups = grown;
		s->groups[s->n_groups++] = g;
		v = end + strspn(end, " \t");
	}
	return 0;
}

static bool parse_four(const char *v, uint32_t out[4])
{
	return v && sscanf(v, "%u %u %u %u", &out[0], &out[1], &out[2], &out[3]) == 4;
}

int proc_status_parse(const char *text, struct proc_status *out)
{
	struct proc_status s = { 0 };

	s.umask = (mode_t)value_or_zero(text, "Umask", 8);
	s.tgid = (pid_t)value_or_zero(text, "Tgid", 10);
	s.tracer = (pid_t)value_or_zero(text, "TracerPid", 10);
	s.ns_depth = last_number(text, "NSpid", &s.pid_in_ns);
	last_number(text, "NStgid", &s.tgid_in_ns);
	last_number(text, "NSpgid", &s.pgid_in_ns);
	last_number(text, "NSsid", &s.sid_in_ns);
	if (!parse_four(proc_value(text, "Uid"), s.uid) || !parse_four(proc_value(text, "Gid"), s.gid))
		return -EINVAL;
	s.sig_pending = value_or_zero(text, "SigPnd", 16);
	s.shared_pending = value_or_zero(text, "ShdPnd", 16);
	s.sig_blocked = value_or_zero(text, "SigBlk", 16);
	s.sig_ignored = value_or_zero(text, "SigIgn", 16);
	s.sig_caught = value_or_zero(text, "SigCgt", 16);
	s.cap_inheritable = value_or_zero(text, "CapInh", 16);
	s.cap_permitted = value_or_zero(text, "CapPrm", 16);
	s.cap_effective = value_or_zero(text, "CapEff", 16);
	s.cap_bounding = value_or_zero(text, "CapBnd", 16);
	s.cap_ambient = value_or_zero(text, "CapAmb", 16);
	s.no_new_privs = value_or_zero(text, "NoNewPrivs", 10);
	s.seccomp = (int)value_or_zero(text, "Seccomp", 10);
	s.seccomp_filters = (int)value_or_zero(text, "Seccomp_filters", 10);
	s.threads = (unsigned int)value_or_zero(text, "Threads", 10);
	s.thp_enabled = value_or_zero(text, "THP_enabled", 10);
	if (parse_groups(proc_value(text, "Groups"), &s) < 0) {
		proc_status_free(&s);
		return -ENOMEM;
	}
	*out = s;
	return 0;
}

int proc_status_read(int dir_fd, struct proc_status *out)
{
	_cleanup_free_ char *text = NULL;
	int r = procfs_read(dir_fd, "status", &text, NULL);

	return r < 0 ? r : proc_status_parse(text, out);
}

void proc_status_free(struct proc_status *s)
{
	free(s->groups);
	s->groups = NULL;
	s->n_groups = 0;
}

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

static int parse_map_line(const char *line, size_t len, struct proc_map *out)
{
	static const char suffix[] = " (deleted)";
	const size_t suffix_len = sizeof(suffix) - 1;
	struct proc_map m = { 0 };
	const char *name;
	char r, w, x, p;
	size_t name_len;
	int at = 0;

	if (sscanf(line, "%lx-%lx %c%c%c%c %lx %x:%x %lu%n", &m.start, &m.end, &r, &w, &x, &p, &m.offset, &m.dev_major,
		    &m.dev_minor, &m.inode, &at) != 10 ||
		(size_t)at > len)
		return -EINVAL;
	m.prot = (r == 'r' ? 1 : 0) | (w == 'w' ? 2 : 0) | (x == 'x' ? 4 : 0);
	m.shared = p == 's';
	name = line + at;
	name += strspn(name, " ");
	name_len = name < line + len ? (size_t)(line + len - name) : 0;
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

int proc_maps_parse(const char *text, struct proc_map **maps, size_t *n)
{
	struct proc_map *list = NULL;
	size_t used = 0, room = 0;
	int r = 0;

	for (const char *line = text; *line && r == 0;) {
		const char *end = strchrnul(line, '\n');

		if (used == room) {
			struct proc_map *grown = reallocarray(list, room ? 2 * room : 64, sizeof(*list));

			if (!grown) {
				r = -ENOMEM;
				break;
			}
			list = grown;
			room = room ? 2 * room : 64;
		}
		r = parse_map_line(line, (size_t)(end - line), &list[used]);
		if (r == 0)
			used++;
		line = *end ? end + 1 : end;
	}
	if (r < 0) {
		proc_maps_free(list, used);
		return r;
	}
	*maps = list;
	*n = used;
	return 0;
}

int proc_maps_read(int dir_fd, struct proc_map **maps, size_t *n)
{
	_cleanup_free_ char *text = NULL;
	int r = procfs_read(dir_fd, "maps", &text, NULL);

	return text ? proc_maps_parse(text, maps, n) : r;
}

void proc_maps_free(struct proc_map *maps, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(maps[i].name);
	free(maps);
}

static int compare_ints(const void *a, const void *b)
{
	return *(const int *)a < *(const int *)b ? -1 : *(const int *)a > *(const int *)b;
}

int procfs_numbers(int dir_fd, const char *name, int **numbers, size_t *n)
{
	_cleanup_free_ int *list = NULL;
	_cleanup_dir_ DIR *dir = NULL;
	size_t used = 0, room = 0;
	int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return -ENOMEM;
	}
	for (struct dirent *e; (e = readdir(dir));) {
		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		if (used == room) {
			int *grown = reallocarray(list, room ? 2 * room : 16, sizeof(*list));

			if (!grown)
				return -ENOMEM;
			list = grown;
			room = room ? 2 * room : 16;
		}
		list[used++] = atoi(e->d_name);
	}
	if (used)
		qsort(list, used, sizeof(*list), compare_ints);
	*numbers = take_ptr(list);
	*n = used;
	return 0;
}
