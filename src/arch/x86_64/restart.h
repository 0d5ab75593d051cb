/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Interrupted system calls. A task that sleeps in a call is woken by the stop, and its registers say how the
 * kernel would go on if no signal handler has to run:
 *
 *   -512 -513 -514  the call starts anew with the same arguments: nothing to be done, here or in a new task
 *   -516            the kernel goes on with what it remembers (a deadline): in a new task that memory has to
 * be made again -4              the call gives up, for the kernel believes that only a signal can have woken
 * it: it has to be wound back
 *
 * A call that is wound back is left at -514, so that the kernel itself decides: it starts anew unless a
 * handler runs, and then it is EINTR as it should be.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/user.h>

#include "remote/batch.h"

/* What has to be known of a -516 beside the registers. Kept in the record of a thread. */
struct restart_state {
	bool block;   /* stopped at -516 */
	int32_t nr;   /* the call; 219 (restart_syscall) when that is not known any more */
	int64_t left; /* ns from the stop to its deadline; -1: it has none, it is absolute in the arguments,
			 or it is not known */
};

/* What a thread was seen to do just before it was stopped. */
struct sleep_seen {
	int32_t nr;	  /* the call that it sleeps in with a timeout that counts from its start; 0: none */
	int32_t cpu;	  /* on which it was last */
	int64_t start;	  /* when it went to sleep, by that processor's clock of the scheduler */
	int64_t since;	  /* the same, by CLOCK_MONOTONIC; 0: not known */
	int64_t switches; /* how often it had gone to sleep */
};

#define RESTART_NR_UNKNOWN 219

/* Is it stopped at a -4 that it would not have seen without the stop? */
bool restart_is_interrupted(const struct user_regs_struct *gp);
bool restart_is_block(const struct user_regs_struct *gp);
/* Pure: the call that a task in restart_syscall is in, from the text of /proc/PID/task/TID/stack and its
 * first two arguments. */
int restart_nr_of_stack(const char *stack, uint64_t first, uint64_t second);
/* The same from the instructions before it, where they load a number that can only be one of these. */
int restart_nr_of_code(pid_t tid, const struct user_regs_struct *gp);

/* Does the call have a timeout that counts from when it began, and where does one look how much is left of
 * it? ns; -1: no such. */
int64_t restart_timeout(pid_t tid, int nr, const struct user_regs_struct *gp);
/* What the kernel itself wrote as the remainder when it woke a nanosleep; -1: it did not. */
int64_t restart_remainder(pid_t tid, int nr, const struct user_regs_struct *gp);
/* Winds back a call at -4, with so much of its timeout (-1: all). A timeout behind a pointer goes below the
 * red zone of the stack of the stopped task. */
void restart_wind_back(pid_t tid, struct user_regs_struct *gp, int64_t left);

/* For a new task: must it be put to sleep in the stub, so that its kernel has a deadline to remember? */
bool restart_needs_rearm(const struct restart_state *s);
/* The last operation of its last batch: the call itself, for what is left. The task sleeps in it until it is
 * stopped. gp: its registers in the image. */
uint32_t restart_rearm(struct batch *b, const struct restart_state *s, const struct user_regs_struct *gp);
/* Is the stopped task asleep in the call that restart_rearm queued? `now` are its registers in the stub. */
bool restart_is_armed(const struct restart_state *s, const struct user_regs_struct *now);
/*
 * The registers to let the new task go with. armed: it is asleep in its call in the stub; else result, if not
 * NULL, is what that call had returned already. Without either the call starts anew.
 */
void restart_resume(const struct restart_state *s, struct user_regs_struct *gp, bool armed, const int64_t *result);
