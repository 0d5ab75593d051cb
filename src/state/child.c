/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "state/files.h"

#define CHILD_STACK (64ul << 10)

struct child_call {
	int (*fn)(void *arg);
	void *arg;
	int result;
};

static int child_main(void *arg)
{
	struct child_call *call = arg;

	call->result = call->fn(call->arg);
	return 0;
}

/* Signals stay blocked in the child: it must run to its end. No exit signal: nobody's waitpid(-1) may see it.
 */
static int clone_and_call(int (*fn)(void *arg), void *arg, int share)
{
	struct child_call call = { .fn = fn, .arg = arg, .result = -EINTR };
	sigset_t all, before;
	void *stack;
	pid_t pid;

	stack = mmap(NULL, CHILD_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (stack == MAP_FAILED)
		return -errno;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	pid = clone(child_main, (char *)stack + CHILD_STACK, CLONE_VM | CLONE_VFORK | share, &call);
	if (pid < 0)
		call.result = -errno;
	else
		while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
			;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	munmap(stack, CHILD_STACK);
	return call.result;
}

int call_in_child(int (*fn)(void *arg), void *arg)
{
	return clone_and_call(fn, arg, CLONE_FILES);
}

int call_with_own_descriptors(int (*fn)(void *arg), void *arg)
{
	return clone_and_call(fn, arg, 0);
}

int call_in_pid_ns(int ns, int (*fn)(void *arg), void *arg)
{
	_cleanup_fd_ int own = open("/proc/thread-self/ns/pid_for_children", O_RDONLY | O_CLOEXEC);
	int r;

	if (own < 0 || setns(ns, CLONE_NEWPID) < 0)
		return -errno;
	r = call_in_child(fn, arg);
	/* A thread that cannot go back would have its children in the wrong place. */
	if (setns(own, CLONE_NEWPID) < 0)
		abort();
	return r;
}
