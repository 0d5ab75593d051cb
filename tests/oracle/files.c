/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Descriptors, and the open file descriptions behind them, each described once. */

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <linux/kcmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "oracle.h"

#define PIDFD_THREAD_ O_EXCL /* since 6.9 */

static int pidfd_of(const struct task *t)
{
	int fd = syscall(SYS_pidfd_open, t->tid, t->tid == t->proc->pid ? 0 : PIDFD_THREAD_);

	return fd;
}

/* The task's own open file description under a number of the oracle's. */
static int borrow(const struct file *f)
{
	_close_ int pidfd = pidfd_of(f->task);

	return pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, f->fd, 0);
}

static int compare_files(const struct file *a, const struct file *b)
{
	long order = syscall(SYS_kcmp, a->task->tid, b->task->tid, KCMP_FILE, (long)a->fd, (long)b->fd);

	return order == 1 ? -1 : order == 2 ? 1 : 0;
}

static int by_description(const void *a, const void *b)
{
	return compare_files(a, b);
}

static int by_holder(const void *a, const void *b)
{
	const struct file *x = a, *y = b;

	if (x->task->proc != y->task->proc)
		return x->task->proc < y->task->proc ? -1 : 1;
	if (x->task != y->task)
		return x->task < y->task ? -1 : 1;
	return x->fd - y->fd;
}

static void list_table(struct files *all, struct task *t)
{
	char path[64];
	struct dirent *e;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/fd", t->proc->pid, t->tid);
	dir = opendir(path);
	while (dir && (e = readdir(dir))) {
		if (*e->d_name == '.')
			continue;
		if (!(all->count & (all->count + 1)))
			all->list = reallocarray(all->list, 2 * all->count + 2, sizeof(*all->list));
		all->list[all->count++] = (struct file){ .task = t, .fd = atoi(e->d_name) };
	}
	if (dir)
		closedir(dir);
}

/* A table that several tasks share is listed with the first of them. */
static void list_files(struct oracle *o, struct files *all)
{
	struct table seen = { 0 }, numbers = { 0 };
	uint64_t class = 0;

	for (size_t i = 0; i < o->nprocs; i++) {
		for (size_t j = 0; j < o->procs[i].ntasks; j++) {
			struct task *t = &o->procs[i].tasks[j];

			if (!t->files || table_get(&seen, t->files, 0, NULL))
				continue;
			table_set(&seen, t->files, 0, 1);
			list_table(all, t);
		}
	}
	qsort(all->list, all->count, sizeof(*all->list), by_description);
	for (size_t i = 0; i < all->count; i++) {
		if (i == 0 || compare_files(&all->list[i - 1], &all->list[i]))
			class ++;
		all->list[i].class = class;
	}
	qsort(all->list, all->count, sizeof(*all->list), by_holder);
	for (size_t i = 0; i < all->count; i++)
		all->list[i].number = ordinal(&numbers, all->list[i].class, 0);
	table_free(&seen);
	table_free(&numbers);
}

/* "lock:	1: POSIX  ADVISORY  WRITE 812 00:1f:5511 0 EOF": the order, the file's number and the outer
 * pid go. */
