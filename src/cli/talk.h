/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a call of libspore tells, as the user sees it: problems at once, progress on a terminal for anything over a second. */
#pragma once

#include <stdint.h>
#include <stdio.h>

#include "cli/cli.h"

struct talk {
	const char *command;
	bool terminal; /* standard error is one */
	bool line;     /* a progress line stands there */
	bool quiet;    /* problems are only kept: the caller says them */
	uint64_t started_ns;
	size_t n_refused, n_failed, n_changed;
	struct spore_problem *problems;
	size_t n_problems;
	struct spore_listener listener;
};

void talk_begin(struct talk *t, const char *command);
/* Takes the progress line away. */
void talk_clear(struct talk *t);
/* The call has returned: takes the progress line away; if the call failed and said nothing, says so. Returns the exit status. */
int talk_end(struct talk *t, int result, const char *what);
void talk_free(struct talk *t);
/* "problems": [ … ] */
void talk_json(const struct talk *t, FILE *out);
