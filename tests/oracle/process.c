/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What /proc tells of a process as a whole. */

#include <sched.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "oracle.h"

#define PF_FORKNOEXEC 0x40

/*
 * A link target without the numbers that the kernel draws. What has no name of its own is named by an
 * ordinal, so that who shares it with whom stays visible.
 */
char *target_name(struct oracle *o, const char *target, uint64_t dev, uint64_t ino)
{
	const char *bracket = strstr(target, ":[");
	size_t len = strlen(target);
	char *name = NULL;
	int n;

	if (bracket && bracket[2] >= '0' && bracket[2] <= '9' && target[0] != '/') {
		n = asprintf(&name, "%.*s:#%lu", (int)(bracket - target), target,
			(unsigned long)ordinal(&o->objects, dev, ino));
	} else if (len > 10 && !strcmp(target + len - 10, " (deleted)")) {
		/* A file made by O_TMPFILE is called after its inode. */
		const char *last = strrchr(target, '/');
		int keep = last && last[1] == '#' ? (int)(last + 2 - target) : (int)len;

		n = asprintf(&name, "%.*s object #%lu", keep, target, (unsigned long)ordinal(&o->objects, dev, ino));
	} else {
		n = asprintf(&name, "%s", target);
	}
	if (n < 0)
		abort();
	return name;
}

static void link_fact(struct oracle *o, const char *prefix, const char *key, pid_t tid, const char *what)
{
	char path[64];
	struct stat st = { 0 };
	_free_ char *target = NULL;
	_free_ char *name = NULL;
	_free_ char *text = NULL;

	snprintf(path, sizeof(path), "/proc/%d/%s", tid, what);
	target = link_target(path);
	stat(path, &st);
	name = target_name(o, target ? target : "(none)", st.st_dev, st.st_ino);
	text = escape(name, strlen(name));
	fact(o, prefix, key, "%s", text);
}

static void text_fact(struct oracle *o, const struct proc *p, const char *what)
{
	size_t len = 0;
	_free_ char *bytes = slurpf(&len, "/proc/%d/%s", p->pid, what);
	_free_ char *text = NULL;

	if (!bytes) {
		fact(o, p->prefix, what, "unreadable");
		return;
	}
	while (len && bytes[len - 1] == '\n')
		len--;
	text = escape(bytes, len);
	fact(o, p->prefix, what, "%s", text);
}

static void auxv_facts(struct oracle *o, const struct proc *p)
{
	size_t len = 0;
	_free_ char *bytes = slurpf(&len, "/proc/%d/auxv", p->pid);
	char key[32];

	for (size_t i = 0; bytes && i + 16 <= len; i += 16) {
		uint64_t pair[2];

		memcpy(pair, bytes + i, sizeof(pair));
		snprintf(key, sizeof(key), "auxv %lu", (unsigned long)pair[0]);
		fact(o, p->prefix, key, "%#lx", (unsigned long)pair[1]);
		if (!pair[0])
			break;
	}
}

static void limit_facts(struct oracle *o, const struct proc *p)
{
	_free_ char *text = slurpf(NULL, "/proc/%d/limits", p->pid);
	char *save = NULL, *line = text ? strtok_r(text, "\n", &save) : NULL;

	/* The first line is the heading; names are padded to 26 columns. */
	while (line && (line = strtok_r(NULL, "\n", &save))) {
		char name[27], key[40], soft[32] = "", hard[32] = "";

		snprintf(name, sizeof(name), "%.25s", line);
		for (size_t n = strlen(name); n && name[n - 1] == ' ';)
			name[--n] = '\0';
		if (strlen(line) < 26 || sscanf(line + 26, "%31s %31s", soft, hard) != 2)
			continue;
		snprintf(key, sizeof(key), "limit %s", name);
		fact(o, p->prefix, key, "%s %s", soft, hard);
	}
}

static void namespace_facts(struct oracle *o, const struct proc *p)
{
	static const char *const names[] = { "cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "time",
		"time_for_children", "user", "uts" };
	char path[64], key[32], value[64] = "";
	struct stat st, root;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "/proc/%d/ns/%s", o->root, names[i]);
		if (stat(path, &root) < 0)
			continue;
		snprintf(path, sizeof(path), "/proc/%d/ns/%s", p->pid, names[i]);
		snprintf(key, sizeof(key), "namespace %s", names[i]);
		if (stat(path, &st) < 0)
			snprintf(value, sizeof(value), "none");
		else if (st.st_ino == root.st_ino)
			snprintf(value, sizeof(value), "the root's");
		else
			snprintf(value, sizeof(value), "#%lu",
				(unsigned long)ordinal(&o->namespaces, st.st_dev, st.st_ino));
		fact(o, p->prefix, key, "%s", value);
	}
}

static void status_facts(struct oracle *o, const struct proc *p)
{
	static const char *const lines[] = { "ShdPnd", "SigIgn", "SigCgt", "VmLck", "THP_enabled", "untag_mask" };
	_free_ char *status = slurpf(NULL, "/proc/%d/status", p->pid);
	char value[256], name[32];

	if (!status)
		return;
	fact(o, p->prefix, "Threads", "%zu", (size_t)p->ntasks);
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		if (line_value(status, lines[i], value, sizeof(value)))
			fact(o, p->prefix, lines[i], "%s", value);
	if (line_value(status, "TracerPid", value, sizeof(value)))
		fact(o, p->prefix, "tracer", "%s", name_of(o, atol(value), name));
}

