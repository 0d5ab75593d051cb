/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <signal.h>

#define MOVED_ARGUMENTS 6

/* spore-init --moved, with the arguments of moved.h. Every signal is blocked. */
int moved_main(char **argv, const sigset_t *all);
