/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where a keeper is found: sockets under /run/spore, named after the tree.
 *
 *	keeper-ID.sock   who isolates the tree, or works on it for one call; one at a time
 *	parent-ID.sock   who restored the tree and reaps its root
 *
 * A socket whose keeper died says so (connection refused), and the next one takes its place.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

/* The identity of a tree: "PID-STARTTIME" of its root, or "cgroup-INODE". */
struct tree_id {
	char text[64];
};

int tree_id_of_pid(pid_t pid, struct tree_id *out);	      /* -ESRCH; a zombie has one too */
int tree_id_of_cgroup(const char *path, struct tree_id *out); /* under the cgroup2 mount point. -ENOENT */

enum door { DOOR_KEEPER, DOOR_PARENT };

/* A connection to the keeper behind it, which is ours (checked). -ENOENT: there is none; -EBUSY: it has a
 * queue. */
int door_connect(enum door door, const struct tree_id *id);
/* Becomes the keeper behind it. A listening descriptor; -EBUSY: another is. */
int door_claim(enum door door, const struct tree_id *id);
/* Removes the name: nobody else comes in. */
void door_hide(enum door door, const struct tree_id *id);
/* Removes and closes it. Takes -1. */
void door_leave(enum door door, const struct tree_id *id, int *fd);
/* One connection; -EAGAIN none, -EPERM of another user (closed). */
int door_accept(int fd);