static const char *state_name(char state)
{
	switch (state) {
	case 'R':
	case 'S':
	case 'D':
		return "run"; /* which of them is a matter of the moment */
	case 'T':
		return "stopped";
	case 't':
		return "traced";
	case 'Z':
		return "zombie";
	default:
		return "other";
	}
}

/* Of a parent with several: whose children the kernel says it is among. */
static void parent_thread_fact(struct oracle *o, const struct proc *p)
{
	for (size_t i = 0; i < o->nprocs; i++)
		for (size_t k = 0; o->procs[i].pid == p->parent && o->procs[i].ntasks > 1 && k < o->procs[i].ntasks;
			k++) {
			const struct task *t = &o->procs[i].tasks[k];
			_free_ char *text = slurpf(NULL, "/proc/%d/task/%d/children", t->proc->pid, t->tid);
			char name[32];

			for (char *c = text, *end; c && strtol(c, &end, 10) && end != c; c = end)
				if (strtol(c, NULL, 10) == p->pid)
					fact(o, p->prefix, "parent thread", "%s", name_of(o, t->tid, name));
		}
}

static void relation_facts(struct oracle *o, const struct proc *p, char *stat)
{
	static const struct {
		const char *key;
		unsigned field;
	} ids[] = { { "pgid", 5 }, { "sid", 6 }, { "foreground group", 8 } };
	long parent = strtol(stat_field(stat, 4), NULL, 10);
	unsigned tty = strtoul(stat_field(stat, 7), NULL, 10);
	char name[32];

	fact(o, p->prefix, "state", "%s", state_name(p->state));
	/* Whoever is the root's parent, and may lead its session as well. */
	fact(o, p->prefix, "ppid", "%s", parent && !in_tree(o, parent) ? "outside" : name_of(o, parent, name));
	parent_thread_fact(o, p);
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++)
		fact(o, p->prefix, ids[i].key, "%s",
			name_of(o, strtol(stat_field(stat, ids[i].field), NULL, 10), name));
	if (tty)
		fact(o, p->prefix, "terminal", "#%lu", (unsigned long)ordinal(&o->ttys, tty, 0));
	else
		fact(o, p->prefix, "terminal", "none");
	fact(o, p->prefix, "forked, no exec", "%d", !!(strtoul(stat_field(stat, 9), NULL, 10) & PF_FORKNOEXEC));
	fact(o, p->prefix, "exit signal", "%ld", strtol(stat_field(stat, 38), NULL, 10));
}

static void address_facts(struct oracle *o, const struct proc *p, char *stat)
{
	static const struct {
		const char *key;
		unsigned field;
	} addresses[] = { { "start_code", 26 }, { "end_code", 27 }, { "start_stack", 28 }, { "start_data", 45 },
		{ "end_data", 46 }, { "start_brk", 47 }, { "arg_start", 48 }, { "arg_end", 49 }, { "env_start", 50 },
		{ "env_end", 51 } };

	for (size_t i = 0; i < ARRAY_SIZE(addresses); i++) {
		char *field = stat_field(stat, addresses[i].field);

		if (field)
			fact(o, p->prefix, addresses[i].key, "%#lx", strtoul(field, NULL, 10));
	}
}

static void exit_code_fact(struct oracle *o, const struct proc *p, char *stat)
{
	char *field = stat_field(stat, 52);

	fact(o, p->prefix, "exit code", "%#lx", field ? strtoul(field, NULL, 10) : 0UL);
}

void zombie_facts(struct oracle *o, struct proc *p)
{
	static const char *const lines[] = { "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb",
		"NoNewPrivs", "Cpus_allowed" };
	static const struct {
		int field;
		const char *key;
	} numbers[] = { { 18, "priority" }, { 19, "nice" }, { 40, "real-time priority" }, { 41, "policy" } };
	_free_ char *stat = slurpf(NULL, "/proc/%d/stat", p->pid);
	_free_ char *status = slurpf(NULL, "/proc/%d/status", p->pid);
	char value[256];

	text_fact(o, p, "comm");
	if (!stat)
		return;
	relation_facts(o, p, stat);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
		char *field = stat_field(stat, numbers[i].field);

		fact(o, p->prefix, numbers[i].key, "%ld", field ? strtol(field, NULL, 10) : 0L);
	}
	exit_code_fact(o, p, stat);
	text_fact(o, p, "loginuid");
	for (size_t i = 0; status && i < sizeof(lines) / sizeof(*lines); i++)
		if (line_value(status, lines[i], value, sizeof(value)))
			fact(o, p->prefix, lines[i], "%s", value);
}

static void autogroup_fact(struct oracle *o, const struct proc *p)
{
	_free_ char *text = slurpf(NULL, "/proc/%d/autogroup", p->pid);
	char *nice = text ? strstr(text, " nice ") : NULL;

	if (nice)
		fact(o, p->prefix, "autogroup nice", "%d", atoi(nice + 6));
}

