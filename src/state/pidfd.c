/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* pidfd: a process, or a thread, behind a descriptor. pidfd_open(2); fs/pidfs.c;
 * tools/testing/selftests/pidfd. */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include "base/cleanup.h"
#include "kernel/uapi.h"
#include "state/files.h"

struct pidfd_state {
	int64_t pid; /* in the tree's pid namespace */
	bool thread;
	uint64_t ended; /* 0: it lives, or is a zombie; else the same number for all pidfds of one process */
	uint64_t status;
};

static const struct field pidfd_fields[] = {
	FIELD_INT(struct pidfd_state, pid, "pid", "the process or thread, in the tree's pid namespace"),
	FIELD_BOOL(struct pidfd_state, thread, "thread", "PIDFD_THREAD: of one thread"),
	FIELD_SINCE(2, UINT, struct pidfd_state, ended, "ended",
		"of a process or thread that was waited for: a number that all its pidfds have"),
	FIELD_SINCE(2, HEX, struct pidfd_state, status, "status", "how that ended, as wait(2) has it"),
	FIELD_END,
};

/* Linux 6.15; 6.13 has the first 64 bytes, and tells of the living only. */
struct pidfd_info {
	uint64_t mask, cgroup;
	uint32_t ids[11];
	int32_t exit_code;
	uint32_t coredump_mask, coredump_signal;
};
#define PIDFD_GET_INFO_	 _IOWR(0xff, 11, struct pidfd_info)
#define PIDFD_INFO_EXIT_ (1u << 3)
#define PID_MAX		 (1 << 15) /* more is possible only if it is asked for */

static bool pidfd_matches(const struct file_look *f)
{
	return !strcmp(f->link, "anon_inode:[pidfd]");
}

/* --- checkpoint --- */

/* Nothing of it is left but its number in pidfs and how it ended. Before Linux 6.15 nobody can ask for that. */
static int capture_ended(struct capture *c, const struct file_look *f, struct pidfd_state *s)
{
	struct pidfd_info info = { .mask = PIDFD_INFO_EXIT_ };
	int fd = file_dup(c, f);

	if (fd < 0)
		return fd;
	if (ioctl(fd, PIDFD_GET_INFO_, &info) == 0 && info.mask & PIDFD_INFO_EXIT_)
		s->status = (uint32_t)info.exit_code & 0xffff;
	s->ended = identity_of(c->identities, "ended process", f->ino, 0, 0, NULL);
	if (flistxattr(fd, NULL, 0) > 0)
		return refused(c->ps, BLAME_FILE(f), "a pidfd with extended attributes");
	return 0;
}

static int pidfd_capture(struct capture *c, const struct file_look *f, void *state)
{
	struct pidfd_state *s = state;
	const char *text = proc_value(f->info, "Pid");
	pid_t pid = text ? (pid_t)strtol(text, NULL, 10) : 0;
	const struct process *p = tree_find(c->tree, pid);
	const struct thread *t = tree_find_tid(c->tree, pid);

	s->thread = f->flags & SPORE_PIDFD_THREAD;
	if (pid < 0)
		return capture_ended(c, f, s);
	if (!pid || (!p && !t))
		return c->writer ? refused(c->ps, BLAME_FILE(f, .remedy = "name a tree that holds that process too"),
					   "a pidfd of process %d, which is outside the tree", pid)
				 : 0;
	s->pid = s->thread && t ? t->vtid : p ? p->vpid : t->vtid;
	return 0;
}

/* --- restore --- */

/* In the keeper's pid namespace. */
static pid_t find_task(const struct restore *r, const struct pidfd_state *s)
{
	for (size_t i = 0; i < r->n_processes; i++) {
		const struct new_process *p = r->processes[i];

		if (!s->thread && p->vpid == s->pid)
			return p->pid;
		for (size_t k = 0; s->thread && k < p->n_threads; k++)
			if (p->threads[k].vtid == s->pid)
				return p->threads[k].tid;
	}
	return -1;
}

