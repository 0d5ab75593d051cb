/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The controlling terminal of a session. A process gets it by its session's leader, before it is born, or not
 * at all. */
#pragma once

#include "object/component.h"

/*
 * Queues, in the task of b that has just become leader of a session (setsid), what makes the terminal its
 * own: to be called before it gives birth to anyone. For a leader that is not in the image (of the session
 * that the root was in), `process` is the root. Nothing is queued if there is no terminal.
 */
int terminal_acquire(struct build *b, object_id process);

/* The same for a leader that is none of the tree's tasks, which is to take the terminal by itself: a descriptor in the keeper; -ENOENT: none. */
int terminal_of_session(struct restore *r, object_id process);
/* Whether it has one, wherever that comes from. */
bool terminal_is_wanted(const struct restore *r, object_id process);

/* --- between controlling_terminal.c and dev_tty.c --- */

/* The id of the backing that a terminal device stands for, saved if it is the outside's: a pty, or an
 * external. 0: none of the tree's. */
int terminal_backing(struct capture *c, uint64_t device, pid_t session, object_id *out);
/* In the keeper: a descriptor of that terminal (a slave); -ENOENT: the outside gave none. */
int terminal_descriptor(struct restore *r, object_id backing);
/* Opens every /dev/tty of that terminal: possible only while it is nobody's controlling terminal. */
int terminal_open_aliases(struct restore *r, object_id backing);
