/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Being there for a tree in the foreground: its terminal relayed, signals passed on, until its root ends. */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <termios.h>

struct terminal {
	int master, slave; /* -1: none */
	bool raw;	   /* the user's terminal (standard input) was put into raw mode */
	struct termios saved;
};
#define TERMINAL_NONE ((struct terminal){ .master = -1, .slave = -1 })

/* A pty with the size and settings of the user's terminal, if standard input is one. 0 or negative errno. */
int terminal_open(struct terminal *t);
/* From here on the user's terminal is raw: what is typed goes to the pty. Nothing to do without a pty. */
void terminal_take(struct terminal *t);
/* Gives the user's terminal back as it was; closes the pty. */
void terminal_close(struct terminal *t);

/* The signals that are passed on: those not ignored when spore was started. To be blocked before the tree can
 * end, mask in *before. */
void attend_block(sigset_t *passed, sigset_t *before);
/* Until the process of pidfd ends. The slave stays open, so that a tree may close and open its terminal
 * again. 0 or negative errno. */
int attend(int pidfd, struct terminal *t, const sigset_t *passed);
/* Until the processes of all of these have ended. Signals are passed on to all that live. */
int attend_all(const int *pidfds, size_t n, const sigset_t *passed);
