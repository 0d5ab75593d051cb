/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/witness.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"

struct witness {
	uid_t uid;
	gid_t gid;
	pid_t number; /* in the tree's pid namespace; negative errno: there is none */
	pid_t pid;
};

struct witnesses {
	pthread_mutex_t lock;
	struct witness *list;
	size_t n;
};

struct witnesses *witnesses_new(void)
{
	struct witnesses *w = calloc(1, sizeof(*w));

	if (w)
		pthread_mutex_init(&w->lock, NULL);
	return w;
}

static void end_witness(pid_t pid)
{
	if (pid <= 0)
		return;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, __WALL);
}

void witnesses_free(struct witnesses *w)
{
	if (!w)
		return;
	for (size_t i = 0; i < w->n; i++)
		end_witness(w->list[i].pid);
	pthread_mutex_destroy(&w->lock);
	free(w->list);
	free(w);
}

/* --- the process --- */

/* In a fork of a program with threads: system calls only. Whoever looks needs to be able to do nothing that this one can; changes of identity undo both prctls. */
static int become(uid_t uid, gid_t gid)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };

	if (syscall(SYS_setresgid, gid, gid, gid) < 0 || syscall(SYS_setresuid, uid, uid, uid) < 0 ||
		syscall(SYS_capset, &header, none) < 0 || syscall(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0) < 0 ||
		syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		return -errno;
	return 0;
}

/* Ends when its parent's thread does, which would close the other end of the pipe. */
static void witness_main(uid_t uid, gid_t gid, int out)
{
	unsigned long all = ~0ul;
	int said;

	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, sizeof(all));
	said = dup2(out, 0) < 0 || syscall(SYS_close_range, 1, ~0u, 0) < 0 ? -errno : become(uid, gid);
	if (write(0, &said, sizeof(said)) == sizeof(said) && said == 0)
		for (;;)
			syscall(SYS_pause);
	_exit(1);
}

#define NUMBERS_TRIED 64
#define PIDS_MAX      4194303

/* A number that is too high is found to be so when all of this process is copied already: the tree's namespace nearly always has the limit of our own. */
static pid_t highest_here(void)
{
	_cleanup_free_ char *text = NULL;

	return procfs_read(AT_FDCWD, "/proc/sys/kernel/pid_max", &text, NULL) < 0 ? PIDS_MAX
										  : (pid_t)strtol(text, NULL, 10) - 1;
}

/* With a number that the namespace would not give next, so that the tree's next child gets the one that it would have got. */
static pid_t clone_witness(void)
{
	const pid_t highest[] = { highest_here(), PIDS_MAX, 32767, 0 };
	long pid = -1;

	for (size_t i = 0; i < ARRAY_SIZE(highest); i++)
		for (pid_t number = highest[i], tries = 0; tries < NUMBERS_TRIED; number--, tries++) {
			struct clone_args args = { .set_tid = highest[i] ? (uintptr_t)&number : 0,
				.set_tid_size = highest[i] ? 1 : 0 };

			pid = syscall(SYS_clone3, &args, sizeof(args));
			if (pid >= 0)
				return (pid_t)pid;
			if (errno != EEXIST)
				break;
		}
	return -errno;
}

static pid_t clone_there(pid_t root)
{
	_cleanup_fd_ int its = (int)syscall(SYS_pidfd_open, root, 0);
	_cleanup_fd_ int own = open("/proc/thread-self/ns/pid_for_children", O_RDONLY | O_CLOEXEC);
	pid_t pid;

	if (its < 0 || own < 0 || setns(its, CLONE_NEWPID) < 0)
		return -errno;
	pid = clone_witness();
	if (pid != 0 && setns(own, CLONE_NEWPID) < 0) {
		int err = -errno;

		end_witness(pid);
		return err;
	}
	return pid;
}

static pid_t number_of(pid_t pid)
{
	_cleanup_fd_ int dir = procfs_open_pid(pid);
	struct proc_status st = { 0 };
	int r = dir < 0 ? dir : proc_status_read(dir, &st);
	pid_t number = st.pid_in_ns;

	proc_status_free(&st);
	return r < 0 ? r : number;
}

static pid_t make(const struct tree *t, uid_t uid, gid_t gid, pid_t *pid)
{
	_cleanup_fd_ int in = -1, out = -1;
	int ends[2], said;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	in = ends[0];
	out = ends[1];
	*pid = t->own_pid_ns ? clone_there(t->root_pid) : clone_witness();
	if (*pid == 0)
		witness_main(uid, gid, out);
	close_fd(&out);
	if (*pid < 0)
		return *pid;
	if (read(in, &said, sizeof(said)) != sizeof(said))
		return -ECHILD;
	return said < 0 ? said : number_of(*pid);
}

pid_t witness_for(struct witnesses *w, const struct tree *t, uid_t uid, gid_t gid)
{
	struct witness *grown, new = { .uid = uid, .gid = gid };
	pid_t number = -ENOMEM;

	pthread_mutex_lock(&w->lock);
	for (size_t i = 0; i < w->n; i++)
		if (w->list[i].uid == uid && w->list[i].gid == gid) {
			number = w->list[i].number;
			goto out;
		}
	grown = reallocarray(w->list, w->n + 1, sizeof(*grown));
	if (grown) {
		w->list = grown;
		number = new.number = make(t, uid, gid, &new.pid);
		w->list[w->n++] = new;
	}
out:
	pthread_mutex_unlock(&w->lock);
	return number;
}
