/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the tests of src/remote share. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "remote/inject.h"
#include "remote_targets.h"

#define CHECK(condition)                                                                                               \
	((condition) ? true : (failures++, fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition), false))

extern int failures;

/* All threads of a process, stopped. */
struct stopped {
	pid_t pid;
	struct stop *list;
	size_t n;
	struct proc_maps maps;
};

int process_stop(struct stopped *p, pid_t pid);
void process_release(struct stopped *p);
char *read_maps(pid_t pid);
char *settled_maps(pid_t pid);
/* Stops a process, runs a batch in its first `inside` threads, lets it go. 0 or negative errno. */
int round_trip(pid_t pid, size_t inside, struct gadget_cache *cache);
/* Removes what killed tracers left. How many there were. */
int remove_leftovers(pid_t pid);

void test_kills(void);
void test_birth(void);
