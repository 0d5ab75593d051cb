/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * System V IPC as /proc/sysvipc shows it: all of a namespace of the tree's own; of ours, what the tree maps, made or used last. Who
 * is who is told by the reader's pid namespace, which has to be the tree's.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <mqueue.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "oracle.h"

struct place {
	struct oracle *o;
	bool own;
};

static bool is_member(const struct oracle *o, long inner)
{
	for (size_t i = 0; i < o->nprocs; i++)
		if (inner && o->procs[i].inner == inner)
			return true;
	return false;
}

static bool is_mapped(const struct oracle *o, long id)
{
	for (size_t i = 0; i < o->nprocs; i++) {
		_free_ char *maps = slurpf(NULL, "/proc/%d/maps", o->procs[i].pid);
		char *save = NULL;

		for (char *l = maps ? strtok_r(maps, "\n", &save) : NULL; l; l = strtok_r(NULL, "\n", &save)) {
			long ino;

			if (strstr(l, "/SYSV") && sscanf(l, "%*s %*s %*s %*s %ld", &ino) == 1 && ino == id)
				return true;
		}
	}
	return false;
}

/* Columns by name: their order has not changed, but there are more on some kernels. */
static long column(const char *header, const char *line, const char *name)
{
	for (;;) {
		size_t h, v;

		header += strspn(header, " ");
		line += strspn(line, " ");
		h = strcspn(header, " \n");
		v = strcspn(line, " \n");
		if (!h || !v)
			return -1;
		if (h == strlen(name) && !strncmp(header, name, h))
			return strtol(line, NULL, !strcmp(name, "perms") ? 8 : 10);
		header += h;
		line += v;
	}
}

static void object_fact(struct place *p, const char *kind, const char *idname, const char *header, const char *line,
	const char *const *columns, size_t n)
{
	char key[40], text[400] = "";
	size_t used = 0;
	long id = column(header, line, idname);
	bool its = p->own || (!strcmp(kind, "shm") && is_mapped(p->o, id));

	for (size_t i = 0; i < n && !its; i++)
		its = strstr(columns[i], "pid") && is_member(p->o, column(header, line, columns[i]));
	if (!its)
		return;
	for (size_t i = 0; i < n; i++) {
		long v = column(header, line, columns[i]);

		/* Who is not of the tree has no name that lasts, unless all the numbers are the tree's. */
		if (strstr(columns[i], "pid") && !p->own && !is_member(p->o, v))
			v = 0;
		used += snprintf(text + used, sizeof(text) - used,
			!strcmp(columns[i], "perms") ? "%s%s %lo" : "%s%s %ld", i ? " " : "", columns[i], v);
	}
	snprintf(key, sizeof(key), "%s %ld", kind, id);
	fact(p->o, "ipc", key, "%s", text);
}

static void kind_facts(struct place *p, const char *kind, const char *idname, const char *const *columns, size_t n)
{
	_free_ char *text = slurpf(NULL, "/proc/sysvipc/%s", kind);
	char *save = NULL, *header = text ? strtok_r(text, "\n", &save) : NULL;

	for (char *l = header ? strtok_r(NULL, "\n", &save) : NULL; l; l = strtok_r(NULL, "\n", &save))
		object_fact(p, kind, idname, header, l, columns, n);
}

#define KIND_FACTS(p, kind, id, ...)                                                                                   \
	kind_facts(                                                                                                    \
		p, kind, id, (const char *const[]){ __VA_ARGS__ }, ARRAY_SIZE(((const char *const[]){ __VA_ARGS__ })))

static void limits_facts(struct place *p)
{
	static const char *const names[] = { "kernel/shmmax", "kernel/shmall", "kernel/shmmni", "kernel/sem",
		"kernel/msgmax", "kernel/msgmnb", "kernel/msgmni", "kernel/shm_rmid_forced", "fs/mqueue/queues_max",
		"fs/mqueue/msg_max", "fs/mqueue/msgsize_max", "fs/mqueue/msg_default", "fs/mqueue/msgsize_default" };

	for (size_t i = 0; p->own && i < ARRAY_SIZE(names); i++) {
		_free_ char *text = slurpf(NULL, "/proc/sys/%s", names[i]);

		if (text) {
			text[strcspn(text, "\n")] = '\0';
			fact(p->o, "ipc", names[i], "%s", text);
		}
	}
}

