/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The end of processes and all their descendants, by SIGKILL, as far as they can be found. System calls only: for a process forked from one with threads too. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

struct doomed {
	pid_t pid;
	int pidfd; /* a pid may be another's by now */
};

void end_tree(const struct doomed *roots, size_t n);
