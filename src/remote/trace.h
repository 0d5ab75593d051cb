/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The steps of ptrace that stopping and injecting are made of. For the thread that seized the task. */
#pragma once

#include "remote/stop.h"

/* How long a task may take for a step that it takes at once unless the machine is choked. */
#define TRACE_PROMPT_MS 10000

/*
 * A task that is comes to no stop any more. Its end may be long in coming: pid 1 of a pid namespace waits in its exit for all others there, also for those that are dead and
 * whose tracer, which may be another thread of this process, has not waited for them yet.
 */
bool trace_is_exiting(pid_t tid);
/* The next change of the task's state. -ETIMEDOUT; -ESRCH: it has ended, or is about to (s->state is then STOP_GONE). */
int trace_wait(struct stop *s, int timeout_ms, int *status);

/*
 * Waits for the event stop that PTRACE_INTERRUPT brings, the only stop in which the kernel still has a system call to restart.
 * Whatever comes first is let pass, signals delivered. Notes in *s whether it is a group stop.
 */
int trace_event_stop(struct stop *s, int timeout_ms);
/* Registers of a call from the instruction at insn; rsp and the flags are the caller's affair. */
void trace_set_call(struct user_regs_struct *gp, uint64_t insn, long nr, const uint64_t args[6]);

/*
 * One system call in a task that is in an event stop, with every signal blocked. The task is first set to `approach`, with rip at a
 * `syscall` instruction, and only once it is inside the kernel to `gp`: until then what `approach` asks for is what it does
 * if spore dies (rt_sigreturn, best; or the call itself, where approach is gp). Ends in an event stop again, before any
 * instruction after that one; registers and mask are the caller's to put back. Result of the call, or a negative errno.
 */
int64_t trace_call(struct stop *s, const struct user_regs_struct *approach, const struct user_regs_struct *gp);

/* Puts registers (and mask, if it was touched) of a stopped task back to what *s says. */
int trace_put_back(struct stop *s);

int trace_sigmask_get(pid_t tid, uint64_t *mask);
int trace_sigmask_set(pid_t tid, uint64_t mask);
