/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kernel/procfs.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/macro.h"

#define READ_ROOM 16384

/* Files of /proc have no size: each is read on until it ends. */
static int read_on(int fd, char *room, size_t size, struct proc_text *out)
{
	_cleanup_free_ char *heap = NULL;
	char *to = room;
	size_t used = 0;

	for (;;) {
		ssize_t n = read(fd, to + used, size - used - 1);

		if (n < 0)
			return -errno;
		used += (size_t)n;
		if (n == 0)
			break;
		if (used == size - 1) {
			char *grown = realloc(heap, 2 * size);

			if (!grown)
				return -ENOMEM;
			if (!heap)
				memcpy(grown, room, used);
			to = heap = grown;
			size *= 2;
		}
	}
	to[used] = '\0';
	*out = (struct proc_text){ .text = to, .size = used, .heap = take_ptr(heap) };
	return 0;
}

int procfs_read_into(int dir_fd, const char *name, char *room, size_t size, struct proc_text *out)
{
	_cleanup_fd_ int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -errno : read_on(fd, room, size, out);
}

/* On the stack first: most of these files are short, and many are kept. */
int procfs_read(int dir_fd, const char *name, char **text, size_t *size)
{
	char room[READ_ROOM];
	struct proc_text read = { .text = room };
	int r = procfs_read_into(dir_fd, name, room, sizeof(room), &read);

	if (r < 0)
		return r;
	if (!read.heap) {
		read.heap = malloc(read.size + 1);
		if (!read.heap)
			return -ENOMEM;
		memcpy(read.heap, read.text, read.size + 1);
	}
	*text = read.heap;
	if (size)
		*size = read.size;
	return 0;
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

#define STAT_FIRST 4 /* after the name and the state */
#define STAT_LAST  52

/* The fields of stat in the order of their numbers in proc_pid_stat(5), STAT_LAST the last. */
#define STAT(number, member)                                                                                           \
	{                                                                                                              \
		number, offsetof(struct proc_stat, member), sizeof(((struct proc_stat *)NULL)->member)                 \
	}
static const struct stat_field {
	unsigned int number;
	size_t offset, size;
} stat_fields[] = {
	STAT(4, ppid),
	STAT(5, pgrp),
	STAT(6, session),
	STAT(7, tty_nr),
	STAT(8, tpgid),
	STAT(9, flags),
	STAT(14, utime),
	STAT(15, stime),
	STAT(18, priority),
	STAT(19, nice),
	STAT(22, starttime),
	STAT(26, startcode),
	STAT(27, endcode),
	STAT(28, startstack),
	STAT(38, exit_signal),
	STAT(40, rt_priority),
	STAT(41, policy),
	STAT(45, start_data),
	STAT(46, end_data),
	STAT(47, start_brk),
	STAT(48, arg_start),
	STAT(49, arg_end),
	STAT(50, env_start),
	STAT(51, env_end),
	STAT(52, exit_code),
};

/* -EINVAL: fewer than there should be. */
static int parse_stat_fields(const char *text, struct proc_stat *s)
{
	const struct stat_field *next = stat_fields;

	for (unsigned int i = STAT_FIRST; i <= STAT_LAST; i++) {
		bool negative;
		uint64_t v = 0;

		text += strspn(text, " ");
		negative = *text == '-';
		text += negative;
		if (!isdigit((unsigned char)*text))
			return -EINVAL;
		for (; isdigit((unsigned char)*text); text++)
			v = v * 10 + (uint64_t)(*text - '0');
		if (next->number != i)
			continue;
		if (negative)
			v = -v;
		/* x86-64 has the low bytes first: a narrower member takes what it holds of them. */
		memcpy((char *)s + next->offset, &v, next->size);
		next++;
	}
	return 0;
}

int proc_stat_parse(const char *text, struct proc_stat *out)
{
	const char *open = strchr(text, '('), *close = strrchr(text, ')');
	struct proc_stat s = { 0 };
	size_t len;

	if (!open || !close || close < open || close[1] != ' ' || !close[2])
		return -EINVAL;
	len = (size_t)(close - open - 1);
	if (len >= sizeof(s.comm))
		len = sizeof(s.comm) - 1;
	memcpy(s.comm, open + 1, len);
	s.state = close[2];
	if (parse_stat_fields(close + 3, &s) < 0)
		return -EINVAL;
	*out = s;
	return 0;
}

int proc_stat_read(int dir_fd, struct proc_stat *out)
{
	_cleanup_free_ char *text = NULL;
	int r = procfs_read(dir_fd, "stat", &text, NULL);

	return text ? proc_stat_parse(text, out) : r;
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

/* The last number of a line such as "NSpid: 4321 17 1". How many there were is the answer. */
static int last_number(const char *v, pid_t *out)
{
	int count = 0;

	while (*v && *v != '\n') {
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
	while (*v && *v != '\n') {
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

static void parse_four(const char *v, uint32_t out[4], int *found)
{
	for (int i = 0; i < 4; i++) {
		char *end;

		out[i] = (uint32_t)strtoul(v, &end, 10);
		if (end == v)
			return;
		v = end;
	}
	(*found)++;
}

/* The lines of status that are numbers: where each goes, and its base. */
static const struct {
	const char *key;
	int base;
	size_t offset, size;
} status_numbers[] = {
#define NUMBER(key, base, member)                                                                                      \
	{                                                                                                              \
		key, base, offsetof(struct proc_status, member), sizeof(((struct proc_status *)0)->member)             \
	}
	NUMBER("Umask", 8, umask),
	NUMBER("Tgid", 10, tgid),
	NUMBER("TracerPid", 10, tracer),
	NUMBER("SigPnd", 16, sig_pending),
	NUMBER("ShdPnd", 16, shared_pending),
	NUMBER("SigBlk", 16, sig_blocked),
	NUMBER("SigIgn", 16, sig_ignored),
	NUMBER("SigCgt", 16, sig_caught),
	NUMBER("CapInh", 16, cap_inheritable),
	NUMBER("CapPrm", 16, cap_permitted),
	NUMBER("CapEff", 16, cap_effective),
	NUMBER("CapBnd", 16, cap_bounding),
	NUMBER("CapAmb", 16, cap_ambient),
	NUMBER("NoNewPrivs", 10, no_new_privs),
	NUMBER("Seccomp", 10, seccomp),
	NUMBER("Seccomp_filters", 10, seccomp_filters),
	NUMBER("Threads", 10, threads),
	NUMBER("THP_enabled", 10, thp_enabled),
#undef NUMBER
};

static void parse_status_number(const char *key, size_t len, const char *v, struct proc_status *s)
{
	for (size_t i = 0; i < ARRAY_SIZE(status_numbers); i++) {
		uint64_t n;

		if (strncmp(status_numbers[i].key, key, len) != 0 || status_numbers[i].key[len])
			continue;
		n = strtoull(v, NULL, status_numbers[i].base);
		memcpy((uint8_t *)s + status_numbers[i].offset, &n, status_numbers[i].size); /* little-endian */
		return;
	}
}

/* ids: how many of Uid and Gid were there and whole. */
static int parse_status_line(const char *key, size_t len, const char *v, struct proc_status *s, int *ids)
{
#define IS(name) (len == sizeof(name) - 1 && !memcmp(key, name, len))
	if (IS("Groups"))
		return parse_groups(v, s);
	if (IS("Uid"))
		parse_four(v, s->uid, ids);
	else if (IS("Gid"))
		parse_four(v, s->gid, ids);
	else if (IS("NSpid"))
		s->ns_depth = last_number(v, &s->pid_in_ns);
	else if (IS("NStgid"))
		last_number(v, &s->tgid_in_ns);
	else if (IS("NSpgid"))
		last_number(v, &s->pgid_in_ns);
	else if (IS("NSsid"))
		last_number(v, &s->sid_in_ns);
	else
		parse_status_number(key, len, v, s);
	return 0;
#undef IS
}

int proc_status_parse(const char *text, struct proc_status *out)
{
	struct proc_status s = { 0 };
	int ids = 0, r = 0;

	for (const char *line = text; r == 0 && *line;) {
		const char *colon = strchrnul(line, ':'), *end = strchrnul(line, '\n'), *v = colon + 1;

		if (colon < end)
			r = parse_status_line(line, (size_t)(colon - line), v + strspn(v, " \t"), &s, &ids);
		line = *end ? end + 1 : end;
	}
	if (r == 0 && ids != 2)
		r = -EINVAL;
	if (r < 0)
		proc_status_free(&s);
	else
		*out = s;
	return r;
}

int proc_status_read(int dir_fd, struct proc_status *out)
{
	_cleanup_free_ char *text = NULL;
	int r = procfs_read(dir_fd, "status", &text, NULL);

	return r < 0 ? r : proc_status_parse(text, out);
}

int proc_status_copy(const struct proc_status *from, struct proc_status *to)
{
	size_t size = from->n_groups * sizeof(*from->groups);
	uint64_t *groups = size ? malloc(size) : NULL;

	if (size && !groups)
		return -ENOMEM;
	if (size)
		memcpy(groups, from->groups, size);
	*to = *from;
	to->groups = groups;
	return 0;
}

void proc_status_free(struct proc_status *s)
{
	free(s->groups);
	s->groups = NULL;
	s->n_groups = 0;
}

static int compare_ints(const void *a, const void *b)
{
	return *(const int *)a < *(const int *)b ? -1 : *(const int *)a > *(const int *)b;
}

static int add_number(int **list, size_t *n, int number)
{
	size_t room = *n ? 2 * *n : 16;
	int *grown;

	if (*n == 0 || (*n >= 16 && !(*n & (*n - 1)))) {
		grown = reallocarray(*list, room, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		*list = grown;
	}
	(*list)[(*n)++] = number;
	return 0;
}

/* Not by readdir: what that allocates, and asks, for a directory costs more than reading a short one. */
int procfs_numbers_of(int fd, int **numbers, size_t *n)
{
	_cleanup_free_ int *list = NULL;
	_Alignas(struct dirent64) char room[READ_ROOM];
	size_t used = 0;
	ssize_t got;

	while ((got = getdents64(fd, room, sizeof(room))) > 0)
		for (ssize_t at = 0; at < got;) {
			const struct dirent64 *e = (const struct dirent64 *)(room + at);
			int r = isdigit((unsigned char)e->d_name[0]) ? add_number(&list, &used, atoi(e->d_name)) : 0;

			if (r < 0)
				return r;
			at += e->d_reclen;
		}
	if (got < 0)
		return -errno;
	if (used)
		qsort(list, used, sizeof(*list), compare_ints);
	*numbers = take_ptr(list);
	*n = used;
	return 0;
}

int procfs_numbers(int dir_fd, const char *name, int **numbers, size_t *n)
{
	_cleanup_fd_ int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : procfs_numbers_of(fd, numbers, n);
}

int procfs_parents(int proc_fd, struct proc_parent **list, size_t *n)
{
	_cleanup_free_ struct proc_parent *found = NULL;
	_cleanup_free_ int *pids = NULL;
	size_t n_pids = 0, used = 0;
	int r = procfs_numbers(proc_fd, ".", &pids, &n_pids);

	if (r < 0)
		return r;
	found = calloc(n_pids + 1, sizeof(*found));
	if (!found)
		return -ENOMEM;
	for (size_t i = 0; i < n_pids; i++) {
		_cleanup_free_ char *text = NULL;
		struct proc_stat st = { 0 };
		char name[32];

		snprintf(name, sizeof(name), "%d/stat", pids[i]);
		r = procfs_read(proc_fd, name, &text, NULL);
		if (r == -ENOENT || r == -ESRCH) /* gone meanwhile */
			continue;
		if (text)
			r = proc_stat_parse(text, &st);
		if (r < 0)
			return r;
		found[used++] = (struct proc_parent){ .pid = pids[i], .parent = st.ppid };
	}
	*list = take_ptr(found);
	*n = used;
	return 0;
}
