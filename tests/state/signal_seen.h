/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the makers of signals have in common: handlers that note what they were told. */
#pragma once

#include "maker.h"

extern volatile sig_atomic_t count, last_signo, last_code, last_value;
extern volatile pid_t last_tid;
extern int order[64]; /* the values of the first */

void note(int sig);
void note_info(int sig, siginfo_t *si, void *uc);
int catch (int sig, int flags);
sigset_t one(int sig);
int mask(int how, int sig);