bool mqueue_facts(struct oracle *o, const char *prefix, int fd)
{
	char path[64], text[128] = "", *pid;
	struct mq_attr attr;
	struct stat st;
	_close_ int own = -1;

	if (mq_getattr(fd, &attr) < 0)
		return false;
	/* With an offset of its own; reading leaves a trace in its times, which is wiped out. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	own = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (own < 0 || fstat(own, &st) < 0 || read(own, text, sizeof(text) - 1) < 0)
		return true;
	futimens(own, (const struct timespec[]){ st.st_atim, st.st_mtim });
	text[strcspn(text, "\n")] = '\0';
	pid = strstr(text, " NOTIFY_PID:");
	if (pid)
		*pid = '\0';
	fact(o, prefix, "mqueue", "%06o %u:%u most %ld of %ld, now %ld, %s, %s", st.st_mode, st.st_uid, st.st_gid,
		attr.mq_maxmsg, attr.mq_msgsize, attr.mq_curmsgs, text,
		pid && atoi(pid + 12) ? "somebody to be told" : "nobody to be told");
	fact(o, prefix, "mqueue times", "accessed %ld.%09ld modified %ld.%09ld", st.st_atim.tv_sec, st.st_atim.tv_nsec,
		st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	return true;
}

static void named_queues(struct place *p)
{
	_close_ int fs = syscall(SYS_fsopen, "mqueue", FSOPEN_CLOEXEC);
	_close_ int root = -1;
	struct dirent **list;
	int n;

	if (!p->own || fs < 0 || syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return;
	root = syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
	n = root < 0 ? -1 : scandirat(root, ".", &list, NULL, alphasort);
	for (int i = 0; i < n; i++) {
		_close_ int fd = openat(root, list[i]->d_name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		char prefix[300];

		snprintf(prefix, sizeof(prefix), "mqueue %s", list[i]->d_name);
		if (*list[i]->d_name != '.' && fd >= 0)
			mqueue_facts(p->o, prefix, fd);
		free(list[i]);
	}
	if (n >= 0)
		free(list);
}

static void all_facts(struct place *p)
{
	KIND_FACTS(p, "shm", "shmid", "key", "perms", "size", "cpid", "lpid", "nattch", "uid", "gid", "cuid", "cgid");
	KIND_FACTS(p, "sem", "semid", "key", "perms", "nsems", "uid", "gid", "cuid", "cgid");
	KIND_FACTS(p, "msg", "msqid", "key", "perms", "cbytes", "qnum", "lspid", "lrpid", "uid", "gid", "cuid", "cgid");
	limits_facts(p);
	named_queues(p);
}

/* Our namespace and its; 1 and they are the same, 0 and they are not, -1. */
static int open_both(const struct oracle *o, const char *name, int *ours, int *its)
{
	struct stat a, b;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/ns/%s", name);
	*ours = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/%d/ns/%s", o->root, name);
	*its = open(path, O_RDONLY | O_CLOEXEC);
	return *ours < 0 || *its < 0 || fstat(*ours, &a) < 0 || fstat(*its, &b) < 0 ? -1 : a.st_ino == b.st_ino;
}

/* By a child in the tree's pid namespace, in which the numbers are told as the tree knows them; one that uses up none of those to come. */
static void facts_from_inside(struct place *p)
{
	pid_t number;
	struct clone_args args = { .exit_signal = SIGCHLD, .set_tid = (uintptr_t)&number, .set_tid_size = 1 };
	_free_ char *max = slurpf(NULL, "/proc/sys/kernel/pid_max");
	long pid;

	number = max ? atoi(max) - 200 : 32000;
	fflush(p->o->out);
	for (int i = 0; (pid = syscall(SYS_clone3, &args, sizeof(args))) < 0 && errno == EEXIST && i < 100; i++)
		number--; /* the tree's own */
	if (pid == 0) {
		all_facts(p);
		fflush(p->o->out);
		_exit(0);
	}
	if (pid < 0)
		fact(p->o, "ipc", "facts", "cannot be read");
	else
		waitpid(pid, NULL, 0);
}

void ipc_facts(struct oracle *o)
{
	struct place p = { .o = o };
	_close_ int own_ipc = -1;
	_close_ int its_ipc = -1;
	_close_ int own_pid = -1;
	_close_ int its_pid = -1;
	int same_ipc = open_both(o, "ipc", &own_ipc, &its_ipc), same_pid = open_both(o, "pid", &own_pid, &its_pid);

	if (same_ipc < 0 || same_pid < 0)
		return;
	p.own = !same_ipc;
	if ((p.own && setns(its_ipc, CLONE_NEWIPC) < 0) || (!same_pid && setns(its_pid, CLONE_NEWPID) < 0))
		return;
	if (same_pid)
		all_facts(&p);
	else
		facts_from_inside(&p);
	if ((p.own && setns(own_ipc, CLONE_NEWIPC) < 0) || (!same_pid && setns(own_pid, CLONE_NEWPID) < 0))
		exit(1);
}
