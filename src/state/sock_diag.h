/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What sock_diag(7) tells of unix sockets: net/unix/diag.c. One dump of all, since a question about one makes the kernel search them all. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nlmsghdr;

struct unix_diag {
	uint32_t ino; /* 0: a connection that was not accepted yet */
	uint8_t type, state;
	bool has_peer;
	uint32_t peer;	   /* its inode; 0: it was closed, or not accepted yet */
	uint8_t shutdown;  /* bits: 1 receiving, 2 sending */
	uint32_t *waiting; /* of a listener: the inodes of those that connected, in their order; 0: closed since */
	size_t n_waiting;
	uint32_t queue, backlog; /* bytes to be read; of a listener: connections, and how many it takes */
};

struct unix_diags {
	struct unix_diag *list; /* by inode; those of inode 0 first */
	size_t n;
};

/* Of the network namespace of process pid. 0 or negative errno. */
int unix_diag_read(int pid, struct unix_diags *out);
void unix_diag_free(struct unix_diags *d);
const struct unix_diag *unix_diag_find(const struct unix_diags *d, uint64_t ino);
/*
 * Sends that question to sock_diag of that namespace; each(arg, message) is called for every answer, and its error ends it. 0 or negative errno, which may
 * be the kernel's answer.
 */
int sock_diag_ask(
	int pid, const void *question, size_t size, int (*each)(void *arg, const struct nlmsghdr *h), void *arg);
/* In the network namespace of process pid, which the calling thread visits. What fn answers, or a negative errno. */
int call_in_netns(int pid, int (*fn)(void *arg), void *arg);
/* A socket of that kind in the network namespace of process pid (which the calling thread visits). */
int socket_in(int pid, int family, int type, int protocol);
