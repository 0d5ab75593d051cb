/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A moment in the IPC namespace of a tree: ipc_namespaces(7). It changes this thread only. */
#pragma once

#include <stdbool.h>

struct ipc_place {
	int own_fd;   /* where to go back to; -1: it never left */
	bool foreign; /* the namespace is not the one that this process is in: it is the tree's own */
};

/* proc_fd: an open /proc/PID. 0 or negative errno. */
int ipc_enter(int proc_fd, struct ipc_place *place);
void ipc_leave(struct ipc_place *place);

/* Reads and writes a file of /proc/sys that is of the namespace entered. 0 or negative errno. */
int ipc_sysctl_read(const char *name, char **text);
int ipc_sysctl_write(const char *name, const char *text);
