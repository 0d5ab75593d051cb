/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A pseudo-terminal with both of its ends, and what comes out of either. */
#pragma once

#include "maker.h"

int open_pair(int *master, int *slave);
/* No line editing, no echo. */
int raw(int fd);
/* One read gives exactly this. */
int got(int fd, const char *want);
