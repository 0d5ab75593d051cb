/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A directory of a maker's own in /dev/shm, what it makes below it, and how that looked before. */
#pragma once

#include "maker.h"

enum { SIZE = 3 * PAGE };

int make_base(void);
const char *base(void);
/* The path of what has this name below it. */
const char *in_base(char out[static 256], const char *name);
/* A new file of that many bytes of a pattern: its path, and a descriptor with these flags. */
int make_file(char path[static 256], const char *name, size_t len, uint64_t seed, int flags, int *fd);
int same_contents(const char *path, size_t len, uint64_t seed);
/* Removes the file, the last, and the directory. */
int leave(const char *path);

int look_before(const char *path);
const struct stat *seen_before(void);
/* Everything that stat tells, but what the kernel counts by itself, is as it was when looked at. */
int same_stat(const char *path);

#define IN_CONTAINER(name, what, make, use, arg)                                                                       \
	{                                                                                                              \
		name, what, make, use, MAKER_CONTAINER, arg                                                            \
	}
