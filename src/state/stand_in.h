/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who last used an object of IPC, and who made it, the kernel notes as the number of the caller; and that number it shows as the reader's pid namespace
 * counts. So some calls have to be made by a task with a certain number, and others in a certain namespace.
 */
#pragma once

#include "object/component.h"

/*
 * Runs fn(arg) in a short-lived process in the IPC and pid namespaces of the process whose /proc/PID is open as proc_fd. number: its own there, -EEXIST if
 * that is taken; or one of those below. fn may make system calls only, and answers in memory that is shared (stand_in_room). Returns
 * what fn returned, 0 or a negative errno. Nobody's wait sees the process.
 */
#define STAND_IN_ANYBODY 0  /* any number that uses up none of those to come */
#define STAND_IN_OUTSIDE -1 /* in spore's own pid namespace: inside it has number 0, unless that is the same */
int stand_in(int proc_fd, pid_t number, int (*fn)(void *arg), void *arg);
/* Zeroed memory that a stand-in shares; NULL: there is none. */
void *stand_in_room(size_t size);
void stand_in_room_free(void *room, size_t size); /* takes NULL */

/* The same by anybody, and what it leaves in arg is seen here too. */
int stand_in_shared(int proc_fd, int (*fn)(void *arg), void *arg, size_t size);

/* One call. */
struct acted_call {
	const char *what;
	long nr;
	uint64_t args[6];
	const void *data; /* read by the call: its address becomes argument data_arg */
	size_t size;
	uint8_t data_arg;
	uint8_t from; /* the first argument is the result of the call so many places back; 0: it is args[0] */
	int64_t result;
};

/*
 * Has the process of the tree that is being made with that number make the calls, or, if there is none or not yet, a stand-in with its number; 0: one outside.
 * The first that fails ends them. -EEXIST: the number is another's, or a zombie's.
 */
int act_as(struct restore *r, pid_t vpid, struct acted_call *calls, size_t n);
/* The same in one task of it. */
int act_in(struct restore *r, struct new_thread *t, struct acted_call *calls, size_t n);
/* Is the new tree in another pid namespace than spore? */
bool is_numbered_elsewhere(const struct restore *r);
