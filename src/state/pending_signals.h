/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Signals that wait: what shared_pending (of a process) and pending (of a thread) have in common. */
#pragma once

#include "object/component.h"

struct pending_signal {
	uint8_t signal;
	struct blob info; /* siginfo_t, 128 bytes */
};

struct pending_state {
	object_id of;
	struct pending_signal *signals;
	size_t n_signals;
};

extern const struct field pending_signal_fields[];
extern const struct component component_shared_pending, component_pending;

/* Reads the queue of a stopped thread (or, shared, of its process) into s; mask: the signals of that queue
 * that /proc shows. */
int pending_capture(struct capture *c, struct thread *t, bool shared, uint64_t mask, struct pending_state *s);
int pending_validate(struct restore *r, const struct record *rec);
/* Is this one to be queued? Not the signal of a timer that repeats: the timer queues it again itself, and
 * then counts its overruns in it. */
bool pending_is_queued(const struct restore *r, object_id process, const struct pending_signal *p);
/* Does a signal of that timer wait, for the process or one of its threads? */
bool pending_has_timer(const struct new_process *p, int timer_id);