/* In a child of the keeper's own: ends as that process did, but for a core dump. */
_Noreturn static void end_like(uint64_t status)
{
	int signal = (int)(status & 0x7f);
	struct sigaction usual = { .sa_handler = SIG_DFL };
	sigset_t none;

	prctl(PR_SET_DUMPABLE, 0);
	sigaction(signal, &usual, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (signal)
		kill((pid_t)syscall(SYS_getpid), signal);
	_exit((int)(status >> 8 & 0xff));
}

struct ending {
	struct restore *r;
	const struct pidfd_state *of;
	int root; /* a pidfd of the tree's root */
};

static int open_one(struct restore *r, const struct record *rec, pid_t pid)
{
	const struct pidfd_state *s = rec->state;
	struct made *made = restore_made(r, rec->id);

	made->fd[0] = (int)syscall(SYS_pidfd_open, pid, (unsigned int)(s->thread ? SPORE_PIDFD_THREAD : 0));
	return made->fd[0] < 0 ? -errno : 0;
}

/* All pidfds of one process are opened before it is waited for: afterwards none can be. */
static int open_all(struct ending *e, pid_t pid)
{
	size_t n;
	const struct record *all = image_records(e->r->image, &component_pidfd.kind, &n);
	int err = 0;

	for (size_t i = 0; i < n && !err; i++)
		if (((const struct pidfd_state *)all[i].state)->ended == e->of->ended)
			err = open_one(e->r, &all[i], pid);
	return err;
}

/* A high number, and asked for, so that the next child of the tree gets the number that it would have had. */
static pid_t clone_unnoticed(void)
{
	long pid = -1;

	errno = EEXIST;
	for (pid_t number = PID_MAX - 1; pid < 0 && errno == EEXIST && number > PID_MAX - 1000; number--) {
		struct clone_args args = { .set_tid = (uintptr_t)&number, .set_tid_size = 1 };

		pid = syscall(SYS_clone3, &args, sizeof(args));
	}
	return (pid_t)pid;
}

/* In a child of the keeper's: a process of the tree's pid namespace is born, and ends. Without an exit signal: nobody's waitpid(-1) may see it. */
static int end_in_tree(void *arg)
{
	struct ending *e = arg;
	int err, status;
	pid_t pid;

	if (setns(e->root, CLONE_NEWPID) < 0)
		return -errno;
	pid = clone_unnoticed();
	if (pid < 0)
		return -errno;
	if (!pid)
		end_like(e->of->status);
	err = open_all(e, pid);
	while (waitpid(pid, &status, __WALL) < 0 && errno == EINTR)
		;
	return err;
}

static int make_ended(struct restore *r, const struct pidfd_state *of)
{
	_cleanup_fd_ int root = (int)syscall(SYS_pidfd_open, r->processes[0]->pid, 0);
	struct ending e = { r, of, root };
	int err = root < 0 ? -errno : call_in_child(end_in_tree, &e);

	if (!err && of->status & WCOREFLAG)
		changed(r->ps, BLAME(.object = "pidfd"),
			"the status of a process that has ended no longer says that it dumped core");
	return err;
}

static int open_ended(struct restore *r, const struct record *rec)
{
	struct made *made = restore_made(r, rec->id);
	int err = made->fd[0] < 0 ? make_ended(r, rec->state) : 0, fd;

	if (err)
		return err;
	fd = fcntl(made->fd[0], F_DUPFD_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

static int pidfd_validate(struct restore *r, const struct record *rec)
{
	const struct pidfd_state *s = rec->state;
	uint64_t signal = s->status & 0x7f;

	if (s->status > 0xffff || (signal && (signal > 64 || signal == SIGSTOP || signal == SIGTSTP ||
						     signal == SIGTTIN || signal == SIGTTOU || signal == SIGCONT ||
						     signal == SIGCHLD || signal == SIGURG || signal == SIGWINCH)))
		return failed(r->ps, BLAME(.object = "pidfd"), -EBADMSG,
			"the image has a process that ended in an impossible way");
	return 0;
}

static int pidfd_component_open(struct restore *r, const struct record *rec, const struct file_state *file)
{
	const struct pidfd_state *s = rec->state;
	int fd;

	if (s->ended)
		fd = open_ended(r, rec);
	else
		fd = (int)syscall(SYS_pidfd_open, find_task(r, s), (unsigned int)(s->thread ? SPORE_PIDFD_THREAD : 0));
	if (fd < 0 && !s->ended)
		fd = -errno;
	if (fd < 0)
		return failed(r->ps, BLAME(.object = "pidfd"), fd, "a pidfd of process %lld cannot be had: %s",
			(long long)s->pid, strerror(-fd));
	return file_settle(fd, file);
}

const struct component component_pidfd = {
	.kind = { .name = "pidfd",
		.version = 2,
		.size = sizeof(struct pidfd_state),
		.fields = pidfd_fields,
		.doc = "a process or thread behind a descriptor",
		.sources = "pidfd_open(2); fs/pidfs.c; tools/testing/selftests/pidfd" },
	.scope = SCOPE_BACKING,
	.matches = pidfd_matches,
	.by_description = true,
	.capture_file = pidfd_capture,
	.validate = pidfd_validate,
	.open = pidfd_component_open,
};
