/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A tree's clocks: what timers are due by. time_namespaces(7) */
#pragma once

#include <time.h>

#include "object/component.h"

#define NS_PER_S 1000000000ll

static inline int64_t timespec_ns(const struct timespec *t)
{
	return t->tv_sec * NS_PER_S + t->tv_nsec;
}

static inline struct timespec ns_timespec(int64_t ns)
{
	return (struct timespec){ .tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S };
}

/* What CLOCK_MONOTONIC of the new process's time namespace reads now. */
int64_t clocks_monotonic_in(const struct build *b);
/* What is left now of a time that had `left` to go when the tree's CLOCK_MONOTONIC read `at`; at least 1. */
int64_t clocks_left(const struct build *b, int64_t left, int64_t at);
/* Pure: the offset of CLOCK_MONOTONIC in the text of /proc/PID/timens_offsets; 0 if it says nothing. */
int64_t clocks_parse_offset(const char *text);