static void lock_fact(struct oracle *o, const char *prefix, const char *line)
{
	char type[16], mode[16], access[16], start[24], end[24], name[32];
	long pid;

	if (sscanf(line, "lock: %*d: %15s %15s %15s %ld %*s %23s %23s", type, mode, access, &pid, start, end) == 6)
		fact(o, prefix, "lock", "%s %s %s by %s from %s to %s", type, mode, access, name_of(o, pid, name),
			start, end);
	else
		fact(o, prefix, "lock", "%s", line);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Locks are listed in an order of the kernel's. POSIX locks are shown only in the table of the process that
 * owns them. */
static void lock_facts(struct oracle *o, const char *prefix, char *info)
{
	char *lines[256], *save = NULL;
	size_t n = 0;

	for (char *line = strtok_r(info, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *kind = strchr(line, ':');

		if (strncmp(line, "lock:", 5) || n == ARRAY_SIZE(lines))
			continue;
		/* Sort by what follows the number. */
		kind = strchr(kind + 1, ':');
		if (kind)
			lines[n++] = kind;
	}
	qsort(lines, n, sizeof(*lines), by_text);
	for (size_t i = 0; i < n; i++) {
		char line[256];

		snprintf(line, sizeof(line), "lock: 0%s", lines[i]);
		lock_fact(o, prefix, line);
	}
}

/*
 * The lines come as ticks, it_value, it_interval. A periodic timer that has expired stands at zero until somebody looks, which winds it on: it is armed all
 * the same.
 */
static void timerfd_fact(struct oracle *o, const char *prefix, const char *line)
{
	long s, ns;

	if (o->opt.times) {
		fact(o, prefix, "fdinfo", "%s", line);
	} else if (sscanf(line, "ticks: %ld", &s) == 1) {
		o->timer.expired = s;
		fact(o, prefix, "fdinfo", "ticks: %s", s ? "some" : "none");
	} else if (sscanf(line, "it_value: (%ld, %ld)", &s, &ns) == 2) {
		o->timer.armed = s || ns;
	} else if (sscanf(line, "it_interval: (%ld, %ld)", &s, &ns) == 2) {
		fact(o, prefix, "fdinfo", "it_value: %s",
			o->timer.armed || (o->timer.expired && (s || ns)) ? "armed" : "not armed");
		fact(o, prefix, "fdinfo", "%s", line);
	}
}

static void pidfd_fact(struct oracle *o, const char *prefix, const char *line)
{
	char name[32];

	fact(o, prefix, "fdinfo", "Pid: %s", name_of(o, atol(line + 4), name));
}

/* As whom it acts. */
static void identity_facts(struct oracle *o, const char *prefix, int tid)
{
	static const char *const lines[] = { "Uid:", "Gid:", "Groups:", "CapEff:" };
	char path[48], line[4096];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", tid);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
			if (!strncmp(line, lines[i], strlen(lines[i])))
				fact(o, prefix, "poller", "%.*s", (int)strcspn(line, "\n"), line);
	if (f)
		fclose(f);
}

/* The kernel's thread that polls an io_uring, and where it may run; -1: there is none. */
static void poller_fact(struct oracle *o, const char *prefix, int tid)
{
	cpu_set_t set;
	char text[64] = "";

	fact(o, prefix, "fdinfo", "SqThread: %s", tid > 0 ? "on" : "none");
	if (tid <= 0)
		return;
	for (int i = 0; sched_getaffinity(tid, sizeof(set), &set) == 0 && i < 8; i++)
		if (CPU_ISSET(i, &set))
			snprintf(text + strlen(text), sizeof(text) - strlen(text), " %d", i);
	fact(o, prefix, "poller", "on%s nice %d", text, getpriority(PRIO_PROCESS, (id_t)tid));
	identity_facts(o, prefix, tid);
}

/* "name:<tab>value" */
static void plain_fact(struct oracle *o, const char *prefix, const char *line)
{
	size_t name = strcspn(line, ":");
	const char *value = line[name] ? line + name + 1 : "";

	fact(o, prefix, "fdinfo", "%.*s %s", (int)name, line, value + strspn(value, " \t"));
}

/* Everything that fdinfo tells, but for numbers that the kernel draws. */
static void info_fact(
	struct oracle *o, const struct files *all, const struct file *f, const char *prefix, const char *line)
{
	static const char *const dropped[] = {
		"mnt_id:", "ino:", "lock:", "NSpid:", "btf_id:", "SqThreadCpu:", "SqTotalTime:", "SqWorkTime:"
	};
	int wd;
	unsigned mask, ignored, slot;
	unsigned long ino;
	char class[16];
	const char *at;

	for (size_t i = 0; i < ARRAY_SIZE(dropped); i++)
		if (!strncmp(line, dropped[i], strlen(dropped[i])))
			return;
	if (!strncmp(line, "flags:", 6)) {
		/* close-on-exec belongs to the descriptor */
		fact(o, prefix, "flags", "%#lo", strtoul(line + 6, NULL, 8) & ~(unsigned long)O_CLOEXEC);
	} else if (!strncmp(line, "SqThread:", 9)) {
		poller_fact(o, prefix, atoi(line + 9));
	} else if (!strncmp(line, "ticks:", 6) || !strncmp(line, "it_value:", 9) ||
		   !strncmp(line, "it_interval:", 12)) {
		timerfd_fact(o, prefix, line);
	} else if (!strncmp(line, "Pid:", 4)) {
		pidfd_fact(o, prefix, line);
	} else if (sscanf(line, " %u: %15[^[ :]:[%lu]", &slot, class, &ino) ==
		   3) { /* a registered file of an io_uring */
		fact(o, prefix, "fdinfo", "slot %u: %s #%lu", slot, class, (unsigned long)ordinal(&o->objects, 1, ino));
	} else if (!strncmp(line, "map_id:", 7)) {
		fact(o, prefix, "fdinfo", "map_id: #%lu",
			(unsigned long)ordinal(&o->objects, 3, strtoul(line + 7, NULL, 10)));
	} else if (!strncmp(line, "eventfd-id:", 11)) {
		fact(o, prefix, "fdinfo", "eventfd-id: #%lu",
			(unsigned long)ordinal(&o->eventfds, strtoul(line + 11, NULL, 10), 0));
	} else if ((at = strstr(line, " mflags:")) && !strncmp(line, "fanotify ", 9)) {
		/* Of what it is on only the kind: numbers of mounts and of files in a container's own memory are drawn. */
		fact(o, prefix, "fanotify", "%.*s %.*s", (int)strcspn(line + 9, ":"), line + 9,
			(int)(strstr(at, " fhandle") ? strstr(at, " fhandle") - at : (long)strlen(at)), at);
	} else if (sscanf(line, "inotify wd:%x ino:%*x sdev:%*x mask:%x ignored_mask:%x", &wd, &mask, &ignored) == 3) {
		fact(o, prefix, "inotify", "wd %d mask %#x ignored %#x", wd, mask, ignored);
	} else {
		plain_fact(o, prefix, line);
	}
}

/* One number may have been added twice: the kernel tells such targets apart by their order. */
static unsigned times_before(char **lines, size_t i)
{
	int number = -1, other;
	unsigned n = 0;

	sscanf(lines[i], "tfd: %d", &number);
	while (i-- > 0)
		n += sscanf(lines[i], "tfd: %d", &other) == 1 && other == number;
	return n;
}

/* An epoll's targets come in the order of their addresses in the kernel. */
static void watch_facts(
	struct oracle *o, const struct files *all, const struct file *f, const char *prefix, char **lines, size_t n)
{
	char **texts = calloc(n + 1, sizeof(*texts));

	for (size_t i = 0; i < n; i++) {
		char text[256];

		epoll_line(all, f, lines[i], times_before(lines, i), text, sizeof(text));
		texts[i] = strdup(text);
	}
	qsort(texts, n, sizeof(*texts), by_text);
	for (size_t i = 0; i < n; i++) {
		fact(o, prefix, "watches", "%s", texts[i]);
		free(texts[i]);
	}
	free(texts);
}

static void info_facts(struct oracle *o, const struct files *all, const struct file *f, const char *prefix, char *info)
{
	char *save = NULL, **lines = NULL;
	size_t n = 0, watches = 0;

	for (char *line = strtok_r(info, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		lines = reallocarray(lines, n + 1, sizeof(*lines));
		lines[n++] = line;
		watches += !strncmp(line, "tfd:", 4);
	}
	/* They are the last lines. */
	for (size_t i = 0; i < n - watches; i++)
		info_fact(o, all, f, prefix, lines[i]);
	if (watches)
		watch_facts(o, all, f, prefix, lines + n - watches, watches);
	free(lines);
}

static void describe(struct oracle *o, const struct files *all, const struct file *f, char *info)
{
	char prefix[32], path[64];
	struct stat st = { 0 };
	_free_ char *target = NULL;
	_free_ char *name = NULL;
	_free_ char *text = NULL;
	_close_ int dup = borrow(f);

	snprintf(prefix, sizeof(prefix), "file #%lu", (unsigned long)f->number);
	snprintf(path, sizeof(path), "/proc/%d/task/%d/fd/%d", f->task->proc->pid, f->task->tid, f->fd);
	target = link_target(path);
	stat(path, &st);
	name = target_name(o, target ? target : "(none)", st.st_dev, st.st_ino);
	text = escape(name, strlen(name));
	fact(o, prefix, "target", "%s", text);
	info_facts(o, all, f, prefix, info);
	file_type_facts(o, f, prefix, dup, target ? target : "");
}

static void file_facts(struct oracle *o, const struct files *all, struct file *f, struct table *described)
{
	_free_ char *info = slurpf(NULL, "/proc/%d/task/%d/fdinfo/%d", f->task->proc->pid, f->task->tid, f->fd);
	_free_ char *locks = info ? strdup(info) : NULL;
	char prefix[48], flags[32] = "0";

	if (!info)
		return;
	line_value(info, "flags", flags, sizeof(flags));
	if (f->task->tid == f->task->proc->pid)
		snprintf(prefix, sizeof(prefix), "%d/fd %d", f->task->proc->inner, f->fd);
	else
		snprintf(prefix, sizeof(prefix), "%d/thread %d/fd %d", f->task->proc->inner, f->task->inner, f->fd);
	fact(o, prefix, "is", "file #%lu%s", (unsigned long)f->number,
		strtoul(flags, NULL, 8) & O_CLOEXEC ? " close-on-exec" : "");
	lock_facts(o, prefix, locks);
	if (table_get(described, f->number, 0, NULL))
		return;
	table_set(described, f->number, 0, 1);
	describe(o, all, f, info);
}

/* Before anything is said of a slave: which masters are in the tree? */
static void learn_masters(struct oracle *o, const struct files *all)
{
	for (size_t i = 0; i < all->count; i++) {
		const struct file *f = &all->list[i];
		_free_ char *info = slurpf(NULL, "/proc/%d/task/%d/fdinfo/%d", f->task->proc->pid, f->task->tid, f->fd);
		char index[16];

		if (info && line_value(info, "tty-index", index, sizeof(index)))
			table_set(&o->pty_masters, atoi(index), 0, 1);
	}
}

void files_facts(struct oracle *o)
{
	struct files all = { 0 };
	struct table described = { 0 };

	list_files(o, &all);
	learn_masters(o, &all);
	for (size_t i = 0; i < all.count; i++)
		file_facts(o, &all, &all.list[i], &described);
	table_free(&described);
	free(all.list);
}
