/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How much is left of a sleep that a stop interrupts. The kernel keeps the deadline to itself, so when the
 * sleep began is read while it lasts, and what was once known is remembered from one checkpoint to the next.
 */
#pragma once

#include "arch/x86_64/restart.h"
#include "image/field.h"
#include "kernel/procfs.h"
#include "remote/stop.h"

extern const struct field restart_fields[]; /* of struct restart_state */

/* The scheduler's clock of each CPU against CLOCK_MONOTONIC. One for each worker; zeroed. */
struct sleep_clock {
	struct {
		bool known;
		int64_t ahead; /* of CLOCK_MONOTONIC, in ns */
	} cpu[64];
};

/*
 * Before the stop: proc_fd is /proc/PID/task/TID. Cheap for a thread that runs, or sleeps for no set time. When all of a process were looked at, each is dated.
 * The scheduler's clock falls back behind CLOCK_MONOTONIC, never the other way, by the time that interrupts and the hypervisor take: compared after the look, a
 * sleep seems as long as it was, or shorter; compared before, it could seem longer, and would end early.
 */
void sleep_look(int proc_fd, struct sleep_clock *clock, struct sleep_seen *seen);
void sleep_date(struct sleep_clock *clock, struct sleep_seen *seen);

/* --- from one checkpoint to the next: /run/spore/sleeps-PID-STARTTIME --- */

struct sleep_note {
	int32_t tid, nr;
	int64_t deadline; /* CLOCK_MONOTONIC */
	uint64_t rip, rsp, arguments[4];
};

struct sleep_notes {
	struct sleep_note *list;
	size_t n;
};

/* What is known of the process's sleeps; empty when nothing is. */
void sleep_notes_load(pid_t pid, uint64_t starttime, struct sleep_notes *notes);
/* Replaces the file by these (those in the future), or removes it when there are none. Failure only means a
 * full timeout later. */
void sleep_notes_store(pid_t pid, uint64_t starttime, const struct sleep_notes *notes);
/* Removes what is left of processes that are gone. */
void sleep_notes_sweep(void);
void sleep_notes_free(struct sleep_notes *notes);
int sleep_notes_keep(struct sleep_notes *notes, const struct sleep_note *note);
int sleep_note_add(
	struct sleep_notes *notes, pid_t tid, const struct restart_state *s, const struct user_regs_struct *gp);

/*
 * At once after the stop, before anything runs in the task: winds back what only the stop interrupted (in
 * s->regs, which is also what the image takes) and says what is left of a sleep that the kernel remembers.
 * before: the notes that were loaded; after: gets this one's note.
 */
void sleep_settle(struct stop *s, int proc_fd, const struct sleep_seen *seen, const struct sleep_notes *before,
	struct sleep_notes *after, struct restart_state *out);

/*
 * As soon as a task has stopped: should spore die before sleep_settle, the call that the stop interrupted is made again (for all of
 * its time), and does not return EINTR. In the task only.
 */
void sleep_wind_back(const struct stop *s);
