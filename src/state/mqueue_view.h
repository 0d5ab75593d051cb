/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Of who is to be told when a message comes to a POSIX message queue, what the kernel shows to nobody: struct mqueue_inode_info. ipc/mqueue.c. */
#pragma once

#include "object/component.h"

#define MQUEUE_COOKIE 32 /* NOTIFY_COOKIE_LEN */

struct mqueue_view {
	uint64_t value;		       /* SIGEV_SIGNAL: that the signal brings */
	uint64_t sock;		       /* SIGEV_THREAD: the netlink socket (struct sock) that is told, */
	uint8_t cookie[MQUEUE_COOKIE]; /* and what */
};

/* fd: of the queue, the keeper's own; how: SIGEV_*. 0 or negative errno. */
int mqueue_view_read(struct kernel_peek *kernel, int fd, int how, struct mqueue_view *out);