/* ID, clock, signal and target of each POSIX timer; what is left of them has to be asked for inside. */
static void timer_facts(struct oracle *o, const struct proc *p)
{
	_free_ char *text = slurpf(NULL, "/proc/%d/timers", p->pid);
	char *save = NULL, key[48] = "timer";

	for (char *line = text ? strtok_r(text, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save)) {
		char name[32], *colon = strchr(line, ':'), *dot = strrchr(line, '.');

		if (!colon)
			continue;
		if (!strncmp(line, "ID:", 3)) {
			snprintf(key, sizeof(key), "timer %d", atoi(colon + 1));
		} else if (!strncmp(line, "notify:", 7) && dot) {
			*dot = '\0';
			fact(o, p->prefix, key, "%s %s", line, name_of(o, atol(dot + 1), name));
		} else {
			fact(o, p->prefix, key, "%s", line);
		}
	}
}

static int by_value(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static void children_fact(struct oracle *o, const struct proc *p)
{
	pid_t *list = calloc(o->nprocs, sizeof(*list));
	size_t n = 0;
	_free_ char *text = malloc(o->nprocs * 12 + 1);
	char *at = text;

	*text = '\0';
	for (size_t i = 0; i < o->nprocs; i++)
		if (o->procs[i].parent == p->pid)
			list[n++] = o->procs[i].inner;
	qsort(list, n, sizeof(*list), by_value);
	for (size_t i = 0; i < n; i++)
		at += sprintf(at, " %d", list[i]);
	fact(o, p->prefix, "children", "%s", n ? text + 1 : "none");
	free(list);
}

void process_facts(struct oracle *o, struct proc *p)
{
	static const char *const texts[] = { "comm", "cmdline", "environ", "coredump_filter", "oom_score_adj",
		"setgroups", "uid_map", "gid_map", "projid_map" };
	_free_ char *stat = slurpf(NULL, "/proc/%d/stat", p->pid);

	if (!stat || !stat_field(stat, 8))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		text_fact(o, p, texts[i]);
	relation_facts(o, p, stat);
	address_facts(o, p, stat);
	exit_code_fact(o, p, stat);
	children_fact(o, p);
	status_facts(o, p);
	link_fact(o, p->prefix, "exe", p->pid, "exe");
	auxv_facts(o, p);
	limit_facts(o, p);
	namespace_facts(o, p);
	autogroup_fact(o, p);
	timer_facts(o, p);
}

/* Names of the machine are those of the root's UTS namespace; a child looks, as the oracle itself must stay
 * where it is. */
static void machine_names(struct oracle *o)
{
	int pipefd[2];
	struct utsname uts = { 0 };
	char path[64];
	pid_t pid;

	snprintf(path, sizeof(path), "/proc/%d/ns/uts", o->root);
	if (pipe2(pipefd, O_CLOEXEC) < 0)
		return;
	fflush(o->out);
	pid = fork();
	if (pid == 0) {
		_close_ int ns = open(path, O_RDONLY | O_CLOEXEC);

		if (setns(ns, CLONE_NEWUTS) == 0 && uname(&uts) == 0)
			_exit(write(pipefd[1], &uts, sizeof(uts)) != sizeof(uts));
		_exit(1);
	}
	close(pipefd[1]);
	if (pid > 0 && read(pipefd[0], &uts, sizeof(uts)) == sizeof(uts)) {
		fact(o, "tree", "hostname", "%s", uts.nodename);
		fact(o, "tree", "domainname", "%s", uts.domainname);
	}
	close(pipefd[0]);
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

/* One line of mountinfo without ids and device numbers: what is mounted where, and how. */
static void mount_fact(struct oracle *o, const char *line)
{
	char root[512], point[512], options[256];
	const char *dash = strstr(line, " - ");
	int used = 0;

	if (!dash || sscanf(line, "%*d %*d %*s %511s %511s %255s %n", root, point, options, &used) != 3)
		return;
	fact(o, "tree", "mount", "%s root %s %s %s %s", point, root, options,
		strstr(line + used, "shared:")	    ? "shared"
		: strstr(line + used, "master:")    ? "slave"
		: strstr(line + used, "unbindable") ? "unbindable"
						    : "private",
		dash + 3);
}

/* The mounts count only where the tree has a mount namespace of its own: the host's change by themselves. */
static void mount_facts(struct oracle *o)
{
	char path[64];
	struct stat mine, roots;
	_free_ char *text = NULL;
	char *save = NULL;

	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", o->root);
	if (stat(path, &roots) < 0 || stat("/proc/self/ns/mnt", &mine) < 0 || mine.st_ino == roots.st_ino)
		return;
	text = slurpf(NULL, "/proc/%d/mountinfo", o->root);
	for (char *line = text ? strtok_r(text, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save))
		mount_fact(o, line);
}

void tree_facts(struct oracle *o)
{
	fact(o, "tree", "processes", "%zu", o->nprocs);
	machine_names(o);
	mount_facts(o);
	shm_facts(o);
}
