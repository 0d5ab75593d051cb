/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One call, as a client of a keeper. */
#pragma once

#include "api/door.h"
#include "api/protocol.h"

/* Which tree a call is about: its root's pidfd or its cgroup, and its identity. */
struct target_tree {
	int pidfd; /* -1: a cgroup, or no tree yet */
	char cgroup[PATH_MAX];
	struct tree_id id;
};
#define TARGET_NONE ((struct target_tree){ .pidfd = -1 })

int target_open(pid_t pid, const char *cgroup, struct target_tree *out);
void target_close(struct target_tree *t);

/* Delivers what comes to the listener, until the result. pidfd may be NULL. */
int client_result(int sock, const struct spore_listener *listener, struct reply *result, int *pidfd);
/* Sends the request and delivers what comes back to the listener, until the result. pidfd may be NULL. */
int client_call(int sock, const struct request *req, const int fds[REQUEST_N_FDS],
	const struct spore_listener *listener, struct reply *result, int *pidfd);

void listener_problem(
	const struct spore_listener *listener, int error, pid_t pid, const char *text, const char *remedy);

/* One of the trees of a restore. */
struct clone_built {
	pid_t pid;
	int root; /* its pidfd */
	struct spore_restore_result result;
};
/* Hears of each of several, then the result; the pidfds are the caller's. */
int client_clones(int sock, const struct spore_listener *listener, struct clone_built *list, uint32_t n);
