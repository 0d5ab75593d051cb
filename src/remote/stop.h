/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stopping one task by ptrace, and letting it go as it was. Every function here must be called by the thread that
 * called stop_seize, for ptrace belongs to a thread.
 *
 * If the caller dies at any moment, the kernel detaches, and the task goes on.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "arch/x86_64/task_regs.h"
#include "remote/area.h"

enum stop_state {
	STOP_NONE,    /* not traced */
	STOP_SEIZED,  /* traced, runs */
	STOP_STOPPED, /* in a ptrace stop with its registers read */
	STOP_RUNNING, /* runs the stub for us; stop_interrupt brings it back */
	STOP_GONE,    /* exited or is dead (a zombie) */
};

struct rseq_registration {
	struct remote_addr rseq; /* 0: none */
	uint32_t size, signature, flags;
};

struct stop {
	pid_t tid;
	enum stop_state state;
	bool group_stopped; /* was stopped by a job control signal: goes back to it when let go */
	int stop_signal;    /* of that group stop */
	struct task_regs
		regs; /* at the stop; what stop_release puts back, so changes made here are what the task gets */
	uint64_t sigmask;
	struct rseq_registration rseq;
	uint64_t rseq_cs; /* struct rseq.rseq_cs at the stop; poked back before the task goes on */
	struct sud_config {
		uint64_t mode, selector, offset, len;
	} sud;		 /* syscall user dispatch */
	bool sud_untold; /* the kernel does not tell of it (before 6.4) */
	bool sud_off; /* off while the task runs calls of ours, back when let go: it would be lost if spore died in between */
	uint64_t
		let_go_at; /* when stop_release did that, by the clock: before whoever did it may lose the processor to it. 0: not yet */
	bool called_back; /* a STOP_RUNNING task was told to stop already */
	bool regs_dirty;  /* the task has run something else since: mask and rseq_cs must be put back too */
};

/* Attach without stopping; options are PTRACE_O_* added to what this layer needs (TRACESYSGOOD, SUSPEND_SECCOMP where permitted). -ESRCH: gone. -EPERM */
int stop_seize(struct stop *s, pid_t tid, uint64_t options);
/* Of one that is stopped, other options than it was seized with. */
int stop_options(const struct stop *s, uint64_t options);
int stop_interrupt(struct stop *s);
/* Waits until the task is stopped, re-injecting signals that come first. -ETIMEDOUT after timeout_ms: still seized, and may be waited for again; -ESRCH: it is gone. */
int stop_wait(struct stop *s, int timeout_ms);
/* Reads registers, mask, rseq and syscall user dispatch of a task just stopped. Part of stop_wait; again, after the task has moved. */
int stop_read(struct stop *s);
/* Else no instruction of 64-bit code can be run in it: it would be another one, or another call. */
bool stop_runs_64_bit(const struct stop *s);
/* The system call in which the task was stopped, -1: none. For one that an earlier stop made the kernel continue by restart_syscall,
 * which forgets the number, that is what the program's code says, or 219 (restart_syscall) if it does not say. */
int64_t stop_interrupted_call(const struct stop *s);
/* Has the task, which runs, sent back to its stop, and puts its registers and mask back. 0, -ESRCH, -ETIMEDOUT */
int stop_bring_back(struct stop *s);
/* Does a STOP_RUNNING task still exist? Sees to signals that no mask holds off (SIGSTOP): to be called now and then. For batch_wait. */
bool stop_alive(void *stop);
/* Puts everything back (not the extended state, which nothing of ours changes) and lets the task run on untraced. In any state; never fails in a way that the caller could mend. What is seized and
 * cannot be stopped within a moment (a parent inside vfork) cannot be let go either: it stays STOP_SEIZED. */
void stop_release(struct stop *s);
/* Gives a stopped task all that stop_release would, so that it goes on well should spore die. */
void stop_put_back(struct stop *s);
