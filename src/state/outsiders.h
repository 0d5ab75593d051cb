/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The processes of this machine that are neither of the tree nor spore itself, as far as /proc shows them. */
#pragma once

#include "object/tree.h"

/* dir: /proc/PID. One that has ended meanwhile is passed over. A child that works for spore just now is among them: ask is_spores_own. 0 or negative errno */
int outsiders_each(const struct tree *t, void (*fn)(void *arg, pid_t pid, int dir), void *arg);
bool is_spores_own(pid_t pid);
