/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The other use of the stub: bare tasks that are being made into the saved ones. The seed is a binary of a few hundred
 * bytes (src/arch/x86_64/seed.S, inside the library), which maps the area from a descriptor and enters the stub at a slot.
 * Every other task comes from it by clone3 operations in batches (batch_birth).
 *
 * A bare task whose spore dies calls exit_group: nothing half built stays.
 */
#pragma once

#include "remote/batch.h"
#include "remote/stop.h"

/* The seed's binary as a memfd, close-on-exec not set is the caller's affair. Descriptor or negative errno. */
int seed_open(void);
/*
 * What to exec it with: argv[0] is the name (free), argv[1] is this: "area fd, base, size, slot address" in hex. The seed
 * maps the area (page 0 R-X, the rest RW) at base, does not close the descriptor, and waits in that slot. On any failure it exits with status 127.
 */
void seed_argument(char buf[static 80], const struct area *a, int area_fd, const struct slot *s);
/* Adds to a batch the exec of the seed in the task that runs it (a process that had called exec), to go on in slot s; seed_fd and area_fd as
 * the task knows them. After it the task is in `s`, idle; nothing may follow in the batch, whose own end is seen as s->state == SLOT_DONE. */
void batch_exec_seed(struct batch *b, int seed_fd, int area_fd, const struct slot *s);

/* Adds the clone3 of a task that gets this number and goes on in the slot. what: for errors. */
void batch_clone(
	struct batch *b, const char *what, uint64_t flags, uint64_t exit_signal, pid_t number, struct slot *slot);

/*
 * The last step of a restored task, which sits in the stub and was stopped with stop_seize + stop_interrupt + stop_wait:
 * with `syscall` the address of a `syscall` instruction in its restored memory (vDSO), runs one call there by ptrace
 * (PTRACE_SYSCALL twice), such as the munmap of the area once every thread of the process is stopped. Result of the call or negative errno.
 */
int64_t birth_last_call(pid_t tid, uint64_t syscall_insn, long nr, const uint64_t args[6]);
/* Finds a `syscall` instruction in [start, end) of the process's memory. 0: none. */
uint64_t find_syscall_insn(pid_t pid, uint64_t start, uint64_t end);
