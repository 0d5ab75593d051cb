/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A directory that is watched, for this alone: the driver works in the maker's own. */
#pragma once

#include "maker.h"

extern char place[700];

int place_make(struct maker_ctx *ctx);
/* The path of a file there; good until the next call. */
const char *there(const char *name);
/* A new file with contents: open, or closed again. */
int create(const char *name);
int touch(const char *name);
/* There is no event. */
int silent(int f);
/* An executable, as "program". */
int program_copy(void);
